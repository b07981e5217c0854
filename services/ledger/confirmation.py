"""What sets a confirmation apart in the ledger: the one mail that a person gets who is not,
or not any more, written to, because they (or somebody in their name) just asked for it.

It is the only way past status and suppression, and a narrow one: see `is_asked_for`.
"""

from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from database.models import (
    Campaign,
    CampaignKind,
    OptIn,
    SendBatch,
    Subscriber,
    SubscriberStatus,
)
from list_manager import suppressed
from lists.opt_ins import CONFIRM_WITHIN

_NOT_CONFIRMED = (SubscriberStatus.PENDING, SubscriberStatus.SUNSET)


def is_asked_for(campaign: Campaign, now: datetime) -> ColumnElement[bool] | None:
    """SQL: whether `campaign` asks the person of a row of `subscribers` to confirm what they
    asked for; `None` for any campaign that is no confirmation.

    True only for the very person and campaign of a request that is open (not confirmed, not
    older than `CONFIRM_WITHIN`). It reaches past what suppressed them only if the request was
    made to lift that, and never past what came after it.
    """
    if campaign.kind is not CampaignKind.CONFIRMATION:
        return None
    newly_suppressed = suppressed(Subscriber.email_hash, now, after=OptIn.created_at)
    return exists().where(
        OptIn.campaign_id == campaign.id,
        OptIn.subscriber_id == Subscriber.id,
        OptIn.email_hash == Subscriber.email_hash,
        OptIn.confirmed_at.is_(None),
        OptIn.created_at > now - CONFIRM_WITHIN,
        or_(
            and_(OptIn.lifts, ~newly_suppressed),
            and_(Subscriber.status.in_(_NOT_CONFIRMED), ~suppressed(Subscriber.email_hash, now)),
        ),
    )


def may_go_again(session: Session, campaign: Campaign) -> bool:
    """Whether the outcome of a confirmation is not known for the first time: it is sent again,
    once, since a second one does no harm and a missing one keeps a person out."""
    if campaign.kind is not CampaignKind.CONFIRMATION or not campaign.unknown:
        return False
    is_open = select(OptIn.id).where(OptIn.campaign_id == campaign.id, OptIn.confirmed_at.is_(None))
    unclear = select(func.count()).where(
        SendBatch.campaign_id == campaign.id, SendBatch.unknown > 0
    )
    return session.scalar(is_open) is not None and session.scalar(unclear) == 1
