"""Postmark's words for what became of a mail, and ours: nothing but tables."""

from services.events import EventKind, SuppressionReason
from services.webhook_fields import (
    BLOCKED,
    COMPLAINED,
    DEFERRED,
    DROPPED,
    HARD,
    OTHER,
    SOFT,
    UNSUBSCRIBED,
    Meaning,
)

# Records of one meaning, by RecordType; `Bounce` and `SubscriptionChange` have several.
# https://postmarkapp.com/developer/webhooks/webhooks-overview
RECORDS: dict[str, Meaning] = {
    "Delivery": Meaning(EventKind.DELIVERED),
    "SpamComplaint": COMPLAINED,
    "Open": Meaning(EventKind.OPENED),
    "Click": Meaning(EventKind.CLICKED),
}

# `Type` of a bounce: never its TypeCode, of which samples contradict each other. One missing
# here is SOFT: a wrong SOFT costs one more attempt, a wrong HARD loses a reader for good.
# https://postmarkapp.com/developer/api/bounce-api#bounce-types
BOUNCES: dict[str, Meaning] = {
    "HardBounce": HARD,
    "BadEmailAddress": HARD,
    "SoftBounce": SOFT,
    "Unknown": SOFT,
    "Transient": DEFERRED,  # Postmark may try again
    "DnsError": DEFERRED,
    "Blocked": BLOCKED,
    "DMARCPolicy": BLOCKED,
    "SpamNotification": BLOCKED,  # a filter's judgement of the content, not a person's click
    "VirusNotification": BLOCKED,
    "ChallengeVerification": BLOCKED,
    "SpamComplaint": COMPLAINED,
    "Unsubscribe": UNSUBSCRIBED,
    "ManuallyDeactivated": Meaning(EventKind.DROPPED, suppress=SuppressionReason.ESP_INACTIVE),
    "SMTPApiError": DROPPED,
    "TemplateRenderingFailed": DROPPED,
    "InboundError": DROPPED,
    "Unconfirmed": DROPPED,
    "AutoResponder": OTHER,
    "AddressChange": OTHER,
    "Subscribe": OTHER,
    "OpenRelayTest": OTHER,
}

# `SuppressionReason` of an address that Postmark no longer writes to; one missing here, or
# none, is somebody's wish. The other two repeat a bounce and a complaint that were told
# before: no second one, but a reason not to write there.
# https://postmarkapp.com/developer/webhooks/subscription-change-webhook
SUPPRESSIONS: dict[str, Meaning] = {
    "ManualSuppression": UNSUBSCRIBED,
    "HardBounce": Meaning(EventKind.OTHER, suppress=SuppressionReason.ESP_INACTIVE),
    "SpamComplaint": Meaning(EventKind.OTHER, suppress=SuppressionReason.COMPLAINT),
}
