"""Claim sends for one call: committed as `sending` before the first byte leaves."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, cast

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Executable,
    Integer,
    Table,
    Update,
    any_,
    bindparam,
    case,
    insert,
    literal,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from config.esp_config import EspName
from database.bulk import Bulk
from database.models import (
    BatchState,
    Campaign,
    EmailSend,
    SendBatch,
    SendStatus,
    SkipReason,
    Subscriber,
    SubscriberStatus,
    TallyKind,
)
from list_manager import suppressed
from services.ledger.confirmation import is_asked_for
from services.ledger.counters import changed, move, tally, tally_each
from services.standing import hour_of, reserve_quota

# The partial index is used only where the statement says the very words of its condition.
QUEUED: ColumnElement[str] = literal_column("'queued'")
_SENDS = cast("Table", EmailSend.__table__)
_PEOPLE = cast("Table", Subscriber.__table__)
_NOW: BindParameter[datetime] = bindparam("now", type_=_SENDS.c.claimed_at.type)


class ClaimedSend(NamedTuple):
    """A send of a batch, with its person as they are now (`None`s once they are erased)."""

    send_id: int
    attempt: int
    subscriber_id: int
    email: str
    email_hash: bytes
    first_name: str | None
    last_name: str | None
    mailbox_provider: str
    attributes: Mapping[str, Any]
    tags: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedBatch:
    """Sends that one call may carry; committed as `sending` before the call is made."""

    id: int
    campaign_id: int
    esp: EspName
    sends: Sequence[ClaimedSend]
    """In the order of their ids."""
    quota_hour: datetime
    probe: bool


def claim(
    session: Session,
    campaign: Campaign,
    esp: EspName,
    n: int,
    now: datetime,
    *,
    probe: bool,
    closed: Collection[str] = (),
) -> ClaimedBatch | None:
    """Move up to `n` queued sends to `sending` under a new batch, with quota reserved.

    Rows whose person left meanwhile become `skipped`; those at mailbox providers that are
    `closed` to this ESP stay queued. `None` when nothing was claimed. Of `campaign`'s counters
    `queued` is up to date afterwards.
    """
    rows = _next_in_queue(session, campaign, n, now, closed)
    free = [row for row in rows if row[-1] is None]
    left = _skip(session, campaign.id, [(row[0], row[-1]) for row in rows if row[-1] is not None])
    counters = {"queued": -len(rows), "sending": len(free), "skipped": left}
    move(session, campaign.id, now, counters)
    set_committed_value(campaign, "queued", campaign.queued - len(rows))
    if not free:
        return None
    sends = [_send(row) for row in free]
    batch = ClaimedBatch(
        id=_new_batch(session, campaign.id, esp, sends, now),
        campaign_id=campaign.id,
        esp=esp,
        sends=sends,
        quota_hour=hour_of(now),
        probe=probe,
    )
    _take(session, batch, now, closed)
    reserve_quota(session, esp, len(sends), batch.quota_hour)
    refusers = Counter([row[-2] for row in free])
    changes = {f"{one}>{esp}": count for one, count in refusers.items() if one not in (None, esp)}
    kinds = {TallyKind.CLAIMED: {esp.value: len(sends)}, TallyKind.FAILOVER: changes}
    tally_each(session, campaign.id, kinds)
    return batch


def batch_sends(session: Session, batch_id: int, first: int, last: int) -> Sequence[ClaimedSend]:
    """The sends of a batch that are still `sending`, also those of the erased."""
    said = {"batch": batch_id, "first": first, "last": last}
    return [_send(row) for row in _read(session, _OF_BATCH, said)]


def _next_in_queue(
    session: Session, campaign: Campaign, n: int, now: datetime, closed: Collection[str]
) -> list[tuple[Any, ...]]:
    """What `_send` reads, then `refused_by` and why the person must not be written to."""
    asked_for = is_asked_for(campaign, now)
    make = _queue if asked_for is None else _queue.__wrapped__
    said = {"campaign": campaign.id, "n": n, "now": now}
    if closed:
        said["closed"] = sorted(closed)
    return _read(session, make(bool(closed), asked_for), said)


_COLUMNS = (
    _SENDS.c.id,
    # The next call's, once a send is queued.
    _SENDS.c.attempt + case((_SENDS.c.status == QUEUED, 1), else_=0),
    _SENDS.c.subscriber_id,
    _PEOPLE.c.email,
    _PEOPLE.c.email_hash,
    _PEOPLE.c.first_name,
    _PEOPLE.c.last_name,
    _SENDS.c.mailbox_provider,
    _PEOPLE.c.attributes,
    _PEOPLE.c.tags,
)
_FROM = _SENDS.outerjoin(_PEOPLE, _PEOPLE.c.id == _SENDS.c.subscriber_id)
_OF_BATCH = (
    select(*_COLUMNS)
    .select_from(_FROM)
    .where(
        _SENDS.c.id.between(bindparam("first"), bindparam("last")),
        _SENDS.c.batch_id == bindparam("batch"),
        _SENDS.c.status == SendStatus.SENDING,
    )
    .order_by(_SENDS.c.id)
)
_CLOSED = _SENDS.c.mailbox_provider.not_in(bindparam("closed", expanding=True))


# Each batch runs it, and to build it takes longer than a small batch takes to claim.
@lru_cache
def _queue(is_partly_closed: bool, asked_for: ColumnElement[bool] | None) -> Executable:
    conditions = [_SENDS.c.campaign_id == bindparam("campaign"), _SENDS.c.status == QUEUED]
    return (
        select(*_COLUMNS, _SENDS.c.refused_by, _kept_from(asked_for))
        .select_from(_FROM)
        .where(*conditions, *([_CLOSED] if is_partly_closed else []))
        .order_by(_SENDS.c.id)
        .limit(bindparam("n", type_=Integer))
        .with_for_update(of=_SENDS, skip_locked=True)
    )


def _kept_from(asked_for: ColumnElement[bool] | None) -> ColumnElement[str | None]:
    """Why the person of a send must not be written to any more; NULL when they may be."""
    return case(
        *([] if asked_for is None else [(asked_for, null())]),
        (_PEOPLE.c.id.is_(None), literal(SkipReason.ERASED.value)),
        (suppressed(_PEOPLE.c.email_hash, _NOW), literal(SkipReason.SUPPRESSED.value)),
        (_PEOPLE.c.status != SubscriberStatus.ACTIVE, literal(SkipReason.NOT_ACTIVE.value)),
        else_=null(),
    )


def _read(session: Session, statement: Executable, said: Mapping[str, Any]) -> list[Any]:
    """Rows as the driver gives them: SQLAlchemy's take longer to make than all the rest."""
    cursor = session.connection().execute(statement, said).cursor
    assert cursor is not None
    return list(cursor.fetchall())


def _send(row: Sequence[Any]) -> ClaimedSend:
    return ClaimedSend._make((*row[:8], _parsed(row[8]), _parsed(row[9])))


def _parsed(value: Any) -> Any:
    """JSON of a row: text on SQLite, parsed by the driver on PostgreSQL."""
    if not isinstance(value, str):
        return value
    return _EMPTY[value] if value in _EMPTY else json.loads(value)


_EMPTY: dict[str, Any] = {"{}": {}, "[]": []}


def _skip(session: Session, campaign_id: int, kept: Sequence[tuple[int, str]]) -> int:
    """Take sends out of the queue, each with its reason; how many."""
    if not kept:
        return 0
    _SKIP.run(session.connection(), [(SendStatus.SKIPPED, why, send_id) for send_id, why in kept])
    tally(session, campaign_id, TallyKind.SKIPPED, Counter(why for _, why in kept))
    return len(kept)


_SKIP = Bulk(
    update(_SENDS)
    .where(_SENDS.c.id == bindparam("send"))
    .values(
        status=bindparam("new_status"), reason=bindparam("why"), batch_id=None, claimed_at=None
    ),
    ("new_status", "why", "send"),
)


def _new_batch(
    session: Session, campaign_id: int, esp: EspName, sends: Sequence[ClaimedSend], now: datetime
) -> int:
    said = {
        "campaign_id": campaign_id,
        "esp": esp,
        "state": BatchState.SENDING,
        "size": len(sends),
        "first_send_id": sends[0].send_id,
        "last_send_id": sends[-1].send_id,
        "quota_hour": hour_of(now),
        "started_at": now,
    }
    return int(session.connection().execute(_NEW_BATCH, said).scalar_one())


_NEW_BATCH = insert(SendBatch).returning(SendBatch.id)


def _take(session: Session, batch: ClaimedBatch, now: datetime, closed: Collection[str]) -> None:
    """Move the sends of a batch, and nothing else, to `sending`."""
    connection = session.connection()
    said: dict[str, Any] = {"carrier": batch.esp, "batch": batch.id, "now": now}
    if connection.dialect.name == "postgresql":
        statement = _TAKE_EACH
        said["sends"] = [send.send_id for send in batch.sends]
    else:  # nobody else writes meanwhile, so what is queued in their range are these
        statement = _TAKE_PARTLY if closed else _TAKE
        ends = {"first": batch.sends[0].send_id, "last": batch.sends[-1].send_id}
        said |= {"campaign": batch.campaign_id, **ends}
        if closed:
            said["closed"] = sorted(closed)
    if changed(connection.execute(statement, said)) != len(batch.sends):
        raise RuntimeError("sends were moved while they were claimed")


def _taken(*where: ColumnElement[bool]) -> Update:
    return (
        update(_SENDS)
        .where(*where, _SENDS.c.status == QUEUED)
        .values(
            status=SendStatus.SENDING,
            reason=None,
            attempt=_SENDS.c.attempt + 1,
            esp=bindparam("carrier"),
            batch_id=bindparam("batch"),
            claimed_at=_NOW,
        )
    )


_TAKE_EACH = _taken(_SENDS.c.id == any_(bindparam("sends", type_=ARRAY(BigInteger))))
# "+ 0": the index on (campaign_id, …) would scan the whole campaign for each batch.
_RANGE = (
    _SENDS.c.id.between(bindparam("first"), bindparam("last")),
    _SENDS.c.campaign_id + 0 == bindparam("campaign"),
)
_TAKE, _TAKE_PARTLY = _taken(*_RANGE), _taken(*_RANGE, _CLOSED)
