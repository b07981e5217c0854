"""The right to send from a database: one process has it, and the kernel frees it at death.

No lease and no clock: SQLite databases carry a `flock`ed file beside them, PostgreSQL
ones a session advisory lock, so that a dead owner is known to be dead.
"""

import fcntl
import os

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from database.session import Database

_ADVISORY_KEY = 0x65646C76  # any constant; "edlv"


class SenderLock:
    """Held by the one process that may claim sends. Not reentrant."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._file: int | None = None
        self._connection: Connection | None = None

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it; never waits."""
        if self._database.path is not None:
            return self._try_file(f"{self._database.path}.sender.lock")
        return self._try_advisory()

    def is_held(self) -> bool:
        """Whether it is still ours: a lost PostgreSQL connection is a lost lock."""
        if self._file is not None:
            return True
        if self._connection is None:
            return False
        try:
            self._connection.execute(text("SELECT 1"))
            self._connection.commit()
        except DBAPIError:
            self.release()
            return False
        return True

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def _try_file(self, path: str) -> bool:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._file = descriptor
        return True

    def _try_advisory(self) -> bool:
        connection = self._database.writer.connect()
        taken = connection.execute(
            text("SELECT pg_try_advisory_lock(:key)"), {"key": _ADVISORY_KEY}
        )
        if taken.scalar_one():
            connection.commit()
            self._connection = connection
            return True
        connection.close()
        return False
