"""The rows of `suppressions` as people look at them: the newest, and all about one address."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from database.models import Subscriber, Suppression


def newest(session: Session, *, before: int | None, limit: int) -> Sequence[Suppression]:
    """A page, the newest first; `before` is the last id of the page before."""
    rows = select(Suppression).order_by(Suppression.id.desc()).limit(limit)
    if before is not None:
        rows = rows.where(Suppression.id < before)
    return session.scalars(rows).all()


def history(session: Session, email_hash: bytes) -> Sequence[Suppression]:
    """Everything that was ever said about this address, the newest first."""
    rows = select(Suppression).where(Suppression.email_hash == email_hash)
    return session.scalars(rows.order_by(Suppression.id.desc())).all()


def addresses(session: Session, rows: Sequence[Suppression]) -> dict[bytes, str]:
    """The addresses of those who are still on the list, by hash. Reads the table once."""
    hashes = [row.email_hash for row in rows]
    found = select(Subscriber.email_hash, Subscriber.email).where(Subscriber.email_hash.in_(hashes))
    return {who: email for who, email in session.execute(found)}  # noqa: C416 - dict() loses the type
