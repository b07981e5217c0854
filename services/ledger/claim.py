"""Claim sends for one call: committed as `sending` before the first byte leaves."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Integer,
    Row,
    Select,
    Table,
    bindparam,
    case,
    delete,
    exists,
    insert,
    literal,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.orm import Session

from config.esp_config import EspName
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
from services.ledger.counters import move, tally
from services.standing import hour_of, reserve_quota

# The partial index is used only where the statement says the very words of its condition.
QUEUED: ColumnElement[str] = literal_column("'queued'")
_SENDS = cast("Table", EmailSend.__table__)
_PEOPLE = cast("Table", Subscriber.__table__)
_NOW: BindParameter[datetime] = bindparam("now", type_=_SENDS.c.claimed_at.type)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedBatch:
    """Sends that one call may carry; committed as `sending` before the call is made."""

    id: int
    campaign_id: int
    esp: EspName
    sends: Sequence[Row[Any]]
    """send_id, attempt, subscriber_id, email, email_hash, first_name, last_name,
    attributes, tags, mailbox_provider: in the order of send ids."""
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
    `closed` to this ESP stay queued. `None` when nothing was claimed.
    """
    batch_id = _new_batch(session, campaign.id, esp, now)
    rows = _claim_rows(session, campaign, esp, n, batch_id, now, closed)
    taken = {row.id: row for row in rows if row.status is SendStatus.SENDING}
    left = Counter(row.reason for row in rows if row.status is SendStatus.SKIPPED)
    sends = batch_sends(session, batch_id, min(taken), max(taken)) if taken else []
    erased = taken.keys() - {send.send_id for send in sends}
    left[SkipReason.ERASED.value] += len(erased)
    if left.total():
        _let_go(session, [row.id for row in rows if row.status is SendStatus.SKIPPED], erased)
        tally(session, campaign.id, TallyKind.SKIPPED, left)
    counters = {"queued": -len(rows), "sending": len(sends), "skipped": left.total()}
    move(session, campaign.id, now, counters)
    if not sends:
        session.execute(delete(SendBatch).where(SendBatch.id == batch_id))
        return None
    batch = ClaimedBatch(
        id=batch_id,
        campaign_id=campaign.id,
        esp=esp,
        sends=sends,
        quota_hour=hour_of(now),
        probe=probe,
    )
    _book(session, batch, refusers=[taken[send.send_id].refused_by for send in sends])
    return batch


def _book(session: Session, batch: ClaimedBatch, refusers: Sequence[EspName | None]) -> None:
    """Note the size of a batch, take it from the quota, and count whom it came from."""
    first, last, size = batch.sends[0].send_id, batch.sends[-1].send_id, len(batch.sends)
    session.execute(
        update(SendBatch)
        .where(SendBatch.id == batch.id)
        .values(size=size, first_send_id=first, last_send_id=last)
    )
    reserve_quota(session, batch.esp, size, batch.quota_hour)
    tally(session, batch.campaign_id, TallyKind.CLAIMED, {batch.esp.value: size})
    changes = Counter(f"{one}>{batch.esp}" for one in refusers if one not in (None, batch.esp))
    tally(session, batch.campaign_id, TallyKind.FAILOVER, changes)


def _new_batch(session: Session, campaign_id: int, esp: EspName, now: datetime) -> int:
    row = session.execute(
        insert(SendBatch)
        .values(
            campaign_id=campaign_id,
            esp=esp,
            state=BatchState.SENDING,
            size=0,
            first_send_id=0,
            last_send_id=0,
            quota_hour=hour_of(now),
            started_at=now,
        )
        .returning(SendBatch.id)
    )
    return int(row.scalar_one())


def _claim_rows(
    session: Session,
    campaign: Campaign,
    esp: EspName,
    n: int,
    batch_id: int,
    now: datetime,
    closed: Collection[str],
) -> Sequence[Row[Any]]:
    """id, status, reason and refused_by of the sends that were moved."""
    connection = session.connection()
    asked_for = is_asked_for(campaign, now)
    make = _statement if asked_for is None else _statement.__wrapped__
    statement = make(connection.dialect.name, bool(closed), asked_for)
    said = {"campaign": campaign.id, "n": n, "carrier": esp, "batch": batch_id, "now": now}
    if closed:
        said["closed"] = sorted(closed)
    return connection.execute(statement, said).all()


# Each batch runs it, and to build it takes longer than a small batch takes to claim.
@lru_cache
def _statement(dialect: str, is_partly_closed: bool, asked_for: ColumnElement[bool] | None) -> Any:
    chosen = (
        select(_SENDS.c.id)
        .where(_SENDS.c.campaign_id == bindparam("campaign"), _SENDS.c.status == QUEUED)
        .order_by(_SENDS.c.id)
        .limit(bindparam("n", type_=Integer))
    )
    if is_partly_closed:
        chosen = chosen.where(_SENDS.c.mailbox_provider.not_in(bindparam("closed", expanding=True)))
    if dialect == "postgresql":
        # In a CTE, since a sub-select with LIMIT may be run again for each row it is met with.
        chosen = select(chosen.with_for_update(skip_locked=True).cte("chosen").c.id)
    kept_from = _kept_from(asked_for)
    return (
        update(_SENDS)
        .where(_SENDS.c.id.in_(chosen), _SENDS.c.status == QUEUED)
        .values(
            status=case((kept_from.is_(None), SendStatus.SENDING), else_=SendStatus.SKIPPED),
            reason=kept_from,
            attempt=_SENDS.c.attempt + case((kept_from.is_(None), 1), else_=0),
            esp=bindparam("carrier"),
            batch_id=bindparam("batch"),
            claimed_at=_NOW,
        )
        .returning(_SENDS.c.id, _SENDS.c.status, _SENDS.c.reason, _SENDS.c.refused_by)
    )


def _kept_from(asked_for: ColumnElement[bool] | None) -> ColumnElement[str | None]:
    """Why the person of a send must not be written to any more; NULL when they may be."""
    person = select(_PEOPLE.c.id).where(_PEOPLE.c.id == _SENDS.c.subscriber_id)
    return case(
        *([] if asked_for is None else [(exists(person.where(asked_for)), null())]),
        (~exists(person), literal(SkipReason.ERASED.value)),
        (
            exists(person.where(suppressed(_PEOPLE.c.email_hash, _NOW))),
            literal(SkipReason.SUPPRESSED.value),
        ),
        (
            ~exists(person.where(_PEOPLE.c.status == SubscriberStatus.ACTIVE)),
            literal(SkipReason.NOT_ACTIVE.value),
        ),
        else_=null(),
    )


def batch_sends(
    session: Session, batch_id: int, first: int, last: int, *, outer: bool = False
) -> Sequence[Row[Any]]:
    """The sends of a batch with what their mails are made of (`outer`: also of the erased)."""
    said = {"batch": batch_id, "first": first, "last": last}
    statement: Select[Any] = _OF_ALL if outer else _OF_THERE
    return session.connection().execute(statement, said).all()


_OF_THERE, _OF_ALL = (
    select(
        _SENDS.c.id.label("send_id"),
        _SENDS.c.attempt,
        _SENDS.c.subscriber_id,
        _PEOPLE.c.email,
        _PEOPLE.c.email_hash,
        _PEOPLE.c.first_name,
        _PEOPLE.c.last_name,
        _PEOPLE.c.attributes,
        _PEOPLE.c.tags,
        _SENDS.c.mailbox_provider,
    )
    .select_from(_SENDS.join(_PEOPLE, _PEOPLE.c.id == _SENDS.c.subscriber_id, isouter=outer))
    .where(
        _SENDS.c.id.between(bindparam("first"), bindparam("last")),
        _SENDS.c.batch_id == bindparam("batch"),
        _SENDS.c.status == SendStatus.SENDING,
    )
    .order_by(_SENDS.c.id)
    for outer in (False, True)
)


def _let_go(session: Session, skipped: Sequence[int], erased: Collection[int]) -> None:
    """Take sends that nobody carries out of the batch. On PostgreSQL a person may be erased
    between two statements; those are skipped after all."""
    for ids, values in (
        (skipped, {}),
        (erased, {"status": SendStatus.SKIPPED, "reason": SkipReason.ERASED.value}),
    ):
        if ids:
            session.execute(
                update(EmailSend)
                .where(EmailSend.id.in_(ids))
                .values(esp=None, batch_id=None, claimed_at=None, **values)
                .execution_options(synchronize_session=False)
            )
