"""What an import refused, kept as a file for seven days so that a person can mend it."""

import csv
import logging
import re
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from lists.cells import harmless
from lists.csv_rows import Refusal

_log = logging.getLogger(__name__)

KEPT = timedelta(days=7)
MAX_KEPT = 100_000
"""Rows in one file; the rest is only counted."""
_ID = re.compile(r"[A-Za-z0-9_-]{22}")


class RefusalFile:
    """The refusals of one import; the file exists from the first one on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._left = MAX_KEPT
        self.id: str | None = None

    def add(self, refusals: Iterable[Refusal]) -> None:
        kept = list(refusals)[: self._left]
        if not kept:
            return
        try:
            self._write(kept)
        except OSError:  # a help to whoever mends the list; the import itself goes on
            _log.warning("refused lines could not be kept", exc_info=True)
            self._left = 0
        else:
            self._left -= len(kept)

    def _write(self, kept: list[Refusal]) -> None:
        is_new = self.id is None
        self.id = self.id or secrets.token_urlsafe(16)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _path(self._folder, self.id).open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                _path(self._folder, self.id).chmod(0o600)
                writer.writerow(("row", "email", "reason"))
            writer.writerows((one.row, _cell(one.email), one.reason) for one in kept)


def find_refusals(folder: Path, name: str, now: datetime) -> Path | None:
    """The file of an import by its id, unless its time is over."""
    if not _ID.fullmatch(name):
        return None
    path = _path(folder, name)
    return path if path.is_file() and not _is_over(path, now) else None


def forget_old_refusals(folder: Path, now: datetime) -> None:
    """They hold addresses: a week is enough to mend a list."""
    for path in folder.glob("*.refused.csv"):
        if _is_over(path, now):
            path.unlink(missing_ok=True)


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.refused.csv"


def _is_over(path: Path, now: datetime) -> bool:
    return now.timestamp() - path.stat().st_mtime > KEPT.total_seconds()


def _cell(text: str) -> str:
    return harmless(text.encode("utf-8", "replace").decode())
