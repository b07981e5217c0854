"""Write what events make of sends, and what that adds to the counters of campaigns."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import cast

from sqlalchemy import Table, bindparam, update
from sqlalchemy.orm import Session

from config.esp_config import EspName
from database.bulk import Bulk
from database.models import (
    BatchState,
    Campaign,
    CampaignStatus,
    CampaignTally,
    EmailSend,
    SendBatch,
    SendStatus,
    TallyKind,
)
from database.upsert import add_to
from services.event_recorder.judging import Judged
from services.event_recorder.sends import Counts, SendChange, Step
from services.ledger.finish import finish
from services.standing import hour_of, reserve_quota

_SENDS = cast("Table", EmailSend.__table__)
_CAMPAIGNS = cast("Table", Campaign.__table__)
_HEARD = ("heard", "delivery", "delivered_at", "esp_message_id")
_JUDGED = ("unsubscribed", "interest", "opened", "clicked")
_NOTE_HEARD, _NOTE_JUDGED = (
    Bulk(
        update(_SENDS)
        .where(_SENDS.c.id == bindparam("send"))
        .values({name: bindparam(f"new_{name}") for name in names}),
        ("send", *(f"new_{name}" for name in names)),
    )
    for names in (_HEARD, _JUDGED)
)
_SETTLE = Bulk(
    update(_SENDS)
    .where(_SENDS.c.id == bindparam("send"))
    .values(
        status=SendStatus.ACCEPTED,
        reason=None,
        esp=bindparam("carrier"),
        refused_by=None,
        settled_at=bindparam("at"),
    ),
    ("send", "carrier", "at"),
)


def write_sends(
    session: Session, esp: EspName, changes: Sequence[SendChange], now: datetime
) -> None:
    """What changed of each; `changes` in the order of send ids."""
    connection = session.connection()
    heard = [
        (c.send.id, c.heard, c.delivery, c.delivered_at, c.message_id)
        for c in changes
        if c.says_more
    ]
    _NOTE_HEARD.run(connection, heard)
    judged = [
        (c.send.id, c.unsubscribed, c.interest, c.opened, c.clicked) for c in changes if c.differs
    ]
    _NOTE_JUDGED.run(connection, judged)
    settled = [change for change in changes if change.is_settled]
    _SETTLE.run(connection, [(c.send.id, esp, now) for c in settled])
    for change in settled:
        if change.send.status is SendStatus.QUEUED:
            reserve_quota(session, esp, 1, hour_of(now))
        elif change.send.status is SendStatus.UNKNOWN:
            _settle_batch(session, change)


def write_counts(
    session: Session,
    esp: EspName,
    steps: Mapping[Step, int],
    judged: Iterable[Judged],
    now: datetime,
) -> None:
    """Add to the counters of each campaign, and end one whose last unknown was settled."""
    counts = Counts()
    for step, n in steps.items():
        counts.add(esp, step, n)
    for one in judged:
        counts.add_judged(esp, one.change, one.machines)
    for campaign_id in sorted(counts.campaigns):
        _count(session, campaign_id, dict(counts.campaigns[campaign_id]), now)
    for (campaign_id, kind, key), n in sorted(counts.tallies.items()):
        if n:
            row = {"campaign_id": campaign_id, "kind": TallyKind(kind), "key": key}
            add_to(session, CampaignTally, row, {"n": n})


def _settle_batch(session: Session, change: SendChange) -> None:
    """The call that carried it is known to have been taken, as far as this send goes."""
    batch = SendBatch.__table__.c
    left = batch.unknown - 1
    session.execute(
        update(SendBatch)
        .where(SendBatch.id == change.send.batch_id)
        .values(unknown=left, accepted=batch.accepted + 1)
        .execution_options(synchronize_session=False)
    )
    session.execute(
        update(SendBatch)
        .where(SendBatch.id == change.send.batch_id, SendBatch.unknown == 0)
        .values(state=BatchState.DONE)
        .execution_options(synchronize_session=False)
    )


def _count(session: Session, campaign_id: int, by: dict[str, int], now: datetime) -> None:
    columns = {name: n for name, n in by.items() if n}
    if not columns:
        return
    session.connection().execute(
        update(_CAMPAIGNS)
        .where(_CAMPAIGNS.c.id == campaign_id)
        .values({name: _CAMPAIGNS.c[name] + n for name, n in columns.items()})
    )
    if columns.get("unknown"):
        campaign = session.get_one(Campaign, campaign_id, populate_existing=True)
        if campaign.status is CampaignStatus.NEEDS_REVIEW and campaign.unknown == 0:
            finish(session, campaign, now)
