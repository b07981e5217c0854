"""End a campaign, if every send is accounted for."""

from collections import Counter
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from database.models import (
    Campaign,
    CampaignStatus,
    EmailSend,
    SendBatch,
    SendStatus,
    SkipReason,
    TallyKind,
)
from database.upsert import write_sums
from services.ledger.claim import QUEUED
from services.ledger.counters import changed, move, tallies
from services.ledger.settle import SENDING

COUNTED_ONLY = frozenset({SkipReason.DUPLICATE, SkipReason.UNKNOWN_SUBSCRIBER, SkipReason.INVALID})
"""Reasons that have no row in the ledger."""


def finish(session: Session, campaign: Campaign, now: datetime) -> None:
    """End a campaign of which nothing is left to claim, and nothing is under way.

    It is `sent` only if its ledger, counted row by row, agrees with its counters, every
    send has come to its end, and nothing is unknown; else it needs review.
    """
    write_sums(session)
    session.refresh(campaign)
    campaign.status, campaign.reason = _verdict(campaign, _counted(session, campaign.id))
    campaign.resume_at, campaign.finished_at = None, now


def is_under_way(session: Session, campaign_id: int) -> bool:
    """Whether a call may carry sends of this campaign, whatever its counters say."""
    batch = select(SendBatch.id).where(
        SendBatch.campaign_id == campaign_id, SendBatch.state == SENDING
    )
    return session.execute(batch.limit(1)).first() is not None


def cancel_queued(session: Session, campaign_id: int, now: datetime) -> int:
    """Take out of the queue what is in it; what a call carries meanwhile is not touched."""
    cancelled = changed(
        session.execute(
            update(EmailSend)
            .where(EmailSend.campaign_id == campaign_id, EmailSend.status == QUEUED)
            .values(status=SendStatus.CANCELLED, settled_at=now)
            .execution_options(synchronize_session=False)
        )
    )
    move(session, campaign_id, now, {"queued": -cancelled, "cancelled": cancelled})
    return cancelled


def _counted(session: Session, campaign_id: int) -> Counter[SendStatus]:
    counted = Counter(
        dict(
            session.execute(
                select(EmailSend.status, func.count())
                .where(EmailSend.campaign_id == campaign_id)
                .group_by(EmailSend.status)
            ).all()
        )
    )
    skipped = tallies(session, campaign_id, TallyKind.SKIPPED)
    counted[SendStatus.SKIPPED] += sum(skipped.get(reason, 0) for reason in COUNTED_ONLY)
    return counted


def _verdict(campaign: Campaign, counted: Counter[SendStatus]) -> tuple[CampaignStatus, str | None]:
    differ = [status.value for status in SendStatus if counted[status] != _kept(campaign, status)]
    if differ or counted.total() != campaign.planned:
        words = ", ".join(differ) or "planned"
        return CampaignStatus.NEEDS_REVIEW, f"ledger and counters differ: {words}"
    if unsettled := counted[SendStatus.QUEUED] + counted[SendStatus.SENDING]:
        return CampaignStatus.NEEDS_REVIEW, f"{unsettled} sends were left behind, unsettled"
    if campaign.unknown:
        return CampaignStatus.NEEDS_REVIEW, (
            f"the outcome of {campaign.unknown} sends is not known: they may have been sent; "
            "a webhook settles them, or `resolve` does"
        )
    return CampaignStatus.SENT, None


def _kept(campaign: Campaign, status: SendStatus) -> int:
    return int(getattr(campaign, status.value))
