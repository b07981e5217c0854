"""The words for the list that an ESP keeps of addresses it would not deliver to, and the
contract of whoever reads, fills and clears it.

All calls may be repeated: they read, put an address on a list where it may be already, or
take off one that may be gone.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from config.esp_config import EspName
from services.events import SuppressionReason

A_COMPLAINT = "a complaint stays on its list"


@dataclass(frozen=True, slots=True, kw_only=True)
class EspSuppression:
    """One address on an ESP's list. All texts come from outside."""

    address: str
    """As the ESP spells it; "" when the entry has none."""
    reason: SuppressionReason
    list_name: str
    """Which of its lists, in the ESP's own word."""
    at: datetime | None = None
    """Since when it is there, as far as it can be read."""
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotPushed:
    """An address that the ESP would not put on its list."""

    address: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PushResult:
    pushed: int
    """On the ESP's list now; those that were there before count too."""
    failed: tuple[NotPushed, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What became of one address on an ESP's lists; nothing at all: it was on none."""

    off: tuple[str, ...] = ()
    """The lists that it was taken off, in the ESP's own words."""
    kept: str | None = None
    """Why the ESP still holds it, and will however often it is asked."""


class SuppressionList(ABC):
    """The list of one ESP's account, or of the stream that we send through."""

    name: ClassVar[EspName]

    @abstractmethod
    def pull(self, since: datetime | None) -> Iterator[Sequence[EspSuppression]]:
        """What came on the list from `since` on (`None`: ever), page by page.

        May give an entry twice, and one of before `since`. Raises an `EspError`; the pages
        before it stand.
        """

    @abstractmethod
    def push(self, wanted: Sequence[tuple[str, SuppressionReason]]) -> PushResult:
        """Put addresses on the list, as near to our reason as the ESP has words for.

        Raises an `EspError`, perhaps after some are there.
        """

    @abstractmethod
    def release(self, address: str) -> Released:
        """Take an address off every list that drops its mail; but a complaint stays.

        Raises an `EspError`, perhaps after it is off some; another try may go better.
        """
