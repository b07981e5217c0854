"""What becomes of a mail, by the local part of its recipient's address."""

import re
from enum import StrEnum


class Fate(StrEnum):
    """What the simulator lets happen to a mail after (or instead of) taking it."""

    DELIVERED = "delivered"
    """Taken and delivered, nothing else happens."""
    HARD_BOUNCED = "hard_bounced"
    """Taken; the mailbox does not exist."""
    SOFT_BOUNCED = "soft_bounced"
    """Taken; the mailbox is full, now and at every further attempt."""
    BLOCKED = "blocked"
    """Taken; the mailbox provider refuses us, not the reader."""
    DEFERRED = "deferred"
    """Taken; delivered at the second attempt."""
    COMPLAINED = "complained"
    """Taken, delivered, then reported as spam."""
    OPENED = "opened"
    """Taken, delivered and opened."""
    CLICKED = "clicked"
    """Taken, delivered, opened and clicked."""
    UNSUBSCRIBED = "unsubscribed"
    """Taken, delivered; the reader unsubscribes at the ESP."""
    INACTIVE = "inactive"
    """On the ESP's own suppression list: Postmark refuses (406), the others take and drop it."""
    INVALID = "invalid"
    """Refused at the API by each ESP, as an address that cannot be one."""


FATES: dict[str, Fate] = {
    "bounce": Fate.HARD_BOUNCED,
    "soft": Fate.SOFT_BOUNCED,
    "block": Fate.BLOCKED,
    "defer": Fate.DEFERRED,
    "complaint": Fate.COMPLAINED,
    "open": Fate.OPENED,
    "click": Fate.CLICKED,
    "unsubscribe": Fate.UNSUBSCRIBED,
    "inactive": Fate.INACTIVE,
    "invalid": Fate.INVALID,
}
"""Local part up to `+` or `@` -> fate; everybody else is `DELIVERED`."""

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"(?=.{{1,64}}@){_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+{_LABEL}")


def fate_of(address: str) -> Fate:
    local = address.partition("@")[0].partition("+")[0].lower()
    return FATES.get(local, Fate.DELIVERED)


def is_address(text: object) -> bool:
    """Whether each ESP would take it for an address: ASCII only, a dot in the domain.

    The narrow reading: none of the three delivers to a local part outside ASCII, and
    SES wants the domain as A-label.
    """
    return isinstance(text, str) and _ADDRESS.fullmatch(text) is not None


def is_deliverable(address: object) -> bool:
    """An address, and not the one that stands for those the ESP finds invalid."""
    return is_address(address) and fate_of(str(address)) is not Fate.INVALID
