"""What the wire formats of all ESPs have in common: sizes, header text, reasons."""

import json
from collections.abc import Callable, Mapping
from email.header import Header
from email.utils import formataddr
from itertools import chain
from typing import Any

import orjson

from services.base import (
    REASON_CHARS,
    Batch,
    Message,
    MessageRejected,
    Recipient,
    Skeleton,
    header_texts,
)

LINE_BREAKS = "\r\n\0"
MAX_GROWTH = 12
"""JSON makes at most 12 bytes of a character (two `\\uXXXX` for an emoji), also when the
JSON is quoted inside JSON once more (7 for a control character)."""


def reason(code: object, words: object = None) -> str:
    """`<code>: <the ESP's words>` on one line, short enough to store."""
    raw = str(words)[: 4 * REASON_CHARS] if words else ""
    text = " ".join("".join(one if one.isprintable() else " " for one in raw).split())
    return f"{code}: {text}"[:REASON_CHARS] if text else str(code)


def mailbox(name: str | None, address: str) -> str:
    """`Name <address>`, with the name quoted or RFC 2047 encoded where it must be."""
    if not name:
        return address
    if name.isascii() and "=?" not in name:
        return formataddr((name, address))
    return f"{Header(name, 'utf-8', maxlinelen=75).encode(linesep='')} <{address}>"


def header_list(headers: Mapping[str, str]) -> list[dict[str, str]]:
    """Headers as SES and Postmark want them; SES refuses a call for one empty value."""
    return [{"Name": name, "Value": value} for name, value in headers.items() if value]


def parts(message: Message) -> dict[str, Skeleton]:
    """The texts of a message that it has, by the name of `Recipient`'s field."""
    texts = {"subject": message.subject, "html": message.html, "text": message.text}
    return {name: skeleton for name, skeleton in texts.items() if skeleton is not None}


def filled(message: Message, recipient: Recipient) -> dict[str, str]:
    """The texts of one recipient's mail, complete, by the names of `parts`."""
    return {
        name: skeleton.fill(getattr(recipient, name)) for name, skeleton in parts(message).items()
    }


def values_of(recipient: Recipient) -> tuple[str, ...]:
    """All slot values, in the order of `parts`."""
    return (*recipient.subject, *recipient.html, *recipient.text)


def check_headers(batch: Batch) -> None:
    """Raise `MessageRejected` for a line break in anything that becomes a header.

    The engine has validated all of it: this is the last door, not the first.
    """
    message = batch.message
    shared = (message.from_email, message.from_name or "", message.reply_to or "")
    texts = chain(
        shared,
        message.tags,
        message.subject.literals,
        chain.from_iterable(message.headers.items()),
        (batch.header_text,),
    )
    text = "".join(texts)
    if any(one in text for one in LINE_BREAKS):  # a regular expression takes 40 times as long
        raise MessageRejected("a header, address or subject holds a line break or NUL")


def json_body(document: Any) -> bytes:
    """A document on the wire."""
    try:
        return orjson.dumps(document)
    except TypeError:  # half a character (a lone surrogate), which JSON can only spell out
        return json.dumps(document).encode()


def json_size(document: Any) -> int:
    """Bytes of a document on the wire, or a little more."""
    return len(json.dumps(document))


def how_many(
    batch: Batch,
    *,
    most: int,
    limit: int,
    shared: int,
    each: int,
    measure: Callable[[list[str]], int] = json_size,
) -> int:
    """How many of the first `most` recipients fit into `limit` bytes: never 0, since one must
    go in any case.

    `shared` bytes are needed once, `each` per recipient beside its own texts. The texts
    are measured exactly only when the worst that JSON can make of them would not fit.
    """
    recipients = batch.recipients[:most]
    longest = MAX_GROWTH * (len(batch.header_text) + len(batch.body_text))
    if shared + each * len(recipients) + longest <= limit:
        return len(recipients)
    total = shared
    for count, one in enumerate(recipients):
        total += each + measure([*header_texts(one), *one.html, *one.text])
        if total > limit:
            return max(count, 1)
    return len(recipients)
