"""Subscribers, what keeps us from writing to them, and how they are counted."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Date, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from database.models.base import Base, Counter, Id, Name, stored_by_value
from services.events import SuppressionReason


class SubscriberStatus(StrEnum):
    """Whether, and if not why, a person on the list is written to."""

    PENDING = "pending"
    """Has not confirmed yet (double opt-in)."""
    ACTIVE = "active"
    """The only status that campaigns are sent to."""
    UNSUBSCRIBED = "unsubscribed"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    SUNSET = "sunset"
    """Showed no sign of life for long; only a re-engagement may reach them."""


class EngagementTier(StrEnum):
    """How much a person cares for our mail, by their score (`lists.engagement`)."""

    HOT = "hot"
    WARM = "warm"
    COOLING = "cooling"
    RE_ENGAGE = "re_engage"
    SUNSET = "sunset"


class Subscriber(Base):
    """A person on the list: one normalised address."""

    __tablename__ = "subscribers"
    __table_args__ = (
        Index("ix_subscribers_tier_until", "tier_until"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[Id]
    email: Mapped[str] = mapped_column(String(320))
    """As given, the domain as A-label: mail goes here."""
    email_key: Mapped[str] = mapped_column(String(320), unique=True)
    """Lower case throughout: who it is."""
    email_hash: Mapped[bytes] = mapped_column(LargeBinary(16))
    """What `suppressions` are joined on; it outlives this row."""
    first_name: Mapped[Name | None]
    last_name: Mapped[Name | None]
    attributes: Mapped[dict[str, Any]]
    tags: Mapped[list[str]]
    status: Mapped[SubscriberStatus] = mapped_column(stored_by_value(SubscriberStatus))
    mailbox_provider: Mapped[str] = mapped_column(String(32))
    consent_source: Mapped[Name | None]
    consent_ip: Mapped[str | None] = mapped_column(String(45))
    consent_at: Mapped[datetime | None]
    interest: Mapped[float] = mapped_column(default=0.0, server_default="0")
    """Decayed sum, over the mails delivered, of what was done with each; as of `interest_at`."""
    interest_mails: Mapped[float] = mapped_column(default=0.0, server_default="0")
    """Decayed number of mails delivered, as of `interest_at`."""
    interest_at: Mapped[datetime | None]
    last_interest_at: Mapped[datetime | None]
    """The newest open or click that a person made, as far as we can tell."""
    last_delivered_at: Mapped[datetime | None]
    tier: Mapped[EngagementTier | None] = mapped_column(stored_by_value(EngagementTier))
    """Of people who are written to; others have none."""
    tier_until: Mapped[datetime | None]
    """When the score leaves the tier if nothing happens until then."""
    soft_bounces: Mapped[Counter]
    """Since the last delivery, on `soft_bounce_days` different days."""
    soft_bounce_days: Mapped[Counter]
    soft_bounce_first_at: Mapped[datetime | None]
    soft_bounce_last_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Suppression(Base):
    """One reason, once, why an address must not be written to. Rows are only added."""

    __tablename__ = "suppressions"
    __table_args__ = (
        Index("ix_suppressions_email_hash_id", "email_hash", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[Id]
    email_hash: Mapped[bytes] = mapped_column(LargeBinary(16))
    reason: Mapped[SuppressionReason] = mapped_column(stored_by_value(SuppressionReason))
    source: Mapped[Name]
    """Who said so: an ESP name, `one_click`, `page`, `api`, `import`, `operator`."""
    evidence: Mapped[str | None] = mapped_column(Text)
    until: Mapped[datetime | None]
    """The end of a temporary one; without it the reason holds for good."""
    created_at: Mapped[datetime]


class Segment(Base):
    """A saved audience: a name for a filter over subscribers."""

    __tablename__ = "segments"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(String(200), unique=True)
    filter: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class SubscriberCount(Base):
    """How many subscribers have a status now; kept in the transaction that changes one."""

    __tablename__ = "subscriber_counts"

    status: Mapped[SubscriberStatus] = mapped_column(
        stored_by_value(SubscriberStatus), primary_key=True
    )
    n: Mapped[Counter]


class EngagementCount(Base):
    """How many subscribers are in a tier now; kept in the transaction that changes one."""

    __tablename__ = "engagement_counts"

    tier: Mapped[EngagementTier] = mapped_column(stored_by_value(EngagementTier), primary_key=True)
    n: Mapped[Counter]


class OptIn(Base):
    """One request to confirm, mailed to a person, and what they answered."""

    __tablename__ = "opt_ins"
    __table_args__ = (
        Index("ix_opt_ins_email_hash_id", "email_hash", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[Id]
    email_hash: Mapped[bytes] = mapped_column(LargeBinary(16))
    subscriber_id: Mapped[int | None]
    campaign_id: Mapped[int | None]
    """The campaign of kind `confirmation` that carries its mail."""
    lifts: Mapped[bool]
    """Asked for with `resubscribe`: confirming it takes back what suppressed the person."""
    source: Mapped[Name | None]
    ip: Mapped[str | None] = mapped_column(String(45))
    """Where the request came from, as whoever called us said."""
    created_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    confirmed_ip: Mapped[str | None] = mapped_column(String(45))
    confirmed_agent: Mapped[str | None] = mapped_column(String(300))


class SubscriberDay(Base):
    """How many people joined, left, bounced or complained on one UTC day, and what was told."""

    __tablename__ = "subscriber_days"

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    """`joined`, `erased`, or the status that a person went to; `bounce:<class>`, `complaint`
    and `suppressed:<reason>` (`database.day_kinds`)."""
    n: Mapped[Counter]
