"""Backups of a SQLite database: made while it is written to, verified, rotated, put back.

A backup is one file, 0600, without a WAL. It holds what the database holds, the key of the
suppression list included, and nothing of `.env`.
"""

import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from database.origin_sqlite import PUT_BACK

_STAMP = "%Y%m%d-%H%M%S"
STALE_AFTER = timedelta(days=1)
"""So long after its last write a copy that has no name yet is one whose maker was killed."""
_PARTS = ("", "-wal", "-shm", "-journal")
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
    path, part = _begun(folder / f"{database.stem}-{now.strftime(_STAMP)}", ".db")
    try:
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


def rotate(folder: Path, database: Path, keep: int, now: datetime) -> list[Path]:
    """Remove all but the `keep` newest backups of this database, and what killed ones left;
    which files went."""
    name = re.compile(re.escape(database.stem) + r"-(\d{8}-\d{6})(?:-(\d+))?\.db(\.part(?:-\w+)?)?")
    found = [(match, path) for path in folder.iterdir() if (match := name.fullmatch(path.name))]
    backups = sorted((match[1], int(match[2] or 1), path) for match, path in found if not match[3])
    gone = [path for _, _, path in backups[: max(len(backups) - keep, 0)]]
    gone += [path for match, path in found if match[3] and _is_stale(path, now)]
    for path in gone:
        path.unlink()
    return gone


def _is_stale(path: Path, now: datetime) -> bool:
    try:
        written = path.stat().st_mtime
    except FileNotFoundError:  # it has its name now
        return False
    return now - datetime.fromtimestamp(written, UTC) > STALE_AFTER


def put_back(
    backup: Path, database: Path, now: datetime, *, hold: Callable[[], None]
) -> Path | None:
    """Make a verified backup the database; the name under which the one before is kept, if
    there was one.

    `hold` must see to it, on disk, that nothing is sent from what is in this place from then
    on: it is called before anything there is changed, so that a kill at any moment leaves the
    database as it was, or what sends nothing; call it again then. Only the holder of the
    sender lock may. Raises `InUse`, with nothing changed, when a process has the database open.
    """
    part = database.with_name(f"{database.name}.restored.part")
    part.unlink(missing_ok=True)  # of one that was killed
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        shutil.copyfile(backup, part)
        _say_put_back(part)
        _on_disk(part)
        if database.exists():
            _close(database)
        hold()
        kept = _set_aside(database, now)
        part.rename(database)
        _on_disk(database.parent)
    finally:
        part.unlink(missing_ok=True)
    return kept


def _say_put_back(part: Path) -> None:
    """In the header, without SQLite: it would leave a journal beside the file, were it killed.
    https://www.sqlite.org/fileformat2.html#user_version_number"""
    descriptor = os.open(part, os.O_WRONLY)
    try:
        os.pwrite(descriptor, PUT_BACK.to_bytes(4, "big"), 60)
    finally:
        os.close(descriptor)


def _begun(path: Path, ending: str) -> tuple[Path, Path]:
    """A name like this one that no backup has, and the empty file that becomes it: who has
    made that file has the name."""
    for name in _numbered(path, ending):
        part = name.with_name(f"{name.name}.part")
        try:
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            continue
        if not name.exists():
            return name, part
        part.unlink()
    raise AssertionError("numbers do not end")


def _numbered(path: Path, ending: str = "") -> Iterator[Path]:
    yield Path(f"{path}{ending}")
    for number in count(2):
        yield Path(f"{path}-{number}{ending}")


def _set_aside(database: Path, now: datetime) -> Path | None:
    """Rename what is left of a database. Its file goes first, and brings its name: a log that
    stayed would be taken for one of the next database in this place."""
    there = [end for end in _PARTS if Path(f"{database}{end}").exists()]
    stamped = database.with_name(f"{database.name}.before-restore-{now.strftime(_STAMP)}")
    kept = next(
        name
        for name in _numbered(stamped)
        if not any(Path(f"{name}{end}").exists() for end in _PARTS)
    )
    for end in there:
        Path(f"{database}{end}").rename(f"{kept}{end}")
    return kept if "" in there else None


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
