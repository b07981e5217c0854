"""How many subscribers have which status, and how many came and went on a day.

Whoever changes a status says so here, in the same transaction: a page that shows these
figures never counts rows.
"""

from collections.abc import Mapping
from datetime import date, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from database.day_kinds import suppressed_kind
from database.models import (
    Subscriber,
    SubscriberCount,
    SubscriberDay,
    SubscriberStatus,
    SuppressionReason,
)
from database.upsert import add_to

JOINED = "joined"
ERASED = "erased"
"""The kinds of a `SubscriberDay` beside the statuses that people went to, and `day_kinds`."""


def count_joined(session: Session, status: SubscriberStatus, now: datetime, n: int = 1) -> None:
    """`n` people who were not on the list are now, with `status`."""
    if n == 0:
        return
    add_to(session, SubscriberCount, {"status": status}, {"n": n})
    add_to(session, SubscriberDay, {"day": now.date(), "kind": JOINED}, {"n": n})


def count_moved(
    session: Session,
    before: SubscriberStatus,
    after: SubscriberStatus,
    now: datetime,
    n: int = 1,
) -> None:
    """`n` people went from one status to another."""
    add_to(session, SubscriberCount, {"status": before}, {"n": -n})
    add_to(session, SubscriberCount, {"status": after}, {"n": n})
    add_to(session, SubscriberDay, {"day": now.date(), "kind": after.value}, {"n": n})


def count_erased(session: Session, status: SubscriberStatus, now: datetime) -> None:
    """The row of a person who had `status` goes."""
    add_to(session, SubscriberCount, {"status": status}, {"n": -1})
    add_to(session, SubscriberDay, {"day": now.date(), "kind": ERASED}, {"n": 1})


def count_reports(session: Session, by: Mapping[tuple[date, str], int]) -> None:
    """So many bounces or complaints are of these days, by kind."""
    for (day, kind), n in sorted(by.items()):
        add_to(session, SubscriberDay, {"day": day, "kind": kind}, {"n": n})


def count_suppressed(session: Session, by: Mapping[SuppressionReason, int], now: datetime) -> None:
    """These reasons hold for good at so many more addresses, or fewer.

    Takes the counter of active people first, as whoever counts people by status does.
    """
    moved = sorted(reason for reason, n in by.items() if n)
    if moved:
        add_to(session, SubscriberCount, {"status": SubscriberStatus.ACTIVE}, {"n": 0})
    for reason in moved:
        key = {"day": now.date(), "kind": suppressed_kind(reason)}
        add_to(session, SubscriberDay, key, {"n": by[reason]})


def recount(session: Session) -> dict[SubscriberStatus, int]:
    """The true numbers, by reading every subscriber: for tests and repairs."""
    rows = session.execute(select(Subscriber.status, func.count()).group_by(Subscriber.status))
    return {status: n for status, n in rows}  # noqa: C416 - dict() loses the type
