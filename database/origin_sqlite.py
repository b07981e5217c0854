"""A SQLite database is the original in its place, on its machine, beside its mark."""

from dataclasses import replace
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from database.mark_file import Mark, MarkFile, is_older
from database.models import SendBatch, Suppression
from database.origin import OLDER, highest, identity_of
from database.session import Database

_SENT_FROM, PUT_BACK = 1, 2
"""The `user_version` of a database that has had a mark, and of one that `restore` made and
nobody has confirmed: in the header, so that every copy and backup says it too."""
MACHINE_ID = Path("/etc/machine-id")
"""Systemd's; it differs between a machine and its copy once that was made a machine of its own.
Where there is none, the place alone tells."""


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
    if is_older(now, mark):
        return OLDER
    if now.machine != mark.machine:
        return "was copied from another machine"
    if now.place != mark.place:
        return f"was copied or moved from {mark.place}"
    return None


class SqliteOrigin:
    def __init__(self, database: Database) -> None:
        self._database = database

    def why_held(self, session: Session, mark: Mark | None) -> str | None:
        return why_held(mark, self._stand(session), was_marked=_version(session) > 0)

    def is_whole(self, session: Session, mark: Mark | None) -> bool:
        if mark is None or _version(session) == PUT_BACK:
            return False
        now = self._stand(session)
        # Held by a restore that did not come to its end, it is still what it was.
        here = replace(mark, machine=now.machine, place=now.place, held=None)
        return why_held(here, now, was_marked=True) is None

    def take(self, file: MarkFile) -> Mark:
        with self._database.read() as session:
            now, version = self._stand(session), _version(session)
        file.write(now, sync=True)
        if version != _SENT_FROM:
            with self._database.write() as session:
                session.execute(text(f"PRAGMA user_version = {_SENT_FROM}"))
        return now

    def hold(self, file: MarkFile, why: str) -> None:
        file.write(replace(file.read() or Mark(), held=why), sync=True)

    def report(self, file: MarkFile) -> None:
        """A file has one machine."""

    def follow(self, file: MarkFile) -> None:
        """A file has one machine, and its mark is the sender's to write."""

    def _stand(self, session: Session) -> Mark:
        assert self._database.path is not None
        return Mark(
            batch=highest(session, SendBatch),
            suppression=highest(session, Suppression),
            identity=identity_of(session),
            machine=_machine(),
            place=str(self._database.path.resolve()),
        )


def _version(session: Session) -> int:
    return int(session.execute(text("PRAGMA user_version")).scalar_one())


def _machine() -> str:
    try:
        return MACHINE_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
