"""Any order of what can happen to a ledger, held against a model of a few dictionaries.

Plan, claim, answer, crash, events (early, late, twice, of strangers), unsubscribes, sign-ups that
are to be confirmed, people who are erased, orders of a person and the clock, as chance has them.
After each: every send is as the model says, every counter equals its recount, nobody is carried
twice (a mail to confirm: once more, when it is not known), nobody who left is claimed, and nothing
names who was erased.

LEDGER_MACHINE_EXAMPLES=2000 looks further: `LEDGER_MACHINE_EXAMPLES=2000 ./setup.sh test
tests/test_ledger_machine.py`.
"""

import os
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import JSON, String
from sqlalchemy.orm import Session

from config.esp_config import EspName
from database.models import (
    Base,
    Campaign,
    CampaignStatus,
)
from database.session import Database
from list_manager import erase, find_traces, unsubscribe
from services import campaign_control as control
from services.base import Outcome, SendResult
from services.event_recorder import record_events
from services.event_recorder.sends import BIT, BOUNCED
from services.events import BounceClass, Event, EventKind, SuppressionReason
from services.housekeeping import PAYLOADS_KEPT, forget_payloads
from services.ledger import plan as planning
from services.ledger.claim import ClaimedBatch
from services.ledger.confirmation import may_go_again
from services.ledger.finish import cancel_queued, finish, is_under_way
from services.ledger.record import give_back, recover
from tests.ledger_people import People, Request
from tests.ledgers import HASH_KEY, Ledgers
from tests.opting_in import ask, links, say_yes
from tests.people import (
    add,
    assert_counters_are_true,
    assert_suppressions_are_counted,
    who,
)
from utils.addresses import normalise
from utils.tokens import ConfirmLink, UnsubscribeLink, send_ref

EXAMPLES = int(os.environ.get("LEDGER_MACHINE_EXAMPLES") or 50)
STEPS = 40
PEOPLE = [f"person{n}@example.net" for n in range(9)]
NEWCOMERS = ["newcomer0@example.net", "newcomer1@example.net"]
EVERYBODY = [*PEOPLE, *NEWCOMERS]
RUNNING = (CampaignStatus.SENDING, CampaignStatus.WAITING)
MAY_BE_CARRIED = (Outcome.ACCEPTED, Outcome.UNKNOWN)

AFTER = {
    Outcome.ACCEPTED: "accepted",
    Outcome.RECIPIENT_REJECTED: "rejected",
    Outcome.MESSAGE_REJECTED: "queued",
    Outcome.THROTTLED: "queued",
    Outcome.ESP_UNAVAILABLE: "queued",
    Outcome.NOT_TAKEN: "queued",
    Outcome.UNKNOWN: "unknown",
}
"""Written again here, so that a slip in the code's own table is seen."""

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

HEARD = {"delivered": BIT["delivered"], "bounced": BOUNCED, "complained": BIT["complained"]}
STATUSES = ("skipped", "queued", "sending", "accepted", "rejected", "unknown", "cancelled")
COUNTERS = ("planned", *STATUSES, *HEARD, "opened", "clicked", "unsubscribed")

esps = st.sampled_from(list(EspName))
people = st.sampled_from(EVERYBODY)
kinds = st.sampled_from(sorted(KINDS))


TELLS_OF = " UNION ALL ".join(
    f"SELECT '{table.name}.{column.name}' FROM {table.name}"
    f" WHERE LOWER(CAST({column.name} AS TEXT)) LIKE '%' || :person || '%'"
    for table in Base.metadata.sorted_tables
    for column in table.columns
    if isinstance(column.type, String | JSON)
)
"""Every column in which an address could stand."""


@dataclass(slots=True)
class Send:
    """What the model knows of a send."""

    campaign: int
    person: str
    subscriber: int
    status: str
    attempt: int = 0
    carriers: dict[int, EspName] = field(default_factory=dict)
    """Who carried which attempt."""
    carried: int = 0
    """How often an ESP may have taken it since it was last ordered again."""
    again: int = 0
    """How often that was done by itself."""


class LedgerMachine(RuleBasedStateMachine):
    start: ClassVar[Path]
    """A database with the people on the list, to begin each example with a copy of."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self._open()
        self.at = Ledgers(self.database)
        self.sends: dict[int, Send] = {}
        self.campaigns: list[int] = []
        self.people = People({email: n for n, email in enumerate(PEOPLE, start=1)})
        self.wanted: dict[int, set[str]] = {}
        """Who may be in a campaign."""
        self.must: dict[int, set[str]] = {}
        """Who was on the list when it was posted, and has been since."""
        self.unclear: Counter[int] = Counter()
        """By campaign: calls of it whose outcome was not known."""
        self.calls: list[ClaimedBatch] = []
        """Claimed, and not answered."""
        self.over: list[ClaimedBatch] = []
        """Settled in one way or another."""
        self.told: list[tuple[EspName, Event]] = []

    def _open(self) -> None:
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        shutil.copy(self.start, folder / "email.db")
        self.database = Database(f"sqlite:///{folder / 'email.db'}")
        self.stack.callback(self.database.close)
        self.plain = sqlite3.connect(folder / "email.db", isolation_level=None)

    def teardown(self) -> None:
        self.plain.close()
        self.stack.close()

    @initialize(plans=st.sampled_from([True, True, True, False]))
    def a_campaign(self, plans: bool) -> None:
        self.post(emails=None)
        while plans and self._with(CampaignStatus.PLANNING):
            self._plan_one(1)

    # --- what happens

    @precondition(lambda self: len(self.campaigns) < 3)
    @rule(emails=st.none() | st.lists(people, max_size=4))
    def post(self, emails: list[str] | None) -> None:
        if emails is not None:  # to name who was erased is to hold their address again
            emails = [email for email in emails if email not in self.people.erased]
        audience = {} if emails is None else {"emails": [*emails, "nobody@example.net", "no one"]}
        campaign = self.at.create(audience=audience)
        self.campaigns.append(campaign)
        self.wanted[campaign] = set(EVERYBODY if emails is None else emails)
        self.must[campaign] = self.wanted[campaign] & self.people.active

    @precondition(lambda self: self._can_do())
    @rule(data=st.data(), steps=st.integers(1, 8))
    def engine(self, data: st.DataObject, steps: int) -> None:
        """Plan, claim, answer, end: one rule, since chance leaves out whole rules, and without
        one of these nothing of interest happens."""
        for _ in range(steps):
            if possible := self._can_do():
                step, about = data.draw(st.sampled_from(possible))
                step(about, data)

    def _can_do(self) -> list[tuple[Callable[[Any, st.DataObject], None], Any]]:
        running = self._with(*RUNNING)
        queued = {send.campaign for send in self.sends.values() if send.status == "queued"}
        calling = {call.campaign_id for call in self.calls}
        return [
            *((self._plan_one, one) for one in self._with(CampaignStatus.PLANNING)),
            *((self._claim, one) for one in running if one in queued),
            *((self._answer, call) for call in self.calls),
            *((self._finish, one) for one in running if one not in queued | calling),
        ]

    def _plan_one(self, campaign: int, _data: st.DataObject | None = None) -> None:
        """One transaction of a plan, which takes several."""
        self.at.plan_one(campaign)
        for row in self.at.sends(campaign):
            if row.id in self.sends:
                continue
            assert row.subscriber_id is not None
            send = Send(campaign, row.email_key, row.subscriber_id, row.status.value)
            assert (send.status == "queued") == self._may_get(send), row.reason
            self.sends[row.id] = send
        if self.at.campaign(campaign).status is not CampaignStatus.PLANNING:
            self._check_whole(campaign)

    def _claim(self, campaign: int, data: st.DataObject) -> None:
        n, esp = data.draw(st.integers(1, 4)), data.draw(esps)
        next_ones = [one for one in self._ids(campaign) if self.sends[one].status == "queued"][:n]
        batch = self.at.claim(campaign, n, esp)
        claimed = [] if batch is None else [send.send_id for send in batch.sends]
        assert claimed == [one for one in next_ones if self._may_get(self.sends[one])]
        for send_id in next_ones:
            send = self.sends[send_id]
            if send_id not in claimed:
                send.status = "skipped"
                continue
            assert send.carried == 0, "it may have been taken before"
            send.status, send.attempt = "sending", send.attempt + 1
            send.carriers[send.attempt] = esp
        if batch is not None:
            self.calls.append(batch)

    def _answer(self, batch: ClaimedBatch, data: st.DataObject) -> None:
        """One outcome for all of a call, or one each."""
        size = len(batch.sends)
        one_each = st.lists(st.sampled_from(Outcome), min_size=size, max_size=size)
        outcomes = data.draw(one_each | st.sampled_from(Outcome).map(lambda one: [one] * size))
        inactive = data.draw(st.booleans())
        results = [
            SendResult(
                outcome=outcome,
                message_id="m" if outcome is Outcome.ACCEPTED else None,
                reason=None if outcome is Outcome.ACCEPTED else f"550 <{claimed.email}>: no",
                suppress=inactive and outcome is Outcome.RECIPIENT_REJECTED,
            )
            for claimed, outcome in zip(batch.sends, outcomes, strict=True)
        ]
        assert self.at.record(batch, *results)
        for claimed, result in zip(batch.sends, results, strict=True):
            send = self.sends[claimed.send_id]
            if result.suppress:
                self._leaves(send.person, SuppressionReason.ESP_INACTIVE)
            if send.status == "sending":  # else an event has come first
                send.status = AFTER[result.outcome]
                send.carried += result.outcome in MAY_BE_CARRIED
                self.unclear[batch.campaign_id] += result.outcome is Outcome.UNKNOWN
        self._end(batch)

    def _finish(self, campaign: int, _data: st.DataObject) -> None:
        """As the engine does when nothing is left to claim, and nothing is under way."""
        statuses = Counter(self.sends[one].status for one in self._ids(campaign))
        with self.database.write() as session:
            assert not is_under_way(session, campaign)
            row = session.get_one(Campaign, campaign)
            if goes_again := may_go_again(session, row):
                control.requeue_unknown(session, row, self.at.now)
            else:
                finish(session, row, self.at.now)
            says = (row.status, "not known" in (row.reason or ""))
        assert goes_again == (statuses["unknown"] > 0 and self._is_unclear_once(campaign))
        if goes_again:
            self._again(campaign)
        elif statuses["unknown"]:
            assert says == (CampaignStatus.NEEDS_REVIEW, True)
        else:
            assert says == (CampaignStatus.SENT, False)

    @precondition(lambda self: self.over)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def answer_again(self, data: st.DataObject, outcome: Outcome) -> None:
        """A commit that seemed to fail; a process that was taken for dead."""
        batch = data.draw(st.sampled_from(self.over))
        assert not self.at.record(batch, outcome)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def never_called(self, data: st.DataObject) -> None:
        batch = data.draw(st.sampled_from(self.calls))
        with self.database.write() as session:
            give_back(session, [batch.id], self.at.now)
        for claimed in batch.sends:
            send = self.sends[claimed.send_id]
            if send.status == "sending":
                send.status = "queued"
        self._end(batch)

    @rule()
    def crash(self) -> None:
        """All calls under way are cut short, and the next process finds their batches."""
        with self.database.write() as session:
            n = recover(session, self.at.now)
        under_way = [self.sends[send.send_id] for batch in self.calls for send in batch.sends]
        unsettled = [send for send in under_way if send.status == "sending"]
        assert n == len(unsettled)
        for send in unsettled:
            send.status = "unknown"
            send.carried += 1
            self.unclear[send.campaign] += 1
        for batch in list(self.calls):
            self._end(batch)

    @precondition(lambda self: any(send.attempt for send in self.sends.values()))
    @rule(data=st.data(), kind=kinds, names_address=st.booleans())
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
            self._leaves(send.person, event.suppress, happened_at=event.occurred_at)
        is_this_call = send.status == "sending" and attempt == send.attempt
        if send.status in ("unknown", "queued") or is_this_call:
            send.carried += send.status != "unknown"
            send.status = "accepted"

    @precondition(lambda self: self.told)
    @rule(data=st.data())
    def event_twice(self, data: st.DataObject) -> None:
        esp, event = data.draw(st.sampled_from(self.told))
        self._tell(esp, event)

    @rule(data=st.data(), kind=kinds, esp=esps, person=people)
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
            self._leaves(person, event.suppress, happened_at=event.occurred_at)

    @rule(data=st.data(), person=people)
    def leave(self, data: st.DataObject, person: str) -> None:
        """By a link, of any mail to them or of none."""
        of_theirs = [one for one, send in self.sends.items() if send.person == person]
        send_id = data.draw(st.sampled_from([0, *of_theirs]))
        known = self.sends[send_id].subscriber if send_id else self.people.ids.get(person)
        subscriber = known or 999
        link = UnsubscribeLink(email_hash=who(person), subscriber_id=subscriber, send_id=send_id)
        with self.database.write() as session:
            unsubscribe(session, link, source="page", now=self.at.now)
        self._leaves(person, SuppressionReason.UNSUBSCRIBED)

    @rule(person=people, resubscribe=st.booleans())
    def sign_up(self, person: str, resubscribe: bool) -> None:
        """They are asked to confirm it, by a campaign of one mail."""
        before = self.people.ids.get(person)
        told = ask(self.database, person, self.at.now, resubscribe=resubscribe)
        held = person in self.people.left and not resubscribe
        assert (told.asking is None) == (held or person in self.people.active)
        subscriber = before if told.added.subscriber is None else told.added.subscriber.id
        assert before in (None, subscriber)
        if before is None and subscriber is not None:
            self.people.put_on_list(person, subscriber, pending=True)
        if told.asking is None or told.asking.campaign_id is None:
            return
        assert subscriber is not None
        self.campaigns.append(told.asking.campaign_id)
        self.wanted[told.asking.campaign_id] = {person}
        self.must[told.asking.campaign_id] = set()
        request = Request(
            campaign=told.asking.campaign_id,
            opt_in=links(self.database)[-1].opt_in_id,
            email=person,
            subscriber=subscriber,
            at=self.at.now,
            lifts=resubscribe,
        )
        self.people.requests.append(request)

    @precondition(lambda self: self.people.requests)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        """Press the button, in time or late, once or again."""
        request = data.draw(st.sampled_from(self.people.requests))
        link = ConfirmLink(
            email_hash=who(request.email), opt_in_id=request.opt_in, issued_at=request.at
        )
        expected = self.people.verdict(request, self.at.now)
        says = say_yes(self.database, link, self.at.now)
        assert says == ("confirmed" if expected == "open" else expected)
        if expected == "open":
            self.people.confirm(request, self.at.now)

    @precondition(lambda self: self.people.ids)
    @rule(data=st.data(), for_good=st.booleans())
    def erase(self, data: st.DataObject, for_good: bool) -> None:
        """Somebody on the list, whatever is under way to them."""
        person = data.draw(st.sampled_from(sorted(self.people.ids)))
        address = normalise(person)
        with self.database.read() as session:
            traces = find_traces(session, address.key, self.at.now)
        with self.database.write() as session:
            found = erase(
                session,
                address,
                traces,
                hash_key=HASH_KEY,
                now=self.at.now,
                for_good=for_good,
            )
        assert found
        self.people.erase(person)
        self._forget(person)
        if for_good:
            self._leaves(person, SuppressionReason.MANUAL)

    @precondition(lambda self: self.people.erased)
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        """Who was erased is added again: somebody new, and kept from mail as before."""
        person = data.draw(st.sampled_from(sorted(self.people.erased)))
        subscriber = add(self.database, person).subscriber
        assert (subscriber is None) == (person in self.people.left)
        if subscriber is not None:
            self.people.put_on_list(person, subscriber.id, pending=False)

    @rule(data=st.data(), resolution=st.sampled_from(control.Resolution), wrong=st.booleans())
    def resolve(self, data: st.DataObject, resolution: control.Resolution, wrong: bool) -> None:
        campaign = data.draw(st.sampled_from(self.campaigns))
        unknown = [self.sends[i] for i in self._ids(campaign) if self.sends[i].status == "unknown"]
        is_requeue = resolution is control.Resolution.REQUEUE
        is_cancelled = self.at.campaign(campaign).status is CampaignStatus.CANCELLED
        refused = wrong or (is_requeue and is_cancelled)

        def order(session: Session, row: Campaign) -> None:
            control.resolve(session, row, resolution, len(unknown) + wrong, self.at.now)

        if self._order(campaign, order) == refused:
            raise AssertionError("taken" if refused else "refused")
        if refused:
            return
        for send in unknown:
            send.status = "queued" if is_requeue else "accepted"
            send.carried = 0 if is_requeue else send.carried

    @rule(data=st.data(), what=st.sampled_from(["pause", "go on", "go on", "cancel"]))
    def order(self, data: st.DataObject, what: str) -> None:
        campaign = data.draw(st.sampled_from(self.campaigns))
        if what == "pause":
            self._order(campaign, lambda _, row: control.pause(row))
        elif what == "go on":
            self._order(campaign, self._resume)
        elif self._order(campaign, self._cancel):
            self._cancel_queued(campaign)

    def _resume(self, _session: Session, row: Campaign) -> None:
        """As far as the ledger is concerned."""
        if row.status is CampaignStatus.PAUSED:
            planned = planning.is_planned(row)
            row.status = CampaignStatus.SENDING if planned else CampaignStatus.PLANNING

    def _cancel(self, session: Session, row: Campaign) -> None:
        control.cancel(session, row, self.at.now)

    @rule(minutes=st.sampled_from([-60, 1, 60, 24 * 60, 40 * 24 * 60]))
    def clock(self, minutes: int) -> None:
        """It may also be set back. Old raw events go, as they do each day. And the people are
        recounted, which takes too long to do each time."""
        self.at.now += timedelta(minutes=minutes)
        with self.database.write() as session:
            forget_payloads(session, self.at.now - PAYLOADS_KEPT, None)
        assert_counters_are_true(self.database)
        assert_suppressions_are_counted(self.database, self.at.now)

    # --- what always holds, read with plain SQL

    @invariant()
    def nobody_is_carried_twice(self) -> None:
        """But a mail to confirm, which goes again once by itself."""
        assert all(send.carried <= 1 for send in self.sends.values())
        asking = {request.campaign for request in self.people.requests}
        assert all(send.again <= (send.campaign in asking) for send in self.sends.values())

    @invariant()
    def nothing_names_who_was_erased(self) -> None:
        for person in self.people.erased:
            assert self._ask(TELLS_OF.replace(":person", f"'{person}'")) == []

    @invariant()
    def every_send_is_as_the_model_says(self) -> None:
        rows = self._ask("SELECT id, status, attempt FROM email_sends ORDER BY id")
        model = sorted(self.sends.items())
        assert rows == [(one, send.status, send.attempt) for one, send in model]

    @invariant()
    def counters_equal_their_recounts(self) -> None:
        counted: dict[int, Counter[str]] = {one: Counter() for one in self.campaigns}
        for campaign, status, heard, *flags in self._ask(
            "SELECT campaign_id, status, heard, opened, clicked, unsubscribed FROM email_sends"
        ):
            flagged = dict(zip(("opened", "clicked", "unsubscribed"), flags, strict=True))
            told = {name: int(bool(heard & bits)) for name, bits in HEARD.items()}
            counted[campaign].update({"planned": 1, status: 1, **told, **flagged})
        for campaign, n in self._ask(
            "SELECT campaign_id, n FROM campaign_tallies WHERE kind = 'skipped'"
            " AND key IN ('duplicate', 'unknown_subscriber', 'invalid')"
        ):
            counted[campaign].update({"planned": n, "skipped": n})
        kept = self._ask(f"SELECT id, {', '.join(COUNTERS)} FROM campaigns ORDER BY id")
        assert kept == [
            (one, *(counted[one][name] for name in COUNTERS)) for one in sorted(counted)
        ]
        assert all(row[1] == sum(row[2:9]) for row in kept), "planned is the sum of the statuses"

    @invariant()
    def tallies_equal_their_recounts(self) -> None:
        tallied = self._ask(
            "SELECT campaign_id, kind, key, n FROM campaign_tallies WHERE n <> 0"
            " AND kind IN ('accepted', 'carried', 'skipped')"
            " AND key NOT IN ('duplicate', 'unknown_subscriber', 'invalid')"
        )
        by_row = self._ask(
            "SELECT campaign_id, 'accepted', esp, COUNT(*) FROM email_sends"
            " WHERE status = 'accepted' GROUP BY 1, 3 UNION ALL"
            " SELECT campaign_id, 'carried', esp || '/' || mailbox_provider, COUNT(*)"
            " FROM email_sends WHERE status = 'accepted' GROUP BY 1, 3 UNION ALL"
            " SELECT campaign_id, 'skipped', reason, COUNT(*) FROM email_sends"
            " WHERE status = 'skipped' GROUP BY 1, 3"
        )
        assert sorted(tallied) == sorted(by_row)

    @invariant()
    def batches_under_way_are_those_of_our_calls(self) -> None:
        found = {
            batch for (batch,) in self._ask("SELECT id FROM send_batches WHERE state='sending'")
        }
        assert found == {call.id for call in self.calls}

    # --- helpers

    def _with(self, *statuses: CampaignStatus) -> list[int]:
        """Campaigns that have one of these."""
        rows = self._ask("SELECT id, status FROM campaigns ORDER BY id")
        return [one for one, status in rows if status in statuses]

    def _ids(self, campaign: int) -> list[int]:
        return sorted(one for one, send in self.sends.items() if send.campaign == campaign)

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        return self.plain.execute(sql).fetchall()

    def _check_whole(self, campaign: int) -> None:
        """Nobody who has not left is missing from a plan that is complete."""
        planned = {self.sends[one].person for one in self._ids(campaign)}
        assert self.must[campaign] <= planned <= self.wanted[campaign]

    def _may_get(self, send: Send) -> bool:
        return self.people.may_get(send.campaign, send.person, send.subscriber, self.at.now)

    def _is_unclear_once(self, campaign: int) -> bool:
        """Of a request that is open."""
        return self.unclear[campaign] == 1 and any(
            request.campaign == campaign and not (request.is_confirmed or request.is_forgotten)
            for request in self.people.requests
        )

    def _again(self, campaign: int) -> None:
        for one in self._ids(campaign):
            if self.sends[one].status == "unknown":
                self.sends[one].status, self.sends[one].carried = "queued", 0
                self.sends[one].again += 1

    def _leaves(
        self, person: str, reason: SuppressionReason, *, happened_at: datetime | None = None
    ) -> None:
        self.people.leave(person, reason, self.at.now, happened_at=happened_at)
        self._forget(person)

    def _forget(self, person: str) -> None:
        """Nobody is missing from a plan who went while it was made."""
        for of_campaign in self.must.values():
            of_campaign.discard(person)

    def _end(self, batch: ClaimedBatch) -> None:
        self.calls.remove(batch)
        self.over.append(batch)
        if self.at.campaign(batch.campaign_id).status is CampaignStatus.CANCELLED:
            with self.database.write() as session:  # as the engine does
                cancel_queued(session, batch.campaign_id, self.at.now)
            self._cancel_queued(batch.campaign_id)

    def _cancel_queued(self, campaign: int) -> None:
        for one in self._ids(campaign):
            if self.sends[one].status == "queued":
                self.sends[one].status = "cancelled"

    def _order(self, campaign: int, order: Callable[[Session, Campaign], None]) -> bool:
        """Whether it was taken."""
        try:
            with self.database.write() as session:
                order(session, session.get_one(Campaign, campaign))
        except control.Conflict:
            return False
        return True

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


@pytest.fixture
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "IDS_PER_CHUNK", 3)
    monkeypatch.setattr(planning, "EMAILS_PER_CHUNK", 2)


@pytest.mark.usefixtures("_small_chunks")
@pytest.mark.timeout(120 + 2 * EXAMPLES)
def test_whatever_happens_the_ledger_is_what_the_model_says(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LedgerMachine, "start", database.path, raising=False)
    for email in PEOPLE:
        add(database, email)
    database.close()  # and nothing is left beside the file
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
