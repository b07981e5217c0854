"""The mark of a database: a file that says how far it had come when it was sent from last.

It is written after the commit of a claim and before its calls: a crash between the two
leaves it behind the database, never before it, and no call was made.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

_SIZE = 4096
"""Of the file, whatever it says: to write it again moves no block and no length."""
_SYNC_EVERY_S = 1.0
"""What a power cut may take from the mark. It matters to a backup made in that second alone,
and an fsync for each claim would cost as much as its commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How a database stood when it was sent from last; the numbers first, in one sector."""

    generation: int = 0
    """Of a PostgreSQL database: how often it was confirmed; the next numbers are of it."""
    batch: int = 0
    """The last claim: the highest id of `send_batches`."""
    suppression: int = 0
    """The highest id of `suppressions`."""
    identity: str = ""
    """Of the installation."""
    machine: str = ""
    place: str = ""
    """The path of a SQLite database."""
    is_noted: bool = False
    """By a machine that waits, so what was claimed since then it does not know."""
    held: str | None = None
    """Why it must not be sent from, whatever else fits, until a person confirms it."""


def is_older(now: Mark, mark: Mark) -> bool:
    """Whether a database that stands as `now` lacks what the mark has seen. Rows of these tables
    stay, so a number never falls while a generation lasts."""
    if now.generation != mark.generation:
        return now.generation < mark.generation
    return now.batch < mark.batch or now.suppression < mark.suppression


class MarkFile:
    """Where the mark is kept; without a path, nowhere."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: int | None = None
        self.is_synced = True
        self._synced_at = 0.0

    def read(self) -> Mark | None:
        """A mark that cannot be read holds the database."""
        if self._path is None:
            return None
        try:
            return Mark(**json.loads(self._path.read_text("utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            return Mark(held=f"has a mark that cannot be read, {self._path.name}: {error}")

    def write(self, mark: Mark, *, sync: bool) -> None:
        """With `sync` it survives a power cut; without, if the last that did is a second old."""
        if self._path is None:
            return
        if self._file is None:
            self._file = _opened(self._path)
        said = json.dumps({name: getattr(mark, name) for name in Mark.__slots__}).encode()
        os.pwrite(self._file, said.ljust(_SIZE), 0)
        self.is_synced = sync or time.monotonic() - self._synced_at >= _SYNC_EVERY_S
        if self.is_synced:
            os.fdatasync(self._file)
            self._synced_at = time.monotonic()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _opened(path: Path) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return file
