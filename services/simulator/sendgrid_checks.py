"""What SendGrid refuses a mail/send call for.

https://www.twilio.com/docs/sendgrid/api-reference/mail-send/limitations
"""

import time
from collections.abc import Iterator
from typing import Any

from services.base import SEND_REF_KEY
from services.simulator.dialect import Entry, Fault, Limit, Refused
from services.simulator.fates import is_address, is_deliverable
from services.simulator.http1 import Response, json_response
from services.simulator.shape import (
    JsonObject,
    as_list,
    as_object,
    as_text,
    as_texts,
    breaks_line,
    bytes_of,
)

MAX_RECIPIENTS = 1000
MAX_VALUE_BYTES = 10_000
MAX_CATEGORIES, MAX_CATEGORY_CHARS = 10, 255
MAX_SEND_AHEAD_S = 72 * 3600

RESERVED_HEADERS = frozenset(
    [
        "x-sg-id",
        "x-sg-eid",
        "received",
        "dkim-signature",
        "content-type",
        "content-transfer-encoding",
        "to",
        "from",
        "subject",
        "reply-to",
        "cc",
        "bcc",
    ]
)
CONTENT_ORDER = ("text/plain", "text/x-amp-html", "text/html")


def error(status: int, text: str, name: str | None = None) -> Response:
    return json_response(status, {"errors": [{"message": text, "field": name, "help": None}]})


def bad(text: str, name: str, limit: Limit | None = None) -> Refused:
    return Refused(error(400, text, name), limit=limit)


def bad_address(index: int, kind: str = "to", place: int = 0) -> Fault:
    """The code is the place in the call, as SendGrid names it."""
    return Fault(
        f"personalizations.{index}.{kind}.{place}.email", "Does not contain a valid address."
    )


def check_message(payload: JsonObject) -> None:
    """What all recipients share."""
    sender = as_object(payload.get("from"))
    if not is_address(sender.get("email")):
        raise bad("The from email does not contain a valid address.", "from.email")
    for person in (sender, as_object(payload.get("reply_to"))):
        as_texts({name: person.get(name) or "" for name in ("email", "name")})
    if payload.get("template_id"):
        raise bad("The template_id must be a valid GUID.", "template_id")
    _check_content(as_list(payload.get("content")))
    _check_headers(as_texts(payload.get("headers")), "headers")
    _check_custom_args(as_texts(payload.get("custom_args")))
    _check_categories([as_text(name) for name in as_list(payload.get("categories"))])
    _check_send_at(payload.get("send_at") or 0)


def read_entries(payload: JsonObject) -> list[Entry]:
    """One per personalization; a bad address becomes a fault of its entry."""
    blocks = as_list(payload.get("personalizations"))
    if not blocks:
        text = "The personalizations field is required and must have at least one personalization."
        raise bad(text, "personalizations")
    entries = [_entry(index, as_object(block), payload) for index, block in enumerate(blocks)]
    if sum(len(entry.recipients) for entry in entries) > MAX_RECIPIENTS:
        text = "There is a limit of 1000 total recipients (to + cc + bcc) per request."
        raise bad(text, "personalizations", Limit.RECIPIENTS)
    return entries


def _check_content(content: list[Any]) -> None:
    if not content:
        raise bad("Unless a valid template_id is provided, content is required.", "content")
    parts = [as_object(part) for part in content]
    for place, part in enumerate(parts):
        if not as_text(part.get("value")):
            text = "The content value must be a string at least one character in length."
            raise bad(text, f"content.{place}.value")
    kinds = [part.get("type") for part in parts]
    if kinds != [kind for kind in CONTENT_ORDER if kind in kinds]:
        text = "text/plain must be first, followed by text/x-amp-html, followed by text/html."
        raise bad(text, "content")


def _check_categories(categories: list[str]) -> None:
    if len(categories) > MAX_CATEGORIES or len(set(categories)) < len(categories):
        raise bad("There is a limit of 10 unique categories.", "categories", Limit.LABELS)
    if any(len(name) > MAX_CATEGORY_CHARS for name in categories):
        raise bad("A category cannot exceed 255 characters.", "categories", Limit.LABELS)


def _check_send_at(moment: Any) -> None:
    if not isinstance(moment, int):
        raise bad("The send_at must be an integer.", "send_at")
    if moment > time.time() + MAX_SEND_AHEAD_S:
        raise bad("Scheduling more than 72 hours in advance is forbidden.", "send_at")


def _entry(index: int, block: JsonObject, payload: JsonObject) -> Entry:
    if not (as_text(block.get("subject")) or as_text(payload.get("subject"))):
        raise bad("The subject is required.", "subject")
    _check_sender(index, block, payload)
    _check_values(as_texts(block.get("substitutions")), index)
    _check_headers(as_texts(block.get("headers")), f"personalizations.{index}.headers")
    args = as_texts(block.get("custom_args"))
    _check_custom_args(args)
    recipients, fault = _recipients(index, block)
    send_ref = args.get(SEND_REF_KEY) or as_texts(payload.get("custom_args")).get(SEND_REF_KEY)
    return Entry(recipients=recipients, send_ref=send_ref, source=block, fault=fault)


def _check_sender(index: int, block: JsonObject, payload: JsonObject) -> None:
    own = as_texts(block.get("from")).get("email")
    if own and own.rpartition("@")[2] != payload["from"]["email"].rpartition("@")[2]:
        text = "The from domain must be that of the message."
        raise bad(text, f"personalizations.{index}.from.email")


def _recipients(index: int, block: JsonObject) -> tuple[tuple[str, ...], Fault | None]:
    """The addresses of one personalization, and the first that is no address."""
    if not as_list(block.get("to")):
        raise bad("The to array is required.", f"personalizations.{index}.to")
    addresses: list[str] = []
    fault = None
    for kind, place, address in _addressees(block):
        if not is_deliverable(address):
            fault = fault or bad_address(index, kind, place)
        if any(address.lower() == other.lower() for other in addresses):
            text = (
                "Each email address in the personalization block should be unique between"
                f" to, cc, and bcc. We found the first duplicate instance of [{address}]."
            )
            raise bad(text, f"personalizations.{index}.{kind}")
        addresses.append(address)
    return tuple(addresses), fault


def _addressees(block: JsonObject) -> Iterator[tuple[str, int, str]]:
    for kind in ("to", "cc", "bcc"):
        for place, person in enumerate(as_list(block.get(kind))):
            yield kind, place, as_text(as_object(person).get("email"))


def _check_values(tags: dict[str, str], index: int) -> None:
    if bytes_of(tags) > MAX_VALUE_BYTES:
        where = f"personalizations.{index}.substitutions"
        raise bad("The substitutions are limited to 10,000 bytes.", where, Limit.VALUES)


def _check_custom_args(args: dict[str, str]) -> None:
    if bytes_of(args) > MAX_VALUE_BYTES:
        raise bad("The custom_args must not exceed 10,000 bytes.", "custom_args", Limit.LABELS)


def _check_headers(headers: dict[str, str], where: str) -> None:
    for name, value in headers.items():
        if breaks_line(name) or breaks_line(value):
            raise bad("A header must be one line.", where, Limit.HEADERS)
        if name.lower() in RESERVED_HEADERS:
            raise bad(f"The header {name} is reserved.", where, Limit.HEADERS)
