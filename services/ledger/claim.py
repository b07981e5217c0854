"""Claim sends for one call: committed as `sending` before the first byte leaves."""

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
    """A send of a batch, with its person as they are now (`None`s once they are erased).

    A row of `_COLUMNS` as the driver gives it: there is one for each mail.
    """

    send_id: int
    attempt: int
    subscriber_id: int
    email: str
    email_hash: bytes
    first_name: str | None
    last_name: str | None
    mailbox_provider: str
    attributes: str | Mapping[str, Any]
    """JSON: text on SQLite, parsed by the driver on PostgreSQL. So are the tags."""
    tags: str | Sequence[str]
    refused_by: str | None
    """The ESP that refused it last."""
    kept_from: str | None
    """Why its person must not be written to any more."""


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
    queued = _next_in_queue(session, campaign, n, now, closed)
    sends = [send for send in queued if send.kept_from is None]
    left = _skip(session, campaign.id, [send for send in queued if send.kept_from is not None])
    counters = {"queued": -len(queued), "sending": len(sends), "skipped": left}
    move(session, campaign.id, now, counters)
    set_committed_value(campaign, "queued", campaign.queued - len(queued))
    if not sends:
        return None
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
    refusers = Counter([send.refused_by for send in sends])
    changes = {f"{one}>{esp}": count for one, count in refusers.items() if one not in (None, esp)}
    kinds = {TallyKind.CLAIMED: {esp.value: len(sends)}, TallyKind.FAILOVER: changes}
    tally_each(session, campaign.id, kinds)
    return batch


def batch_sends(session: Session, batch_id: int, first: int, last: int) -> Sequence[ClaimedSend]:
    """The sends of a batch that are still `sending`, also those of the erased."""
    said = {"batch": batch_id, "first": first, "last": last}
    return _read(session, _OF_BATCH, said)


def _next_in_queue(
    session: Session, campaign: Campaign, n: int, now: datetime, closed: Collection[str]
) -> list[ClaimedSend]:
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
    _SENDS.c.refused_by,
)
_FROM = _SENDS.outerjoin(_PEOPLE, _PEOPLE.c.id == _SENDS.c.subscriber_id)
_OF_BATCH = (
    select(*_COLUMNS, null())
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
        select(*_COLUMNS, _kept_from(asked_for))
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
        (suppressed(_PEOPLE.c.email_hash, _NOW, of_few=True), literal(SkipReason.SUPPRESSED.value)),
        (_PEOPLE.c.status != SubscriberStatus.ACTIVE, literal(SkipReason.NOT_ACTIVE.value)),
        else_=null(),
    )


def _read(session: Session, statement: Executable, said: Mapping[str, Any]) -> list[ClaimedSend]:
    """Without SQLAlchemy's rows, which take longer to make than all the rest."""
    cursor = session.connection().execute(statement, said).cursor
    assert cursor is not None
    return list(map(ClaimedSend._make, cursor.fetchall()))


def _skip(session: Session, campaign_id: int, sends: Sequence[ClaimedSend]) -> int:
    """Take sends out of the queue, each with its reason; how many."""
    if not sends:
        return 0
    rows = [(SendStatus.SKIPPED, send.kept_from, send.send_id) for send in sends]
    _SKIP.run(session.connection(), rows)
    reasons = Counter([str(send.kept_from) for send in sends])
    tally(session, campaign_id, TallyKind.SKIPPED, reasons)
    return len(sends)


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
