"""What Postmark refuses a message for.

https://postmarkapp.com/developer/api/email-api
"""

from collections.abc import Iterable
from email.utils import getaddresses
from functools import lru_cache
from typing import Any

from services.base import SEND_REF_KEY
from services.simulator.dialect import Entry, Fault, Limit
from services.simulator.fates import Fate, fate_of, is_address, is_deliverable
from services.simulator.shape import JsonObject, as_object, as_pairs, as_text, breaks_line

MAX_BODY_BYTES = 5_000_000
MAX_RECIPIENTS = 50
MAX_METADATA, MAX_METADATA_KEY, MAX_METADATA_VALUE = 10, 20, 80
MAX_TAG_CHARS = 1000
TEXTS = ("HtmlBody", "TextBody", "Subject", "ReplyTo")

STREAMS = {
    "outbound": "Transactional",
    "broadcast": "Broadcasts",
    "inbound": "Inbound",
}
"""The streams that every Postmark server begins with: id -> type."""

# https://postmarkapp.com/developer/api/overview#error-codes
CODES: dict[str, str] = {
    "10": "No Account or Server API tokens were supplied in the HTTP headers.",
    "100": "The Postmark API is offline for maintenance.",
    "300": "Invalid 'From' address: 'sender'.",
    "400": "The 'From' address you supplied is not a Sender Signature on your account.",
    "401": "The Sender Signature has not been confirmed.",
    "402": "Received invalid JSON input.",
    "405": "Not allowed to send: you have run out of credits.",
    "406": "You tried to send to a recipient that has been marked as inactive.",
    "409": "JSON required.",
    "410": "Batch request size is over the limit of 500 messages.",
    "412": "Your account is pending approval: recipients must share the domain of 'From'.",
    "413": "Your account is not allowed to send.",
    "429": "Rate limit exceeded. Please slow down.",
    "1226": "The message stream for the provided 'ID' was not found.",
    "1235": "The message stream for the provided 'ID' was not found.",
    "1236": "The message stream for the provided 'ID' cannot be used for sending.",
}


def read_entry(message: JsonObject) -> Entry:
    recipients = tuple(
        address for kind in ("To", "Cc", "Bcc") for address in _addresses(message.get(kind))
    )
    metadata = as_object(message.get("Metadata"))
    send_ref = metadata.get(SEND_REF_KEY)
    return Entry(
        recipients=recipients,
        send_ref=None if send_ref is None else str(send_ref),
        source=message,
        fault=_find_fault(message, recipients, metadata),
    )


def inactive(addresses: Iterable[str]) -> Fault:
    return Fault(
        "406",
        f"{CODES['406']} Found inactive addresses: {', '.join(addresses)}. Inactive recipients"
        " are ones that have generated a hard bounce, a spam complaint, or a manual suppression.",
    )


def _find_fault(
    message: JsonObject, recipients: tuple[str, ...], metadata: JsonObject
) -> Fault | None:
    return (
        _fault_of_people(message, recipients)
        or _fault_of_content(message)
        or _fault_of_labels(as_text(message.get("Tag")), metadata)
        or _fault_of_stream(message)
        or _fault_of_inactive(recipients)
    )


def _fault_of_people(message: JsonObject, recipients: tuple[str, ...]) -> Fault | None:
    senders = _addresses(message.get("From"))
    if len(senders) != 1 or not is_address(senders[0]):
        return Fault("300", f"Invalid 'From' address: '{message.get('From')}'.")
    if not recipients:
        return Fault("300", "Zero recipients specified")
    if len(recipients) > MAX_RECIPIENTS:
        return Fault("300", "Recipient limit of 50 exceeded.", Limit.RECIPIENTS)
    for kind in ("To", "Cc", "Bcc"):
        if not all(map(is_deliverable, _addresses(message.get(kind)))):
            return Fault("300", f"Invalid '{kind}' address: '{message.get(kind)}'.")
    return None


def _fault_of_content(message: JsonObject) -> Fault | None:
    texts = {kind: as_text(message.get(kind)) for kind in TEXTS}
    bodies = texts["HtmlBody"], texts["TextBody"]
    if not any(bodies):
        return Fault("300", "Provide either email TextBody or HtmlBody or both.")
    if any(_is_longer(body, MAX_BODY_BYTES) for body in bodies):
        return Fault("300", "A body is limited to 5 MB.", Limit.BYTES)
    headers = as_pairs(message.get("Headers"))
    if any(not name or breaks_line(name) or breaks_line(headers[name]) for name in headers):
        return Fault("300", "Invalid header.", Limit.HEADERS)
    return None


def _fault_of_labels(tag: str, metadata: JsonObject) -> Fault | None:
    if len(tag) > MAX_TAG_CHARS:
        return Fault("300", "A tag is limited to 1000 characters.", Limit.LABELS)
    too_long = any(
        len(key) > MAX_METADATA_KEY or len(str(value)) > MAX_METADATA_VALUE
        for key, value in metadata.items()
    )
    if too_long or len(metadata) > MAX_METADATA:
        text = "Metadata is limited to 10 fields, names of 20 and values of 80 characters."
        return Fault("300", text, Limit.LABELS)
    if len({key.lower() for key in metadata}) < len(metadata):
        return Fault("300", "Metadata has a field twice.", Limit.LABELS)
    return None


def _fault_of_stream(message: JsonObject) -> Fault | None:
    kind = STREAMS.get(as_text(message.get("MessageStream")) or "outbound")
    if kind is None:
        return Fault("1235", CODES["1235"])
    return Fault("1236", CODES["1236"]) if kind == "Inbound" else None


def _fault_of_inactive(recipients: tuple[str, ...]) -> Fault | None:
    held = [address for address in recipients if fate_of(address) is Fate.INACTIVE]
    return inactive(held) if held else None


def _addresses(text: Any) -> tuple[str, ...]:
    """The bare addresses of a list such as `Ann <a@example.net>, b@example.net`."""
    line = as_text(text)
    if is_address(line) or not line:
        return (line,) if line else ()
    return _split(line)


@lru_cache(maxsize=256)  # the sender's line comes with every message of a call
def _split(line: str) -> tuple[str, ...]:
    return tuple(address or line for _, address in getaddresses([line]))


def _is_longer(text: str, limit: int) -> bool:
    return len(text) * 4 > limit and len(text.encode()) > limit
