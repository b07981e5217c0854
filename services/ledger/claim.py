"""Claim sends for one call: committed as `sending` before the first byte leaves."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
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
    rows = session.execute(_claim_statement(session, campaign, esp, n, batch_id, now, closed)).all()
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


def _claim_statement(
    session: Session,
    campaign: Campaign,
    esp: EspName,
    n: int,
    batch_id: int,
    now: datetime,
    closed: Collection[str],
) -> Any:
    chosen = (
        select(EmailSend.id)
        .where(EmailSend.campaign_id == campaign.id, EmailSend.status == QUEUED)
        .order_by(EmailSend.id)
        .limit(n)
    )
    if closed:
        chosen = chosen.where(EmailSend.mailbox_provider.not_in(sorted(closed)))
    if session.get_bind().dialect.name == "postgresql":
        # In a CTE, since a sub-select with LIMIT may be run again for each row it is met with.
        chosen = select(chosen.with_for_update(skip_locked=True).cte("chosen").c.id)
    kept_from = _kept_from(campaign, now)
    return (
        update(EmailSend)
        .where(EmailSend.id.in_(chosen), EmailSend.status == QUEUED)
        .values(
            status=case((kept_from.is_(None), SendStatus.SENDING), else_=SendStatus.SKIPPED),
            reason=kept_from,
            attempt=EmailSend.attempt + case((kept_from.is_(None), 1), else_=0),
            esp=esp,
            batch_id=batch_id,
            claimed_at=now,
        )
        .returning(EmailSend.id, EmailSend.status, EmailSend.reason, EmailSend.refused_by)
        .execution_options(synchronize_session=False)
    )


def _kept_from(campaign: Campaign, now: datetime) -> ColumnElement[str | None]:
    """Why the person of a send must not be written to any more; NULL when they may be."""
    person = select(Subscriber.id).where(Subscriber.id == EmailSend.subscriber_id)
    asked_for = is_asked_for(campaign, now)
    return case(
        *([] if asked_for is None else [(exists(person.where(asked_for)), null())]),
        (~exists(person), literal(SkipReason.ERASED.value)),
        (
            exists(person.where(suppressed(Subscriber.email_hash, now))),
            literal(SkipReason.SUPPRESSED.value),
        ),
        (
            ~exists(person.where(Subscriber.status == SubscriberStatus.ACTIVE)),
            literal(SkipReason.NOT_ACTIVE.value),
        ),
        else_=null(),
    )


def batch_sends(
    session: Session, batch_id: int, first: int, last: int, *, outer: bool = False
) -> Sequence[Row[Any]]:
    """The sends of a batch with what their mails are made of (`outer`: also of the erased)."""
    return session.execute(
        select(
            EmailSend.id.label("send_id"),
            EmailSend.attempt,
            EmailSend.subscriber_id,
            Subscriber.email,
            Subscriber.email_hash,
            Subscriber.first_name,
            Subscriber.last_name,
            Subscriber.attributes,
            Subscriber.tags,
            EmailSend.mailbox_provider,
        )
        .join(Subscriber, Subscriber.id == EmailSend.subscriber_id, isouter=outer)
        .where(
            EmailSend.id.between(first, last),
            EmailSend.batch_id == batch_id,
            EmailSend.status == SendStatus.SENDING,
        )
        .order_by(EmailSend.id)
    ).all()


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
