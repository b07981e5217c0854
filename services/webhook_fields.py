"""What the readers of webhooks share: meanings of words; texts, times and keys from outside."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from services.events import BounceClass, EventKind, SuppressionReason

TEXT_CHARS = 2048
"""Longer addresses of pages and names of programs are cut."""
ID_CHARS = 200
"""As many of a message's id as the ledger holds."""

MAX_EXACT = 2**53
"""Below it a whole number is the same written as 1e3 and as 1000, as PostgreSQL gives it back."""

RECEIVED_KEY = "cx_received_at"
"""Added to the payload of an event without a time of its own, so that it reads the same again."""
EARLIEST = datetime(2010, 1, 1, tzinfo=UTC)
MAX_AHEAD = timedelta(days=1)
"""Clocks differ, ours too; a time further in the future is not believed."""
NEVER = datetime(1970, 1, 1, tzinfo=UTC)

Payload = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one of an ESP's words comes to."""

    kind: EventKind
    bounce_class: BounceClass | None = None
    suppress: SuppressionReason | None = None


HARD = Meaning(EventKind.BOUNCED, BounceClass.HARD, SuppressionReason.HARD_BOUNCE)
SOFT = Meaning(EventKind.BOUNCED, BounceClass.SOFT)
BLOCKED = Meaning(EventKind.BOUNCED, BounceClass.BLOCKED)
DROPPED = Meaning(EventKind.DROPPED)
COMPLAINED = Meaning(EventKind.COMPLAINED, suppress=SuppressionReason.COMPLAINT)
UNSUBSCRIBED = Meaning(EventKind.UNSUBSCRIBED, suppress=SuppressionReason.UNSUBSCRIBED)
RESUBSCRIBED = Meaning(EventKind.RESUBSCRIBED)
DEFERRED = Meaning(EventKind.DEFERRED)
OTHER = Meaning(EventKind.OTHER)


def text(given: object, most: int = TEXT_CHARS) -> str | None:
    """A text that is one, and not empty."""
    return given[:most] if isinstance(given, str) and given else None


def hashed(*parts: object) -> str:
    """A key for an event that has no id, of what it says: texts, whole numbers or nothing."""
    known = [one if isinstance(one, str) else _whole(one) for one in parts]
    return "h:" + sha256(json.dumps(known).encode()).hexdigest()


def _whole(given: object) -> int | None:
    if isinstance(given, int | float) and abs(given) < MAX_EXACT:
        return int(given)
    return None


def timed(
    payload: Payload, told: datetime | None, received_at: datetime | None
) -> tuple[Payload, datetime]:
    """When it happened: when it is `told` to have, unless that cannot be; then, when we heard.

    In a replay `received_at` is `None`, and the payload has it where it matters.
    """
    heard = received_at or moment(payload.get(RECEIVED_KEY))
    if told and told >= EARLIEST and (heard is None or told <= heard + MAX_AHEAD):
        return payload, told
    if heard is None:
        return payload, NEVER
    return {**payload, RECEIVED_KEY: heard.isoformat()}, heard


def moment(given: object) -> datetime | None:
    """An ISO 8601 time in UTC; of more than six digits of a second the first six."""
    if not isinstance(given, str):
        return None
    try:
        when = datetime.fromisoformat(given)
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
