"""Campaigns and their ledger: one row per send, one per call to an ESP."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from config.esp_config import EspName
from database.models.base import Base, Counter, Id, Name, stored_by_value


class CampaignKind(StrEnum):
    CAMPAIGN = "campaign"
    CONFIRMATION = "confirmation"
    """A double opt-in mail: one recipient, not listed."""


class CampaignStatus(StrEnum):
    """Where a campaign stands. The last four stand still until somebody acts."""

    PLANNING = "planning"
    """Its ledger is being written, and who stands in it already gets it."""
    SENDING = "sending"
    WAITING = "waiting"
    """No ESP can take more now; goes on by itself at `resume_at`."""
    PAUSED = "paused"
    SENT = "sent"
    NEEDS_REVIEW = "needs_review"
    """Nothing left to do but sends whose outcome is not known."""
    CANCELLED = "cancelled"


RUNNING = (CampaignStatus.PLANNING, CampaignStatus.SENDING, CampaignStatus.WAITING)
IS_RUNNING = text("status IN ('planning', 'sending', 'waiting')")
"""SQL of the same, in the very words of the partial index, which is used for no others."""


class SendStatus(StrEnum):
    QUEUED = "queued"
    SENDING = "sending"
    """A call that carries it was committed and may have begun."""
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    """It may have been sent: only its webhook, a look-up or a person settles it."""
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class SkipReason(StrEnum):
    """Why an address of the audience is not written to."""

    SUPPRESSED = "suppressed"
    NOT_ACTIVE = "not_active"
    """Known, but pending, unsubscribed, bounced, complained or sunset."""
    ERASED = "erased"
    """The person's data was erased after the campaign was planned."""
    UNKNOWN_SUBSCRIBER = "unknown_subscriber"
    """Counted only: an address in `audience.emails` that is nobody on the list."""
    DUPLICATE = "duplicate"
    """Counted only: the address was in the audience more than once."""
    INVALID = "invalid"
    """Counted only: not an address that any ESP delivers to."""


class Delivery(StrEnum):
    """What became of an accepted mail; webhooks only move it down this list."""

    NONE = "none"
    PROCESSED = "processed"
    DEFERRED = "deferred"
    SOFT_BOUNCED = "soft_bounced"
    DELIVERED = "delivered"
    DROPPED = "dropped"
    BOUNCED = "bounced"
    COMPLAINED = "complained"


class BatchState(StrEnum):
    SENDING = "sending"
    DONE = "done"
    UNKNOWN = "unknown"
    """The call's outcome is not known: no clear answer, or the process died."""


class TallyKind(StrEnum):
    """What a `CampaignTally` counts, and so what its key is."""

    SKIPPED = "skipped"
    """Key: a `SkipReason`."""
    CLAIMED = "claimed"
    """Key: an ESP name. Recipients given to it; falls again on a definite refusal."""
    ACCEPTED = "accepted"
    """Key: an ESP name."""
    FAILOVER = "failover"
    """Key: `from>to`, ESP names. Sends that one refused and the other got."""
    CARRIED = "carried"
    """The accepted ones once more. Key: `esp/mailbox provider`."""
    # What events told, each by `esp/mailbox provider`, each send once.
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    HARD_BOUNCED = "hard_bounced"
    SOFT_BOUNCED = "soft_bounced"
    BLOCKED = "blocked"
    DROPPED = "dropped"
    COMPLAINED = "complained"
    OPENED = "opened"
    CLICKED = "clicked"
    UNSUBSCRIBED = "unsubscribed"
    MACHINE_OPENED = "machine_opened"
    """By a machine on the reader's behalf: it says where the mail is, not who read it."""
    MACHINE_CLICKED = "machine_clicked"


class Campaign(Base):
    """One mailing: content, audience, and counters kept in every transaction that moves a send.

    `planned` = skipped + queued + sending + accepted + rejected + unknown + cancelled, always.
    """

    __tablename__ = "campaigns"
    __table_args__ = (
        Index("ix_campaigns_content_hash_created_at", "content_hash", "created_at"),
        Index(
            "ix_campaigns_running",
            "id",
            sqlite_where=IS_RUNNING,
            postgresql_where=IS_RUNNING,
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[Id]
    kind: Mapped[CampaignKind] = mapped_column(stored_by_value(CampaignKind))
    name: Mapped[Name]
    status: Mapped[CampaignStatus] = mapped_column(stored_by_value(CampaignStatus))
    reason: Mapped[str | None] = mapped_column(Text)
    """Why it waits, is paused or needs review, in words for a person."""
    sandbox: Mapped[bool]

    subject: Mapped[str] = mapped_column(Text)
    html: Mapped[str | None] = mapped_column(Text)
    text: Mapped[str | None] = mapped_column(Text)
    from_email: Mapped[str] = mapped_column(String(320))
    from_name: Mapped[Name | None]
    reply_to: Mapped[str | None] = mapped_column(String(320))
    tags: Mapped[list[str]]
    track_opens: Mapped[bool]
    track_clicks: Mapped[bool]

    audience: Mapped[dict[str, Any]]
    esp: Mapped[EspName | None] = mapped_column(stored_by_value(EspName))
    """The only ESP that may carry it, if one was asked for."""
    content_hash: Mapped[str] = mapped_column(String(64))
    """Of content, sender and audience: the guard against the same mailing twice."""
    idempotency_key: Mapped[str | None] = mapped_column(String(255))

    planned_through: Mapped[Counter]
    """Watermark: the last subscriber id (or position in `audience.emails`) in the ledger."""
    plan_until: Mapped[int | None]
    """The last subscriber id of the audience, fixed when the campaign was created."""
    first_send_id: Mapped[int | None]
    last_send_id: Mapped[int | None]

    planned: Mapped[Counter]
    skipped: Mapped[Counter]
    queued: Mapped[Counter]
    sending: Mapped[Counter]
    accepted: Mapped[Counter]
    rejected: Mapped[Counter]
    unknown: Mapped[Counter]
    cancelled: Mapped[Counter]
    delivered: Mapped[Counter]
    bounced: Mapped[Counter]
    complained: Mapped[Counter]
    opened: Mapped[Counter]
    clicked: Mapped[Counter]
    unsubscribed: Mapped[Counter]

    created_at: Mapped[datetime]
    last_step_at: Mapped[datetime]
    """When it last moved; a restart resumes only what moved lately."""
    resume_at: Mapped[datetime | None]
    """When a waiting campaign is looked at again."""
    finished_at: Mapped[datetime | None]


class CampaignTally(Base):
    """One more counter of a campaign: sends by reason, by ESP, by change of ESP."""

    __tablename__ = "campaign_tallies"

    campaign_id: Mapped[int] = mapped_column(
        ForeignKey("campaigns.id", ondelete="CASCADE"), primary_key=True
    )
    kind: Mapped[TallyKind] = mapped_column(stored_by_value(TallyKind), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    n: Mapped[Counter]


class EmailSend(Base):
    """A send: one email of one campaign to one subscriber, once."""

    __tablename__ = "email_sends"
    __table_args__ = (
        UniqueConstraint("campaign_id", "email_key"),
        # Costs nothing measurable and makes a claim a short range scan.
        Index(
            "ix_email_sends_queued",
            "campaign_id",
            "id",
            sqlite_where=text("status = 'queued'"),
            postgresql_where=text("status = 'queued'"),
        ),
        {"sqlite_autoincrement": True},  # ids travel in mails and are never reused
    )

    id: Mapped[Id]
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"))
    subscriber_id: Mapped[int | None]
    """No foreign key: the ledger outlives an erased person."""
    email_key: Mapped[str] = mapped_column(String(320))
    mailbox_provider: Mapped[str] = mapped_column(String(32))
    status: Mapped[SendStatus] = mapped_column(stored_by_value(SendStatus))
    reason: Mapped[str | None] = mapped_column(Text)
    esp: Mapped[EspName | None] = mapped_column(stored_by_value(EspName))
    refused_by: Mapped[EspName | None] = mapped_column(stored_by_value(EspName))
    """The ESP whose definite refusal put it back into the queue."""
    batch_id: Mapped[int | None]
    attempt: Mapped[Counter]
    """Calls that carried it; part of our id at the ESP."""
    esp_message_id: Mapped[str | None] = mapped_column(String(200))
    delivery: Mapped[Delivery] = mapped_column(
        stored_by_value(Delivery), default=Delivery.NONE, server_default="none"
    )
    delivered_at: Mapped[datetime | None]
    heard: Mapped[Counter]
    """A bit for each kind of event that was told of it; each counts once."""
    interest: Mapped[float] = mapped_column(default=0.0, server_default="0")
    """What its person did with it: 0 (nothing) to 1."""
    opened: Mapped[bool] = mapped_column(default=False, server_default=false())
    clicked: Mapped[bool] = mapped_column(default=False, server_default=false())
    unsubscribed: Mapped[bool] = mapped_column(default=False, server_default=false())
    claimed_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]


class SendBatch(Base):
    """One call to one ESP, committed before the call is made."""

    __tablename__ = "send_batches"
    __table_args__ = (
        Index(
            "ix_send_batches_sending",
            "id",
            sqlite_where=text("state = 'sending'"),
            postgresql_where=text("state = 'sending'"),
        ),
        Index("ix_send_batches_campaign_id_id", "campaign_id", "id"),
        Index("ix_send_batches_started_at", "started_at"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[Id]
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"))
    esp: Mapped[EspName] = mapped_column(stored_by_value(EspName))
    state: Mapped[BatchState] = mapped_column(stored_by_value(BatchState))
    size: Mapped[int]
    first_send_id: Mapped[int]
    """With `last_send_id` the ledger range that holds its sends."""
    last_send_id: Mapped[int]
    accepted: Mapped[Counter]
    rejected: Mapped[Counter]
    unknown: Mapped[Counter]
    requeued: Mapped[Counter]
    http_status: Mapped[int | None]
    detail: Mapped[str | None] = mapped_column(Text)
    quota_hour: Mapped[datetime]
    """The hourly bucket its quota was taken from, and is given back to."""
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class IdempotencyKey(Base):
    """A key a client sent with a request, and the campaign that the request made."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    """SHA-256 of method, path and JSON body."""
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"))
    """Its answer is told from the campaign, as it stands now."""
    created_at: Mapped[datetime]
