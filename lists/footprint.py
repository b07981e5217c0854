"""Where the database speaks of a person, and how that is found without an index for it.

Sends are found by their unique key, campaign by campaign. Raw events and lists of addresses
have no index on people (one would cost every event and every import): they are read, outside
of any transaction that writes.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Text, cast, func, select
from sqlalchemy.orm import Session

from database.models import (
    Bounce,
    Campaign,
    Complaint,
    EmailSend,
    Segment,
    Subscriber,
    WebhookEvent,
)

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
    """Campaigns whose list of addresses, or whose filter, has the person's."""
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
    session: Session,
    table: type[Bounce] | type[Complaint],
    people: Collection[int],
    events: Sequence[int],
    email_key: str,
) -> list[int]:
    """The ids of a person's bounces or complaints, in order. Those about mails that are not
    ours name them in their text at most."""
    found = set(session.scalars(select(table.id).where(table.subscriber_id.in_(people))))
    for some in slices(events):
        found.update(session.scalars(select(table.id).where(table.event_id.in_(some))))
    foreign = table.subscriber_id.is_(None) & _may_name(table.diagnostic, email_key)
    rows = session.execute(select(table.id, table.diagnostic).where(foreign))
    found.update(one for one, text in rows if _names(text, email_key))
    return sorted(found)


def people_of(session: Session, email_key: str, sends: Sequence[int]) -> set[int]:
    """The ids that a person has had here: one for each time they were added."""
    found = set(session.scalars(select(Subscriber.id).where(Subscriber.email_key == email_key)))
    for some in slices(sends):
        ids = select(EmailSend.subscriber_id).where(EmailSend.id.in_(some))
        found.update(one for one in session.scalars(ids) if one is not None)
    return found


def whole_address(pattern: str) -> str:
    """A regular expression for an address that no longer one surrounds: `joann@` is somebody
    else than `ann@`. In a link, `%3D` and the like may stand before it."""
    return rf"(?:(?<![\w.+-])|(?<=%[0-9a-f][0-9a-f])){pattern}(?![\w-]|\.\w)"


def slices(items: Sequence[int], size: int = IDS_PER_QUERY) -> Iterator[Sequence[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _events(session: Session, email_key: str, since: datetime) -> list[int]:
    people = people_of(session, email_key, sends_of(session, email_key))
    recent = select(WebhookEvent.id).where(
        WebhookEvent.received_at >= since, WebhookEvent.payload.is_not(None)
    )
    theirs = session.scalars(recent.where(WebhookEvent.subscriber_id.in_(people))).all()
    foreign = recent.add_columns(WebhookEvent.payload).where(
        WebhookEvent.send_id.is_(None), _may_name(WebhookEvent.payload, email_key)
    )
    named = [one for one, said in session.execute(foreign) if _names(said, email_key)]
    return [*theirs, *named]


def segments_of(session: Session, email_key: str) -> list[int]:
    """The ids of the saved segments whose filter has the address, in order."""
    may = select(Segment.id, Segment.filter).where(_may_name(Segment.filter, email_key))
    return sorted(one for one, said in session.execute(may) if _names(said, email_key))


def _audiences(session: Session, email_key: str, after: int) -> list[int]:
    may = select(Campaign.id, Campaign.audience).where(
        Campaign.id > after, _may_name(Campaign.audience, email_key)
    )
    return [one for one, said in session.execute(may) if _names(said, email_key)]


def _may_name(column: Any, email_key: str) -> ColumnElement[bool]:
    """SQL: whether a text, or JSON as text, has the address in it, of a longer one perhaps. An
    address is ASCII without quotes or backslashes, so it stands in JSON as it is."""
    found: ColumnElement[bool] = func.lower(cast(column, Text)).contains(email_key, autoescape=True)
    return found


def _names(value: Any, email_key: str) -> bool:
    """Whether a text, or a JSON value, has this very address in it."""
    alone = re.compile(whole_address(re.escape(email_key)), re.ASCII | re.IGNORECASE)
    return any(alone.search(text) for text in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in [*value, *(value.values() if isinstance(value, dict) else ())]:
            yield from _texts(one)
