"""When an ESP rests, when it is probed, and when it is asked to wait: pure rules.

A breaker bounds what an ESP that answers unclearly can cost: after the first unknown
outcome it gets one recipient at a time, after five failures in a row nothing for a while.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from database.models import BreakerState

FAILURES_TO_OPEN = 5
FIRST_COOLDOWN_S = 60
LONGEST_COOLDOWN_S = 15 * 60
LONGEST_THROTTLE_S = 60.0
SHORTEST_WAIT_S = 0.05
LONGEST_ASKED_WAIT_S = 3600.0
"""An ESP that asks for more (or for nonsense) is asked again after an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """Keeps us from giving an ESP more than a probe while its answers are not clear."""

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    cooldown_s: int = 0
    open_until: datetime | None = None
    throttles: int = 0
    throttled_until: datetime | None = None
    last_error: str | None = None
    last_error_at: datetime | None = None

    def wants_probe(self) -> bool:
        """Whether the next batch is one recipient, and the only one under way."""
        return self.state is not BreakerState.CLOSED

    def is_throttled(self, now: datetime) -> bool:
        """Whether the ESP asked for a wait that is not over."""
        return self.throttled_until is not None and self.throttled_until > now


def after_success(breaker: Breaker, now: datetime, *, probe: bool) -> Breaker:
    """An answer that took mail. Only a probe's answer closes a breaker: one that was under
    way before the trouble began says nothing about now, nor does it end a wait."""
    if breaker.state is not BreakerState.CLOSED and not probe:
        return breaker
    closed = Breaker(last_error=breaker.last_error, last_error_at=breaker.last_error_at)
    if breaker.is_throttled(now):
        return replace(closed, throttles=breaker.throttles, throttled_until=breaker.throttled_until)
    return closed


def after_unknown(breaker: Breaker, now: datetime, *, probe: bool, error: str) -> Breaker:
    """A call whose outcome is not known: probe next; five in a row, or a failed half-open
    probe, open the breaker."""
    failed = replace(breaker, failures=breaker.failures + 1, last_error=error, last_error_at=now)
    if breaker.state is BreakerState.OPEN:
        return _open(failed, now, None) if probe else failed
    if failed.failures >= FAILURES_TO_OPEN:
        return _open(failed, now, None)
    return replace(failed, state=BreakerState.PROBING)


def after_refusal(
    breaker: Breaker, now: datetime, *, probe: bool, error: str, resets_at: datetime | None
) -> Breaker:
    """The ESP cannot be used (key, account, quota, connection): it rests from now on."""
    failed = replace(breaker, failures=breaker.failures + 1, last_error=error, last_error_at=now)
    if breaker.state is BreakerState.OPEN and not probe:
        return failed  # calls that were under way together count as one refusal
    return _open(failed, now, resets_at)


def after_throttle(
    breaker: Breaker, now: datetime, *, error: str, retry_after_s: float | None, jitter: float
) -> Breaker:
    """Asked to wait: until the ESP's own reset time, else 1 s, 2 s, 4 s … with jitter (0..1).

    Calls that were under way together count once, and the longest of their waits holds.
    """
    told = replace(breaker, last_error=error, last_error_at=now)
    is_new = not breaker.is_throttled(now)
    if retry_after_s is not None:
        wait_s = _within_reason(retry_after_s)
    elif is_new:
        wait_s = min(2.0**breaker.throttles, LONGEST_THROTTLE_S) * (0.5 + jitter / 2)
    else:
        return told
    until = now + timedelta(seconds=wait_s)
    return replace(
        told,
        throttles=min(breaker.throttles + is_new, 6),
        throttled_until=max(until, breaker.throttled_until or until),
    )


def _within_reason(wait_s: float) -> float:
    if not math.isfinite(wait_s):
        return LONGEST_ASKED_WAIT_S
    return min(max(wait_s, SHORTEST_WAIT_S), LONGEST_ASKED_WAIT_S)


def _open(breaker: Breaker, now: datetime, resets_at: datetime | None) -> Breaker:
    cooldown = min(max(breaker.cooldown_s * 2, FIRST_COOLDOWN_S), LONGEST_COOLDOWN_S)
    return replace(
        breaker,
        state=BreakerState.OPEN,
        cooldown_s=cooldown,
        open_until=max(resets_at or now, now + timedelta(seconds=cooldown)),
    )
