"""The brake at work: what stops a campaign, and how an operator lets it, or an ESP, go on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from config.esp_config import EspConfig, EspName
from database.models import Campaign, CampaignKind, CampaignTally, TallyKind
from services.brake import USUAL, Figures, Limits, Override, limits_now, raised, why_brake
from services.brake_overrides import keep, of_campaign
from services.esp_manager import brake_of, limits_of, why_all_brake
from services.standing import Standing, load


class NothingToOverride(Exception):
    """An override that would change nothing; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideOrder:
    """Who lets it go on, why, and until when at most (`None`: until the figures are worse)."""

    ordered_by: str
    why: str
    until: datetime | None = None


def why_campaign_brakes(session: Session, campaign: Campaign, now: datetime) -> str | None:
    """What stops a campaign by its own figures, in words for a person."""
    # Some of what bounced was blocked: counters at hand clear nearly every campaign.
    most = Figures(
        accepted=campaign.accepted, complaints=campaign.complained, invalid=campaign.bounced
    )
    if why_brake(most, USUAL) is None:
        return None
    return why_brake(_figures(session, campaign), _limits(session, campaign, now))


def why_not_resume(
    session: Session, campaign: Campaign, configs: Mapping[EspName, EspConfig], now: datetime
) -> str | None:
    """Why the brake would stop a campaign again at once, and what lets it go on."""
    own = why_campaign_brakes(session, campaign, now)
    if own is not None:
        return f"{own}; override its brake first"
    if campaign.kind is CampaignKind.CONFIRMATION:
        return None
    standings = load(session, configs, now).values()
    every = why_all_brake([s for s in standings if campaign.esp in (None, s.esp)], now)
    return None if every is None else f"{every}; override the brake of one of them first"


def override_esp(session: Session, standing: Standing, order: OverrideOrder, now: datetime) -> None:
    """Let an ESP go on although it brakes."""
    because, figures = brake_of(standing, now), standing.reputation.week
    _override(session, standing.esp, because, figures, limits_of(standing, now), order, now)


def override_campaign(
    session: Session, campaign: Campaign, order: OverrideOrder, now: datetime
) -> None:
    """Let a campaign go on although its own figures stop it, once it is resumed."""
    because, figures = why_campaign_brakes(session, campaign, now), _figures(session, campaign)
    limits = _limits(session, campaign, now)
    _override(session, campaign.id, because, figures, limits, order, now)


def _override(
    session: Session,
    of: EspName | int,
    because: str | None,
    figures: Figures,
    limits: Limits,
    order: OverrideOrder,
    now: datetime,
) -> None:
    name = of if isinstance(of, EspName) else f"campaign {of}"
    if because is None:
        raise NothingToOverride(f"{name} does not brake by its own figures")
    if order.until is not None and order.until <= now:
        raise NothingToOverride(f"an override until {order.until.isoformat()} is over already")
    override = Override(
        ordered_by=order.ordered_by,
        why=order.why,
        ordered_at=now,
        until=order.until,
        limits=raised(figures, limits),
    )
    keep(session, override, of=of, because=because)


def _limits(session: Session, campaign: Campaign, now: datetime) -> Limits:
    return limits_now(USUAL, of_campaign(session, campaign.id), now)


def _figures(session: Session, campaign: Campaign) -> Figures:
    invalid = session.scalar(
        select(func.sum(CampaignTally.n)).where(
            CampaignTally.campaign_id == campaign.id,
            CampaignTally.kind == TallyKind.HARD_BOUNCED,
        )
    )
    return Figures(
        accepted=campaign.accepted, complaints=campaign.complained, invalid=int(invalid or 0)
    )
