"""What an ESP's own suppression list says, taken into ours, and ours made ready for theirs.

People who are not on the list are taken in too, by their hash: when they join one day, or
another ESP would carry the mail, what one ESP found out still counts.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from config.esp_config import EspName
from database.models import (
    BreakerState,
    EspState,
    OptIn,
    Subscriber,
    Suppression,
    SuppressionReason,
)
from lists.suppression import NewSuppression, suppress_all
from services.base import REASON_CHARS
from services.suppression_lists import EspSuppression
from services.wire import reason as short
from utils.addresses import Address, InvalidAddress, normalise
from utils.tokens import email_hash

OVERLAP = timedelta(days=1)
"""A pull begins so long before the last one: clocks differ, and an entry may show late."""
ROUND = 5_000
"""Rows of our own that one round of a push goes through."""
SETTLED = timedelta(seconds=5)
"""Younger rows are for the next push: on PostgreSQL one with a smaller id may yet be committed."""
LASTING = frozenset(
    {
        SuppressionReason.HARD_BOUNCE,
        SuppressionReason.COMPLAINT,
        SuppressionReason.UNSUBSCRIBED,
        SuppressionReason.MANUAL,
        SuppressionReason.ESP_INACTIVE,
    }
)
"""Reasons that, without an end, are an ESP's matter too."""

_QUERY = 500
_ADDRESS = re.compile(r"\S*@\S*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of entries of an ESP's list: `seen` is the sum of the others."""

    seen: int = 0
    new: int = 0
    known: int = 0
    """Suppressed by us already."""
    back: int = 0
    """Who confirmed since that they want our mail: for us they are not suppressed, and this
    ESP will not deliver to them while they are on its list (`next_lifts`)."""
    invalid: int = 0
    """Nothing that we could ever write to."""

    def __add__(self, other: "Taken") -> "Taken":
        return Taken(
            seen=self.seen + other.seen,
            new=self.new + other.new,
            known=self.known + other.known,
            back=self.back + other.back,
            invalid=self.invalid + other.invalid,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Part of what an ESP's list lacks."""

    people: tuple[tuple[str, SuppressionReason], ...]
    """Each address once, with its gravest reason."""
    through: int
    """The last row of `suppressions` that this covers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lift:
    """Somebody who may be written to again, so that no ESP's list should hold them."""

    row: int
    """Of `suppressions`, which lifts all before it."""
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifts:
    people: tuple[Lift, ...]
    """In the order in which they are to be released."""
    through: int
    """The last row of `suppressions` that this covers."""


def take(
    session: Session,
    esp: EspName,
    entries: Sequence[EspSuppression],
    *,
    hash_key: bytes,
    now: datetime,
) -> Taken:
    """Suppress everybody in `entries` (some hundred) who is not yet; may be repeated.

    What we pushed comes back under a reason that the ESP has a word for, so an entry says
    something new only of an address that nothing holds for good, or when it is a complaint.
    """
    found = [(entry, _address(entry.address)) for entry in entries]
    valid = [(entry, address) for entry, address in found if address is not None]
    hashes = [email_hash(hash_key, address.key) for _, address in valid]
    held = _held_for_good(session, hashes)
    people = _people(session, [address.key for _, address in valid])
    wanted = [
        _suppression(esp, entry, who, people.get(address.key))
        for (entry, address), who in zip(valid, hashes, strict=True)
        if who not in held or entry.reason is SuppressionReason.COMPLAINT
    ]
    new = suppress_all(session, wanted, now)
    suppressed = {*held, *(one.email_hash for one in new)}
    back = sum(one.email_hash not in suppressed for one in wanted)
    return Taken(
        seen=len(entries),
        new=len(new),
        known=len(valid) - len(new) - back,
        back=back,
        invalid=len(entries) - len(valid),
    )


def pull_from(session: Session, esp: EspName) -> datetime | None:
    """From when on the next pull has to ask; `None`: nothing was ever pulled whole."""
    last = session.scalar(select(EspState.suppressions_pulled_at).where(EspState.esp == esp))
    return last and last - OVERLAP


def note_pulled(session: Session, esp: EspName, started_at: datetime) -> None:
    """A pull that began then has come to its end."""
    _note(session, esp, suppressions_pulled_at=started_at)


def pushed_through(session: Session, esp: EspName) -> int:
    """The last row of `suppressions` that this ESP's list has; 0: none."""
    found = select(EspState.suppressions_pushed_through).where(EspState.esp == esp)
    return session.scalar(found) or 0


def note_pushed(session: Session, esp: EspName, through: int) -> None:
    _note(session, esp, suppressions_pushed_through=through)


def next_round(session: Session, esp: EspName, after: int, now: datetime) -> Round | None:
    """Who is suppressed for good by rows after `after`, is on the list and is not this ESP's
    own find; `None` when there are no rows.

    Only `subscribers` has addresses, and no index on the hash: the table is read once for the
    whole round. (As a join, SQLite sorts the table first: six times as long.)
    """
    through = _through(session, after, now)
    if through is None:
        return None
    rows = session.execute(
        select(Suppression.email_hash, Suppression.reason)
        .where(
            Suppression.id > after,
            Suppression.id <= through,
            Suppression.reason.in_(LASTING),
            Suppression.until.is_(None),
            Suppression.source != esp.value,
        )
        .order_by(Suppression.id)
    ).all()
    held = _held_for_good(session, [who for who, _ in rows])
    gravest: dict[bytes, SuppressionReason] = {}
    for who, reason in rows:
        if reason in held.get(who, ()) and gravest.get(who) is not SuppressionReason.COMPLAINT:
            gravest[who] = reason
    people = session.execute(
        select(Subscriber.email, Subscriber.email_hash)
        .where(Subscriber.email_hash.in_(gravest))
        .order_by(Subscriber.id)
    )
    return Round(people=tuple((email, gravest[who]) for email, who in people), through=through)


def released(session: Session, esp: EspName) -> tuple[int, list[int]]:
    """The last row of `suppressions` up to which this ESP was asked to let go of people (0:
    none), and those among them with which it failed."""
    state = session.get(EspState, esp)
    if state is None:
        return 0, []
    return state.suppressions_released_through, state.suppressions_unreleased


def note_released(session: Session, esp: EspName, through: int, failed: Sequence[int]) -> None:
    _note(
        session,
        esp,
        suppressions_released_through=through,
        suppressions_unreleased=list(failed),
    )


def next_lifts(session: Session, after: int, now: datetime) -> Lifts | None:
    """Who confirmed, by rows after `after`, and has given no new reason since; `None` when
    there are no rows. Who was erased meanwhile has no address any more, and is left out.
    """
    through = _through(session, after, now)
    if through is None:
        return None
    rows = _lifted(session, Suppression.id > after, Suppression.id <= through)
    return Lifts(people=_to_release(session, sorted(rows)), through=through)


def lifts_again(session: Session, rows: Sequence[int], through: int) -> Lifts:
    """Who of those that confirmed by `rows` is still to be released, in their order."""
    order = {row: place for place, row in enumerate(rows)}
    found = [pair for some in _slices(rows) for pair in _lifted(session, Suppression.id.in_(some))]
    found.sort(key=lambda pair: order[pair[0]])
    return Lifts(people=_to_release(session, found), through=through)


def _lifted(session: Session, *which: ColumnElement[bool]) -> list[tuple[int, bytes]]:
    """Each person once, by the last of these rows that lifts."""
    rows = session.execute(
        select(func.max(Suppression.id), Suppression.email_hash)
        .where(*which, Suppression.reason == SuppressionReason.LIFTED)
        .group_by(Suppression.email_hash)
    )
    return [(row, who) for row, who in rows]


def _to_release(session: Session, rows: Sequence[tuple[int, bytes]]) -> tuple[Lift, ...]:
    hashes = [who for _, who in rows]
    held, emails = _held_for_good(session, hashes), _emails(session, hashes)
    return tuple(
        Lift(row=row, address=emails[who]) for row, who in rows if who in emails and who not in held
    )


def _through(session: Session, after: int, now: datetime) -> int | None:
    """The last row of the round after `after`; `None` when there is none yet."""
    ids = (
        select(Suppression.id)
        .where(Suppression.id > after, Suppression.created_at <= now - SETTLED)
        .order_by(Suppression.id)
    )
    last: int | None = session.scalar(select(func.max(ids.limit(ROUND).subquery().c.id)))
    return last


def _emails(session: Session, hashes: Sequence[bytes]) -> dict[bytes, str]:
    """The addresses of people who were ever asked to confirm, as far as they are on the list:
    by their requests, since the hash has no index on `subscribers`."""
    found: dict[bytes, str] = {}
    for some in _slices(hashes):
        rows = (
            select(Subscriber.email_hash, Subscriber.email)
            .join(OptIn, OptIn.subscriber_id == Subscriber.id)
            .where(OptIn.email_hash.in_(some), Subscriber.email_hash == OptIn.email_hash)
        )
        found.update((who, email) for who, email in session.execute(rows))
    return found


def _address(text: str) -> Address | None:
    try:
        return normalise(text)
    except InvalidAddress:
        return None


def _suppression(
    esp: EspName, entry: EspSuppression, who: bytes, subscriber_id: int | None
) -> NewSuppression:
    since = f" since {entry.at:%Y-%m-%d}" if entry.at else ""
    # It outlives a person who asks to be erased, so no address stays in what the ESP says.
    said = _ADDRESS.sub("(address)", (entry.detail or "")[: 2 * REASON_CHARS])
    return NewSuppression(
        email_hash=who,
        reason=entry.reason,
        source=esp.value,
        evidence=short(f"on {esp.value}'s own list {entry.list_name}{since}", said),
        subscriber_id=subscriber_id,
        happened_at=entry.at,
    )


def _held_for_good(
    session: Session, hashes: Iterable[bytes]
) -> dict[bytes, set[SuppressionReason]]:
    """The lasting reasons that no opt-in has taken back."""
    held: dict[bytes, set[SuppressionReason]] = {}
    for some in _slices(sorted(set(hashes))):
        rows = select(Suppression.email_hash, Suppression.reason, Suppression.until).where(
            Suppression.email_hash.in_(some)
        )
        for who, reason, until in session.execute(rows.order_by(Suppression.id)):
            if reason is SuppressionReason.LIFTED:
                held.pop(who, None)
            elif until is None and reason in LASTING:
                held.setdefault(who, set()).add(reason)
    return held


def _people(session: Session, keys: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for some in _slices(keys):
        rows = select(Subscriber.email_key, Subscriber.id).where(Subscriber.email_key.in_(some))
        found.update((key, person) for key, person in session.execute(rows))
    return found


def _note(session: Session, esp: EspName, **values: Any) -> None:
    is_postgresql = session.get_bind().dialect.name == "postgresql"
    insert = (postgresql if is_postgresql else sqlite).insert(EspState)
    session.execute(
        insert.values(esp=esp, breaker=BreakerState.CLOSED, **values).on_conflict_do_update(
            index_elements=["esp"], set_=values
        )
    )


def _slices(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[start : start + _QUERY] for start in range(0, len(items), _QUERY))
