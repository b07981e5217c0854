"""All that is held about a person, for themselves to read (GDPR article 15)."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import literal_column, select
from sqlalchemy.orm import Session

from database.models import (
    Bounce,
    Campaign,
    Complaint,
    EmailSend,
    EventKind,
    OptIn,
    Segment,
    Subscriber,
    Suppression,
    WebhookEvent,
)
from lists.engagement import interest_of, score
from lists.footprint import find_traces, people_of, reports_of, segments_of, sends_of, slices
from utils.addresses import Address
from utils.tokens import email_hash

MOST = 10_000
"""Sends, and events, in one answer: the newest ones."""
# As text: SQLite uses the index of these only when it reads them in the statement.
_IS_TOUCH = WebhookEvent.kind.in_(
    [literal_column(f"'{kind.value}'") for kind in (EventKind.OPENED, EventKind.CLICKED)]
)


def personal_data(
    session: Session, address: Address, *, hash_key: bytes, now: datetime
) -> dict[str, Any] | None:
    """Everything about whoever has this address, ready for JSON but for its times; `None` when
    nothing is held. Of an erased person that is at most why they must not be written to."""
    who, key = email_hash(hash_key, address.key), address.key
    sends = sends_of(session, key)
    traces = find_traces(session, key, now)
    people = sorted(people_of(session, key, sends))
    events = sorted(traces.events | _touches(session, sends))
    person = session.scalar(select(Subscriber).where(Subscriber.email_key == key))
    told = {
        "profile": person and _profile(person, now),
        "opt_ins": _rows(session, OptIn, OptIn.email_hash == who, but=("email_hash",)),
        "suppressions": _rows(
            session, Suppression, Suppression.email_hash == who, but=("email_hash",)
        ),
        "sends": _sends(session, sends[-MOST:]),
        "bounces": _reports(session, Bounce, people, events, key),
        "complaints": _reports(session, Complaint, people, events, key),
        "events": _events(session, events[-MOST:]),
        "named_in_campaigns": sorted(traces.audiences),
        "named_in_segments": _segments(session, key),
    }
    if not any(told.values()):
        return None
    return {"email": address.email, "made_at": now, **told, "notes": _notes(sends, events)}


def _notes(sends: Sequence[int], events: Sequence[int]) -> list[str]:
    notes = [
        "What became of each mail is told with it. Events: every open and click, and all else "
        "that ESPs told us for 30 days; that long what they sent is kept raw, too.",
        "named_in_campaigns, named_in_segments: the ids of campaigns whose audience, and the "
        "names of saved segments whose filter, has this address in it.",
    ]
    for name, ids in (("sends", sends), ("events", events)):
        if len(ids) > MOST:
            notes.append(f"Of {len(ids)} {name} only the newest {MOST} are here.")
    return notes


def _profile(person: Subscriber, now: datetime) -> dict[str, Any]:
    hidden = {"email_hash", "consent_source", "consent_ip", "consent_at"}
    return {
        **{name: value for name, value in _told(person).items() if name not in hidden},
        "engagement_score": score(interest_of(person), now),
        "consent": {
            "source": person.consent_source,
            "ip": person.consent_ip,
            "at": person.consent_at,
        },
    }


def _sends(session: Session, ids: Sequence[int]) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    for some in slices(ids):
        rows = session.execute(
            select(EmailSend, Campaign.name, Campaign.subject)
            .join(Campaign, Campaign.id == EmailSend.campaign_id)
            .where(EmailSend.id.in_(some))
            .order_by(EmailSend.id)
        )
        told += [
            {"campaign": name, "subject": subject, **_told(send)} for send, name, subject in rows
        ]
        session.expunge_all()
    return told


def _reports(
    session: Session,
    table: type[Bounce] | type[Complaint],
    people: Collection[int],
    events: Sequence[int],
    key: str,
) -> list[dict[str, Any]]:
    ids = reports_of(session, table, people, events, key)
    return [row for some in slices(ids) for row in _rows(session, table, table.id.in_(some))]


def _touches(session: Session, sends: Sequence[int]) -> set[int]:
    """The events that outlive their raw payload as more than the send itself tells."""
    found: set[int] = set()
    for some in slices(sends):
        theirs = select(WebhookEvent.id).where(WebhookEvent.send_id.in_(some), _IS_TOUCH)
        found.update(session.scalars(theirs))
    return found


def _events(session: Session, ids: Sequence[int]) -> list[dict[str, Any]]:
    told = []
    for some in slices(ids):
        told += _rows(session, WebhookEvent, WebhookEvent.id.in_(some), but=("event_key",))
    return told


def _segments(session: Session, key: str) -> list[str]:
    named = Segment.id.in_(segments_of(session, key))
    return list(session.scalars(select(Segment.name).where(named).order_by(Segment.name)))


def _rows(session: Session, table: Any, condition: Any, but: Collection[str] = ()) -> list[Any]:
    rows = session.scalars(select(table).where(condition).order_by(table.id))
    return [{name: v for name, v in _told(row).items() if name not in but} for row in rows]


def _told(row: Any) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in row.__mapper__.column_attrs}
