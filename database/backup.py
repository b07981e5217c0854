"""Backups of a SQLite database: made while it is written to, verified, rotated, put back.

A backup is one file, 0600, without a WAL. It holds what the database holds, the key of the
suppression list included, and nothing of `.env`.
"""

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

_STAMP = "%Y%m%d-%H%M%S"
_BESIDE = ("", "-wal", "-shm")
"""What a SQLite database consists of while it is open, or after a crash."""


class NotABackup(Exception):
    """The file must not be relied on; the text says why."""


class InUse(Exception):
    """A process has the database open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    path: Path
    size: int
    """In bytes."""
    rows: Mapping[str, int]
    """By table, counted in the backup and equal to the database at that moment."""


def back_up(database: Path, folder: Path, now: datetime) -> Backup:
    """Copy the database into a new file of `folder`, verified and fsync'd.

    Writers go on meanwhile: the copy is of one moment, taken in one read transaction. What is
    not complete never has the name of a backup. Raises `NotABackup` if the copy is not sound,
    `OSError` or `sqlite3.Error` if it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{database.stem}-{now.strftime(_STAMP)}.db"
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with _opened(database) as source, closing(sqlite3.connect(part)) as copy:
            source.execute("BEGIN")
            counted = _counted(source)
            source.backup(copy, pages=-1)
            source.execute("COMMIT")
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, for whoever copies it on
        rows = verify(part)
        if rows != counted:
            raise NotABackup("its tables do not have as many rows as the database")
        _on_disk(part)
        part.rename(path)
        _on_disk(folder)
    finally:
        part.unlink(missing_ok=True)
    return Backup(path=path, size=path.stat().st_size, rows=rows)


def verify(backup: Path) -> dict[str, int]:
    """The rows of each table of a sound backup; raises `NotABackup` for anything else."""
    try:
        with _opened(backup, mode="ro") as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check(1)")]
            if found != ["ok"]:
                raise NotABackup(f"the integrity check found: {found[0]}")
            rows = _counted(connection)
    except sqlite3.Error as error:
        raise NotABackup(str(error)) from error
    if rows.get("installation") != 1:
        raise NotABackup("it is no database of an installation")
    return rows


def rotate(folder: Path, database: Path, keep: int) -> list[Path]:
    """Remove all but the `keep` newest backups of this database; which ones went."""
    name = re.compile(re.escape(database.stem) + r"-\d{8}-\d{6}\.db")
    backups = sorted(path for path in folder.iterdir() if name.fullmatch(path.name))
    gone = backups[: max(len(backups) - keep, 0)]
    for path in gone:
        path.unlink()
    return gone


def set_aside(database: Path, now: datetime) -> Path | None:
    """Rename the database, if there is one; its new name.

    Raises `InUse`, with nothing changed, when a process has it open.
    """
    if not database.exists():
        return None
    _close(database)
    kept = database.with_name(f"{database.name}.before-restore-{now.strftime(_STAMP)}")
    for end in _BESIDE:
        path = Path(f"{database}{end}")
        if path.exists():
            path.rename(f"{kept}{end}")
    return kept


def put_back(backup: Path, database: Path) -> None:
    """Make a verified backup the database, where there is none."""
    part = database.with_name(f"{database.name}.{os.getpid()}.part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        shutil.copyfile(backup, part)
        _on_disk(part)
        part.rename(database)
        _on_disk(database.parent)
    finally:
        part.unlink(missing_ok=True)


def _close(database: Path) -> None:
    """Write what the WAL holds into the file. Only who is alone with a database can take its
    WAL away, so this is also how one sees that nobody else is there."""
    try:
        with _opened(database, patience_s=0) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise InUse from error
        # It is broken, which may be why it is replaced.


@contextmanager
def _opened(path: Path, mode: str = "rw", patience_s: float = 10) -> Iterator[sqlite3.Connection]:
    """An existing database, without the right to run what its schema might say."""
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    with closing(
        sqlite3.connect(uri, uri=True, timeout=patience_s, isolation_level=None)
    ) as connection:
        connection.execute("PRAGMA trusted_schema=OFF")
        yield connection


def _counted(connection: sqlite3.Connection) -> dict[str, int]:
    tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    return {
        name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
        for (name,) in connection.execute(tables).fetchall()
    }


def _on_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
