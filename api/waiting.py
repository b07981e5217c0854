"""How long a request waits for its campaign: as it prefers, and as long as there are places."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flask import request

MOST_WAITING = 8
"""Requests that wait for their campaign; a further one gets its 202 at once."""
LONGEST_WAIT_S = 900

places = threading.BoundedSemaphore(MOST_WAITING)
_WAIT = re.compile(r"wait\s*=\s*(\"?)(\d{1,18})\1", re.IGNORECASE)


@contextmanager
def a_place_to_wait() -> Iterator[bool]:
    """Whether there is one."""
    taken = places.acquire(blocking=False)
    try:
        yield taken
    finally:
        if taken:
            places.release()


def wait_seconds(budget_s: float) -> float:
    """How long this request may wait: `Prefer: wait=N`, `respond-async`, or the budget.

    With both, the wait comes first (RFC 7240 4.3); what we do not know, we ignore.
    """
    header = ",".join(request.headers.getlist("Prefer"))
    preferences = [part.partition(";")[0].strip() for part in header.split(",")]
    for match in map(_WAIT.fullmatch, preferences):
        if match is not None:
            return min(int(match[2]), LONGEST_WAIT_S)
    is_async = "respond-async" in (preference.lower() for preference in preferences)
    return 0 if is_async else budget_s
