"""What events mean for people: their interest, their mailbox, and whom we leave alone."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any, cast

from sqlalchemy import Row, Table, bindparam, select, update
from sqlalchemy.orm import Session

from config.esp_config import EspName
from database.bulk import Bulk
from database.models import (
    Bounce,
    EngagementTier,
    Subscriber,
    SubscriberStatus,
)
from lists.bounces import is_disabled, soft_verdict
from lists.engagement import Interest, decayed_sum, tier_at
from lists.suppression import NewSuppression, suppress_all
from lists.tiers import count_tiers
from services.event_recorder.judging import Judged, last_interest_of
from services.event_recorder.resolving import Told, slices
from services.event_recorder.sends import BIT, SendChange, bit_of
from services.events import BounceClass, SuppressionReason
from utils.tokens import email_hash

_PEOPLE = cast("Table", Subscriber.__table__)
_OF_PERSON = BIT["delivered"] | BIT["soft_bounced"]
_KEPT = (
    "interest",
    "interest_mails",
    "interest_at",
    "last_interest_at",
    "last_delivered_at",
    "soft_bounces",
    "soft_bounce_days",
    "soft_bounce_first_at",
    "soft_bounce_last_at",
    "tier",
    "tier_until",
)
_READ = [
    _PEOPLE.c[name]
    for name in ("id", "email_key", "email_hash", "status", "consent_at", "created_at", *_KEPT)
]
_LOCKED_BY_ID, _LOCKED_BY_KEY = (
    select(*_READ)
    .where(column.in_(bindparam("some", expanding=True)))
    .order_by(_PEOPLE.c.id)
    .with_for_update()
    for column in (_PEOPLE.c.id, _PEOPLE.c.email_key)
)
_kept = attrgetter(*_KEPT)
_UPDATE = Bulk(
    update(_PEOPLE)
    .where(_PEOPLE.c.id == bindparam("person"))
    .values({name: bindparam(f"new_{name}") for name in _KEPT}),
    ("person", *(f"new_{name}" for name in _KEPT)),
)


DISABLED = "5.2.1"
"""The status of a mailbox that is there and takes nothing."""


@dataclass(slots=True)
class Person:
    """A subscriber as read, with the values that are about to be written."""

    row: Row[*tuple[Any, ...]]
    values: dict[str, Any]

    @classmethod
    def of(cls, row: Row[*tuple[Any, ...]]) -> "Person":
        return cls(row, dict(zip(_KEPT, _kept(row), strict=True)))

    def add_interest(self, at: datetime, *, positive: float, mails: int) -> None:
        """`at` is when the mail was sent, so that the order of events does not matter."""
        v = self.values
        v["interest"], _ = decayed_sum(v["interest"], v["interest_at"], positive, at)
        v["interest_mails"], v["interest_at"] = decayed_sum(
            v["interest_mails"], v["interest_at"], float(mails), at
        )

    def note_newest(self, name: str, at: datetime) -> None:
        self.values[name] = max(self.values[name] or at, at)

    @property
    def interest(self) -> Interest:
        v = self.values
        return Interest(
            opted_in_at=self.row.consent_at or self.row.created_at,
            positive=v["interest"],
            mails=v["interest_mails"],
            at=v["interest_at"],
            last_at=v["last_interest_at"],
            soft_bounces=v["soft_bounces"],
            soft_bounced_at=v["soft_bounce_last_at"],
        )


def note_people(
    session: Session,
    esp: EspName,
    changes: Collection[SendChange],
    judged: Iterable[Judged],
    told: Sequence[Told],
    *,
    hash_key: bytes,
    now: datetime,
) -> None:
    """Write what events say about the people they are about, in a fixed order of locks."""
    judged = list(judged)
    concerned = {c.send.subscriber_id for c in changes if _is_of_person(c)}
    concerned |= {one.change.send.subscriber_id for one in judged}
    people = _locked(session, concerned, told)
    for change in changes:
        if person := _person(people, change.send):
            _note_send(person, change)
    for one in judged:
        if person := _person(people, one.change.send):
            _note_interest(session, person, one)
    softs = _soft_bounces(session, esp, people, changes)
    _write(session, people.values(), now)
    suppress_all(session, [*_asked_for(esp, people, told, hash_key), *softs], now)


def _is_of_person(change: SendChange) -> bool:
    """Whether its events say something of whoever got it, judged touches aside."""
    return change.has_arrived or any(bit_of(one) & _OF_PERSON for one in change.told)


def _locked(
    session: Session, ids: Collection[int | None], told: Iterable[Told]
) -> dict[int, Person]:
    """The people of these sends, and whoever has an address now that must not be written to."""
    found: dict[int, Person] = {}
    keys = {one.email_key for one in told if one.event.suppress and one.email_key}
    for locked, wanted in (
        (_LOCKED_BY_ID, sorted({one for one in ids if one is not None})),
        (_LOCKED_BY_KEY, sorted(keys)),
    ):
        for some in slices(wanted):
            for row in session.connection().execute(locked, {"some": some}).all():
                found.setdefault(row.id, Person.of(row))
    return found


def _person(people: dict[int, Person], send: Row[*tuple[Any, ...]]) -> Person | None:
    person = people.get(send.subscriber_id)
    return person if person is not None and person.row.email_key == send.email_key else None


def _note_send(person: Person, change: SendChange) -> None:
    if change.has_arrived and change.send.claimed_at is not None:
        person.add_interest(change.send.claimed_at, positive=0.0, mails=1)
    for at in change.times_of(BIT["delivered"]):
        person.note_newest("last_delivered_at", at)


def _note_interest(session: Session, person: Person, one: Judged) -> None:
    send, newest = one.change.send, person.values["last_interest_at"]
    if one.after.interest != send.interest and send.claimed_at is not None:
        person.add_interest(send.claimed_at, positive=one.after.interest - send.interest, mails=0)
    if one.after.last_at is not None:
        person.note_newest("last_interest_at", one.after.last_at)
    was_newest = one.before.last_at is not None and one.before.last_at == newest
    if was_newest and one.after.last_at != newest:
        person.values["last_interest_at"] = last_interest_of(
            session, person.row.id, person.row.email_key
        )


def _asked_for(
    esp: EspName, people: dict[int, Person], told: Iterable[Told], hash_key: bytes
) -> Iterable[NewSuppression]:
    """What ESPs and readers asked for. Of a mail that is not ours we believe it for people
    on our list only."""
    by_key = {person.row.email_key: person for person in people.values()}
    for one in told:
        person = by_key.get(one.email_key or "")
        if one.event.suppress is None or one.email_key is None:
            continue
        if person is None and one.send is None:
            continue
        yield NewSuppression(
            email_hash=email_hash(hash_key, one.email_key),
            reason=one.event.suppress,
            source=esp.value,
            evidence=_evidence(one),
            subscriber_id=person.row.id if person else None,
            happened_at=one.event.occurred_at,
        )


def _evidence(one: Told) -> str:
    about = f"send {one.send.id}" if one.send is not None else "a mail that is not ours"
    words = " ".join(filter(None, (one.event.code, one.event.detail)))
    if one.names_nobody:
        words = ""
    told = f"{about}, {one.event.kind} at {one.event.occurred_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"{told}: {words}" if words else told


def _soft_bounces(
    session: Session, esp: EspName, people: dict[int, Person], changes: Iterable[SendChange]
) -> list[NewSuppression]:
    """Rest mailboxes that bounce again and again, and wake those that took a mail since."""
    concerned: dict[int, Person] = {}
    for change in changes:
        person = _person(people, change.send)
        if person is None:
            continue
        has_woken = person.row.soft_bounces and change.times_of(BIT["delivered"])
        if has_woken or change.times_of(BIT["soft_bounced"]):
            concerned[person.row.id] = person
    times: dict[int, list[datetime]] = {person: [] for person in concerned}
    disabled: dict[int, list[datetime]] = {person: [] for person in concerned}
    for some in slices(sorted(concerned)):
        rows = select(Bounce.subscriber_id, Bounce.occurred_at, Bounce.code).where(
            Bounce.subscriber_id.in_(some), Bounce.bounce_class == BounceClass.SOFT
        )
        for row in session.execute(rows):
            times[row.subscriber_id].append(row.occurred_at)
            if row.code == DISABLED:
                disabled[row.subscriber_id].append(row.occurred_at)
    return [
        *(_rest(esp, concerned[person], times[person]) for person in sorted(times)),
        *(_gone(esp, concerned[p], at) for p, at in sorted(disabled.items()) if is_disabled(at)),
    ]


def _rest(esp: EspName, person: Person, softs: Sequence[datetime]) -> NewSuppression:
    delivered_at = person.values["last_delivered_at"]
    verdict = soft_verdict(softs, delivered_at)
    person.values |= {
        "soft_bounces": verdict.count,
        "soft_bounce_days": verdict.days,
        "soft_bounce_first_at": verdict.first_at,
        "soft_bounce_last_at": verdict.last_at,
    }
    over = delivered_at or person.row.created_at
    return NewSuppression(
        email_hash=person.row.email_hash,
        reason=SuppressionReason.SOFT_BOUNCE,
        source=esp.value,
        evidence=f"{verdict.count} soft bounces on {verdict.days} days since the last delivery",
        until=None if verdict.permanent else verdict.until or over,
        subscriber_id=person.row.id,
        happened_at=verdict.last_at,
    )


def _gone(esp: EspName, person: Person, refusals: Sequence[datetime]) -> NewSuppression:
    return NewSuppression(
        email_hash=person.row.email_hash,
        reason=SuppressionReason.HARD_BOUNCE,
        source=esp.value,
        evidence=f"refused as disabled ({DISABLED}) {len(refusals)} times, twice within a week",
        subscriber_id=person.row.id,
        happened_at=max(refusals),
    )


def _write(session: Session, people: Iterable[Person], now: datetime) -> None:
    """Write who changed, with the tier that their score now lies in."""
    moved: Counter[EngagementTier] = Counter()
    rows = []
    for person in sorted(people, key=lambda one: one.row.id):
        if tuple(person.values.values()) == _kept(person.row):
            continue
        if person.row.tier is not None and person.row.status is SubscriberStatus.ACTIVE:
            tier, until = tier_at(person.interest, now)
            person.values |= {"tier": tier, "tier_until": until}
            moved[person.row.tier] -= 1
            moved[tier] += 1
        rows.append((person.row.id, *person.values.values()))
    _UPDATE.run(session.connection(), rows)
    count_tiers(session, moved)
