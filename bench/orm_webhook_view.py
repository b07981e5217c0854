"""The peer: the webhook view that most would write, with the ORM, an event at a time.

One commit a call. It does for each event what `services.event_recorder` does for a call,
on the same tables and by the same rules, for the events that `bench.traffic` makes.
"""

from datetime import datetime
from typing import Any

from flask import Flask, request
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bench.ledgers import NOW
from config.esp_config import EspName, SendGridConfig
from database import turns
from database.day_kinds import COMPLAINT, bounce_kind, suppressed_kind
from database.models import (
    Bounce,
    Campaign,
    CampaignTally,
    Complaint,
    Delivery,
    EmailSend,
    EspPerformanceDay,
    Subscriber,
    SubscriberCount,
    SubscriberDay,
    SubscriberStatus,
    Suppression,
    SuppressionReason,
    TallyKind,
    WebhookEvent,
)
from database.session import Database
from lists.bounces import soft_verdict
from lists.engagement import decayed_sum
from lists.tiers import leave, place
from lists.touches import (
    Touch,
    agent_of,
    counts,
    interest,
    judge,
    last_interest,
    link_hash,
    origin_hash,
)
from services.event_recorder.fares import LATE_FAILURE
from services.event_recorder.judging import CROWD, MINUTE
from services.event_recorder.sends import LATE
from services.events import BounceClass, Event, EventKind, WebhookCall
from services.reputation import Fare, note_fares, note_heard
from services.sendgrid_webhooks import SendGridWebhooks
from utils.tokens import email_hash, is_our_send_ref, read_send_ref

_BITS = {kind: 1 << place for place, kind in enumerate(EventKind)}
_ARRIVED = sum(_BITS[kind] for kind in (EventKind.DELIVERED, EventKind.OPENED, EventKind.CLICKED))
_COUNTED = {
    EventKind.DELIVERED: "delivered",
    EventKind.COMPLAINED: "complained",
    EventKind.UNSUBSCRIBED: "unsubscribed",
}
_DELIVERY = {
    EventKind.PROCESSED: Delivery.PROCESSED,
    EventKind.DEFERRED: Delivery.DEFERRED,
    EventKind.DELIVERED: Delivery.DELIVERED,
    EventKind.BOUNCED: Delivery.BOUNCED,
    EventKind.COMPLAINED: Delivery.COMPLAINED,
}
_ORDER = list(Delivery)
_TALLIES = {kind.value for kind in TallyKind}
_TOUCHES = (EventKind.OPENED, EventKind.CLICKED)
_STATUS = {
    SuppressionReason.HARD_BOUNCE: SubscriberStatus.BOUNCED,
    SuppressionReason.COMPLAINT: SubscriberStatus.COMPLAINED,
    SuppressionReason.UNSUBSCRIBED: SubscriberStatus.UNSUBSCRIBED,
}
_RANK = [SubscriberStatus.ACTIVE, *_STATUS.values()]


def create_app(path: str, public_key: str, hash_key: str) -> Flask:
    """For gunicorn: the app on this database; `hash_key` in hexadecimal."""
    app = Flask(__name__)
    turns.PATIENCE_S = 600.0  # its calls take longer than anybody waits for a turn in ours
    database = Database(f"sqlite:///{path}")
    reader = SendGridWebhooks(sendgrid(public_key))
    key = bytes.fromhex(hash_key)

    @app.get("/readyz")
    def ready() -> str:
        return ""

    @app.post("/engagement-webhook/sendgrid")
    def take() -> dict[str, int]:
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = WebhookCall(headers=headers, body=request.get_data(), received_at=NOW)
        with database.write() as session:
            new = sum(note(session, event, key) for event in reader.receive(call).events)
            note_heard(session, EspName.SENDGRID, NOW)
        return {"new": new}

    return app


def sendgrid(public_key: str) -> SendGridConfig:
    return SendGridConfig(
        name=EspName.SENDGRID,
        priority=1,
        api_key="SG.key",
        base_url="http://127.0.0.1:9",
        batch_size=1000,
        concurrency=4,
        webhook_public_keys=(public_key,),
    )


def note(session: Session, event: Event, hash_key: bytes) -> bool:
    """Record one event; whether it is new."""
    known = select(WebhookEvent.id).where(
        WebhookEvent.esp == EspName.SENDGRID, WebhookEvent.event_key == event.key
    )
    if session.scalar(known) is not None:
        return False
    send = _send(session, event, hash_key)
    row = _stored(event, send)
    session.add(row)
    if send is None:
        return True
    is_first = not send.heard & _BITS[event.kind]
    had_arrived = bool(send.heard & _ARRIVED)
    send.heard |= _BITS[event.kind]
    if event.kind in _DELIVERY:
        send.delivery = max(send.delivery, _DELIVERY[event.kind], key=_ORDER.index)
    person = session.get(Subscriber, send.subscriber_id)
    if person is None:
        return True
    if is_first:
        _count(session, event, send)
        _fare(session, event, send)
    _engage(session, person, event, send, is_mail=not had_arrived and bool(send.heard & _ARRIVED))
    _report(session, event, send, row)
    if event.bounce_class is BounceClass.SOFT:
        _note_soft_bounce(session, person)
    if event.suppress is not None:
        _suppress(session, event.suppress, person, hash_key)
    if person.status is SubscriberStatus.ACTIVE:
        place(session, person, NOW)
    return True


def _send(session: Session, event: Event, hash_key: bytes) -> EmailSend | None:
    read = read_send_ref(event.send_ref or "")
    send = session.get(EmailSend, read[0]) if read else None
    if send is None or event.send_ref is None:
        return None
    if not is_our_send_ref(hash_key, event.send_ref, campaign_id=send.campaign_id):
        return None
    return send if send.email_key == event.address else None


def _stored(event: Event, send: EmailSend | None) -> WebhookEvent:
    return WebhookEvent(
        esp=EspName.SENDGRID,
        event_key=event.key,
        kind=event.kind,
        send_id=send.id if send else None,
        campaign_id=send.campaign_id if send else None,
        subscriber_id=send.subscriber_id if send else None,
        occurred_at=event.occurred_at,
        received_at=NOW,
        payload=dict(event.payload),
        **(_touch(event) if event.kind in _TOUCHES else {}),
    )


def _touch(event: Event) -> dict[str, Any]:
    return {
        "agent": agent_of(event.kind, event.user_agent, event.ip, event.is_machine),
        "link": link_hash(event.url) if event.url else None,
        "origin": origin_hash(event.user_agent, event.ip),
    }


def _count(session: Session, event: Event, send: EmailSend) -> None:
    campaign = session.get_one(Campaign, send.campaign_id)
    name = _COUNTED.get(event.kind)
    if event.kind is EventKind.BOUNCED and event.bounce_class is not BounceClass.SOFT:
        name = "bounced"
    if name is not None:
        setattr(campaign, name, getattr(campaign, name) + 1)
    kind = f"{event.bounce_class}_bounced" if event.kind is EventKind.BOUNCED else event.kind.value
    if kind in _TALLIES and event.kind not in _TOUCHES:
        key = (campaign.id, TallyKind(kind), f"sendgrid/{send.mailbox_provider}")
        _add(session, CampaignTally, ("campaign_id", "kind", "key"), key, "n")
    if name in ("delivered", "bounced", "complained"):
        _count_day(session, send, name)


def _count_day(session: Session, send: EmailSend, name: str) -> None:
    day = (send.claimed_at or NOW).date()
    for provider in (send.mailbox_provider, "all"):
        key = (EspName.SENDGRID, provider, day)
        _add(session, EspPerformanceDay, ("esp", "mailbox_provider", "day"), key, name)


def _fare(session: Session, event: Event, send: EmailSend) -> None:
    is_delivered = event.kind is EventKind.DELIVERED
    failure = float(event.bounce_class is BounceClass.BLOCKED)
    is_late = event.occurred_at - (send.claimed_at or NOW) > LATE
    if event.kind is EventKind.DEFERRED and is_late:
        failure = LATE_FAILURE
    if is_delivered or failure:
        fare = Fare(
            mailbox_provider=send.mailbox_provider,
            claimed_at=send.claimed_at or NOW,
            delivered=is_delivered,
            failure=failure,
        )
        note_fares(session, EspName.SENDGRID, [fare], NOW)


def _engage(
    session: Session, person: Subscriber, event: Event, send: EmailSend, *, is_mail: bool
) -> None:
    at = send.claimed_at or NOW
    if event.kind is EventKind.DELIVERED:
        send.delivered_at = event.occurred_at
        person.last_delivered_at = _later(person.last_delivered_at, event.occurred_at)
    if event.kind in (*_TOUCHES, EventKind.DELIVERED):
        _judge(session, person, send)
    if event.kind is EventKind.UNSUBSCRIBED:
        send.unsubscribed = True
    person.interest_mails, person.interest_at = decayed_sum(
        person.interest_mails, person.interest_at, float(is_mail), at
    )


def _judge(session: Session, person: Subscriber, send: EmailSend) -> None:
    """Who opened and clicked, by all touches of this send and those at the same moment."""
    of_send = select(WebhookEvent).where(
        WebhookEvent.send_id == send.id, WebhookEvent.kind.in_(_TOUCHES)
    )
    touches = [
        Touch(
            kind=row.kind,
            at=row.occurred_at,
            agent=row.agent or "",
            link=row.link,
            crowded=_is_crowded(session, row),
        )
        for row in session.scalars(of_send)
    ]
    if not touches:
        return
    labels = judge(touches, send.delivered_at)
    found, by = counts(touches, labels), interest(touches, labels) - send.interest
    campaign = session.get_one(Campaign, send.campaign_id)
    for name in ("opened", "clicked"):
        more = getattr(found, name) - getattr(send, name)
        setattr(campaign, name, getattr(campaign, name) + more)
        setattr(send, name, getattr(found, name))
        key = (campaign.id, TallyKind(name), f"sendgrid/{send.mailbox_provider}")
        _add(session, CampaignTally, ("campaign_id", "kind", "key"), key, "n", more)
    send.interest += by
    person.interest, person.interest_at = decayed_sum(
        person.interest, person.interest_at, by, send.claimed_at or NOW
    )
    if (last_at := last_interest(touches, labels)) is not None:
        person.last_interest_at = _later(person.last_interest_at, last_at)


def _is_crowded(session: Session, row: WebhookEvent) -> bool:
    near = select(func.count(WebhookEvent.send_id.distinct())).where(
        WebhookEvent.origin == row.origin,
        WebhookEvent.occurred_at.between(row.occurred_at - MINUTE, row.occurred_at + MINUTE),
    )
    return row.origin is not None and (session.scalar(near) or 0) >= CROWD


def _note_soft_bounce(session: Session, person: Subscriber) -> None:
    session.flush()
    softs = select(Bounce.occurred_at).where(
        Bounce.subscriber_id == person.id, Bounce.bounce_class == BounceClass.SOFT
    )
    verdict = soft_verdict(session.scalars(softs).all(), person.last_delivered_at)
    person.soft_bounces, person.soft_bounce_days = verdict.count, verdict.days
    person.soft_bounce_first_at, person.soft_bounce_last_at = verdict.first_at, verdict.last_at


def _later(known: datetime | None, at: datetime) -> datetime:
    return max(known or at, at)


def _report(session: Session, event: Event, send: EmailSend, row: WebhookEvent) -> None:
    common: dict[str, Any] = {
        "esp": EspName.SENDGRID,
        "send_id": send.id,
        "campaign_id": send.campaign_id,
        "subscriber_id": send.subscriber_id,
        "mailbox_provider": send.mailbox_provider,
        "diagnostic": event.detail,
        "occurred_at": event.occurred_at,
    }
    if event.kind is EventKind.BOUNCED:
        session.flush()
        bounce_class = event.bounce_class or BounceClass.SOFT
        session.add(Bounce(event_id=row.id, bounce_class=bounce_class, code=event.code, **common))
        _count_report(session, event, bounce_kind(bounce_class))
    if event.kind is EventKind.COMPLAINED:
        session.flush()
        session.add(Complaint(event_id=row.id, feedback_type=event.code, **common))
        _count_report(session, event, COMPLAINT)


def _count_report(session: Session, event: Event, kind: str) -> None:
    _add(session, SubscriberDay, ("day", "kind"), (event.occurred_at.date(), kind), "n")


def _suppress(
    session: Session, reason: SuppressionReason, person: Subscriber, hash_key: bytes
) -> None:
    who = email_hash(hash_key, person.email_key)
    known = select(Suppression).where(Suppression.email_hash == who, Suppression.reason == reason)
    if session.scalar(known.limit(1)) is None:
        session.add(Suppression(email_hash=who, reason=reason, source="sendgrid", created_at=NOW))
        day = (NOW.date(), suppressed_kind(reason))
        _add(session, SubscriberDay, ("day", "kind"), day, "n")
    before, after = person.status, max(person.status, _STATUS[reason], key=_RANK.index)
    if before is after:
        return
    leave(session, person)
    person.status = after
    _add(session, SubscriberCount, ("status",), (before,), "n", -1)
    _add(session, SubscriberCount, ("status",), (after,), "n")
    _add(session, SubscriberDay, ("day", "kind"), (NOW.date(), after.value), "n")


def _add(
    session: Session,
    table: Any,
    names: tuple[str, ...],
    key: tuple[Any, ...],
    name: str,
    by: int = 1,
) -> None:
    row = session.get(table, key)
    if row is None:
        row = table(**dict(zip(names, key, strict=True)))
        session.add(row)
    setattr(row, name, (getattr(row, name) or 0) + by)
