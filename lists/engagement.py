"""How much a person cares for our mail: a score from 0 to 100, and the tier it lies in.

The formula is that of `facts/dns_deliverability.md` 5.3. It rests on two decayed sums that
are kept with each event, so nothing has to be recomputed as time goes by: `Interest` at any
later moment follows from `Interest` as stored.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from database.models import EngagementTier, Subscriber

MAIL_HALF_LIFE = timedelta(days=90)
INTEREST_HALF_LIFE = timedelta(days=45)
SOFT_BOUNCE_WINDOW = timedelta(days=30)

_TIERS = (
    (70, EngagementTier.HOT),
    (40, EngagementTier.WARM),
    (20, EngagementTier.COOLING),
    (8, EngagementTier.RE_ENGAGE),
    (0, EngagementTier.SUNSET),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interest:
    """What a score is made of: sums that halve every 90 days, as of `at`, and three dates."""

    opted_in_at: datetime
    positive: float = 0.0
    """Over the mails delivered: what the person did with each, 0 to 1."""
    mails: float = 0.0
    at: datetime | None = None
    last_at: datetime | None = None
    """The newest sign of interest."""
    soft_bounces: int = 0
    soft_bounced_at: datetime | None = None


def score(interest: Interest, now: datetime) -> int:
    """0 (nothing for long) to 100 (clicks everything)."""
    decay = _halved(interest.at, now, MAIL_HALF_LIFE)
    rate = (1 + interest.positive * decay) / (5 + interest.mails * decay)
    recency = max(
        _halved(interest.last_at, now, INTEREST_HALF_LIFE),
        0.5 * _halved(interest.opted_in_at, now, INTEREST_HALF_LIFE),
    )
    recent = interest.soft_bounced_at and now - interest.soft_bounced_at < SOFT_BOUNCE_WINDOW
    penalty = 5 * interest.soft_bounces if recent else 0
    return max(0, round(100 * (0.6 * recency + 0.4 * min(1.0, rate / 0.5))) - penalty)


def tier_of(points: int) -> EngagementTier:
    return next(tier for least, tier in _TIERS if points >= least)


def interest_of(person: Subscriber) -> Interest:
    return Interest(
        opted_in_at=person.consent_at or person.created_at,
        positive=person.interest,
        mails=person.interest_mails,
        at=person.interest_at,
        last_at=person.last_interest_at,
        soft_bounces=person.soft_bounces,
        soft_bounced_at=person.soft_bounce_last_at,
    )


def _halved(since: datetime | None, now: datetime, half_life: timedelta) -> float:
    """What is left at `now` of 1 at `since`; 0 when there is no such moment."""
    if since is None:
        return 0.0
    return float(0.5 ** (max(now - since, timedelta(0)) / half_life))
