"""What the calls about an ESP's own list share: one connection, its limits, and patience."""

import time
from collections.abc import Callable
from typing import ClassVar, TypedDict, TypeVar

from services.base import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, Throttled
from services.http_transport import Transport
from services.suppression_lists import SuppressionList

WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Between calls that an ESP finds too fast and does not say for how long; then we give up."""
MAX_WAIT_S = 60.0
MAX_PAGE_BYTES = 10_000_000
"""Of one page of a list: 500 addresses, each with what the receiving side said."""

T = TypeVar("T")


class Ways(TypedDict, total=False):
    """How calls are made, where that is not as usual."""

    connect_timeout_s: float
    read_timeout_s: float
    clock: Callable[[], float]
    """Seconds since 1970."""
    sleep: Callable[[float], None]


class CalledList(SuppressionList):
    """A list that is reached by calls, one at a time."""

    read_timeout_s: ClassVar[float] = READ_TIMEOUT_S
    max_answer_bytes: ClassVar[int] = MAX_PAGE_BYTES

    def __init__(self, hide: tuple[str, ...], ways: Ways) -> None:
        """`hide`: the secrets that travel with each call."""
        self._transport = Transport(
            connections=1,
            hide=hide,
            connect_timeout_s=ways.get("connect_timeout_s", CONNECT_TIMEOUT_S),
            read_timeout_s=ways.get("read_timeout_s", self.read_timeout_s),
            max_answer_bytes=self.max_answer_bytes,
        )
        self._clock = ways.get("clock", time.time)
        self._sleep = ways.get("sleep", time.sleep)

    def _patiently(self, call: Callable[[], T]) -> T:
        return patiently(call, self._sleep)


def patiently(call: Callable[[], T], sleep: Callable[[float], None]) -> T:
    """What `call` returns; while it is `Throttled`, again after a wait. Raises the last one."""
    for wait in WAITS_S:
        try:
            return call()
        except Throttled as error:
            sleep(min(wait if error.retry_after_s is None else error.retry_after_s, MAX_WAIT_S))
    return call()
