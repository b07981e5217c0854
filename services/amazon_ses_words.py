"""Amazon SES's words for what became of a mail, and ours: nothing but tables."""

from services.events import BounceClass, EventKind, SuppressionReason
from services.webhook_fields import BLOCKED, COMPLAINED, HARD, OTHER, SOFT, UNSUBSCRIBED, Meaning

# SES did not try: the address is on a list of its own.
HELD = Meaning(EventKind.DROPPED, BounceClass.HARD, SuppressionReason.ESP_INACTIVE)
# Nobody complained now: SES kept from sending to someone who had.
COMPLAINED_BEFORE = Meaning(EventKind.DROPPED, suppress=SuppressionReason.COMPLAINT)

# bounceType and bounceSubType. A pair missing here is SOFT: a wrong SOFT costs one more
# attempt, a wrong HARD loses a reader for good.
# https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html#bounce-types
BOUNCES: dict[tuple[str, str], Meaning] = {
    ("Undetermined", "Undetermined"): SOFT,
    ("Permanent", "General"): HARD,
    ("Permanent", "NoEmail"): HARD,
    ("Permanent", "Suppressed"): HELD,
    ("Permanent", "OnAccountSuppressionList"): HELD,
    ("Permanent", "OnTenantSuppressionList"): HELD,
    ("Permanent", "EmailValidationSuppressed"): HELD,
    ("Permanent", "UnsubscribedRecipient"): UNSUBSCRIBED,
    ("Permanent", "ContentRejected"): BLOCKED,
    ("Transient", "General"): SOFT,
    ("Transient", "MailboxFull"): SOFT,
    ("Transient", "CustomTimeoutExceeded"): SOFT,
    ("Transient", "MessageTooLarge"): BLOCKED,
    ("Transient", "ContentRejected"): BLOCKED,
    ("Transient", "AttachmentRejected"): BLOCKED,
}
# Where SES itself names no cause, the status of the receiving side does (RFC 3463): policy,
# authentication and reputation are not the recipient's fault, and a mailbox that is full or
# closed may open again.
NO_CAUSE = frozenset({"General", "Undetermined"})
STATUSES: tuple[tuple[str, Meaning], ...] = (
    (r"[45]\.7\.\d+", BLOCKED),
    (r"[45]\.2\.[12]", SOFT),
)

# complaintFeedbackType; one missing here, and none at all, is a complaint. auth-failure and
# virus are reports by machines about the mail, and not-spam takes a complaint back.
# https://www.iana.org/assignments/marf-parameters
COMPLAINTS: dict[str, Meaning] = {
    "abuse": COMPLAINED,
    "fraud": COMPLAINED,
    "other": COMPLAINED,
    "not-spam": OTHER,
    "auth-failure": OTHER,
    "virus": OTHER,
}
