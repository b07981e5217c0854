"""Writers of one SQLite file take turns, whichever thread or process they are in.

SQLite lets one write at a time and the others ask again after pauses that grow to 100 ms,
so whoever writes without pause, a campaign, leaves nothing to another process. Here the one
who has waited goes before the one who has just written. This is about order alone: that
only one writes at a time is still SQLite's doing, and who waited in vain for another process
asks SQLite. Within this process nobody does: a whole queue would wait, one after the other.
"""

import fcntl
import os
import threading
import time
from pathlib import Path

from sqlalchemy.exc import TimeoutError as PoolTimeout

PATIENCE_S = 10.0
_PAUSE_S = 0.0005


class Turns:
    """A context manager for one write; not reentrant.

    Raises SQLAlchemy's `TimeoutError`, as its pool does, for who waited `PATIENCE_S` in vain.
    """

    def __init__(self, path: Path | None) -> None:
        """`path`: of the database; without one nobody outside this process is asked."""
        self._path = path
        self._next, self._turn = threading.Lock(), threading.Lock()
        self._files: tuple[int, int] | None = None

    def __enter__(self) -> None:
        ends_at = time.monotonic() + PATIENCE_S
        # Whoever waits for the turn holds `next`, so nobody gets past them.
        _acquire(self._next, ends_at)
        try:
            _acquire(self._turn, ends_at)
        finally:
            self._next.release()
        try:
            self._wait_for_others()
        except BaseException:  # also Ctrl-C: nobody else gives the turn back
            self._turn.release()
            raise

    def _wait_for_others(self) -> None:
        if self._path is None:
            return
        ends_at = time.monotonic() + PATIENCE_S
        following, turn = self._opened(self._path)
        if _locked(following, ends_at):
            _locked(turn, ends_at)
            fcntl.flock(following, fcntl.LOCK_UN)

    def __exit__(self, *_: object) -> None:
        if self._files is not None:
            fcntl.flock(self._files[1], fcntl.LOCK_UN)
        self._turn.release()

    def close(self) -> None:
        with self._turn:
            for file in self._files or ():
                os.close(file)
            self._files = None

    def _opened(self, path: Path) -> tuple[int, int]:
        if self._files is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            following = os.open(f"{path}.next.lock", flags, 0o600)
            self._files = following, os.open(f"{path}.turn.lock", flags, 0o600)
        return self._files


def _acquire(lock: threading.Lock, ends_at: float) -> None:
    if not lock.acquire(timeout=max(0.0, ends_at - time.monotonic())):
        raise PoolTimeout(f"others of this process have written for over {PATIENCE_S:g} s")


def _locked(file: int, ends_at: float) -> bool:
    """Whether it was got in time."""
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > ends_at:
                return False
            time.sleep(_PAUSE_S)
        else:
            return True
