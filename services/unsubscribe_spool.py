"""Unsubscribes that came while the database could not be written: a file beside it.

A mail program may not repeat its one click, so who was told that they are off the list is on
disk: in the database, or here, in a line of their own. Who claims begins with what is here
(`write`), and nothing is added until that transaction has ended; so no claim passes over a
line. A long file is brought in from its end, some lines a transaction: what is committed is
cut off, and what is repeated after a crash, or in another order, changes nothing. PostgreSQL has no such file: one machine's disk would not stop a claim from another.
"""

import ctypes
import fcntl
import logging
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from config.failpoints import Failpoint
from database.session import Database
from lists.leaving import Unsubscribe, unsubscribe, unsubscribe_late
from utils.failpoints import reach
from utils.tokens import UnsubscribeLink

log = logging.getLogger(__name__)

TROUBLE = (DBAPIError, PoolTimeout, OSError)
"""What keeps a change from the disk, of the database or of this file."""
PER_TRANSACTION = 48_000
"""Bytes brought in at once: some 500 lines, which take 0.1 s, in which nobody else writes."""
PATIENCE_S = 10.0
_PAUSE_S = 0.002
RESERVED = 65_536
"""Bytes that are ours before the disk is full: lines of some 600 people."""
TRY_AGAIN_AFTER_S = 60.0
"""How long unsubscribes go straight to the file, after the database failed one. The engine
looks every second, so this is for a process without one."""


def line_of(asked: Unsubscribe) -> bytes:
    link = asked.link
    said = (
        f"{link.email_hash.hex()} {link.subscriber_id} {link.send_id}"
        f" {asked.source} {asked.at.isoformat()}"
    ).encode()
    return b"%s %08x\n" % (said, zlib.crc32(said))


def read_line(line: bytes) -> Unsubscribe:
    """Raises `ValueError` for a line that is not as it was written."""
    said, _, check = line.rpartition(b" ")
    if check != b"%08x" % zlib.crc32(said):
        raise ValueError("the checksum does not fit")
    who, subscriber_id, send_id, source, at = said.decode().split(" ")
    link = UnsubscribeLink(
        email_hash=bytes.fromhex(who), subscriber_id=int(subscriber_id), send_id=int(send_id)
    )
    return Unsubscribe(link=link, source=source, at=datetime.fromisoformat(at))


class UnsubscribeSpool:
    """The spool of one database. Thread-safe, and shared with other processes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._path = database.path and database.path.with_name(f"{database.path.name}.unsubscribes")
        self._leave_alone_until = 0.0

    @property
    def is_empty(self) -> bool:
        """For sure: a file that cannot be looked at may hold something."""
        try:
            return self._path is None or _size(self._path) == 0
        except OSError:
            return False

    def leave(self, link: UnsubscribeLink, *, source: str, now: datetime) -> bool:
        """Take a person off the list; on disk when this returns. Whether the database has it.

        Raises one of `TROUBLE` when it is nowhere: neither could be written.
        """
        if self.is_empty or time.monotonic() >= self._leave_alone_until:
            try:
                with self._database.write() as session:
                    unsubscribe(session, link, source=source, now=now)
                    reach(Failpoint.UNSUBSCRIBE_BEFORE_COMMIT)
            except TROUBLE as error:
                if self._path is None:
                    raise
                log.error("the database cannot be written; an unsubscribe is spooled: %s", error)
                self._leave_alone_until = time.monotonic() + TRY_AGAIN_AFTER_S
            else:
                reach(Failpoint.UNSUBSCRIBE_AFTER_COMMIT)
                self.replay()
                return True
        self._append(Unsubscribe(link=link, source=source, at=now))
        return False

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that begins with all that was spooled, which is forgotten once it is
        committed. Raises one of `TROUBLE` also when the spool cannot be read.

        Of a long spool most is brought in before, in transactions that keep nobody waiting.
        """
        while self._is_long:
            with self._transaction(whole=False):
                pass
        with self._transaction(whole=True) as session:
            yield session

    @contextmanager
    def _transaction(self, *, whole: bool) -> Iterator[Session]:
        with ExitStack() as after_commit, self._database.write() as session:
            after_commit.enter_context(self._replayed(session, whole=whole))
            yield session

    @property
    def _is_long(self) -> bool:
        return self._path is not None and _size(self._path) > PER_TRANSACTION

    def replay(self) -> None:
        """What was spooled, into the database; if that cannot be written yet, later."""
        try:
            if not self.is_empty:
                with self.write():
                    pass
        except TROUBLE as error:
            log.warning("spooled unsubscribes wait for the database: %s", error)

    @contextmanager
    def _replayed(self, session: Session, *, whole: bool) -> Iterator[None]:
        """All lines, or the last ones."""
        if self._path is None:
            yield
            return
        with self._opened() as file:
            held = _complete(file)
            start = 0 if whole else held.rfind(b"\n", 0, max(len(held) - PER_TRANSACTION, 0)) + 1
            lines = held[start:].split(b"\n")[:-1]
            unsubscribe_late(session, self._read(lines))
            yield
            if lines:
                log.warning("%d spooled unsubscribes are in the database", len(lines))
            try:
                if os.fstat(file).st_size > start:
                    os.ftruncate(file, start)
                if not start:
                    _reserve(file)
            except OSError as error:  # they are repeated, which is harmless
                log.warning("spooled unsubscribes cannot be forgotten: %s", error)

    def _read(self, lines: list[bytes]) -> list[Unsubscribe]:
        """The last of each link: who pressed it again may have come back in between."""
        last: dict[UnsubscribeLink, Unsubscribe] = {}
        for line in lines:
            try:
                asked = read_line(line)
            except ValueError:
                self._keep_damaged(line)
            else:
                last[asked.link] = asked
        return list(last.values())

    def _append(self, asked: Unsubscribe) -> None:
        """On disk when this returns; else raises `OSError`, and nothing was added."""
        assert self._path is not None
        with self._opened() as file:
            # Over what a dying process left of its line, which was never acknowledged.
            size = len(_complete(file))
            try:
                _write(file, line_of(asked), size)
            except OSError:
                os.ftruncate(file, size)
                raise
            if not size:
                _sync_folder(self._path.parent)

    def _keep_damaged(self, line: bytes) -> None:
        """A whole line that says nothing: the disk lied. A person may still make sense of it."""
        assert self._path is not None
        kept = self._path.with_name(f"{self._path.name}.damaged")
        log.error("a line of the spool is damaged: somebody who left may be mailed; see %s", kept)
        file = os.open(kept, _FLAGS, 0o600)
        try:
            _write(file, line + b"\n", os.fstat(file).st_size)
        finally:
            os.close(file)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The file, ours alone until the end of the block."""
        assert self._path is not None
        file = os.open(self._path, _FLAGS, 0o600)
        try:
            _lock(file)
            yield file
        finally:
            os.close(file)


_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _lock(file: int) -> None:
    ends_at = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > ends_at:
                raise
            time.sleep(_PAUSE_S)
        else:
            return


def _complete(file: int) -> bytes:
    """Up to the last line end; what follows is a line that its writer did not live to finish."""
    held = os.pread(file, os.fstat(file).st_size, 0)
    return held[: held.rfind(b"\n") + 1]


def _write(file: int, line: bytes, offset: int) -> None:
    while line:
        written = os.pwrite(file, line, offset)
        line, offset = line[written:], offset + written
    os.fsync(file)


def _reserve(file: int) -> None:
    """Blocks beyond the end of an empty file, where the system can; they go when it is cut."""
    if os.fstat(file).st_blocks * 512 >= RESERVED:
        return
    if (fallocate := getattr(ctypes.CDLL(None), "fallocate", None)) is not None:
        keep_size = 1
        fallocate(file, keep_size, ctypes.c_longlong(0), ctypes.c_longlong(RESERVED))


def _sync_folder(folder: Path) -> None:
    """So that the name of a new file survives power loss too."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
