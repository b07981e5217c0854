"""What belongs to the installation itself."""

from datetime import datetime

from sqlalchemy import LargeBinary, String
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
