"""HTTP/1.1 by hand: requests in, answers out.

No framework, because the wire itself must be able to misbehave: hang, reset, be cut.
"""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 60_000_000
READ_AHEAD_BYTES = 1024 * 1024

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")


class Malformed(Exception):
    """Answer `status` and close: what follows on this connection cannot be trusted."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    keep_alive: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One answer; `Content-Length`, `Date` and `Connection` are added by `encode`."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def phrase(self) -> str:
        try:
            return HTTPStatus(self.status).phrase
        except ValueError:
            return "Unknown"

    def encode(self, *, close: bool = False, missing: int = 0) -> bytes:
        """The bytes of the wire; `missing` is promised in Content-Length and not there."""
        lines = [
            f"HTTP/1.1 {self.status} {self.phrase}",
            f"Date: {formatdate(usegmt=True)}",
            f"Content-Length: {len(self.body) + missing}",
            f"Connection: {'close' if close else 'keep-alive'}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body


def json_response(status: int, document: Any, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        status=status,
        headers={"Content-Type": "application/json; charset=utf-8", **(headers or {})},
        body=json.dumps(document).encode(),
    )


def html_response(status: int, page: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        status=status,
        headers={"Content-Type": "text/html; charset=utf-8", **(headers or {})},
        body=page.encode(),
    )


async def read_head(reader: asyncio.StreamReader) -> Request | None:
    """The next request without its body; None when the client has left.

    Raises `Malformed`.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError as error:
        raise Malformed(431, "the request's head is too long") from error
    if len(head) > MAX_HEAD_BYTES:
        raise Malformed(431, "the request's head is too long")
    start, *lines = head[:-4].decode("latin-1").split("\r\n")
    return _request(start, _headers(lines))


async def read_body(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: Request
) -> bytes:
    """The body that belongs to `head`. Raises `Malformed`, also for one that is too long."""
    chunked = "transfer-encoding" in head.headers
    length = 0 if chunked else _content_length(head.headers)
    if head.headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return await (_read_chunks(reader) if chunked else reader.readexactly(length))


def _request(start: str, headers: dict[str, str]) -> Request:
    parts = start.split(" ")
    if len(parts) != 3 or not _TOKEN.fullmatch(parts[0]) or not parts[1].startswith("/"):
        raise Malformed(400, "the request line is not one of HTTP/1.1")
    method, target, version = parts
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise Malformed(505, "only HTTP/1.1 is spoken here")
    if version == "HTTP/1.1" and "host" not in headers:
        raise Malformed(400, "the Host header is missing")
    url = urlsplit(target)
    connection = headers.get("connection", "").lower()
    return Request(
        method=method,
        path=unquote(url.path),
        query=dict(parse_qsl(url.query, keep_blank_values=True)),
        headers=headers,
        keep_alive=connection != "close" and (version == "HTTP/1.1" or connection == "keep-alive"),
    )


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or "\r" in value or "\n" in value:
            raise Malformed(400, "a header line is malformed")
        key, value = name.lower(), value.strip(" \t")
        if key in ("content-length", "host") and headers.get(key, value) != value:
            raise Malformed(400, f"two {name} headers disagree")
        headers[key] = value
    _check_framing(headers)
    return headers


def _check_framing(headers: Mapping[str, str]) -> None:
    coding = headers.get("transfer-encoding")
    if coding is not None and "content-length" in headers:
        raise Malformed(400, "Content-Length and Transfer-Encoding exclude each other")
    if coding is not None and coding.lower() != "chunked":
        raise Malformed(501, "the only transfer coding known here is chunked")


def _content_length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit()):
        raise Malformed(400, "Content-Length is not a number")
    return _within_limit(int(text[:18]))


def _within_limit(length: int) -> int:
    if length > MAX_BODY_BYTES:
        raise Malformed(413, f"the body is longer than {MAX_BODY_BYTES:,} bytes")
    return length


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := await _read_chunk_size(reader):
        _within_limit(len(body) + size)
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise Malformed(400, "a chunk is longer than its size")
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers say nothing that is used here
    return bytes(body)


async def _read_chunk_size(reader: asyncio.StreamReader) -> int:
    line = await reader.readuntil(b"\r\n")
    size = line[:-2].partition(b";")[0].strip()
    if not _CHUNK_SIZE.fullmatch(size):
        raise Malformed(400, "a chunk's size is not a number")
    return int(size, 16)
