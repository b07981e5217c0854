"""The counters of a campaign, kept in the transaction that moves a send.

After every commit: planned = skipped + queued + sending + accepted + rejected + unknown + cancelled.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from sqlalchemy import CursorResult, select
from sqlalchemy.orm import Session

from database.models import Campaign, CampaignTally, TallyKind
from database.upsert import add_to_each, add_to_row, write_sums


def move(session: Session, campaign_id: int, now: datetime, by: Mapping[str, int]) -> None:
    """Add to counters of a campaign."""
    add_to_row(session, Campaign, campaign_id, by, {"last_step_at": now})


def tally(session: Session, campaign_id: int, kind: TallyKind, by: Mapping[str, int]) -> None:
    """Add to the keyed counters of a campaign."""
    tally_each(session, campaign_id, {kind: by})


def tally_each(
    session: Session, campaign_id: int, by_kind: Mapping[TallyKind, Mapping[str, int]]
) -> None:
    """Add to keyed counters of several kinds."""
    rows = [
        (campaign_id, kind, key, n) for kind, by in by_kind.items() for key, n in by.items() if n
    ]
    add_to_each(session, CampaignTally, ("campaign_id", "kind", "key"), ("n",), rows)


def tallies(session: Session, campaign_id: int, kind: TallyKind) -> dict[str, int]:
    """The keyed counters of a campaign that are not zero."""
    write_sums(session)
    rows = session.execute(
        select(CampaignTally.key, CampaignTally.n)
        .where(
            CampaignTally.campaign_id == campaign_id,
            CampaignTally.kind == kind,
            CampaignTally.n != 0,
        )
        .order_by(CampaignTally.key)
    )
    return dict(rows.all())


def changed(result: Any) -> int:
    """How many rows a statement changed."""
    return cast("CursorResult[Any]", result).rowcount
