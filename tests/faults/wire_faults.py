"""In front of an ESP: passes calls on, and answers some of them as no ESP should.

The simulator speaks HTTP, and each ESP's own words, whatever it does; here the bytes are any.
"""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.canned_esp import Act, answer, close, cut, drip, endless, garbage_line, head, reset

HTML = {"Content-Type": "text/html"}
PAGE = b"<html><body>Sorry.</body></html>"


@dataclass(frozen=True, slots=True, kw_only=True)
class WireFault:
    """What is answered instead of the ESP's own answer."""

    act: Act
    taken: bool = True
    """Whether the call is passed on first, so that the ESP has its mails."""
    is_clear: bool = False
    """Whether the answer says that nothing was taken, so that nobody may end as unknown."""


def said(begin: bytes) -> Act:
    """These bytes, and the end of the connection."""

    def act(connection: object) -> bool:
        connection.sendall(begin)  # type: ignore[attr-defined]
        return False

    return act


def refused(act: Act) -> WireFault:
    return WireFault(act=act, taken=False, is_clear=True)


WIRE_FAULTS = {
    "no-http": WireFault(act=garbage_line),
    "nothing": WireFault(act=close),
    "reset": WireFault(act=reset),
    "head-without-end": WireFault(act=drip(b"HTTP/1.1 200 OK\r\nX-Slow: ")),
    "body-without-end": WireFault(act=drip(head(200, {"Content-Length": "1000000"}))),
    "half-a-status-line": WireFault(act=said(b"HTTP/1.1 20")),
    "half-a-head": WireFault(act=said(b"HTTP/1.1 200 OK\r\nContent-Le")),
    "half-a-body": WireFault(act=cut(200)),
    "only-100-continue": WireFault(act=said(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "too-large": WireFault(act=endless),
    "wrong-charset": WireFault(act=answer(200, b"\xff\xfe\x00{", {"Content-Type": "text/html; charset=utf-7"})),
    "deep-json": WireFault(act=answer(200, b"[" * 50_000)),
    "results-of-nobody": WireFault(act=answer(200, [])),
    "another-ones-answer": WireFault(act=answer(200, {"hello": "world"})),
    "500-page": WireFault(act=answer(500, PAGE, HTML)),
    "502-page": WireFault(act=answer(502, PAGE, HTML), taken=False),
    "503-come-back": WireFault(act=answer(503, PAGE, {**HTML, "Retry-After": "1"})),
    "504-page": WireFault(act=answer(504, PAGE, HTML)),
    "408": WireFault(act=answer(408, PAGE, HTML)),
    "429": refused(answer(429, {})),
    "429-in-a-second": refused(answer(429, {}, {"Retry-After": "1"})),
    "429-nonsense": refused(answer(429, PAGE, {**HTML, "Retry-After": "soon"})),
    "401-page": WireFault(act=answer(401, PAGE, HTML), taken=False),
    "403-page": WireFault(act=answer(403, PAGE, HTML), taken=False),
}  # fmt: skip


class Front:
    """One ESP's address for the server under test. Answers `fault` to the next `times` calls with
    mail, and passes the others on."""

    def __init__(self, behind: str) -> None:
        self.fault: WireFault | None = None
        self.times = 0
        self.struck = 0
        """Calls that met the fault."""
        self.withheld = 0
        """Calls that the ESP never saw, of all faults."""
        self._counting = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, behind))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def misbehave(self, fault: WireFault, times: int) -> None:
        self.struck, self.times, self.fault = 0, times, fault

    def draw(self) -> WireFault | None:
        """The fault of the call at hand, if it meets one."""
        with self._counting:
            if self.struck >= self.times:
                return None
            self.struck += 1
            self.withheld += self.fault is not None and not self.fault.taken
            return self.fault

    @contextmanager
    def open(self) -> Iterator["Front"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield self
        self._server.shutdown()
        thread.join()
        self._server.server_close()


def _handler(front: Front, behind: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._pass_on(None)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            fault = front.draw()
            if fault is None:
                self._pass_on(body)
                return
            if fault.taken:
                self._ask(body)
            self.close_connection = True
            with suppress(OSError):  # the server under test has left
                self.close_connection = not fault.act(self.connection)

        def _pass_on(self, body: bytes | None) -> None:
            status, headers, answered = self._ask(body)
            lines = {**headers, "Content-Length": str(len(answered))}
            self.wfile.write(head(status, lines) + answered)

        def _ask(self, body: bytes | None) -> tuple[int, dict[str, str], bytes]:
            connection = http.client.HTTPConnection(urlsplit(behind).netloc, timeout=30)
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            headers = {k: v for k, v in response.headers.items() if k.lower() not in OF_A_HOP}
            answered = (response.status, headers, response.read())
            connection.close()
            return answered

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


OF_A_HOP = {"content-length", "connection", "transfer-encoding", "keep-alive"}
