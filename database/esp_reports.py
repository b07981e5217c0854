"""Figures about ESPs for people: read-only aggregates."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from config.esp_config import EspName
from database.models import EspPerformanceDay, SendBatch

PERFORMANCE = ("calls", "accepted", "rejected", "unknown", "requeued")


@dataclass(frozen=True, slots=True)
class ProviderWeek:
    """What was told of the mails of seven UTC days, today included."""

    delivered: int = 0
    blocked: int = 0


def weeks(session: Session, now: datetime) -> dict[EspName, dict[str, ProviderWeek]]:
    """By ESP and mailbox provider (`all`: the ESP as a whole)."""
    rows = session.execute(
        select(
            EspPerformanceDay.esp,
            EspPerformanceDay.mailbox_provider,
            func.sum(EspPerformanceDay.delivered),
            func.sum(EspPerformanceDay.blocked),
        )
        .where(
            EspPerformanceDay.day > (now - timedelta(days=7)).date(),
        )
        .group_by(EspPerformanceDay.esp, EspPerformanceDay.mailbox_provider)
    )
    found: dict[EspName, dict[str, ProviderWeek]] = {}
    for esp, provider, delivered, blocked in rows:
        found.setdefault(esp, {})[provider] = ProviderWeek(int(delivered), int(blocked))
    return found


def performance_24h(session: Session, now: datetime) -> dict[EspName, dict[str, int]]:
    """Calls of the last 24 hours by ESP, and what became of the sends they carried."""
    rows = session.execute(
        select(
            SendBatch.esp,
            func.count(),
            func.sum(SendBatch.accepted),
            func.sum(SendBatch.rejected),
            func.sum(SendBatch.unknown),
            func.sum(SendBatch.requeued),
        )
        .where(SendBatch.started_at > now - timedelta(hours=24))
        .group_by(SendBatch.esp)
    )
    return {esp: dict(zip(PERFORMANCE, map(int, counts), strict=True)) for esp, *counts in rows}
