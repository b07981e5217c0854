"""Whether a database is the one that was sent from last, or what was made of a copy of it.

Each kind of database tells it in its own way: `origin_sqlite`, `origin_postgres`.
"""

from typing import Protocol

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from database.mark_file import Mark, MarkFile
from database.models import Installation, SendBatch, Suppression

OLDER = "was restored from a backup: it is older than what was sent from here last"


class Origin(Protocol):
    """Of one database. Only who holds the sender lock may `take`, `hold` and `report`."""

    def why_held(self, session: Session, mark: Mark | None) -> str | None:
        """Why it must not be sent from, as what is said of it; `None` if it may be. `mark` was
        read before the session began."""

    def is_whole(self, session: Session, mark: Mark | None) -> bool:
        """Whether the mark shows that nothing in it is older, whatever it is held for."""

    def take(self, file: MarkFile) -> Mark:
        """From now on this one is sent from, as it stands; that is what is returned."""

    def hold(self, file: MarkFile, why: str) -> None:
        """Nothing is sent from it until a person confirms it."""

    def report(self, file: MarkFile) -> None:
        """Hold it for other machines too, if only the mark of this one shows that it is older."""

    def follow(self, file: MarkFile) -> None:
        """Note what another machine has sent from it."""


def identity_of(session: Session) -> str:
    return session.scalar(select(Installation.identity)) or ""


def highest(session: Session, table: type[SendBatch] | type[Suppression]) -> int:
    return session.scalar(select(func.max(table.id))) or 0
