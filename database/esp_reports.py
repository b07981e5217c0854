"""Figures about ESPs for people: read-only aggregates."""

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from config.esp_config import EspName
from database.models import SendBatch

PERFORMANCE = ("calls", "accepted", "rejected", "unknown", "requeued")


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
