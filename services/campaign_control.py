"""What a person orders about a campaign: pause, resume, cancel, resolve.

Each may be ordered twice, and at any moment: what a call carries meanwhile is recorded by
the engine as always, and then falls under the order too.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from config.esp_config import EspConfig, EspName
from database.models import RUNNING, Campaign, CampaignStatus, EmailSend, SendStatus, TallyKind
from services.braking import why_not_resume
from services.ledger.counters import changed, move, tally
from services.ledger.finish import cancel_queued, finish
from services.ledger.plan import is_planned

BY_REQUEST = "paused by request"


class Conflict(Exception):
    """The order does not go with how the campaign stands; the text says why."""


class Resolution(StrEnum):
    """What to do with sends whose outcome is not known."""

    ACCEPT = "accept"
    """Take them as sent: nobody is written to again."""
    REQUEUE = "requeue"
    """Send them again: who had got it gets it twice. Only a person may order this."""


def pause(campaign: Campaign) -> None:
    """Claim nothing more; what is under way ends."""
    if campaign.status in RUNNING:
        campaign.status, campaign.reason = CampaignStatus.PAUSED, BY_REQUEST
        campaign.resume_at = None
    elif campaign.status is not CampaignStatus.PAUSED:
        raise _ended(campaign)


def resume(
    session: Session,
    campaign: Campaign,
    configs: Mapping[EspName, EspConfig],
    now: datetime,
    *,
    may_send_as: Callable[[str], bool],
) -> None:
    """Go on where it was paused, unless its sender or the brake would pause it again at once."""
    if campaign.status is CampaignStatus.PAUSED:
        bad = why_not_from(campaign, may_send_as) or why_not_resume(session, campaign, configs, now)
        if bad:
            raise Conflict(f"campaign {campaign.id} stays paused: {bad}")
        planned = is_planned(campaign)
        campaign.status = CampaignStatus.SENDING if planned else CampaignStatus.PLANNING
        campaign.reason, campaign.last_step_at = None, now
    elif campaign.status not in RUNNING:
        raise _ended(campaign)


def why_not_from(campaign: Campaign, may_send_as: Callable[[str], bool]) -> str | None:
    """Why its sender may not be mailed from any more, and what to do, in words for a person."""
    if may_send_as(campaign.from_email):
        return None
    return (
        f"its sender {campaign.from_email} is none of ALLOWED_SENDERS, the setting for this; add "
        "it there and restart, or cancel the campaign and send it from another"
    )


def cancel(session: Session, campaign: Campaign, now: datetime) -> None:
    """End it: what is queued is never sent. What is under way ends as it ends."""
    if campaign.status is CampaignStatus.CANCELLED:
        return
    if campaign.status not in RUNNING and campaign.status is not CampaignStatus.PAUSED:
        raise _ended(campaign)
    campaign.status, campaign.reason = CampaignStatus.CANCELLED, "cancelled by request"
    campaign.resume_at, campaign.finished_at = None, now
    session.flush()
    cancel_queued(session, campaign.id, now)


def resolve(
    session: Session, campaign: Campaign, resolution: Resolution, expect: int, now: datetime
) -> None:
    """Settle the unknowns of a campaign, if there are `expect` of them."""
    if campaign.unknown != expect:
        raise Conflict(
            f"campaign {campaign.id} has {campaign.unknown} sends whose outcome is not known, "
            f"not {expect}; look again before you decide"
        )
    if campaign.status is CampaignStatus.CANCELLED and resolution is Resolution.REQUEUE:
        raise Conflict(f"campaign {campaign.id} is cancelled: it sends nothing any more")
    if resolution is Resolution.ACCEPT:
        _accept(session, campaign, now)
    else:
        requeue_unknown(session, campaign, now)
    session.refresh(campaign)
    if campaign.status is CampaignStatus.NEEDS_REVIEW:
        _go_on(session, campaign, now)


def _accept(session: Session, campaign: Campaign, now: datetime) -> None:
    by_esp = session.execute(
        select(EmailSend.esp, EmailSend.mailbox_provider, func.count())
        .where(_is_unknown(campaign), EmailSend.esp.is_not(None))
        .group_by(EmailSend.esp, EmailSend.mailbox_provider)
    )
    for esp, provider, n in by_esp:
        tally(session, campaign.id, TallyKind.ACCEPTED, {str(esp): n})
        tally(session, campaign.id, TallyKind.CARRIED, {f"{esp}/{provider}": n})
    n = _settle(
        session, campaign, status=SendStatus.ACCEPTED, reason="accepted by request", settled_at=now
    )
    move(session, campaign.id, now, {"unknown": -n, "accepted": n})


def requeue_unknown(
    session: Session, campaign: Campaign, now: datetime, *, why: str = "sent again by request"
) -> None:
    """Put what may have been sent back into the queue: nothing but an order, or a mail that
    does no harm when it comes twice, makes up for that."""
    n = _settle(
        session,
        campaign,
        status=SendStatus.QUEUED,
        reason=why,
        settled_at=None,
        esp=None,
        batch_id=None,
        refused_by=None,
        esp_message_id=None,
    )
    move(session, campaign.id, now, {"unknown": -n, "queued": n})


def _settle(session: Session, campaign: Campaign, **values: Any) -> int:
    return changed(
        session.execute(
            update(EmailSend)
            .where(_is_unknown(campaign))
            .values(**values)
            .execution_options(synchronize_session=False)
        )
    )


def _is_unknown(campaign: Campaign) -> Any:
    # "+ 0" keeps to the primary key, as in the rest of the ledger.
    return (
        EmailSend.id.between(campaign.first_send_id or 0, campaign.last_send_id or 0)
        & (EmailSend.campaign_id + 0 == campaign.id)
        & (EmailSend.status == SendStatus.UNKNOWN)
    )


def _go_on(session: Session, campaign: Campaign, now: datetime) -> None:
    if campaign.queued:
        campaign.status, campaign.reason = CampaignStatus.SENDING, None
        campaign.finished_at, campaign.last_step_at = None, now
    else:
        finish(session, campaign, now)


def _ended(campaign: Campaign) -> Conflict:
    return Conflict(f"campaign {campaign.id} is {campaign.status}: it has ended")
