"""Tells whether a SQLite database is the one that was sent from here last.

A file beside the database, its mark, says how far claims and suppressions had come, of which
installation, on which machine and in which place. A database that is behind its mark was
restored; one without its mark, or with the mark of another machine or place, was copied. Both
would send again what was sent already, and write to people who have left since: it takes a
person to say that they may send.

The mark is written after the commit of a claim and before its calls: a crash between the two
leaves it behind the database, never before it, and no call was made.
PostgreSQL databases have no mark: see docs/operations.md.
"""

import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from database.models import Installation, SendBatch, Suppression
from database.session import Database

MACHINE_ID = Path("/etc/machine-id")
"""Systemd's; it differs between a machine and its copy once that was made a machine of its own.
Where there is none, the place alone tells."""
CONFIRM = "python3 cli.py confirm-restore"
_SIZE = 4096
"""Of the file, whatever it says: to write it again moves no block and no length."""
_SYNC_EVERY_S = 1.0
"""What a power cut may take from the mark. It matters to a backup made in that second alone,
and an fsync for each claim would cost as much as its commit."""
_LOOK_EVERY_S = 10.0
"""How long a suppression may be missing from the mark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How a database stood when it was sent from last; the numbers first, in one sector."""

    batch: int = 0
    """The last claim: the highest id of `send_batches`."""
    suppression: int = 0
    """The highest id of `suppressions`."""
    identity: str = ""
    """Of the installation."""
    machine: str = ""
    place: str = ""
    """The path of the database."""
    held: str | None = None
    """Why it must not be sent from, whatever else fits, until a person confirms it."""


def why_held(mark: Mark | None, now: Mark, *, was_marked: bool) -> str | None:
    """Why the database that stands as `now` must not be sent from, as what is said of it;
    `None` if it may be.

    `was_marked`: it has had a mark, wherever that is. One that never had is new, or of a version
    before there were marks.
    """
    if mark is None:
        return "was restored or copied: its mark is not beside it" if was_marked else None
    if mark.held is not None:
        return mark.held
    if mark.identity != now.identity:
        return "is another one than was sent from here last" if was_marked else None
    if now.batch < mark.batch or now.suppression < mark.suppression:
        return "was restored from a backup: it is older than what was sent from here last"
    if now.machine != mark.machine:
        return "was copied from another machine"
    if now.place != mark.place:
        return f"was copied or moved from {mark.place}"
    return None


def safe_mode(why: str) -> str:
    """What to tell whoever wants to send, in one sentence."""
    return f"safe mode: the database {why}. Nothing is sent until `{CONFIRM}` says that it may"


class RestoreGuard:
    """The mark of a database. Only who holds the sender lock may write it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._path = database.path and database.path.with_name(f"{database.path.name}.mark")
        self._mark = Mark()
        self._file: int | None = None
        self._is_synced = True
        self._synced_at = self._looked_at = 0.0

    def why_held(self) -> str | None:
        """Why nothing may be sent from this database now; any process may ask."""
        if self._path is None:
            return None
        mark = self._read(self._path)  # before the database, which only goes on meanwhile
        with self._database.read() as session:
            return why_held(mark, self._stand(session), was_marked=_was_marked(session))

    def may_be_moved(self) -> bool:
        """Whether it is held for nothing but its machine or place: nothing in it is older."""
        mark = None if self._path is None else self._read(self._path)
        with self._database.read() as session:
            now = self._stand(session)
        return mark is not None and (
            why_held(replace(mark, machine=now.machine, place=now.place), now, was_marked=True)
            is None
        )

    def take(self) -> None:
        """From now on this database is the one that is sent from, as it stands."""
        if self._path is None:
            return
        with self._database.read() as session:
            self._mark, was_marked = self._stand(session), _was_marked(session)
        self._write(sync=True)
        if not was_marked:
            with self._database.write() as session:
                session.execute(text("PRAGMA user_version = 1"))

    def hold(self, why: str) -> None:
        """Nothing is sent from what is put in this place, until a person confirms it."""
        if self._path is not None:
            self._mark = replace(self._read(self._path) or Mark(), held=why)
            self._write(sync=True)

    def claimed(self, batch: int) -> None:
        """The claim of a batch is committed; its call has not begun."""
        if self._path is not None:
            self._mark = replace(self._mark, batch=max(batch, self._mark.batch))
            self._write(sync=time.monotonic() - self._synced_at >= _SYNC_EVERY_S)

    def keep_up(self) -> None:
        """Note, now and then, what others wrote into the database; cheap to call often."""
        if self._path is None or time.monotonic() - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = time.monotonic()
        with self._database.read() as session:
            suppression = _highest(session, Suppression)
        if suppression > self._mark.suppression or not self._is_synced:
            self._mark = replace(self._mark, suppression=suppression)
            self._write(sync=True)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _stand(self, session: Session) -> Mark:
        assert self._database.path is not None
        return Mark(
            batch=_highest(session, SendBatch),
            suppression=_highest(session, Suppression),
            identity=session.scalar(select(Installation.identity)) or "",
            machine=_machine(),
            place=str(self._database.path.resolve()),
        )

    def _read(self, path: Path) -> Mark | None:
        try:
            return Mark(**json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            return Mark(held=f"has a mark that cannot be read, {path.name}: {error}")

    def _write(self, *, sync: bool) -> None:
        if self._file is None:
            self._file = _opened(self._path)
        mark = self._mark
        said = json.dumps({name: getattr(mark, name) for name in Mark.__slots__}).encode()
        os.pwrite(self._file, said.ljust(_SIZE), 0)
        self._is_synced = sync
        if sync:
            os.fdatasync(self._file)
            self._synced_at = time.monotonic()


def _opened(path: Path | None) -> int:
    assert path is not None
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return file


def _highest(session: Session, table: type[SendBatch] | type[Suppression]) -> int:
    """Rows of these tables stay: a lower number than before is an older database."""
    return session.scalar(select(func.max(table.id))) or 0


def _was_marked(session: Session) -> bool:
    """Kept in the database's header, so that every copy and backup says it too."""
    return bool(session.execute(text("PRAGMA user_version")).scalar())


def _machine() -> str:
    try:
        return MACHINE_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
