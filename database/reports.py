"""Figures for people: read-only, and from kept counters, so that no page counts rows."""

from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from database.day_kinds import COMPLAINT, bounce_kind, suppressed_kind
from database.models import (
    EngagementCount,
    EngagementTier,
    SubscriberCount,
    SubscriberDay,
    SubscriberStatus,
    SuppressionReason,
)
from services.events import BounceClass

GROWTH_DAYS = 30
_GROWTH = {
    "joined": "joined",
    "confirmed": SubscriberStatus.ACTIVE.value,
    "unsubscribed": SubscriberStatus.UNSUBSCRIBED.value,
    "bounced": SubscriberStatus.BOUNCED.value,
    "complained": SubscriberStatus.COMPLAINED.value,
}
"""The figures of a day, each with the kind of `SubscriberDay` that it is kept as."""
_LEFT = ("unsubscribed", "bounced", "complained")


def subscriber_stats(session: Session, now: datetime) -> dict[str, Any]:
    """How many people there are, by status and by tier; what was told of their mailboxes; and
    who came and went in the last 30 UTC days."""
    by_status = dict.fromkeys((status.value for status in SubscriberStatus), 0)
    for row in session.scalars(select(SubscriberCount)):
        by_status[row.status] = row.n
    tiers = dict.fromkeys((tier.value for tier in EngagementTier), 0)
    for tier in session.scalars(select(EngagementCount)):
        tiers[tier.tier] = tier.n
    return {
        "total": sum(by_status.values()),
        "by_status": by_status,
        "engagement": tiers,
        **_totals(session),
        "growth": _growth(session, now.date()),
    }


def _totals(session: Session) -> dict[str, Any]:
    """Sums over all days: a dozen small rows each."""
    days = select(SubscriberDay.kind, func.sum(SubscriberDay.n)).group_by(SubscriberDay.kind)
    by_kind = {kind: int(n) for kind, n in session.execute(days)}
    suppressed = {
        reason.value: by_kind.get(suppressed_kind(reason), 0)
        for reason in SuppressionReason
        if reason not in (SuppressionReason.LIFTED, SuppressionReason.PAUSED)
    }
    return {
        "bounces": {of.value: by_kind.get(bounce_kind(of), 0) for of in BounceClass},
        "complaints": by_kind.get(COMPLAINT, 0),
        "suppressions": suppressed,
    }


def _growth(session: Session, today: date) -> list[dict[str, Any]]:
    first = today - timedelta(days=GROWTH_DAYS - 1)
    counted: dict[date, dict[str, int]] = {}
    wanted = select(SubscriberDay).where(
        SubscriberDay.day.between(first, today), SubscriberDay.kind.in_(_GROWTH.values())
    )
    for row in session.scalars(wanted):
        counted.setdefault(row.day, {})[row.kind] = row.n
    days = (first + timedelta(days=n) for n in range(GROWTH_DAYS))
    return [_told(day, counted.get(day, {})) for day in days]


def _told(day: date, counted: dict[str, int]) -> dict[str, Any]:
    by = {name: counted.get(kind, 0) for name, kind in _GROWTH.items()}
    net = by["joined"] - sum(by[name] for name in _LEFT)
    return {"day": day.isoformat(), **by, "net": net}
