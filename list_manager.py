"""The people on the list: adding, finding, leaving, and who must not be written to.

Functions take a session and never commit; the time comes in as `now`. The parts that
would outgrow this file are in `lists/`, and are reached through here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from database.models import (
    Subscriber,
    SubscriberStatus,
    Suppression,
)
from lists.counters import count_joined, recount
from lists.csv_rows import BadHeader
from lists.erasing import erase
from lists.exporting import export_csv
from lists.footprint import find_traces
from lists.importing import ImportResult, import_csv
from lists.leaving import unsubscribe
from lists.profiles import Change, change
from lists.refusals import find_refusals
from lists.suppression import suppress, suppressed, suppression_of
from lists.tiers import count_tiers, first_tier, place
from utils.addresses import Address
from utils.tokens import email_hash

__all__ = [
    "Added",
    "AddedAs",
    "BadHeader",
    "Change",
    "Consent",
    "ImportResult",
    "Person",
    "add_subscriber",
    "change_subscriber",
    "erase",
    "export_csv",
    "find_refusals",
    "find_subscriber",
    "find_traces",
    "import_csv",
    "keep_pending",
    "recount",
    "suppress",
    "suppressed",
    "suppression_of",
    "unsubscribe",
]

# People who were not asked to be left alone: adding them again changes their data only.
_REACHABLE = {SubscriberStatus.PENDING, SubscriberStatus.ACTIVE, SubscriberStatus.SUNSET}


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """How we know that a person wants our mail."""

    source: str | None = None
    ip: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What is said about a person who is to be on the list; `None` says nothing."""

    address: Address
    first_name: str | None = None
    last_name: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    consent: Consent | None = None


class AddedAs(StrEnum):
    CREATED = "created"
    MERGED = "merged"
    """Known already: what was given is now theirs too; the status is as it was."""
    SUPPRESSED = "suppressed"
    """They left, bounced or complained: nothing was changed, nobody is revived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What adding a person came to; `subscriber` is `None` for an erased one who left."""

    outcome: AddedAs
    subscriber: Subscriber | None
    suppression: Suppression | None = None


def add_subscriber(
    session: Session,
    person: Person,
    *,
    hash_key: bytes,
    now: datetime,
    status: SubscriberStatus = SubscriberStatus.ACTIVE,
) -> Added:
    """Put a person on the list, or merge what is said into what is known.

    `status` is that of somebody new: active, or pending until they confirm. Given fields overwrite, attributes merge key by key, tags are added. A person who is
    suppressed, or whose status says that they left, bounced or complained, stays as is.
    """
    who = email_hash(hash_key, person.address.key)
    suppression = suppression_of(session, who, now)
    known = _locked(session, person.address.key)
    if suppression or (known and known.status not in _REACHABLE):
        return Added(outcome=AddedAs.SUPPRESSED, subscriber=known, suppression=suppression)
    if known is None and _insert(session, person, who, status, now):
        return Added(
            outcome=AddedAs.CREATED, subscriber=find_subscriber(session, person.address.key)
        )
    known = known or _locked(session, person.address.key)
    if known is not None:
        _merge(known, person, now)
        place(session, known, now)
    return Added(outcome=AddedAs.MERGED, subscriber=known)


def keep_pending(session: Session, person: Person, *, hash_key: bytes, now: datetime) -> Subscriber:
    """A person who left and was erased, on the list again so that they can be asked to confirm.

    Pending, and suppressed as before: nothing else is sent to them.
    """
    who = email_hash(hash_key, person.address.key)
    _insert(session, person, who, SubscriberStatus.PENDING, now)
    return session.scalars(
        select(Subscriber).where(Subscriber.email_key == person.address.key)
    ).one()


def find_subscriber(session: Session, email_key: str) -> Subscriber | None:
    """The person with this address (`Address.key`), if they are on the list."""
    return session.scalar(select(Subscriber).where(Subscriber.email_key == email_key))


def change_subscriber(
    session: Session, email_key: str, wanted: Change, now: datetime
) -> Subscriber | None:
    """Correct what is known of a person, whatever their status; the status stays.

    `None` when they are not on the list. Raises `ValueError` for more than may be known.
    """
    known = _locked(session, email_key)
    if known is not None:
        change(known, wanted, now)
        session.flush()
    return known


def _locked(session: Session, email_key: str) -> Subscriber | None:
    return session.scalar(
        select(Subscriber).where(Subscriber.email_key == email_key).with_for_update()
    )


def _insert(
    session: Session, person: Person, who: bytes, status: SubscriberStatus, now: datetime
) -> bool:
    """Whether the row is ours: on PostgreSQL two callers may meet, and one loses."""
    consent = person.consent or Consent()
    is_active = status is SubscriberStatus.ACTIVE
    tier, tier_until = first_tier(consent.at or now, now) if is_active else (None, None)
    postgres = session.get_bind().dialect.name == "postgresql"
    statement = (postgresql.insert if postgres else sqlite.insert)(Subscriber).values(
        email=person.address.email,
        email_key=person.address.key,
        email_hash=who,
        first_name=person.first_name,
        last_name=person.last_name,
        attributes=dict(person.attributes),
        tags=sorted(person.tags),
        status=status,
        mailbox_provider=person.address.mailbox_provider.value,
        consent_source=consent.source,
        consent_ip=consent.ip,
        consent_at=consent.at,
        tier=tier,
        tier_until=tier_until,
        created_at=now,
        updated_at=now,
    )
    on_table = statement.on_conflict_do_nothing(index_elements=["email_key"])
    if session.execute(on_table.returning(Subscriber.id)).first() is None:
        return False
    count_joined(session, status, now)
    if tier is not None:
        count_tiers(session, {tier: 1})
    return True


def _merge(known: Subscriber, person: Person, now: datetime) -> None:
    known.email = person.address.email
    if person.first_name is not None:
        known.first_name = person.first_name
    if person.last_name is not None:
        known.last_name = person.last_name
    known.attributes = {**known.attributes, **person.attributes}
    known.tags = sorted({*known.tags, *person.tags})
    # Consent that says nothing takes nothing away.
    if person.consent is not None and person.consent != Consent():
        known.consent_source = person.consent.source
        known.consent_ip = person.consent.ip
        known.consent_at = person.consent.at
    known.updated_at = now
