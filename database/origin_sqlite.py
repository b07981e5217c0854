"""A SQLite database is the original in its place, on its machine, beside its mark."""

from dataclasses import replace
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from database.mark_file import Mark, MarkFile, is_older
from database.models import SendBatch, Suppression
from database.origin import OLDER, highest, identity_of
from database.session import Database

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
        return why_held(mark, self._stand(session), was_marked=_was_marked(session))

    def is_whole(self, session: Session, mark: Mark | None) -> bool:
        if mark is None:
            return False
        now = self._stand(session)
        here = replace(mark, machine=now.machine, place=now.place)
        return why_held(here, now, was_marked=True) is None

    def take(self, file: MarkFile) -> Mark:
        with self._database.read() as session:
            now, was_marked = self._stand(session), _was_marked(session)
        file.write(now, sync=True)
        if not was_marked:
            with self._database.write() as session:
                session.execute(text("PRAGMA user_version = 1"))
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


def _was_marked(session: Session) -> bool:
    """Kept in the database's header, so that every copy and backup says it too."""
    return bool(session.execute(text("PRAGMA user_version")).scalar())


def _machine() -> str:
    try:
        return MACHINE_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
