"""How much a person cares for our mail: a score from 0 to 100, and the tier it lies in.

The formula is that of `facts/dns_deliverability.md` 5.3. It rests on two decayed sums that
are kept with each event, so nothing has to be recomputed as time goes by: `Interest` at any
later moment follows from `Interest` as stored, and so does the moment its tier changes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import inf
from typing import Any

from sqlalchemy import Row

from database.models import EngagementTier, Subscriber, SubscriberStatus

MAIL_HALF_LIFE = timedelta(days=90)
INTEREST_HALF_LIFE = timedelta(days=45)
SOFT_BOUNCE_WINDOW = timedelta(days=30)
SOFT_BOUNCE_PENALTY = 5

LEFT = (SubscriberStatus.BOUNCED, SubscriberStatus.COMPLAINED, SubscriberStatus.UNSUBSCRIBED)
"""Whatever they did before, people with these statuses score 0."""

_TIERS = (
    (70, EngagementTier.HOT),
    (40, EngagementTier.WARM),
    (20, EngagementTier.COOLING),
    (8, EngagementTier.RE_ENGAGE),
    (0, EngagementTier.SUNSET),
)
# Rounding to points moves each bound down by a half.
_BOUNDS = {
    tier: (least - 0.5 if least else -inf, above - 0.5)
    for (least, tier), above in zip(_TIERS, (inf, *(least for least, _ in _TIERS)), strict=False)
}
_DAY = timedelta(days=1)
_MINUTE = 1 / 1440
_MAIL_DAYS = MAIL_HALF_LIFE / _DAY
_HORIZON = 3650.0


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


@dataclass(frozen=True, slots=True)
class _Curve:
    """The unrounded score in days from now, without penalty.

    Recency halves in 45 days and the sums in 90, so it is a function of one decaying
    number: it falls, or rises towards that of a person of whom nothing is known, or falls
    and then rises, but never more than that.
    """

    recency: float
    positive: float
    mails: float

    def at(self, day: float) -> float:
        left: float = 0.5 ** (day / _MAIL_DAYS)
        rate = (1 + self.positive * left) / (5 + self.mails * left)
        return 60 * self.recency * left * left + 80 * min(0.5, rate)

    def leaves(self, low: float, high: float, start: float, end: float) -> float | None:
        """The first day when it is not within these bounds, if it is at `start`."""

        def is_within(day: float) -> bool:
            return low <= self.at(day) < high

        turn = self._turn(start, end)
        for first, last in ((start, turn), (turn, end)):
            if not is_within(last):
                return _end_of(is_within, first, last)
        return None

    def _turn(self, start: float, end: float) -> float:
        """Where it stops falling: where its derivative by what is left is 0."""
        forgiven = self.mails - 5 * self.positive
        if forgiven <= 0:
            return end

        def falls(day: float) -> bool:
            left: float = 0.5 ** (day / _MAIL_DAYS)
            return 1.5 * self.recency * left * (5 + self.mails * left) ** 2 > forgiven

        if not falls(start):
            return start
        return end if falls(end) else _end_of(falls, start, end)


def score(interest: Interest, now: datetime) -> int:
    """0 (nothing for long) to 100 (clicks everything)."""
    return max(0, round(_curve(interest, now).at(0)) - _penalty(interest, now))


def score_of(person: Subscriber, now: datetime) -> int:
    return 0 if person.status in LEFT else score(interest_of(person), now)


def tier_of(points: int) -> EngagementTier:
    return next(tier for least, tier in _TIERS if points >= least)


def tier_until(interest: Interest, now: datetime) -> datetime | None:
    """When the score leaves the tier it is in at `now` if nothing happens; to a minute.

    `None`: not within ten years. People who did little are forgiven as their unread mails age,
    so a score may also rise. Where a time lies after `now` (another clock), this is a guess.
    """
    curve = _curve(interest, now)
    low, high = _BOUNDS[tier_of(score(interest, now))]
    penalty = _penalty(interest, now)
    start = 0.0
    if penalty and interest.soft_bounced_at is not None:
        start = (interest.soft_bounced_at + SOFT_BOUNCE_WINDOW - now) / _DAY
        found = curve.leaves(low + penalty, high + penalty, 0.0, start)
        if found is not None:
            return now + timedelta(days=found)
        if not low <= curve.at(start) < high:
            return interest.soft_bounced_at + SOFT_BOUNCE_WINDOW
    found = curve.leaves(low, high, start, _HORIZON)
    return None if found is None else now + timedelta(days=found)


def tier_at(interest: Interest, now: datetime) -> tuple[EngagementTier, datetime | None]:
    """The tier, and until when: what is kept of a person who is written to."""
    return tier_of(score(interest, now)), tier_until(interest, now)


INTEREST_COLUMNS = (
    Subscriber.consent_at,
    Subscriber.created_at,
    Subscriber.interest,
    Subscriber.interest_mails,
    Subscriber.interest_at,
    Subscriber.last_interest_at,
    Subscriber.soft_bounces,
    Subscriber.soft_bounce_last_at,
)
"""What a row must have for `interest_of`."""


def interest_of(person: Subscriber | Row[Any]) -> Interest:
    return Interest(
        opted_in_at=person.consent_at or person.created_at,
        positive=person.interest,
        mails=person.interest_mails,
        at=person.interest_at,
        last_at=person.last_interest_at,
        soft_bounces=person.soft_bounces,
        soft_bounced_at=person.soft_bounce_last_at,
    )


def decayed_sum(value: float, at: datetime | None, x: float, t: datetime) -> tuple[float, datetime]:
    """Add `x`, which counted in full at `t`, to a sum that halves every 90 days.

    Takes the sum as of `at` and gives it as of the later of both, the same in whatever
    order things are added.
    """
    if at is None:
        return x, t
    if t > at:
        return value * _halved(at, t, MAIL_HALF_LIFE) + x, t
    return value + x * _halved(t, at, MAIL_HALF_LIFE), at


def add_mail(interest: Interest, delivered_at: datetime, n: int = 1) -> Interest:
    """One more mail was delivered; -1 takes one back."""
    mails, at = decayed_sum(interest.mails, interest.at, n, delivered_at)
    positive, _ = decayed_sum(interest.positive, interest.at, 0.0, delivered_at)
    return replace(interest, mails=mails, positive=positive, at=at)


def add_interest(
    interest: Interest, by: float, delivered_at: datetime, last_at: datetime | None
) -> Interest:
    """A person did more with a mail than was known (or less, when a machine did it).

    `by` is the change of `lists.touches.interest`; it ages like the mail, from
    `delivered_at` on. `last_at` is the newest sign of interest in it.
    """
    positive, at = decayed_sum(interest.positive, interest.at, by, delivered_at)
    mails, _ = decayed_sum(interest.mails, interest.at, 0.0, delivered_at)
    known = [time for time in (interest.last_at, last_at) if time is not None]
    return replace(
        interest, positive=positive, mails=mails, at=at, last_at=max(known, default=None)
    )


def _halved(since: datetime | None, now: datetime, half_life: timedelta) -> float:
    """What is left at `now` of 1 at `since`; 0 when there is no such moment."""
    if since is None:
        return 0.0
    return float(0.5 ** (max(now - since, timedelta(0)) / half_life))


def _curve(interest: Interest, now: datetime) -> _Curve:
    left = _halved(interest.at, now, MAIL_HALF_LIFE)
    recency = max(
        _halved(interest.last_at, now, INTEREST_HALF_LIFE),
        0.5 * _halved(interest.opted_in_at, now, INTEREST_HALF_LIFE),
    )
    return _Curve(recency, interest.positive * left, interest.mails * left)


def _penalty(interest: Interest, now: datetime) -> int:
    last = interest.soft_bounced_at
    recent = last is not None and now - last < SOFT_BOUNCE_WINDOW
    return SOFT_BOUNCE_PENALTY * interest.soft_bounces if recent else 0


def _end_of(holds: Callable[[float], bool], first: float, last: float) -> float:
    """Where something that holds on day `first`, and not on `last`, ends: to a minute, and
    on the side where it does not."""
    while last - first > _MINUTE:
        middle = (first + last) / 2
        if holds(middle):
            first = middle
        else:
            last = middle
    return last
