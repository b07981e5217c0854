"""What ESPs told us about sends, once each."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from config.esp_config import EspName
from database.models.base import Base, Id, Json, stored_by_value


class BounceClass(StrEnum):
    """What a bounce means for the next mail to that address."""

    HARD = "hard"
    """No such mailbox: never again."""
    SOFT = "soft"
    """Full, slow or away: the next campaign may try."""
    BLOCKED = "blocked"
    """Refused for who sent it or what it said: not the recipient's fault."""


class WebhookEvent(Base):
    """One event of an ESP, once: (esp, event_key) makes its redelivery harmless."""

    __tablename__ = "webhook_events"
    __table_args__ = (UniqueConstraint("esp", "event_key"),)

    id: Mapped[Id]
    esp: Mapped[EspName] = mapped_column(stored_by_value(EspName))
    event_key: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(32))
    send_id: Mapped[int | None]
    campaign_id: Mapped[int | None]
    subscriber_id: Mapped[int | None]
    occurred_at: Mapped[datetime]
    received_at: Mapped[datetime]
    payload: Mapped[dict[str, Any] | None] = mapped_column(Json)
    """Raw, for 30 days; then, or when the person is erased, gone."""


class Bounce(Base):
    """One bounce, with what the receiving side said."""

    __tablename__ = "bounces"
    __table_args__ = (Index("ix_bounces_subscriber_id", "subscriber_id"),)

    id: Mapped[Id]
    esp: Mapped[EspName] = mapped_column(stored_by_value(EspName))
    send_id: Mapped[int | None]
    campaign_id: Mapped[int | None]
    subscriber_id: Mapped[int | None]
    mailbox_provider: Mapped[str] = mapped_column(String(32))
    bounce_class: Mapped[BounceClass] = mapped_column(stored_by_value(BounceClass))
    code: Mapped[str | None] = mapped_column(String(64))
    diagnostic: Mapped[str | None] = mapped_column(Text)
    occurred_at: Mapped[datetime]


class Complaint(Base):
    """One spam complaint."""

    __tablename__ = "complaints"
    __table_args__ = (Index("ix_complaints_subscriber_id", "subscriber_id"),)

    id: Mapped[Id]
    esp: Mapped[EspName] = mapped_column(stored_by_value(EspName))
    send_id: Mapped[int | None]
    campaign_id: Mapped[int | None]
    subscriber_id: Mapped[int | None]
    mailbox_provider: Mapped[str] = mapped_column(String(32))
    feedback_type: Mapped[str | None] = mapped_column(String(64))
    diagnostic: Mapped[str | None] = mapped_column(Text)
    occurred_at: Mapped[datetime]
