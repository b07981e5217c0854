"""An ESP whose every byte a test decides, on a real socket; and what is sent to it.

For ESPs that behave see `services.simulator`.
"""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from types import TracebackType
from typing import Any, Self

from config.esp_config import ESPS, EspConfig, EspName, PostmarkConfig, SendGridConfig, SesConfig
from services.adapters import adapter_class
from services.amazon_ses import SesAdapter
from services.base import Batch, EspAdapter, Message, Recipient, Skeleton
from services.postmark import PostmarkAdapter
from services.sendgrid import SendGridAdapter

KEYS = {
    **{name: f"a-key-of-{name}-made-up-for-tests" for name in EspName},
    EspName.SENDGRID: "SG.a-sendgrid-key-of-tests",
    EspName.SES: "AKIATESTSONLY0000000",
    EspName.POSTMARK: "0000-a-postmark-token-of-tests",
}
CONCURRENCY = 2
AWS_SECRET = "an/aws+secret/of/tests/0000000000000000"

Act = Callable[[socket.socket], bool]
"""What to do with a connection once a request has been read; whether to go on with it."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class CannedEsp:
    """Answers each request with what `act` does; remembers requests and connections."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._tls = tls
        port = self._listener.getsockname()[1]
        self.url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
        self.act: Act = answer(500)
        self.requests: list[Request] = []
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A shutdown wakes the threads that wait in accept and recv; a close does not.
        for sock in (self._listener, *self._open):
            _shut(sock)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(sock)
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            sock = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
        except OSError:
            plain.close()
            return  # the client does not trust us
        self._open.add(sock)
        with sock, sock.makefile("rb") as stream:
            try:
                while request := _read(stream):
                    self.requests.append(request)
                    if not self.act(sock):
                        break
            except OSError:
                pass  # the client left
            self._open -= {plain, sock}


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _read(stream: Any) -> Request | None:
    first = stream.readline().decode()
    if not first:
        return None
    method, path, _ = first.split(" ", 2)
    headers = {}
    while line := stream.readline().decode().strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Request(method, path, headers, stream.read(int(headers.get("content-length", 0))))


def head(status: int, headers: Mapping[str, str] | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} X", *(f"{k}: {v}" for k, v in (headers or {}).items())]
    return "\r\n".join([*lines, "", ""]).encode()


def as_bytes(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def answer(status: int, body: Any = b"", headers: Mapping[str, str] | None = None) -> Act:
    """A whole answer; anything but bytes becomes JSON."""
    payload = as_bytes(body)
    kind = {"Content-Type": "application/json", "Content-Length": str(len(payload))}

    def act(sock: socket.socket) -> bool:
        sock.sendall(head(status, kind | dict(headers or {})) + payload)
        return True

    return act


def cut(status: int, headers: Mapping[str, str] | None = None) -> Act:
    """The answer promises 100 bytes more than come."""

    def act(sock: socket.socket) -> bool:
        sock.sendall(head(status, {"Content-Length": "102", **(headers or {})}) + b"[{")
        return False

    return act


def endless(sock: socket.socket) -> bool:
    sock.sendall(head(200))
    while True:
        sock.sendall(b" " * 65536)


def close(sock: socket.socket) -> bool:
    return False


def reset(sock: socket.socket) -> bool:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def hang(sock: socket.socket) -> bool:
    sock.recv(1)
    return False


def drip(begin: bytes) -> Act:
    """`begin` at once, then a byte each 10 ms until the client leaves."""

    def act(sock: socket.socket) -> bool:
        never = threading.Event()
        sock.sendall(begin)
        while not never.wait(0.01):
            sock.sendall(b" ")
        return False

    return act


def garbage_line(sock: socket.socket) -> bool:
    sock.sendall(b"220 mail.example.com ESMTP\r\n\r\n")
    return False


MESSAGE = Message(
    from_email="news@example.com",
    from_name="Example",
    subject=Skeleton(("Hi ", "")),
    html=Skeleton(("<p>Hi ", "</p>")),
    text=Skeleton(("Hi ", "")),
)


def people(count: int) -> tuple[Recipient, ...]:
    return tuple(
        Recipient(
            send_ref=f"s_{n}",
            address=f"reader{n}@example.net",
            subject=(f"Ann{n}",),
            html=(f"<b>Ann{n}</b>",),
            text=(f"Ann{n}",),
        )
        for n in range(count)
    )


def batch(count: int = 1, message: Message = MESSAGE) -> Batch:
    return Batch(message=message, recipients=people(count))


def sendgrid_config(url: str) -> SendGridConfig:
    return SendGridConfig(
        name=EspName.SENDGRID,
        priority=1,
        batch_size=100,
        concurrency=CONCURRENCY,
        api_key=KEYS[EspName.SENDGRID],
        base_url=url,
    )


def ses_config(url: str | None) -> SesConfig:
    return SesConfig(
        name=EspName.SES,
        priority=2,
        batch_size=50,
        concurrency=CONCURRENCY,
        access_key_id=KEYS[EspName.SES],
        secret_access_key=AWS_SECRET,
        region="eu-west-1",
        base_url=url,
        configuration_set="campaigns",
    )


def postmark_config(url: str) -> PostmarkConfig:
    return PostmarkConfig(
        name=EspName.POSTMARK,
        priority=3,
        batch_size=100,
        concurrency=CONCURRENCY,
        api_key=KEYS[EspName.POSTMARK],
        base_url=url,
    )


def sendgrid(url: str, **options: Any) -> SendGridAdapter:
    return SendGridAdapter(sendgrid_config(url), **{"read_timeout_s": 5.0, **options})


def ses(url: str | None, **options: Any) -> SesAdapter:
    return SesAdapter(ses_config(url), **{"read_timeout_s": 5.0, **options})


def postmark(url: str, **options: Any) -> PostmarkAdapter:
    return PostmarkAdapter(postmark_config(url), **{"read_timeout_s": 5.0, **options})


def config_of(name: EspName, url: str) -> EspConfig:
    """Of any ESP, with its key of `KEYS` for each secret."""
    limits = EspConfig(
        name=name, priority=9, batch_size=ESPS[name].largest_batch, concurrency=CONCURRENCY
    )
    config = ESPS[name].at_simulator(limits, url)
    secrets: dict[str, Any] = {
        one.name: KEYS[name] for one in fields(config) if not one.repr and getattr(config, one.name)
    }
    return replace(config, **secrets)


def maker(name: EspName) -> Callable[..., EspAdapter]:
    """For an ESP that was added to the three."""

    def make(url: str, **options: Any) -> EspAdapter:
        return adapter_class(name)(config_of(name, url), **{"read_timeout_s": 5.0, **options})

    return make


MAKERS: dict[EspName, Callable[..., EspAdapter]] = {
    **{name: maker(name) for name in EspName},
    EspName.SENDGRID: sendgrid,
    EspName.SES: ses,
    EspName.POSTMARK: postmark,
}
