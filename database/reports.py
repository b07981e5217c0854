"""Figures for people: read-only, and from kept counters, so that no page counts rows."""

from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from database.models import SubscriberCount, SubscriberDay, SubscriberStatus

GROWTH_DAYS = 30
_GROWTH = ("joined", "unsubscribed", "bounced", "complained")


def subscriber_stats(session: Session, now: datetime) -> dict[str, Any]:
    """How many people there are, by status, and who came and went in the last 30 UTC days."""
    by_status = dict.fromkeys((status.value for status in SubscriberStatus), 0)
    for row in session.scalars(select(SubscriberCount)):
        by_status[row.status] = row.n
    return {
        "total": sum(by_status.values()),
        "by_status": by_status,
        "growth": _growth(session, now.date()),
    }


def _growth(session: Session, today: date) -> list[dict[str, Any]]:
    first = today - timedelta(days=GROWTH_DAYS - 1)
    days: dict[date, dict[str, Any]] = {
        day: {"day": day.isoformat(), **dict.fromkeys(_GROWTH, 0)}
        for day in (first + timedelta(days=n) for n in range(GROWTH_DAYS))
    }
    wanted = select(SubscriberDay).where(
        SubscriberDay.day.between(first, today), SubscriberDay.kind.in_(_GROWTH)
    )
    for row in session.scalars(wanted):
        days[row.day][row.kind] = row.n
    return list(days.values())
