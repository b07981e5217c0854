"""The HTTP under all three SDKs: kept-alive connections, one deadline, no second request.

The SDKs disagree on what a failed call means (one waits for ever, one sends again after
a read timeout, two follow redirects with the key), so none of them opens a socket here:
each hands its finished request to a `Transport`, which answers the only question the
engine has, namely whether the mails may be on their way.
"""

import http.client
import io
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import urllib3
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection, HTTPSConnection

from config.failpoints import Failpoint
from services.base import (
    CONNECT_TIMEOUT_S,
    MAX_ANSWER_BYTES,
    READ_TIMEOUT_S,
    EspUnavailable,
    OutcomeUnknown,
)
from utils.failpoints import reach

MAX_IDLE_S = 20.0
"""A connection unused for longer is not used again. Balancers drop idle ones after 60 s or
more; a request that meets the drop is lost or not, nobody knows, and a person must decide."""


CHUNK_BYTES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer; names in `headers` are looked up in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class CutAnswer(OutcomeUnknown):
    """The status line and the headers came, but not the whole body.

    Where those alone are the ESP's promise, the call has succeeded.
    """

    def __init__(self, reason: str, *, http_status: int, headers: Mapping[str, str]) -> None:
        super().__init__(reason, http_status=http_status)
        self.status = http_status
        self.headers = headers


class Transport:
    """Calls to one ESP. Thread-safe; keeps up to `connections` of them alive."""

    def __init__(
        self,
        *,
        connections: int,
        hide: tuple[str, ...] = (),
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        """`hide` holds the secrets that travel: an answer that echoes one is blotted out."""
        for secret in hide:
            if not (secret.isascii() and secret.isprintable() and secret.strip() == secret != ""):
                raise ValueError("an ESP key is empty or holds characters that no key has")
        # A made-up key of a few letters would blot out innocent words.
        self._hide = tuple(secret.encode() for secret in hide if len(secret) >= 16)
        self._options: dict[str, Any] = {
            "timeout": urllib3.Timeout(connect=connect_timeout_s, read=read_timeout_s),
            "maxsize": connections,
            "retries": False,
            "deadline_s": read_timeout_s,
        }
        self._max_answer_bytes = max_answer_bytes
        self._pools: dict[tuple[str, str], urllib3.HTTPConnectionPool] = {}

    def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        """Make exactly one request and read the whole answer.

        Raises `EspUnavailable` when nothing was sent and for a redirect (never followed:
        it would carry the key along), `OutcomeUnknown` when the request may have arrived.
        """
        pool, target = self._place(url)
        try:
            response = pool.urlopen(
                method,
                target,
                body=body,
                headers={**headers, "Accept-Encoding": "identity"},
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise OutcomeUnknown(f"no answer: {_what(error)}") from error
        if 300 <= response.status < 400:
            response.close()
            reason = f"{response.status}: redirected elsewhere, not followed"
            raise EspUnavailable(reason, http_status=response.status)
        if body:
            reach(Failpoint.STATUS_READ)
        answered = self._whole_body(response)
        if body:
            reach(Failpoint.RESPONSE_READ)
        return Answer(status=response.status, headers=response.headers, body=answered)

    def _whole_body(self, response: urllib3.BaseHTTPResponse) -> bytes:
        try:
            body = b"".join(_chunks(response, self._max_answer_bytes))
        except (urllib3.exceptions.HTTPError, OSError) as error:
            response.close()
            reason = f"{response.status}: the answer is not whole: {_what(error)}"
            raise CutAnswer(
                reason, http_status=response.status, headers=response.headers
            ) from error
        for secret in self._hide:
            body = body.replace(secret, b"[hidden]")
        return body

    def _place(self, url: str) -> tuple[urllib3.HTTPConnectionPool, str]:
        parts = urlsplit(url)
        key = (parts.scheme, parts.netloc)
        pool = self._pools.get(key)
        if pool is None:
            # Two threads may both make the first pool; one is dropped, unused or nearly so.
            pool = self._pools.setdefault(key, self._new_pool(*key))
        return pool, f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"

    def _new_pool(self, scheme: str, netloc: str) -> urllib3.HTTPConnectionPool:
        parts = urlsplit(f"{scheme}://{netloc}")
        if scheme == "http":
            return _Pool(parts.hostname or "", parts.port, **self._options)
        # One context for all connections: reading the bundle costs 20 ms.
        context = ssl.create_default_context(cafile=DEFAULT_CA_BUNDLE_PATH)
        return _TlsPool(parts.hostname or "", parts.port, ssl_context=context, **self._options)


def _chunks(response: urllib3.BaseHTTPResponse, limit: int) -> Iterator[bytes]:
    """The body until its end: a read of a fixed size does not notice that bytes are missing."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        # Not asked for, and a megabyte of it could become a gigabyte.
        raise urllib3.exceptions.ProtocolError("compressed")
    size = 0
    for chunk in response.stream(CHUNK_BYTES, decode_content=False):
        size += len(chunk)
        if size > limit:
            raise urllib3.exceptions.ProtocolError(f"over {limit} bytes")
        yield chunk


def _what(error: BaseException) -> str:
    """What broke, in the words of the innermost error."""
    inner = error.args[-1] if error.args else ""
    if isinstance(inner, BaseException):
        return f"{type(inner).__name__}: {inner}"
    # urllib3 puts the connection in front: "HTTPConnection(host='x', port=1): Read timed out."
    return f"{type(error).__name__}: {str(inner).partition('): ')[2] or inner}"


class _DeadlineReader(io.RawIOBase):
    """Reads a socket until a moment in time, however the bytes trickle in.

    A socket's timeout starts anew with each byte: 1 byte a second would hold us for ever.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        # The socket counts its files, so it stays open when http.client lets go of it.
        self._file = sock.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_left(self._deadline))
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the answer took too long")
    return left


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, deadline: float, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_DeadlineReader(sock, deadline))


class _OneDeadline(HTTPConnection):
    """What both kinds of connection have beyond urllib3's.

    - Failing to connect is told apart from failing later: nothing was sent.
    - Request and answer share one deadline. (urllib3 sends the body under the *connect*
      timeout, too short for some megabytes, and reads under one timeout per recv.)
    - A connection that was idle for long counts as dropped.
    """

    def __init__(self, *args: Any, deadline_s: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline_s = deadline_s
        self._deadline = 0.0
        self._body: bytes | None = None

    @property
    def is_connected(self) -> bool:
        is_fresh = time.monotonic() < self._deadline - self._deadline_s + MAX_IDLE_S
        return is_fresh and super().is_connected

    def connect(self) -> None:
        try:
            super().connect()
        except (OSError, urllib3.exceptions.HTTPError) as error:
            raise EspUnavailable(f"cannot connect: {_what(error)}") from error

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is None:
            self.connect()
        self._deadline = time.monotonic() + self._deadline_s
        self._body = kwargs.get("body")
        if self._body:
            reach(Failpoint.CONNECTED)
        super().request(*args, **kwargs)
        if self._body:
            reach(Failpoint.BODY_SENT)
        self._body = None

    def send(self, data: Any) -> None:
        self.sock.settimeout(_left(self._deadline))
        if self._body and data is self._body:  # not the headers, which go first
            reach(Failpoint.HALF_BODY_SENT, partial(self._send_half, data))
        super().send(data)

    def _send_half(self, data: bytes) -> None:
        super().send(data[: len(data) // 2])

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override] # as in urllib3
        # http.client only ever calls it.
        self.response_class = partial(_Response, deadline=self._deadline)  # type: ignore[assignment]
        return super().getresponse()


class _TlsConnection(_OneDeadline, HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _OneDeadline


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
