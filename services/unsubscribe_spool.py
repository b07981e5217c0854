"""Unsubscribes that came while the database could not be written: a file beside it.

A mail program may not repeat its one click, so who was told that they are off the list is on
disk: in the database, or here, in a line of their own. Who claims begins with what is here
(`write`), and nothing is added until that transaction has ended; so no claim passes over a
line. PostgreSQL has no such file: one machine's disk would not stop a claim from another.
"""

import ctypes
import fcntl
import logging
import os
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from database.session import Database
from list_manager import unsubscribe
from utils.tokens import UnsubscribeLink

log = logging.getLogger(__name__)

TROUBLE = (DBAPIError, PoolTimeout, OSError)
"""What keeps a change from the disk, of the database or of this file."""
PATIENCE_S = 10.0
_PAUSE_S = 0.002
RESERVED = 65_536
"""Bytes that are ours before the disk is full: lines of some 600 people."""
TRY_AGAIN_AFTER_S = 60.0
"""How long unsubscribes go straight to the file, after the database failed one. The engine
looks every second, so this is for a process without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    """One request, and nothing of it that is not needed to repeat it."""

    link: UnsubscribeLink
    source: str
    at: datetime

    def line(self) -> bytes:
        link = self.link
        said = (
            f"{link.email_hash.hex()} {link.subscriber_id} {link.send_id}"
            f" {self.source} {self.at.isoformat()}"
        ).encode()
        return b"%s %08x\n" % (said, zlib.crc32(said))

    @classmethod
    def read(cls, line: bytes) -> "Unsubscribe":
        """Raises `ValueError` for a line that is not as it was written."""
        said, _, check = line.rpartition(b" ")
        if check != b"%08x" % zlib.crc32(said):
            raise ValueError("the checksum does not fit")
        who, subscriber_id, send_id, source, at = said.decode().split(" ")
        link = UnsubscribeLink(
            email_hash=bytes.fromhex(who), subscriber_id=int(subscriber_id), send_id=int(send_id)
        )
        return cls(link=link, source=source, at=datetime.fromisoformat(at))

    def apply(self, session: Session) -> None:
        """Harmless when repeated, also after the person has come back since."""
        unsubscribe(session, self.link, source=self.source, now=self.at, happened_at=self.at)


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
            return self._path is None or self._path.stat().st_size == 0
        except FileNotFoundError:
            return True
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
            except TROUBLE as error:
                if self._path is None:
                    raise
                log.error("the database cannot be written; an unsubscribe is spooled: %s", error)
                self._leave_alone_until = time.monotonic() + TRY_AGAIN_AFTER_S
            else:
                self.replay()
                return True
        self._append(Unsubscribe(link=link, source=source, at=now))
        return False

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that begins with all that was spooled, which is forgotten once it is
        committed. Raises one of `TROUBLE` also when the spool cannot be read."""
        with ExitStack() as after_commit, self._database.write() as session:
            after_commit.enter_context(self._replayed(session))
            yield session

    def replay(self) -> None:
        """What was spooled, into the database; if that cannot be written yet, later."""
        try:
            if not self.is_empty:
                with self.write():
                    pass
        except TROUBLE as error:
            log.warning("spooled unsubscribes wait for the database: %s", error)

    @contextmanager
    def _replayed(self, session: Session) -> Iterator[None]:
        if self._path is None:
            yield
            return
        with self._opened() as file:
            lines = _complete(file).split(b"\n")[:-1]
            for asked in self._read(lines):
                asked.apply(session)
            yield
            if lines:
                log.warning("%d spooled unsubscribes are in the database", len(lines))
            try:
                if os.fstat(file).st_size:
                    os.ftruncate(file, 0)
                _reserve(file)
            except OSError as error:  # they are repeated, which is harmless
                log.warning("spooled unsubscribes cannot be forgotten: %s", error)

    def _read(self, lines: list[bytes]) -> Iterable[Unsubscribe]:
        """The last of each link: who pressed it again may have come back in between."""
        last: dict[UnsubscribeLink, Unsubscribe] = {}
        for line in lines:
            try:
                asked = Unsubscribe.read(line)
            except ValueError:
                self._keep_damaged(line)
            else:
                last[asked.link] = asked
        return last.values()

    def _append(self, asked: Unsubscribe) -> None:
        """On disk when this returns; else raises `OSError`, and nothing was added."""
        assert self._path is not None
        with self._opened() as file:
            # Over what a dying process left of its line, which was never acknowledged.
            size = len(_complete(file))
            try:
                _write(file, asked.line(), size)
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
