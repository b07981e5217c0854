"""What the ledger tells, a mail that was taken and a call that came in; and a call to make."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from config.esp_config import EspName

Post = tuple[dict[str, str], bytes]
"""Headers and body of a webhook call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One mail to one recipient that an ESP took.

    The fields from `sender` on are None for mails whose content is no longer kept, and
    for those that the ESP could not fill in.
    """

    id: int
    esp: EspName
    recipient: str
    send_ref: str | None
    message_id: str
    rendering_failure: bool
    """Taken, then not sent: the ESP could not fill in the template."""
    received_at: datetime
    sender: str | None = None
    reply_to: str | None = None
    subject: str | None = None
    html: str | None = None
    text: str | None = None
    headers: Mapping[str, str] | None = None
    labels: Mapping[str, str] | None = None
    """What comes back on the ESP's events: custom_args, tags, Metadata."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request that an ESP got."""

    esp: EspName
    at: datetime
    method: str
    path: str
    mode: str
    """The behaviour it met."""
    status: int | None
    """None when it was never answered."""
    recipients: int
    """0 when the ESP answered without reading the call."""
    taken: int
    """Recipients whose mail was taken."""
