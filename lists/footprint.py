"""Where the database speaks of a person, and how that is found without an index for it.

Sends are found by their unique key, campaign by campaign. Raw events and lists of addresses
have no index on people (one would cost every event and every import): they are read, outside
of any transaction that writes.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, cast, func, or_, select
from sqlalchemy.orm import Session

from database.models import Bounce, Campaign, Complaint, EmailSend, Subscriber, WebhookEvent

PAYLOADS_KEPT = timedelta(days=31)
"""A day more than raw payloads are kept."""
_OVERLAP = timedelta(minutes=5)
_ID_OVERLAP = 100
"""PostgreSQL gives an id to a row, and the row its time, before others can see it."""
IDS_PER_QUERY = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What was found by reading, and up to where was read."""

    events: frozenset[int] = frozenset()
    """Rows of `webhook_events` whose raw payload speaks of the person."""
    audiences: frozenset[int] = frozenset()
    """Campaigns whose list of addresses has the person's."""
    read_until: datetime | None = None
    last_campaign: int = 0


def find_traces(session: Session, email_key: str, now: datetime) -> Traces:
    """Read what there is. Takes as long as it takes to read the raw events of a month."""
    return add_traces(session, email_key, Traces(), now)


def add_traces(session: Session, email_key: str, known: Traces, now: datetime) -> Traces:
    """The same for what came since: short enough for a transaction that writes."""
    since = known.read_until - _OVERLAP if known.read_until else now - PAYLOADS_KEPT
    after = max(0, known.last_campaign - _ID_OVERLAP)
    last = session.scalar(select(func.max(Campaign.id))) or 0
    return Traces(
        events=known.events | set(_events(session, email_key, since)),
        audiences=known.audiences | set(_audiences(session, email_key, after)),
        read_until=now,
        last_campaign=last,
    )


def sends_of(session: Session, email_key: str) -> list[int]:
    """The ids of the sends to an address, in order: a look-up in the unique index for each
    campaign. (A join would tempt SQLite to read all sends.)"""
    one = (
        select(EmailSend.id)
        .where(EmailSend.campaign_id == Campaign.id, EmailSend.email_key == email_key)
        .correlate(Campaign)
        .scalar_subquery()
    )
    found = session.scalars(select(one).select_from(Campaign))
    return sorted(send for send in found if send is not None)


def reports_of(
    table: type[Bounce] | type[Complaint],
    people: Collection[int],
    events: Collection[int],
    email_key: str,
) -> ColumnElement[bool]:
    """SQL: the bounces or complaints of a person. Those about mails that are not ours name
    them in their text at most."""
    foreign = and_(table.subscriber_id.is_(None), names(table.diagnostic, email_key))
    return or_(table.subscriber_id.in_(people), table.event_id.in_(events), foreign)


def people_of(session: Session, email_key: str, sends: Sequence[int]) -> set[int]:
    """The ids that a person has had here: one for each time they were added."""
    found = set(session.scalars(select(Subscriber.id).where(Subscriber.email_key == email_key)))
    for some in slices(sends):
        ids = select(EmailSend.subscriber_id).where(EmailSend.id.in_(some))
        found.update(one for one in session.scalars(ids) if one is not None)
    return found


def names(column: Any, email_key: str) -> ColumnElement[bool]:
    """SQL: whether a text, or JSON as text, has the address in it."""
    found: ColumnElement[bool] = func.lower(cast(column, Text)).contains(email_key, autoescape=True)
    return found


def slices(items: Sequence[int], size: int = IDS_PER_QUERY) -> Iterator[Sequence[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _events(session: Session, email_key: str, since: datetime) -> list[int]:
    people = people_of(session, email_key, sends_of(session, email_key))
    foreign = and_(WebhookEvent.send_id.is_(None), names(WebhookEvent.payload, email_key))
    found = select(WebhookEvent.id).where(
        WebhookEvent.received_at >= since,
        WebhookEvent.payload.is_not(None),
        or_(WebhookEvent.subscriber_id.in_(people), foreign),
    )
    return list(session.scalars(found))


def _audiences(session: Session, email_key: str, after: int) -> list[int]:
    """An address is ASCII without quotes or backslashes, so it stands in JSON as it is."""
    quoted = cast(Campaign.audience, Text).contains(f'"{email_key}"', autoescape=True)
    return list(session.scalars(select(Campaign.id).where(Campaign.id > after, quoted)))
