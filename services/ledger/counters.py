"""The counters of a campaign, kept in the transaction that moves a send.

After every commit: planned = skipped + queued + sending + accepted + rejected + unknown + cancelled.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import CursorResult, Table, Update, bindparam, select, update
from sqlalchemy.orm import Session

from database.models import Campaign, CampaignTally, TallyKind
from database.upsert import add_to_each

_CAMPAIGNS = cast("Table", Campaign.__table__)


def move(session: Session, campaign_id: int, now: datetime, by: Mapping[str, int]) -> None:
    """Add to counters of a campaign."""
    said = {f"by_{name}": n for name, n in by.items()}
    statement = _moved(tuple(by))
    session.connection().execute(statement, {**said, "campaign": campaign_id, "now": now})


@lru_cache
def _moved(counters: tuple[str, ...]) -> Update:
    columns = _CAMPAIGNS.c
    return (
        update(_CAMPAIGNS)
        .where(columns.id == bindparam("campaign"))
        .values(
            {name: columns[name] + bindparam(f"by_{name}") for name in counters}
            | {"last_step_at": bindparam("now")}
        )
    )


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
