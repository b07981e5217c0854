"""Overrides of the brake as the database has them; the last one of each counts."""

from typing import Any, cast

from sqlalchemy import Row, Table, func, select
from sqlalchemy.orm import Session

from config.esp_config import EspName
from database.models import BrakeOverride
from services.brake import Limits, Override


def of_esps(session: Session) -> dict[EspName, Override]:
    """The last override of each ESP that ever had one, over or not."""
    return {row.esp: _told(row) for row in session.connection().execute(_LAST_OF_ESPS)}


# Each step of the engine asks, and of the table it takes half the time.
_ALL = cast("Table", BrakeOverride.__table__)
_LAST_OF_ESPS = select(_ALL).where(
    _ALL.c.id.in_(select(func.max(_ALL.c.id)).where(_ALL.c.esp.is_not(None)).group_by(_ALL.c.esp))
)


def of_campaign(session: Session, campaign_id: int) -> Override | None:
    """The last override of a campaign, over or not."""
    row = session.scalar(
        select(BrakeOverride)
        .where(BrakeOverride.campaign_id == campaign_id)
        .order_by(BrakeOverride.id.desc())
        .limit(1)
    )
    return None if row is None else _told(row)


def keep(session: Session, override: Override, *, of: EspName | int, because: str) -> None:
    """Write an override `of` an ESP or of the campaign with this id."""
    session.add(
        BrakeOverride(
            esp=of if isinstance(of, EspName) else None,
            campaign_id=None if isinstance(of, EspName) else of,
            ordered_by=override.ordered_by,
            ordered_at=override.ordered_at,
            why=override.why,
            because=because,
            until=override.until,
            complaints=override.limits.complaints,
            invalid=override.limits.invalid,
        )
    )


def _told(row: BrakeOverride | Row[Any]) -> Override:
    return Override(
        ordered_by=row.ordered_by,
        why=row.why,
        ordered_at=row.ordered_at,
        until=row.until,
        limits=Limits(complaints=row.complaints, invalid=row.invalid),
    )
