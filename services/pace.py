"""Keeps calls to an ESP within its allowance per second, without busy waiting."""

import time
from collections.abc import Callable

MARGIN = 1.05
"""Two calls may reach the ESP closer together than they were made: a network jitters."""


class Pace:
    """After a batch of `n` the next one waits `n` / rate seconds."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._next = 0.0

    def ready_in(self) -> float:
        """Seconds until the next batch may go; 0 when it may go now."""
        return max(0.0, self._next - self._monotonic())

    def take(self, n: int, per_second: float | None) -> None:
        """Note a batch of `n` recipients that goes now."""
        if per_second is not None:
            self._next = self._monotonic() + MARGIN * n / per_second
