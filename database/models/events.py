"""What ESPs told us about sends, once each."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, String, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from config.esp_config import EspName
from database.models.base import Base, Id, stored_by_value
from services.events import BounceClass, EventKind

Payload = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


class WebhookEvent(Base):
    """One event of an ESP, once: (esp, event_key) makes its redelivery harmless."""

    __tablename__ = "webhook_events"
    __table_args__ = (
        UniqueConstraint("esp", "event_key"),
        Index(
            "ix_webhook_events_touches",
            "send_id",
            sqlite_where=text("kind IN ('opened', 'clicked')"),
            postgresql_where=text("kind IN ('opened', 'clicked')"),
        ),
        Index(
            "ix_webhook_events_origin",
            "origin",
            "occurred_at",
            sqlite_where=text("origin IS NOT NULL"),
            postgresql_where=text("origin IS NOT NULL"),
        ),
        Index("ix_webhook_events_received_at", "received_at"),
    )

    id: Mapped[Id]
    esp: Mapped[EspName] = mapped_column(stored_by_value(EspName))
    event_key: Mapped[str] = mapped_column(String(200))
    kind: Mapped[EventKind] = mapped_column(stored_by_value(EventKind))
    send_id: Mapped[int | None]
    campaign_id: Mapped[int | None]
    subscriber_id: Mapped[int | None]
    occurred_at: Mapped[datetime]
    received_at: Mapped[datetime]
    payload: Mapped[dict[str, Any] | None] = mapped_column(Payload)
    """Raw, for 30 days; then, or when the person is erased, gone."""
    agent: Mapped[str | None] = mapped_column(String(16))
    """Of an open or click: what its own evidence says did it (`lists.touches.Agent`)."""
    link: Mapped[int | None]
    """Of a click: a hash of the address that was clicked."""
    origin: Mapped[int | None]
    """Of an open or click by no known proxy: a hash of its network and user agent."""


class Bounce(Base):
    """One bounce, with what the receiving side said."""

    __tablename__ = "bounces"
    __table_args__ = (Index("ix_bounces_subscriber_id", "subscriber_id"),)

    id: Mapped[Id]
    event_id: Mapped[int | None] = mapped_column(index=True, unique=True)
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
    event_id: Mapped[int | None] = mapped_column(index=True, unique=True)
    esp: Mapped[EspName] = mapped_column(stored_by_value(EspName))
    send_id: Mapped[int | None]
    campaign_id: Mapped[int | None]
    subscriber_id: Mapped[int | None]
    mailbox_provider: Mapped[str] = mapped_column(String(32))
    feedback_type: Mapped[str | None] = mapped_column(String(64))
    diagnostic: Mapped[str | None] = mapped_column(Text)
    occurred_at: Mapped[datetime]
