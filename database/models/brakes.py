"""What operators decided about the brake."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from config.esp_config import EspName
from database.models.base import Base, Id, stored_by_value


class BrakeOverride(Base):
    """Somebody let an ESP, or a campaign, go on although its figures brake it; rows are only
    added, and the last one of each counts."""

    __tablename__ = "brake_overrides"
    __table_args__ = (
        Index("ix_brake_overrides_esp", "esp", "id"),
        Index("ix_brake_overrides_campaign_id", "campaign_id", "id"),
    )

    id: Mapped[Id]
    esp: Mapped[EspName | None] = mapped_column(stored_by_value(EspName))
    campaign_id: Mapped[int | None] = mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"))
    """Either this or `esp`."""
    ordered_by: Mapped[str] = mapped_column(String(200))
    ordered_at: Mapped[datetime]
    why: Mapped[str] = mapped_column(Text)
    because: Mapped[str] = mapped_column(Text)
    """What the brake said, in words for a person."""
    until: Mapped[datetime | None]
    """When it ends; null: only by worse figures."""
    complaints: Mapped[float]
    """The limit until then, a share of accepted mails: where the figures stood."""
    invalid: Mapped[float]
