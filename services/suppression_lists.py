"""The words for the list that an ESP keeps of addresses it would not deliver to, and the
contract of whoever reads and fills it.

All calls may be repeated: they read, or put an address on a list where it may be already.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, TypeVar

from config.esp_config import EspName
from services.base import Throttled
from services.events import SuppressionReason

WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Between calls that an ESP finds too fast and does not say for how long; then we give up."""
MAX_WAIT_S = 60.0
MAX_PAGE_BYTES = 10_000_000
"""Of one page of a list: 500 addresses, each with what the receiving side said."""

T = TypeVar("T")


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


def patiently(call: Callable[[], T], sleep: Callable[[float], None]) -> T:
    """What `call` returns; while it is `Throttled`, again after a wait. Raises the last one."""
    for wait in WAITS_S:
        try:
            return call()
        except Throttled as error:
            sleep(min(wait if error.retry_after_s is None else error.retry_after_s, MAX_WAIT_S))
    return call()
