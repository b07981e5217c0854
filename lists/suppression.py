"""Who must not be written to, and why: the one list that outlives everything else.

Rows are only added. What holds now is what no later LIFTED row takes back and whose
`until` has not passed; `suppressed` says that in SQL, for whoever selects recipients.
A pause, and a rest after soft bounces, may also end early: of these reasons the latest row
stands for all before it.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    and_,
    bindparam,
    exists,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.roles import ExpressionElementRole

from database.models import (
    EngagementTier,
    Subscriber,
    SubscriberStatus,
    Suppression,
    SuppressionReason,
)
from lists.counters import count_moved, count_suppressed
from lists.tiers import count_tiers

# What a reason that holds for good makes of a person on the list. Not a mailbox that is full
# again and again: it may empty, and a delivery takes that reason back.
STATUS_OF_REASON: dict[SuppressionReason, SubscriberStatus] = {
    SuppressionReason.UNSUBSCRIBED: SubscriberStatus.UNSUBSCRIBED,
    SuppressionReason.MANUAL: SubscriberStatus.UNSUBSCRIBED,
    SuppressionReason.HARD_BOUNCE: SubscriberStatus.BOUNCED,
    SuppressionReason.ESP_INACTIVE: SubscriberStatus.BOUNCED,
    SuppressionReason.COMPLAINT: SubscriberStatus.COMPLAINED,
}
REPLACED = (SuppressionReason.SOFT_BOUNCE, SuppressionReason.PAUSED)
"""Reasons of which only the latest row counts."""

# Webhooks come in any order: a status gives way only to one further right. What a person
# said outranks what a machine found out, and a complaint outranks all.
_RANKS = (
    {SubscriberStatus.PENDING, SubscriberStatus.ACTIVE, SubscriberStatus.SUNSET},
    {SubscriberStatus.BOUNCED},
    {SubscriberStatus.UNSUBSCRIBED},
    {SubscriberStatus.COMPLAINED},
)
_RANK = {status: rank for rank, statuses in enumerate(_RANKS) for status in statuses}

_HASHES_PER_QUERY = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSuppression:
    """One reason why nobody should write to an address any more, or not before `until`."""

    email_hash: bytes
    reason: SuppressionReason
    source: str
    evidence: str | None = None
    until: datetime | None = None
    subscriber_id: int | None = None
    """Whose status it changes, where the person is on the list."""
    happened_at: datetime | None = None
    """When it came to be, if that is not now: an opt-in that was confirmed later undoes it."""
    created_at: datetime | None = None
    """When somebody was told that it holds, if that is not now."""


def suppressed(
    email_hash: ExpressionElementRole[bytes],
    now: datetime | ColumnElement[datetime],
    *,
    after: Any = None,
    of_few: bool = False,
) -> ColumnElement[bool]:
    """SQL: whether the address with this hash must not be written to at `now`; `after`: by
    what came to be after that time (a column) alone.

    Two look-ups in the index (email_hash, id) per address, and no more; PostgreSQL may read all
    suppressions instead, which is quicker for many addresses, unless it asks for `of_few`.
    """
    row = aliased(Suppression)
    holds = _holds(row, email_hash, now)
    # Within another EXISTS, the people of the query around it would else be all people anew.
    found = select(row.id).where(holds if after is None else holds & (row.created_at > after))
    found = found.correlate_except(row)
    if of_few:  # an EXISTS would be hashed
        return found.limit(1).scalar_subquery().is_not(None)
    return found.exists()


def reasons_that_hold(session: Session, email_hash: bytes, now: datetime) -> Sequence[Suppression]:
    """All that keeps us from writing to an address now, the oldest first."""
    holding = select(Suppression).where(_holds(Suppression, email_hash, now))
    return session.scalars(holding.order_by(Suppression.id)).all()


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
    happened_at: datetime | None = None,
) -> bool:
    """Nobody writes to this address any more (or not before `until`); whether that is new.

    A reason that already holds at least as long is not written again, so repeating a call
    is harmless; one of `REPLACED` is when its end changes, also to an earlier one. A reason
    that holds for good also changes the person's status. `subscriber_id`, where known,
    spares a search for the person by hash.
    """
    if until is None and reason in STATUS_OF_REASON:
        subscriber_id = find_people(session, {email_hash: subscriber_id}).get(email_hash)
    new = NewSuppression(
        email_hash=email_hash,
        reason=reason,
        source=source,
        evidence=evidence,
        until=until,
        subscriber_id=subscriber_id,
        happened_at=happened_at,
    )
    return bool(suppress_all(session, [new], now))


def suppress_all(
    session: Session, wanted: Sequence[NewSuppression], now: datetime
) -> list[NewSuppression]:
    """The same for many at once, in a fixed number of statements; those that were new.

    People are found by `subscriber_id` only.
    """
    if any(new.reason is SuppressionReason.LIFTED for new in wanted):
        raise ValueError("lifting is not a reason to suppress")
    hashes = {new.email_hash for new in wanted}
    held, lifts = _held(session, hashes, now), _lifts(session, hashes)
    added = []
    for_good: Counter[SuppressionReason] = Counter()
    for new in wanted:
        key = (new.email_hash, new.reason)
        lifted_at = lifts.get(new.email_hash)
        if lifted_at is not None and new.happened_at is not None and new.happened_at <= lifted_at:
            continue
        if _says_more(new, held.get(key), now, is_held=key in held):
            held_for_good = key in held and held[key] is None
            for_good[new.reason] += (new.until is None) - held_for_good
            held[key] = new.until
            added.append(new)
    if added:
        _change_statuses(session, added, now)
        session.execute(insert(Suppression), [_row(new, now) for new in added])
        count_suppressed(session, for_good, now)
    return added


def _row(new: NewSuppression, now: datetime) -> dict[str, Any]:
    row = asdict(new)
    del row["subscriber_id"], row["happened_at"]
    return {**row, "created_at": new.created_at or now}


def _holds(row: Any, email_hash: Any, now: Any) -> ColumnElement[bool]:
    """`row` is a suppression of this address that holds at `now`."""
    later = aliased(Suppression)
    taken_back = exists().where(
        later.email_hash == row.email_hash,
        later.id > row.id,
        or_(
            later.reason == SuppressionReason.LIFTED,
            and_(later.reason == row.reason, or_(*(row.reason == one for one in REPLACED))),
        ),
    )
    condition: ColumnElement[bool] = (
        (row.email_hash == email_hash)
        & (row.reason != SuppressionReason.LIFTED)
        & or_(row.until.is_(None), row.until > now)
        & ~taken_back
    )
    return condition


def _held(
    session: Session, hashes: Collection[bytes], now: datetime
) -> dict[tuple[bytes, SuppressionReason], datetime | None]:
    """What holds for these addresses, by reason, and until when (`None`: for good)."""
    found: dict[tuple[bytes, SuppressionReason], datetime | None] = {}
    for some in _slices(sorted(hashes)):
        said = {"hashes": some, "now": now}
        for email_hash, reason, until in session.connection().execute(_HELD, said):
            before = found.get((email_hash, reason), until)
            found[email_hash, reason] = before and until and max(before, until)
    return found


def _lifts(session: Session, hashes: Collection[bytes]) -> dict[bytes, datetime]:
    """When the people of these addresses last confirmed that they want our mail again."""
    found: dict[bytes, datetime] = {}
    for some in _slices(sorted(hashes)):
        for email_hash, at in session.connection().execute(_LIFTS, {"hashes": some}):
            found[email_hash] = at
    return found


# Every call of a webhook asks for both: to build them takes longer than to run them.
_HASHES: BindParameter[bytes] = bindparam("hashes", expanding=True)
_ROW = aliased(Suppression)
_NOW = bindparam("now", type_=Suppression.__table__.c.until.type)
_HELD = select(_ROW.email_hash, _ROW.reason, _ROW.until).where(
    _ROW.email_hash.in_(_HASHES), _holds(_ROW, _ROW.email_hash, _NOW)
)
_LIFTS = (
    select(Suppression.email_hash, Suppression.created_at)
    .where(Suppression.email_hash.in_(_HASHES), Suppression.reason == SuppressionReason.LIFTED)
    .order_by(Suppression.id)
)


def _says_more(
    new: NewSuppression, until: datetime | None, now: datetime, *, is_held: bool
) -> bool:
    if not is_held:
        return new.reason not in REPLACED or new.until is None or new.until > now
    if new.reason in REPLACED:
        return new.until != until
    return until is not None and (new.until is None or new.until > until)


def _change_statuses(session: Session, added: Iterable[NewSuppression], now: datetime) -> None:
    """A reason that holds for good moves its person on, and out of their tier; never back."""
    after: dict[int, SubscriberStatus] = {}
    for new in added:
        status = STATUS_OF_REASON.get(new.reason)
        if new.subscriber_id is None or new.until is not None or status is None:
            continue
        known = after.setdefault(new.subscriber_id, status)
        after[new.subscriber_id] = max(known, status, key=_RANK.__getitem__)
    moves: dict[tuple[SubscriberStatus, SubscriberStatus], list[int]] = {}
    tiers: Counter[EngagementTier] = Counter()
    for some in _slices(sorted(after)):
        people = select(Subscriber.id, Subscriber.status, Subscriber.tier).where(
            Subscriber.id.in_(some)
        )
        for person, before, tier in session.execute(
            people.order_by(Subscriber.id).with_for_update()
        ):
            if _RANK[before] < _RANK[after[person]]:
                moves.setdefault((before, after[person]), []).append(person)
                if tier is not None:
                    tiers[tier] -= 1
    for (before, status), moved in moves.items():
        _set_status(session, moved, status, now)
        count_moved(session, before, status, now, len(moved))
    count_tiers(session, tiers)


def _set_status(
    session: Session, people: Sequence[int], status: SubscriberStatus, now: datetime
) -> None:
    for some in _slices(people):
        session.execute(
            update(Subscriber)
            .where(Subscriber.id.in_(some))
            .values(status=status, tier=None, tier_until=None, updated_at=now)
            .execution_options(synchronize_session="fetch")
        )


def find_people(session: Session, ids: Mapping[bytes, int | None]) -> dict[bytes, int]:
    """The people with these hashes (some hundred), locked until the transaction ends. Each
    comes with the id that the person is likely to have.

    The hash has no index on `subscribers` (a random one would slow every import): the
    search by hash reads the table, 60 ms a million, and only happens for a person who
    was erased and added again since the mail went out.
    """
    wanted = select(Subscriber.email_hash, Subscriber.id).order_by(Subscriber.id).with_for_update()
    likely = Subscriber.id.in_(sorted({one for one in ids.values() if one is not None}))
    found = {who: one for who, one in session.execute(wanted.where(likely)) if who in ids}
    if rest := sorted(ids.keys() - found.keys()):
        by_hash = session.execute(wanted.where(Subscriber.email_hash.in_(rest)))
        found.update((who, one) for who, one in by_hash)
    return found


def _slices(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _HASHES_PER_QUERY):
        yield items[start : start + _HASHES_PER_QUERY]
