"""Amazon SES's words for what became of a mail, and ours: nothing but tables."""

from dataclasses import dataclass

from services.events import BounceClass, EventKind, SuppressionReason


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one of SES's words comes to."""

    kind: EventKind
    bounce_class: BounceClass | None = None
    suppress: SuppressionReason | None = None


HARD = Meaning(EventKind.BOUNCED, BounceClass.HARD, SuppressionReason.HARD_BOUNCE)
SOFT = Meaning(EventKind.BOUNCED, BounceClass.SOFT)
BLOCKED = Meaning(EventKind.BOUNCED, BounceClass.BLOCKED)
# SES did not try: the address is on a list of its own.
HELD = Meaning(EventKind.DROPPED, BounceClass.HARD, SuppressionReason.ESP_INACTIVE)
UNSUBSCRIBED = Meaning(EventKind.UNSUBSCRIBED, suppress=SuppressionReason.UNSUBSCRIBED)
COMPLAINT = Meaning(EventKind.COMPLAINED, suppress=SuppressionReason.COMPLAINT)
# Nobody complained now: SES kept from sending to someone who had.
COMPLAINED_BEFORE = Meaning(EventKind.DROPPED, suppress=SuppressionReason.COMPLAINT)
OTHER = Meaning(EventKind.OTHER)

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
    "abuse": COMPLAINT,
    "fraud": COMPLAINT,
    "other": COMPLAINT,
    "not-spam": OTHER,
    "auth-failure": OTHER,
    "virus": OTHER,
}
