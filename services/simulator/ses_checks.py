"""What Amazon SES v2 refuses a call or an entry for, and how it fills in templates.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendBulkEmail.html
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parseaddr
from typing import Any

from services.base import SEND_REF_KEY
from services.simulator.dialect import Entry, Fault, Limit
from services.simulator.fates import is_address, is_deliverable
from services.simulator.ses_errors import STATUSES, bad
from services.simulator.shape import (
    JsonObject,
    WrongShape,
    as_list,
    as_object,
    as_pairs,
    as_text,
)

MAX_ENTRIES = 50
MAX_RECIPIENTS = 50
MAX_DATA_CHARS = 262_144
MAX_HEADERS, MAX_HEADER_NAME, MAX_HEADER_VALUE, MAX_HEADER = 15, 126, 995, 996

_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
_HEADER_NAME = re.compile(r"[!-9;-~]+")
_HEADER_VALUE = re.compile(r"[ -~\t]*")
_PLACE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_VARIABLE = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Template:
    """An inline template, cut once per call: text and variable names by turns."""

    parts: Mapping[str, tuple[str, ...]]
    names: frozenset[str]
    defaults: Mapping[str, str]

    @classmethod
    def parse(cls, template: JsonObject) -> "Template":
        """Raises `Refused` when the call has no template that could be filled in."""
        content = as_object(template.get("TemplateContent"))
        parts = {
            kind: tuple(_PLACE.split(as_text(content.get(kind))))
            for kind in ("Subject", "Html", "Text")
            if content.get(kind)
        }
        if "Subject" not in parts or len(parts) < 2:
            raise bad("The template needs a subject and an HTML or text part.")
        names = frozenset(name.strip() for cut in parts.values() for name in cut[1::2])
        return cls(parts, names, read_values(template.get("TemplateData")))

    def can_fill(self, own: Mapping[str, str]) -> bool:
        """Whether every variable is one and has a value.

        Whether SES scans values again is not documented, so a value with `{{` fails
        here: who avoids them is right either way.
        """
        values = {**self.defaults, **own}
        return all(
            _VARIABLE.fullmatch(name) and name in values and "{{" not in values[name]
            for name in self.names
        )

    def fill(self, kind: str, own: Mapping[str, str]) -> str | None:
        if kind not in self.parts:
            return None
        values = {**self.defaults, **own}
        return "".join(
            values.get(piece.strip(), "") if place % 2 else piece
            for place, piece in enumerate(self.parts[kind])
        )


def read_values(data: Any) -> dict[str, str]:
    """Template data, which is JSON in a string. Raises `Refused`."""
    text = as_text(data) or "{}"
    if len(text) > MAX_DATA_CHARS:
        raise bad("The template data is limited to 262144 characters.", Limit.VALUES)
    try:
        values = as_object(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise bad("The template data is not a JSON object.") from error
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }


def check_sender(payload: JsonObject) -> None:
    senders = [
        as_text(payload.get("FromEmailAddress")),
        *map(as_text, as_list(payload.get("ReplyToAddresses"))),
    ]
    for sender in senders:
        if not sender.isascii() or not is_address(parseaddr(sender)[1]):
            raise bad(f"Missing or invalid address: {sender!r}.")


def check_headers(headers: Mapping[str, str]) -> None:
    if len(headers) > MAX_HEADERS:
        raise bad("A message is limited to 15 headers.", Limit.HEADERS)
    for name, value in headers.items():
        too_long = (
            len(name) > MAX_HEADER_NAME
            or not 0 < len(value) <= MAX_HEADER_VALUE
            or len(name) + len(value) > MAX_HEADER
        )
        if too_long or not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise bad(f"Invalid header {name[:MAX_HEADER_NAME]!r}.", Limit.HEADERS)


def read_tags(value: Any) -> dict[str, str]:
    tags = as_pairs(value)
    for name, text in tags.items():
        if not _TAG.fullmatch(name) or not _TAG.fullmatch(text):
            raise bad(f"Invalid tag {name!r}: {text!r}.", Limit.LABELS)
    return tags


def read_headers(value: Any) -> dict[str, str]:
    try:
        return as_pairs(value)
    except WrongShape as error:
        raise bad("A header is malformed or comes twice.", Limit.HEADERS) from error


def read_entry(destination: JsonObject, tags: Mapping[str, str], source: JsonObject) -> Entry:
    """An entry whose fault, if it has one, is about its recipients."""
    recipients = tuple(
        as_text(address)
        for kind in ("ToAddresses", "CcAddresses", "BccAddresses")
        for address in as_list(destination.get(kind))
    )
    if len(recipients) > MAX_RECIPIENTS:
        raise bad("Recipient count exceeds 50.", Limit.RECIPIENTS)
    bare = tuple(address if is_address(address) else _bare(address) for address in recipients)
    is_wrong = not bare or not all(map(is_deliverable, bare))
    return Entry(
        recipients=bare,
        send_ref=tags.get(SEND_REF_KEY),
        source=source,
        fault=Fault("INVALID_PARAMETER", STATUSES["INVALID_PARAMETER"]) if is_wrong else None,
    )


def _bare(address: str) -> str:
    return parseaddr(address)[1] or address
