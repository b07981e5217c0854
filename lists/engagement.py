"""How much a person cares for our mail: a score from 0 to 100, and the tier it lies in.

The formula is that of `facts/dns_deliverability.md` 5.3. It rests on two decayed sums that
are kept with each event, so nothing has to be recomputed as time goes by: `Interest` at any
later moment follows from `Interest` as stored, and so does the moment its tier changes.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import inf, log2, sqrt
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
_HORIZON = 0.5 ** (timedelta(days=3650) / MAIL_HALF_LIFE)
_NEAR = 1e-6
"""Relative: a little more than ten seconds."""


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
    """The unrounded score, without penalty, by what is `left` of today's sums: 1 now, 0 at last.

    Recency halves in 45 days and the sums in 90, so it is a function of that one number. As
    it goes down, the score falls, or rises towards that of a person of whom nothing is known,
    or falls and then rises, but never more than that.
    """

    recency: float
    positive: float
    mails: float

    def at(self, left: float) -> float:
        rate = (1 + self.positive * left) / (5 + self.mails * left)
        return 60 * self.recency * left * left + 80 * min(0.5, rate)

    def _slope(self, left: float) -> float:
        rest = 5 + self.mails * left
        slope = 120 * self.recency * left
        if 1 + self.positive * left < 0.5 * rest:
            slope += 80 * (5 * self.positive - self.mails) / (rest * rest)
        return slope

    def leaves(self, low: float, high: float, start: float, end: float) -> float | None:
        """What is left when the score is first not within these bounds, if it is at `start`."""
        turn = self._turn(start, end)
        for first, last in ((start, turn), (turn, end)):
            score = self.at(last)
            if not low <= score < high:
                return self._crossing(low if score < low else high, first, last)
        return None

    def _turn(self, start: float, end: float) -> float:
        """Where it stops falling: where its slope is 0."""
        forgiven = self.mails - 5 * self.positive
        if forgiven <= 0:
            return end
        steepness = 1.5 * self.recency
        if steepness * start * (5 + self.mails * start) ** 2 <= forgiven:
            return start
        left = start
        # Newton's method for a convex function, from above: it comes down and stays above.
        while True:
            rest = 5 + self.mails * left
            excess = steepness * left * rest * rest - forgiven
            step = excess / (steepness * rest * (rest + 2 * self.mails * left))
            left -= step
            if step <= _NEAR * left:
                return max(left, end)

    def _crossing(self, bound: float, first: float, last: float) -> float:
        """Where it passes the bound between `first`, which is on the one side, and `last`:
        Newton's method, halving the days wherever that leaves the stretch."""
        below = self.at(last) < bound
        left = first
        while first > last * (1 + _NEAR):
            off = self.at(left) - bound
            if (off < 0) == below:
                last = left
            else:
                first = left
            slope = self._slope(left)
            guess = left - off / slope if slope else 0.0
            is_near = abs(guess - left) <= _NEAR * left
            if is_near and last <= guess <= first:
                return max(last, guess * (1 - _NEAR))
            left = guess if last < guess < first else sqrt(first * last)
        return last


def score(interest: Interest, now: datetime) -> int:
    """0 (nothing for long) to 100 (clicks everything)."""
    return max(0, round(_curve(interest, now).at(1.0)) - _penalty(interest, now))


def score_of(person: Subscriber, now: datetime) -> int:
    return 0 if person.status in LEFT else score(interest_of(person), now)


def tier_of(points: int) -> EngagementTier:
    return next(tier for least, tier in _TIERS if points >= least)


def tier_until(interest: Interest, now: datetime) -> datetime | None:
    """When the score leaves the tier it is in at `now` if nothing happens; to a minute, and
    never earlier.

    `None`: not within ten years. People who did little are forgiven as their unread mails age,
    so a score may also rise. Where a time lies after `now` (another clock), this is a guess.
    """
    return tier_at(interest, now)[1]


def tier_at(interest: Interest, now: datetime) -> tuple[EngagementTier, datetime | None]:
    """The tier, and until when: what is kept of a person who is written to."""
    curve, penalty = _curve(interest, now), _penalty(interest, now)
    tier = tier_of(max(0, round(curve.at(1.0)) - penalty))
    low, high = _BOUNDS[tier]
    start = 1.0
    if penalty and interest.soft_bounced_at is not None:
        forgotten = interest.soft_bounced_at + SOFT_BOUNCE_WINDOW
        start = _halved(now, forgotten, MAIL_HALF_LIFE)
        found = curve.leaves(low + penalty, high + penalty, 1.0, start)
        if found is not None:
            return tier, _when(found, now)
        if not low <= curve.at(start) < high:
            return tier, forgotten
    found = curve.leaves(low, high, start, _HORIZON)
    return tier, None if found is None else _when(found, now)


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


def _when(left: float, now: datetime) -> datetime:
    return now - MAIL_HALF_LIFE * log2(left)
