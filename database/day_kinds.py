"""What a `SubscriberDay` counts beside people who came and went."""

from services.events import BounceClass, SuppressionReason

COMPLAINT = "complaint"
"""Complaints told."""


def bounce_kind(bounce_class: BounceClass) -> str:
    """Bounces told, of this class."""
    return f"bounce:{bounce_class.value}"


def suppressed_kind(reason: SuppressionReason) -> str:
    """Addresses at which this reason began to hold for good, less those where it ended."""
    return f"suppressed:{reason.value}"
