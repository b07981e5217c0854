"""What Amazon SES says in its events, in our words.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html and,
for identity feedback, https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from services.amazon_ses_words import BOUNCES, COMPLAINED_BEFORE, COMPLAINTS, NO_CAUSE, STATUSES
from services.base import SEND_REF_KEY
from services.events import CODE_CHARS, Event, EventKind
from services.webhook_fields import (
    COMPLAINED,
    DEFERRED,
    DROPPED,
    ID_CHARS,
    NEVER,
    OTHER,
    RESUBSCRIBED,
    SOFT,
    TEXT_CHARS,
    UNSUBSCRIBED,
    Meaning,
    Payload,
    moment,
    text,
)
from services.wire import reason

KEY_ID_CHARS = 160
"""Of an event's key; the rest is for the recipient."""


@dataclass(frozen=True, slots=True)
class _Told:
    """One event of SES: what it is about, its own object, and how it came."""

    payload: Payload
    mail: Payload
    body: Payload

    def event(self, meaning: Meaning, address: str | None, **more: Any) -> Event:
        key_id = more.pop("key_id", None) or text(self.payload.get("MessageId")) or ""
        tags = _list(_dict(self.mail.get("tags")).get(SEND_REF_KEY))
        return Event(
            key=_key(key_id, address),
            kind=meaning.kind,
            occurred_at=occurred_at(self.payload, self.body, self.mail),
            payload=self.payload,
            send_ref=text(tags[0]) if tags else None,
            address=address,
            message_id=text(self.mail.get("messageId"), ID_CHARS),
            bounce_class=meaning.bounce_class,
            suppress=meaning.suppress,
            **more,
        )

    def addressees(self) -> list[str]:
        return _texts(self.mail.get("destination"))

    def only_addressee(self) -> str | None:
        """What an open, a click or a preference is about; of several people nobody knows whose."""
        found = self.addressees()
        return found[0] if len(found) == 1 else None


def events_of(payload: Payload) -> tuple[Event, ...]:
    """The events of a notification whose `Message` is an object; none when it is not.

    One for each recipient that it names. Junk within never raises: it is left out.
    """
    message = payload.get("Message")
    if not isinstance(message, dict):
        return ()
    # Event publishing, and the older feedback of an identity.
    name = text(message.get("eventType")) or text(message.get("notificationType")) or ""
    read, body = _READERS.get(name, (_other, ""))
    told = _Told(payload, _dict(message.get("mail")), _dict(message.get(body)))
    return tuple({event.key: event for event in read(told)}.values())


def occurred_at(payload: Payload, *nearer: Payload) -> datetime:
    """When the first of `nearer` says, or else when SNS passed it on."""
    told = [*(one.get("timestamp") for one in nearer), payload.get("Timestamp")]
    return next(filter(None, map(moment, told)), NEVER)


def _bounce(told: _Told) -> Iterator[Event]:
    kind, sub_kind = (str(told.body.get(name)) for name in ("bounceType", "bounceSubType"))
    words = f"{kind}/{sub_kind}"[:CODE_CHARS]
    for address, one in _recipients(told, "bouncedRecipients"):
        status = text(one.get("status"), CODE_CHARS) or ""
        meaning = BOUNCES.get((kind, sub_kind), SOFT)
        if sub_kind in NO_CAUSE:
            meaning = next((by for form, by in STATUSES if re.fullmatch(form, status)), meaning)
        yield told.event(
            meaning,
            address,
            key_id=_feedback_id(told, "bounce"),
            code=status or words,
            detail=reason(words, text(one.get("diagnosticCode"))),
        )


def _complaint(told: _Told) -> Iterator[Event]:
    feedback = text(told.body.get("complaintFeedbackType"), CODE_CHARS)
    meaning = COMPLAINTS.get(feedback or "", COMPLAINED)
    sub_kind = text(told.body.get("complaintSubType"), CODE_CHARS)
    if sub_kind == "OnAccountSuppressionList":
        meaning = COMPLAINED_BEFORE
    code = sub_kind or feedback
    for address, _ in _recipients(told, "complainedRecipients"):
        yield told.event(
            meaning,
            address,
            key_id=_feedback_id(told, "complaint"),
            code=code,
            detail=reason(code or "complaint", text(told.body.get("userAgent"))),
        )


def _feedback_id(told: _Told, kind: str) -> str | None:
    """Of a bounce or complaint: the same by whichever of the two ways it is told."""
    found = text(told.body.get("feedbackId"))
    return f"{kind}:{found}" if found else None


def _delivery(told: _Told) -> Iterator[Event]:
    answer = text(told.body.get("smtpResponse"))
    for address in _texts(told.body.get("recipients")) or _all_or_nobody(told):
        detail = reason("smtp", answer) if answer else None
        yield told.event(Meaning(EventKind.DELIVERED), address, detail=detail)


def _delay(told: _Told) -> Iterator[Event]:
    kind = text(told.body.get("delayType"), CODE_CHARS) or "Undetermined"
    for address, one in _recipients(told, "delayedRecipients"):
        yield told.event(
            DEFERRED,
            address,
            code=text(one.get("status"), CODE_CHARS) or kind,
            detail=reason(kind, text(one.get("diagnosticCode"))),
        )


def _send(told: _Told) -> Iterator[Event]:
    for address in _all_or_nobody(told):
        yield told.event(Meaning(EventKind.PROCESSED), address)


def _reject(told: _Told) -> Iterator[Event]:
    """SES found a virus: the content's fault."""
    for address in _all_or_nobody(told):
        detail = reason("Reject", text(told.body.get("reason")))
        yield told.event(DROPPED, address, code="Reject", detail=detail)


def _rendering_failure(told: _Told) -> Iterator[Event]:
    code = "Rendering Failure"
    for address in _all_or_nobody(told):
        detail = reason(code, text(told.body.get("errorMessage")))
        yield told.event(DROPPED, address, code=code, detail=detail)


def _open(told: _Told) -> Iterator[Event]:
    yield told.event(Meaning(EventKind.OPENED), told.only_addressee(), **_reader_of(told))


def _click(told: _Told) -> Iterator[Event]:
    url = text(told.body.get("link"), TEXT_CHARS)
    yield told.event(Meaning(EventKind.CLICKED), told.only_addressee(), url=url, **_reader_of(told))


def _reader_of(told: _Told) -> dict[str, str | None]:
    return {
        "user_agent": text(told.body.get("userAgent"), TEXT_CHARS),
        "ip": text(told.body.get("ipAddress"), CODE_CHARS),
    }


def _subscription(told: _Told) -> Iterator[Event]:
    source = text(told.body.get("source"), CODE_CHARS)
    yield told.event(_preference(told.body), told.only_addressee(), code=source)


def _preference(body: Payload) -> Meaning:
    """What the person asked for: all or a topic less, a topic more, or neither."""
    old, new = _dict(body.get("oldTopicPreferences")), _dict(body.get("newTopicPreferences"))
    outs, ins = _topics(new, "OptOut"), _topics(new, "OptIn")
    has_left = outs - _topics(old, "OptOut") or (outs and not ins)
    if new.get("unsubscribeAll") is True or has_left:
        return UNSUBSCRIBED
    if ins or old.get("unsubscribeAll") is True:
        return RESUBSCRIBED
    return OTHER


def _topics(preferences: Payload, status: str) -> set[str]:
    return {
        str(one.get("topicName"))
        for one in map(_dict, _list(preferences.get("topicSubscriptionStatus")))
        if one.get("subscriptionStatus") == status
    }


def _other(told: _Told) -> Iterator[Event]:
    yield told.event(OTHER, told.only_addressee())


# eventType or notificationType: who reads it, and the name of its own object.
_READERS: dict[str, tuple[Callable[[_Told], Iterator[Event]], str]] = {
    "Send": (_send, "send"),
    "Delivery": (_delivery, "delivery"),
    "Bounce": (_bounce, "bounce"),
    "Complaint": (_complaint, "complaint"),
    "Reject": (_reject, "reject"),
    "Open": (_open, "open"),
    "Click": (_click, "click"),
    "Rendering Failure": (_rendering_failure, "failure"),
    "DeliveryDelay": (_delay, "deliveryDelay"),
    "Subscription": (_subscription, "subscription"),
}


def _all_or_nobody(told: _Told) -> list[str] | list[None]:
    return told.addressees() or [None]


def _recipients(told: _Told, name: str) -> Iterator[tuple[str | None, Payload]]:
    """Each recipient that has an address; whom the mail went to when there is none."""
    is_named = False
    for one in map(_dict, _list(told.body.get(name))):
        if address := text(one.get("emailAddress")):
            is_named = True
            yield address, one
    if not is_named:
        yield told.only_addressee(), {}


def _key(message: str, address: str | None) -> str:
    if len(message) > KEY_ID_CHARS:
        message = sha256(message.encode()).hexdigest()
    if address is None:
        return message
    return f"{message}:{sha256(address.casefold().encode()).hexdigest()[:16]}"


def _texts(given: object) -> list[str]:
    return [found for one in _list(given) if (found := text(one))]


def _list(given: object) -> list[Any]:
    return given if isinstance(given, list) else []


def _dict(given: object) -> Payload:
    return given if isinstance(given, dict) else {}
