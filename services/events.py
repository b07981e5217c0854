"""The words for what ESPs tell us about mails, and the contract of whoever reads them.

A webhook call is first shown to be genuine, over its raw bytes, and only then read. What
it says is one `Event` each; what follows from it is decided elsewhere.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from config.esp_config import EspName

KEY_CHARS = 200
"""As many as the event's unique key may have."""
CODE_CHARS = 64


class EventKind(StrEnum):
    """What happened, in one vocabulary for all ESPs (`facts/esps.md` 0.3)."""

    PROCESSED = "processed"
    """The ESP has the mail: an unknown send was accepted."""
    DEFERRED = "deferred"
    """Put off by the receiving side; the ESP tries again."""
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    """`Event.bounce_class` says whose fault it was."""
    DROPPED = "dropped"
    """Taken, and then not even tried."""
    COMPLAINED = "complained"
    OPENED = "opened"
    CLICKED = "clicked"
    UNSUBSCRIBED = "unsubscribed"
    RESUBSCRIBED = "resubscribed"
    """Kept for the record: only a confirmed opt-in lifts a suppression."""
    OTHER = "other"
    """Authentic, and nothing that we act upon."""


class BounceClass(StrEnum):
    """What a bounce means for the next mail to that address."""

    HARD = "hard"
    """No such mailbox: never again."""
    SOFT = "soft"
    """Full, slow or away: the next campaign may try."""
    BLOCKED = "blocked"
    """Refused for who sent it or what it said: not the recipient's fault."""


class SuppressionReason(StrEnum):
    """Why an address must not be written to; `LIFTED` takes back all rows before it."""

    UNSUBSCRIBED = "unsubscribed"
    PAUSED = "paused"
    """The person asked for a rest, until a day that they chose."""
    HARD_BOUNCE = "hard_bounce"
    SOFT_BOUNCE = "soft_bounce"
    COMPLAINT = "complaint"
    ESP_INACTIVE = "esp_inactive"
    """An ESP holds the address inactive and would not deliver to it."""
    MANUAL = "manual"
    LIFTED = "lifted"
    """A confirmed opt-in newer than what it lifts; the evidence is in the row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that an ESP told us about one mail, once. All texts come from outside."""

    key: str
    """Unique among the ESP's events, the same when it is told again; at most `KEY_CHARS`,
    and without an address in it."""
    kind: EventKind
    occurred_at: datetime
    payload: Mapping[str, Any]
    """Raw, so that `WebhookReader.read` makes the same event of it again."""
    send_ref: str | None = None
    """Our id (`services.base.SEND_REF_KEY`) as the event carries it, ours or anybody's."""
    address: str | None = None
    """The recipient, as the ESP spells it."""
    message_id: str | None = None
    """As the ledger keeps it in `email_sends.esp_message_id`."""
    bounce_class: BounceClass | None = None
    """Of `BOUNCED`, always; of `DROPPED`, `HARD` when the address is to blame."""
    suppress: SuppressionReason | None = None
    """Why nobody should write to this address any more, when this event says so by itself:
    a hard bounce, a complaint, an unsubscribe, an address that the ESP holds inactive."""
    code: str | None = None
    """The SMTP status or the ESP's own type; at most `CODE_CHARS`."""
    detail: str | None = None
    """What the receiving side or the ESP said; at most `services.base.REASON_CHARS`."""
    is_machine: bool = False
    """The ESP itself says that no person opened or clicked (`sg_machine_open`)."""
    url: str | None = None
    user_agent: str | None = None
    ip: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionRequest:
    """An SNS topic of ours asks whether we want its messages."""

    key: str
    topic_arn: str
    token: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookCall:
    """A call as it came in."""

    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What a genuine call says."""

    events: tuple[Event, ...] = ()
    subscription: SubscriptionRequest | None = None


class NotGenuine(Exception):
    """The call did not pass the ESP's check: 401, and nothing of it is believed.

    Says why, for the log; never a secret, and never told to the caller.
    """


class NotConfigured(Exception):
    """Nothing is set that could show the call to be genuine; says which variable is missing."""


class NotReachable(Exception):
    """What is needed for the check cannot be had now (a certificate): the ESP tries again."""


class WebhookReader(ABC):
    """The webhooks of one ESP. Thread-safe."""

    name: ClassVar[EspName]

    @abstractmethod
    def receive(self, call: WebhookCall) -> Received:
        """Check the raw bytes, then read them. A genuine call never fails: what it says that
        we do not know is `EventKind.OTHER`, what is no object at all is left out.

        Raises `NotGenuine`, `NotConfigured` or `NotReachable`.
        """

    @abstractmethod
    def read(self, payload: Mapping[str, Any]) -> tuple[Event, ...]:
        """The events of one stored payload, for a replay: the same keys, the same meaning."""
