"""The addresses that a simulated ESP would not deliver to, and what its API says of them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.simulator.fates import Fate


class Cause(StrEnum):
    """How an address came on the list."""

    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"
    INACTIVE = "inactive"
    """It was there before anybody wrote to it (`inactive@`)."""
    PUSHED = "pushed"
    """Put there by a call."""


CAUSES: dict[Fate, Cause] = {
    Fate.HARD_BOUNCED: Cause.BOUNCE,
    Fate.COMPLAINED: Cause.COMPLAINT,
    Fate.UNSUBSCRIBED: Cause.UNSUBSCRIBE,
    Fate.INACTIVE: Cause.INACTIVE,
}
"""Fates that put an address on the list when a mail to it comes in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One address on one list."""

    address: str
    cause: Cause
    at: datetime
    word: str = ""
    """The reason that a call gave, in the ESP's own word."""


class SuppressionLists:
    """What one ESP holds, by stream; an ESP without streams has the one of the name "".

    Used by the simulator's one thread.
    """

    def __init__(self) -> None:
        self._listed: dict[tuple[str, str], Listed] = {}

    def add(self, stream: str, listed: Listed) -> None:
        """The first cause stays."""
        self._listed.setdefault((stream, listed.address.lower()), listed)

    def take_off(self, stream: str, address: str) -> bool:
        """Whether it was there."""
        return self._listed.pop((stream, address.lower()), None) is not None

    def entry(self, stream: str, address: str) -> Listed | None:
        return self._listed.get((stream, address.lower()))

    def holds(self, stream: str, address: str) -> bool:
        return (stream, address.lower()) in self._listed

    def of(self, stream: str, since: datetime | None, *causes: Cause) -> list[Listed]:
        """In the order in which they came; no `causes`: all of them."""
        return [
            listed
            for (where, _), listed in self._listed.items()
            if where == stream
            and (not causes or listed.cause in causes)
            and (since is None or listed.at >= since)
        ]

    def clear(self) -> None:
        self._listed.clear()
