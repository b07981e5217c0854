"""The tables; one row of each is described by the docstring of its class."""

from database.models.base import Base, UtcDateTime
from database.models.brakes import BrakeOverride
from database.models.campaigns import (
    BatchState,
    Campaign,
    CampaignKind,
    CampaignStatus,
    CampaignTally,
    Delivery,
    EmailSend,
    IdempotencyKey,
    SendBatch,
    SendStatus,
    SkipReason,
    TallyKind,
)
from database.models.dns import DnsBlock, DnsCheck, DnsDue, EspDomain
from database.models.esps import (
    BreakerState,
    EspPerformance,
    EspPerformanceDay,
    EspQuota,
    EspState,
    QuotaWindow,
)
from database.models.events import Bounce, Complaint, WebhookEvent
from database.models.people import (
    EngagementCount,
    EngagementTier,
    OptIn,
    Segment,
    Subscriber,
    SubscriberCount,
    SubscriberDay,
    SubscriberStatus,
    Suppression,
)
from database.models.system import Installation, SentFrom
from services.events import BounceClass, EventKind, SuppressionReason

__all__ = [
    "Base",
    "BatchState",
    "Bounce",
    "BounceClass",
    "BrakeOverride",
    "BreakerState",
    "Campaign",
    "CampaignKind",
    "CampaignStatus",
    "CampaignTally",
    "Complaint",
    "Delivery",
    "DnsBlock",
    "DnsCheck",
    "DnsDue",
    "EmailSend",
    "EngagementCount",
    "EngagementTier",
    "EspDomain",
    "EspPerformance",
    "EspPerformanceDay",
    "EspQuota",
    "EspState",
    "EventKind",
    "IdempotencyKey",
    "Installation",
    "OptIn",
    "QuotaWindow",
    "Segment",
    "SendBatch",
    "SendStatus",
    "SentFrom",
    "SkipReason",
    "Subscriber",
    "SubscriberCount",
    "SubscriberDay",
    "SubscriberStatus",
    "Suppression",
    "SuppressionReason",
    "TallyKind",
    "UtcDateTime",
    "WebhookEvent",
]
