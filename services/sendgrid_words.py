"""SendGrid's words for what became of a mail, and ours.

https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
"""

import re

from services.events import BounceClass, EventKind, SuppressionReason
from services.webhook_fields import (
    BLOCKED,
    COMPLAINED,
    DEFERRED,
    DROPPED,
    HARD,
    OTHER,
    RESUBSCRIBED,
    SOFT,
    UNSUBSCRIBED,
    Meaning,
)

# `event`, but for bounces and drops. One missing here is OTHER.
EVENTS: dict[str, Meaning] = {
    "processed": Meaning(EventKind.PROCESSED),
    "deferred": DEFERRED,
    "delivered": Meaning(EventKind.DELIVERED),
    "spamreport": COMPLAINED,
    "open": Meaning(EventKind.OPENED),
    "click": Meaning(EventKind.CLICKED),
    "unsubscribe": UNSUBSCRIBED,
    "group_unsubscribe": UNSUBSCRIBED,
    "group_resubscribe": RESUBSCRIBED,
    "account_status_change": OTHER,
}

# How `reason` of a drop begins, in lower case; the first that fits. One missing here is about
# the message or the account, and suppresses nobody.
DROPS: dict[str, Meaning] = {
    "bounced address": Meaning(EventKind.DROPPED, BounceClass.HARD, SuppressionReason.ESP_INACTIVE),
    "unsubscribed address": Meaning(EventKind.DROPPED, suppress=SuppressionReason.UNSUBSCRIBED),
    "spam reporting address": Meaning(EventKind.DROPPED, suppress=SuppressionReason.COMPLAINT),
    "invalid smtpapi header": DROPPED,
    "invalid": Meaning(EventKind.DROPPED, BounceClass.HARD, SuppressionReason.HARD_BOUNCE),
    "spam content": DROPPED,
    "recipient list over package quota": DROPPED,
}

# The first word of `bounce_classification`, in lower case: its spelling differs from page to
# page ("Frequency or Volume Too High", "Frequency/Volume"). `None`: the status decides.
# https://www.twilio.com/docs/sendgrid/ui/sending-email/bounce-classifications
CLASSIFICATIONS: dict[str, Meaning | None] = {
    "invalid": HARD,
    "mailbox": SOFT,
    "technical": SOFT,
    "content": BLOCKED,
    "reputation": BLOCKED,
    "frequency": BLOCKED,
    "unclassified": None,
}

# RFC 3463; the first that fits. Policy, content, size and the sender's own address are not the
# recipient's fault, and a mailbox that is full or closed may open again.
STATUSES: tuple[tuple[str, Meaning], ...] = (
    (r"[45]\.[67]\.\d+|5\.1\.[78]|5\.2\.3|5\.3\.4", BLOCKED),
    (r"5\.1\.\d+", HARD),
    (r"4\.1\.\d+|[45]\.[234]\.\d+", SOFT),
)

# `type`, when nothing else tells. One missing here is SOFT: a wrong SOFT costs one more
# attempt, a wrong HARD loses a reader for good.
TYPES: dict[str, Meaning] = {"bounce": HARD, "blocked": BLOCKED, "expired": SOFT}

_ENHANCED = re.compile(r"(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?!\.?\d)")
_BASIC = re.compile(r"\s*([245]\d\d)\b")
_NO_DOMAIN = re.compile(r"\b(?:no|null) ?mx\b", re.IGNORECASE)
_WORD = re.compile(r"[a-z]+")


def drop(reason: str | None) -> Meaning:
    began = (reason or "").strip().lower()
    return next((by for prefix, by in DROPS.items() if began.startswith(prefix)), DROPPED)


def bounce(kind: str, classification: str | None, status: str | None, words: str) -> Meaning:
    """What a bounce means for the next mail. `kind` is SendGrid's `type`.

    What SendGrid makes of the cause comes before its `type`, which only says whether it keeps
    the address on a list of its own: a full mailbox is "blocked" there. What is refused for
    policy is never the recipient's fault, and what is refused for now is never hard.
    """
    found = _WORD.match((classification or "").lower())
    by_class = CLASSIFICATIONS.get(found[0]) if found else None
    code = status or ""
    if by_class is BLOCKED or re.match(r"[45]\.7\.", code):
        return BLOCKED
    if kind == "expired":
        return SOFT
    if _NO_DOMAIN.search(words):
        by_class = HARD
    meaning = by_class or by_status(code) or TYPES.get(kind, SOFT)
    return SOFT if meaning is HARD and code.startswith("4") else meaning


def by_status(status: str) -> Meaning | None:
    return next((by for form, by in STATUSES if re.fullmatch(form, status)), None)


def status_of(given: str | None, words: str) -> str | None:
    """The most telling status: SendGrid's own, unless that is a mere 5.0.0 and the words have more."""
    if given and not re.fullmatch(r"\d\.0\.0", given):
        return given
    enhanced, basic = _ENHANCED.search(words), _BASIC.match(words)
    return (enhanced and enhanced[0]) or given or (basic and basic[1]) or None
