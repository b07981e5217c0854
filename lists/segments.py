"""Saved segments, and how many people a filter selects, at a cost that is bounded."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import gcd, inf
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, case, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from database.models import Campaign, Segment, Subscriber, SubscriberCount
from lists.segment_filter import Filter, InvalidFilter, behaviours, parse
from lists.segment_sql import selects

IDS_PER_LOOK = 5_000
"""A look that takes 50 ms at worst: by so much may a preview be late."""
ALWAYS_EXACT = 10_000
BUDGET_S = 1.0
SAMPLE = 10

_NAME = re.compile(r"\w([\w .-]{0,98}\w)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """How many people, of whatever status, a filter selects, and who some of them are."""

    count: int
    is_estimate: bool
    sample: list[str]


class UnknownSegment(Exception):
    """There is no segment with this name."""


def check_name(name: str) -> str:
    """A name that may stand in an address. Raises `ValueError`."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            "must be 1 to 100 letters, digits, blanks, '_', '-' or '.', a letter or digit at each end"
        )
    return name


def all_segments(session: Session) -> list[Segment]:
    """In the order of their names."""
    return sorted(session.scalars(select(Segment)), key=lambda segment: segment.name)


def find_segment(session: Session, name: str) -> Segment:
    """Raises `UnknownSegment`."""
    found = session.scalar(select(Segment).where(Segment.name == name))
    if found is None:
        raise UnknownSegment(name)
    return found


def save_segment(session: Session, name: str, said: Mapping[str, Any], now: datetime) -> bool:
    """Keep a filter under a name; whether the name is new. Raises `InvalidFilter`."""
    check_campaigns(session, parse(said))
    insert = (postgresql if session.get_bind().dialect.name == "postgresql" else sqlite).insert
    values = {"filter": dict(said), "updated_at": now}
    new = insert(Segment).values(name=name, created_at=now, **values)
    made = new.on_conflict_do_nothing(index_elements=["name"]).returning(Segment.id)
    if session.connection().execute(made).first() is not None:
        return True
    session.execute(update(Segment).where(Segment.name == name).values(**values))
    return False


def delete_segment(session: Session, name: str) -> None:
    """Campaigns that were sent to it keep its filter. Raises `UnknownSegment`."""
    session.delete(find_segment(session, name))


def check_campaigns(session: Session, filter_: Filter) -> None:
    """Raise `InvalidFilter` for a campaign that does not exist: "did not get it" would be all."""
    asked = list(behaviours(filter_))
    ids = {one.campaign_id for one in asked}
    known = set(session.scalars(select(Campaign.id).where(Campaign.id.in_(ids)))) if ids else set()
    faults = [
        (one.place, f"there is no campaign {one.campaign_id}")
        for one in asked
        if one.campaign_id not in known
    ]
    if faults:
        raise InvalidFilter(faults)


def preview(
    session: Session,
    filter_: Filter,
    now: datetime,
    *,
    stopwatch: Callable[[], float] = time.monotonic,
) -> Preview:
    """Count exactly if the list has at most 10,000 ids, or in a second's work; else estimate.

    Ranges of ids are looked at in an order that is always the same, and whose beginnings are
    spread evenly over the list; when the second is over, what they held is scaled to the list.
    """
    condition = selects(filter_, now)
    first = session.scalar(select(func.min(Subscriber.id)))
    last = session.scalar(select(func.max(Subscriber.id)))
    if first is None or last is None:
        return Preview(count=0, is_estimate=False, sample=[])
    starts = range(first, last + 1, IDS_PER_LOOK)
    ends = stopwatch() + BUDGET_S if last - first >= ALWAYS_EXACT else inf
    seen = found = looks = 0
    holders: list[int] = []
    for n in _spread(len(starts)):
        if seen and stopwatch() > ends:
            break
        there, chosen = session.execute(_look(condition), _range(starts[n])).one()
        looks, seen, found = looks + 1, seen + there, found + chosen
        if chosen and len(holders) < SAMPLE:
            holders.append(starts[n])
    is_estimate = looks < len(starts)
    if is_estimate:
        found = round(found * max(_people(session), seen) / seen)
    sample = _sample(session, condition, sorted(holders))
    return Preview(count=found, is_estimate=is_estimate, sample=sample)


def _spread(n: int) -> Iterator[int]:
    """0 to n-1, each once: steps of the golden section leave no part out for long."""
    step = max(1, round(n * 0.618))
    while gcd(step, n) != 1:
        step += 1
    return (look * step % n for look in range(n))


def _look(condition: ColumnElement[bool]) -> Select[int, int]:
    """How many people there are in a range of ids, and how many of them are selected."""
    chosen = func.coalesce(func.sum(case((condition, 1), else_=0)), 0)
    return select(func.count(), chosen).where(_IN_RANGE)


_IN_RANGE = Subscriber.id.between(bindparam("first"), bindparam("last"))


def _range(start: int) -> dict[str, int]:
    return {"first": start, "last": start + IDS_PER_LOOK - 1}


def _sample(session: Session, condition: ColumnElement[bool], starts: Iterable[int]) -> list[str]:
    emails: list[str] = []
    for start in starts:
        left = SAMPLE - len(emails)
        some = select(Subscriber.email).where(_IN_RANGE, condition).order_by(Subscriber.id)
        emails += session.scalars(some.limit(left), _range(start)) if left else []
    return emails


def _people(session: Session) -> int:
    return int(session.scalar(select(func.sum(SubscriberCount.n))) or 0)
