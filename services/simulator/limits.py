"""The limits of an account, enforced: recipients per second and per day."""

import math
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.simulator.dialect import Limit

DAY = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountLimits:
    """What the account's plan allows; None allows everything."""

    per_second: float | None = None
    daily_limit: int | None = None
    """Per UTC day, at SES within the last 24 hours."""
    burst_s: float = 1.5
    """How many seconds' worth may come at once.

    One, and half a second for the jitter between the clock of who paces and ours, so
    that a violation is always one.
    """

    def __post_init__(self) -> None:
        numbers = (self.per_second, self.daily_limit, self.burst_s)
        if any(number is not None and number <= 0 for number in numbers):
            raise ValueError("limits are above 0, or not set")


class Meter:
    """How much of an account's limits is used. Used by one thread."""

    def __init__(self, limits: AccountLimits, *, rolls: bool = False) -> None:
        """`rolls`: a day is the last 24 hours, not the one of the calendar (UTC)."""
        self._rolls = rolls
        self._taken: deque[tuple[datetime, int]] = deque()
        """Start of a minute, recipients taken in it."""
        self._used = 0
        self.put(limits)

    def put(self, limits: AccountLimits) -> None:
        self.limits = limits
        self._tokens = self._capacity
        self._filled_at: datetime | None = None

    def clear(self) -> None:
        self._taken.clear()
        self._used = 0
        self.put(self.limits)

    def used(self, now: datetime) -> int:
        """Recipients taken on this day."""
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        begin = now - DAY if self._rolls else midnight
        while self._taken and self._taken[0][0] < begin:
            self._used -= self._taken.popleft()[1]
        return self._used

    def room(self, limit: Limit, now: datetime) -> float:
        """How many recipients `limit` still lets through now."""
        if limit is Limit.DAILY:
            daily = self.limits.daily_limit
            return math.inf if daily is None else daily - self.used(now)
        self._refill(now)
        return self._tokens

    def take(self, recipients: int, now: datetime) -> None:
        self._tokens -= recipients
        self._used += recipients
        minute = now.replace(second=0, microsecond=0)
        so_far = self._taken.pop()[1] if self._taken and self._taken[-1][0] == minute else 0
        self._taken.append((minute, so_far + recipients))

    @property
    def _capacity(self) -> float:
        per_second = self.limits.per_second
        return math.inf if per_second is None else max(1.0, per_second * self.limits.burst_s)

    def _refill(self, now: datetime) -> None:
        if self.limits.per_second is not None and self._filled_at is not None:
            passed_s = max(0.0, (now - self._filled_at).total_seconds())
            self._tokens = min(self._capacity, self._tokens + passed_s * self.limits.per_second)
        self._filled_at = now
