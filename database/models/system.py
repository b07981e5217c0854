"""What belongs to the installation itself."""

from datetime import datetime

from sqlalchemy import BigInteger, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from database.models.base import Base, Id


class Installation(Base):
    """The one row that says which installation this database belongs to."""

    __tablename__ = "installation"

    id: Mapped[Id]
    identity: Mapped[str] = mapped_column(String(32))
    """Random, made with the database."""
    hash_key: Mapped[bytes] = mapped_column(LargeBinary(32))
    """Keys `email_hash` and `cx_send_id`. Never rotates: suppressions depend on it."""
    created_at: Mapped[datetime]


class SentFrom(Base):
    """The one row that says which PostgreSQL database this was when it was sent from last; none
    before the first time, and none in SQLite, where the place of the file says it."""

    __tablename__ = "sent_from"

    id: Mapped[Id]
    generation: Mapped[int] = mapped_column(BigInteger)
    """How often a person said that it may be sent from, the first start included."""
    server: Mapped[str] = mapped_column(String(20))
    timeline: Mapped[str] = mapped_column(String(8))
    database: Mapped[int] = mapped_column(BigInteger)
    transaction: Mapped[int] = mapped_column(BigInteger)
    """That wrote this row; whatever else writes it, as a restore does, has another number."""
    held: Mapped[str | None] = mapped_column(String(200))
    """Why nothing may be sent until a person confirms it."""
