"""The answer to what is no HTTP request, which no view ever sees: in the form of every error, with
the headers of every answer, and with nothing of what was sent."""

import json
from uuid import uuid4

from gunicorn.http.errors import (
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)

from api.errors import PROBLEMS

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
"""Headers of every answer; a page may have a policy of its own."""

_KINDS: dict[type[Exception], str] = {
    LimitRequestLine: "address-too-long",
    LimitRequestHeaders: "headers-too-large",
    UnsupportedTransferCoding: "not-implemented",
    ParseException: "bad-request",
}


def answer_to(fault: Exception) -> bytes | None:
    """The whole answer; None when the request is not what is at fault."""
    kind = next((kind for of, kind in _KINDS.items() if isinstance(fault, of)), None)
    if kind is None:
        return None
    status, title = PROBLEMS[kind]
    instance = str(uuid4())
    said = {
        "type": f"/problems/{kind}",
        "title": title,
        "status": status,
        "detail": "The server cannot read it as an HTTP request, or its head is too large.",
        "instance": f"urn:uuid:{instance}",
    }
    body = json.dumps(said) + "\n"
    headers = {
        "Connection": "close",
        "Content-Type": "application/problem+json",
        "Content-Length": len(body),
        "X-Request-Id": instance,
        **ALWAYS,
    }
    lines = [f"HTTP/1.1 {status} {title}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode("ascii")
