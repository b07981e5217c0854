"""Events: early, in time, late, twice, of strangers."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition

from config.esp_config import EspName
from services.event_recorder import record_events
from services.events import BounceClass, Event, EventKind, SuppressionReason
from tests.ledger_machine.model import EVERYBODY, Model, Send, esps, happens, people
from tests.ledger_machine.start import PEOPLE
from tests.ledgers import HASH_KEY
from utils.tokens import send_ref

KINDS: dict[str, dict[str, Any]] = {
    "processed": {"kind": EventKind.PROCESSED},
    "deferred": {"kind": EventKind.DEFERRED},
    "delivered": {"kind": EventKind.DELIVERED},
    "opened": {"kind": EventKind.OPENED},
    "clicked": {"kind": EventKind.CLICKED, "url": "https://example.com/"},
    "blocked": {"kind": EventKind.BOUNCED, "bounce_class": BounceClass.BLOCKED},
    "hard": {
        "kind": EventKind.BOUNCED,
        "bounce_class": BounceClass.HARD,
        "suppress": SuppressionReason.HARD_BOUNCE,
    },
    "complained": {"kind": EventKind.COMPLAINED, "suppress": SuppressionReason.COMPLAINT},
    "unsubscribed": {"kind": EventKind.UNSUBSCRIBED, "suppress": SuppressionReason.UNSUBSCRIBED},
}

kinds = st.sampled_from(sorted(KINDS))


class Events(Model):
    @precondition(lambda self: any(send.attempt for send in self.sends.values()))
    @happens(data=st.data(), kind=kinds, names_address=st.booleans())
    def event(self, data: st.DataObject, kind: str, names_address: bool) -> None:
        """Of any attempt that was ever made: early, in time, or late."""
        known = [one for one, send in self.sends.items() if send.attempt]
        send_id = data.draw(st.sampled_from(known))
        send = self.sends[send_id]
        attempt = data.draw(st.integers(1, send.attempt))
        ref = send_ref(HASH_KEY, campaign_id=send.campaign, send_id=send_id, attempt=attempt)
        address = send.person.upper() if names_address else None
        names = {"address": address, "detail": f"250 <{send.person}>: {kind}"}
        event = self._event(f"{kind}-{send_id}-{attempt}", kind, send_ref=ref, **names)
        is_known = self.people.ids.get(send.person) == send.subscriber
        is_new = self._tell(send.carriers[attempt], event)
        # Of somebody who was erased we know the address from the event alone.
        if is_new and event.suppress is not None and (is_known or names_address):
            self.leaves(send.person, event.suppress, happened_at=event.occurred_at)
        is_this_call = send.status == "sending" and attempt == send.attempt
        if send.status in ("unknown", "queued") or is_this_call:
            send.carried += send.status != "unknown"
            send.status = "accepted"

    @precondition(lambda self: self.told)
    @happens(data=st.data())
    def event_twice(self, data: st.DataObject) -> None:
        esp, event = data.draw(st.sampled_from(self.told))
        self._tell(esp, event)

    @happens(data=st.data(), kind=kinds, esp=esps, person=people)
    def event_of_a_stranger(
        self, data: st.DataObject, kind: str, esp: EspName, person: str
    ) -> None:
        """Of another installation, or with our id and another's address: credits nobody. Of
        somebody on our list it is believed that they want no more mail."""
        known = sorted(self.sends) or [1]
        send_id = data.draw(st.sampled_from(known))
        send = self.sends.get(send_id) or Send(1, PEOPLE[0], 1, "queued")
        key, campaign = data.draw(
            st.sampled_from([(b"x" * 32, send.campaign), (HASH_KEY, send.campaign + 9)])
            if send.person == person
            else st.just((HASH_KEY, send.campaign))
        )
        ref = send_ref(key, campaign_id=campaign, send_id=send_id, attempt=max(1, send.attempt))
        name = f"strange-{kind}-{send_id}-{send.attempt}-{EVERYBODY.index(person)}-{key[:1]!r}"
        event = self._event(name, kind, send_ref=ref, address=person)
        is_new = self._tell(esp, event)
        if is_new and event.suppress is not None and person in self.people.ids:
            self.leaves(person, event.suppress, happened_at=event.occurred_at)

    def _event(self, key: str, kind: str, **said: Any) -> Event:
        more: dict[str, Any] = {"user_agent": "Mozilla/5.0 (Macintosh)", "ip": "198.51.100.7"}
        when = self.at.now + timedelta(minutes=1)
        payload = {"event": kind, "email": said["address"]} if "detail" in said else {"event": kind}
        event = Event(key=key, occurred_at=when, payload=payload, **more, **said, **KINDS[kind])
        known = [told for _, told in self.told if told.key == key]
        return replace(event, occurred_at=known[0].occurred_at) if known else event

    def _tell(self, esp: EspName, event: Event) -> bool:
        """Whether it is new."""
        with self.database.write() as session:
            record_events(session, esp, [event], hash_key=HASH_KEY, now=self.at.now)
        is_new = all((by, told.key) != (esp, event.key) for by, told in self.told)
        if is_new:
            self.told.append((esp, event))
        return is_new
