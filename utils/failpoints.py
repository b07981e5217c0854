"""Ends the server where a test wants it: the setting FAILPOINT, for tests/faults.

Nothing is armed but by `app.serve`, and live mode refuses it unless every ESP is on this
machine. A place that is not armed costs a comparison.
"""

import os
import signal
import threading
from collections.abc import Callable

from config.failpoints import Armed, Failpoint

_armed: Armed | None = None
_counting = threading.Lock()
_reached = 0


def arm(armed: Armed | None) -> None:
    """From now on, in this process and those that it forks."""
    global _armed
    _armed = armed


def reach(point: Failpoint, last_act: Callable[[], object] | None = None) -> None:
    """Die here if this is the place and the time, after `last_act`: by SIGKILL, with the whole
    process group, since gunicorn would start another worker at once."""
    if _armed is None or _armed.point is not point:
        return
    global _reached
    with _counting:
        _reached += 1
        if _reached == _armed.nth:
            if last_act is not None:
                last_act()
            os.killpg(0, signal.SIGKILL)
