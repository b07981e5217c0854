"""Who must not be written to, and why: the one list that outlives everything else.

Rows are only added. What holds now is what no later LIFTED row takes back and whose
`until` has not passed; `suppressed` says that in SQL, for whoever selects recipients.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, exists, insert, or_, select, update
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.roles import ExpressionElementRole

from database.models import Subscriber, SubscriberStatus, Suppression, SuppressionReason
from lists.counters import count_moved

# What a reason that holds for good makes of a person on the list.
STATUS_OF_REASON: dict[SuppressionReason, SubscriberStatus] = {
    SuppressionReason.UNSUBSCRIBED: SubscriberStatus.UNSUBSCRIBED,
    SuppressionReason.MANUAL: SubscriberStatus.UNSUBSCRIBED,
    SuppressionReason.HARD_BOUNCE: SubscriberStatus.BOUNCED,
    SuppressionReason.SOFT_BOUNCE: SubscriberStatus.BOUNCED,
    SuppressionReason.ESP_INACTIVE: SubscriberStatus.BOUNCED,
    SuppressionReason.COMPLAINT: SubscriberStatus.COMPLAINED,
}

# Webhooks come in any order: a status gives way only to one further right. What a person
# said outranks what a machine found out, and a complaint outranks all.
_RANKS = (
    {SubscriberStatus.PENDING, SubscriberStatus.ACTIVE, SubscriberStatus.SUNSET},
    {SubscriberStatus.BOUNCED},
    {SubscriberStatus.UNSUBSCRIBED},
    {SubscriberStatus.COMPLAINED},
)
_RANK = {status: rank for rank, statuses in enumerate(_RANKS) for status in statuses}


def suppressed(email_hash: ExpressionElementRole[bytes], now: datetime) -> ColumnElement[bool]:
    """SQL: whether the address with this hash must not be written to at `now`.

    Two look-ups in the index (email_hash, id) per address, and no more.
    """
    return exists().where(_holds(aliased(Suppression), email_hash, now))


def suppression_of(session: Session, email_hash: bytes, now: datetime) -> Suppression | None:
    """The latest reason that holds now, if there is one."""
    return session.scalar(
        select(Suppression)
        .where(_holds(Suppression, email_hash, now))
        .order_by(Suppression.id.desc())
        .limit(1)
    )


def suppress(
    session: Session,
    email_hash: bytes,
    *,
    reason: SuppressionReason,
    source: str,
    now: datetime,
    evidence: str | None = None,
    until: datetime | None = None,
    subscriber_id: int | None = None,
) -> bool:
    """Nobody writes to this address any more (or not before `until`); whether that is new.

    A reason that already holds at least as long is not written again, so repeating a call
    is harmless. A reason that holds for good also changes the person's status.
    `subscriber_id`, where known, spares a search for the person by hash.
    """
    if reason is SuppressionReason.LIFTED:
        raise ValueError("lifting is not a reason to suppress")
    if _holds_already(session, email_hash, reason, until, now):
        return False
    if until is None:
        _change_status(session, email_hash, subscriber_id, STATUS_OF_REASON[reason], now)
    session.execute(
        insert(Suppression).values(
            email_hash=email_hash,
            reason=reason,
            source=source,
            evidence=evidence,
            until=until,
            created_at=now,
        )
    )
    return True


def _holds(row: Any, email_hash: Any, now: datetime) -> ColumnElement[bool]:
    """`row` is a suppression of this address that holds at `now`."""
    lift = aliased(Suppression)
    lifted_later = exists().where(
        lift.email_hash == row.email_hash,
        lift.id > row.id,
        lift.reason == SuppressionReason.LIFTED,
    )
    condition: ColumnElement[bool] = (
        (row.email_hash == email_hash)
        & (row.reason != SuppressionReason.LIFTED)
        & or_(row.until.is_(None), row.until > now)
        & ~lifted_later
    )
    return condition


def _holds_already(
    session: Session,
    email_hash: bytes,
    reason: SuppressionReason,
    until: datetime | None,
    now: datetime,
) -> bool:
    row = aliased(Suppression)
    longer: ColumnElement[bool] = row.until.is_(None)
    if until is not None:
        longer = longer | (row.until >= until)
    found = select(row.id).where(_holds(row, email_hash, now), row.reason == reason, longer)
    return session.execute(found.limit(1)).first() is not None


def _change_status(
    session: Session,
    email_hash: bytes,
    subscriber_id: int | None,
    after: SubscriberStatus,
    now: datetime,
) -> None:
    found = _find(session, email_hash, subscriber_id)
    if found is None or _RANK[found[1]] >= _RANK[after]:
        return
    person, before = found
    session.execute(
        update(Subscriber)
        .where(Subscriber.id == person)
        .values(status=after, updated_at=now)
        .execution_options(synchronize_session="fetch")
    )
    count_moved(session, before, after, now)


def _find(
    session: Session, email_hash: bytes, subscriber_id: int | None
) -> tuple[int, SubscriberStatus] | None:
    """The person's id and status, locked until the transaction ends.

    The hash has no index on `subscribers` (a random one would slow every import): the
    search by hash reads the table, 60 ms a million, and only happens for a person who
    was erased and added again since the mail went out.
    """
    wanted = select(Subscriber.id, Subscriber.status).where(Subscriber.email_hash == email_hash)
    for statement in (wanted.where(Subscriber.id == subscriber_id), wanted):
        found = session.execute(statement.with_for_update()).first()
        if found is not None:
            return found[0], found[1]
    return None
