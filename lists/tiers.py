"""Which tier each person is in, and how many are in each: kept when something changes.

Only people who are written to are in one. Whoever changes what a tier depends on says so
here, in the same transaction; what changes by the passing of time alone, `retier` sees to.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Row, Table, bindparam, func, select, update
from sqlalchemy.orm import Session

from database.models import (
    EngagementCount,
    EngagementTier,
    Subscriber,
    SubscriberCount,
    SubscriberStatus,
)
from database.upsert import add_to
from lists.engagement import INTEREST_COLUMNS, Interest, interest_of, tier_at


def place(session: Session, person: Subscriber, now: datetime) -> None:
    """Give a person the tier that fits what is known now: call it after a change of status,
    consent or interest. `person` is locked, or new."""
    before = person.tier
    person.tier, person.tier_until = _tier_of(person, now)
    session.flush()
    count_tiers(session, _move(before, person.tier))


def leave(session: Session, person: Subscriber) -> None:
    """A person's row is about to go."""
    count_tiers(session, _move(person.tier, None))
    person.tier = person.tier_until = None
    session.flush()


def first_tier(opted_in_at: datetime, now: datetime) -> tuple[EngagementTier, datetime | None]:
    """Of a person who is new on the list, with its end; whoever adds them counts them."""
    return tier_at(Interest(opted_in_at=opted_in_at), now)


def count_tiers(session: Session, by: Mapping[EngagementTier, int]) -> None:
    """So many more people are in these tiers.

    Takes the counter of active people first, as whoever counts people by status does, so
    that two who count in different orders do not wait for each other.
    """
    changed = sorted(tier for tier, n in by.items() if n)
    if changed:
        add_to(session, SubscriberCount, {"status": SubscriberStatus.ACTIVE}, {"n": 0})
    for tier in changed:
        add_to(session, EngagementCount, {"tier": tier}, {"n": by[tier]})


def retier(session: Session, now: datetime, limit: int = 1000) -> int:
    """Move people whose time in their tier is over; how many were looked at.

    Fewer than `limit`: nobody is left whose time is over.
    """
    due: Sequence[Any] = session.execute(
        select(*_DUE_COLUMNS)
        .where(Subscriber.tier_until <= now)
        .order_by(Subscriber.tier_until)
        .limit(limit)
        .with_for_update(skip_locked=True)  # whoever holds one of them gives it a tier anyway
    ).all()
    if not due:
        return 0
    moved: Counter[EngagementTier] = Counter()
    rows = []
    for person in due:
        tier, until = _tier_of(person, now)
        rows.append({"person": person.id, "to": tier, "until": until})
        moved.update(_move(person.tier, tier))
    session.connection().execute(_SET_TIER, rows)
    count_tiers(session, moved)
    return len(due)


def recount_tiers(session: Session) -> dict[EngagementTier, int]:
    """The true numbers, by reading every subscriber: for tests and repairs."""
    rows = session.execute(
        select(Subscriber.tier, func.count())
        .where(Subscriber.tier.is_not(None))
        .group_by(Subscriber.tier)
    )
    return {tier: n for tier, n in rows if tier is not None}


_DUE_COLUMNS = (Subscriber.id, Subscriber.status, Subscriber.tier, *INTEREST_COLUMNS)
_people = cast("Table", Subscriber.__table__)
_SET_TIER = (
    update(_people)
    .where(_people.c.id == bindparam("person"))
    .values(tier=bindparam("to"), tier_until=bindparam("until"))
)


def _tier_of(
    person: Subscriber | Row[Any], now: datetime
) -> tuple[EngagementTier, datetime | None] | tuple[None, None]:
    if person.status is not SubscriberStatus.ACTIVE:
        return None, None
    return tier_at(interest_of(person), now)


def _move(before: EngagementTier | None, after: EngagementTier | None) -> Counter[EngagementTier]:
    by: Counter[EngagementTier] = Counter()
    if before is not None:
        by[before] -= 1
    if after is not None:
        by[after] += 1
    return by
