"""ACME, the ESP of docs/adding-an-esp.md, as a server on loopback.

Written from the description of its API in that document, not from the adapter.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Self

API_KEY = "acme-key-of-tests-0123456789"
MOST_MESSAGES = 200
DAILY_LIMIT = 500
FATES = {"wrong": "bad_address", "gone": "inactive"}
"""Local parts that it refuses, and with which code."""


class Acme:
    """Keeps what it took; tells its first call to come again."""

    def __init__(self) -> None:
        self.mails: list[dict[str, Any]] = []
        self.calls = 0
        self._lock = Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def account(self) -> tuple[int, dict[str, Any]]:
        with self._lock:
            used = len(self.mails)
        return 200, {
            "sending": True,
            "per_second": 100_000,
            "daily_limit": DAILY_LIMIT,
            "used_today": used,
            "plan": "test",
        }

    def take(self, call: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._lock:
            self.calls += 1
            if self.calls == 1:
                return 429, {"code": "slow_down", "message": "the first one always"}
            if len(call["messages"]) > MOST_MESSAGES:
                return 413, {"code": "too_large", "message": "at most 200 messages"}
            return 200, {"results": [self._result(call, mail) for mail in call["messages"]]}

    def _result(self, call: dict[str, Any], mail: dict[str, Any]) -> dict[str, Any]:
        code = FATES.get(mail["to"].partition("@")[0])
        if code is not None:
            return {"code": code, "message": f"{mail['to']} is refused"}
        self.mails.append({**mail, "from": call["from"]})
        return {"id": f"acme-{len(self.mails)}"}


def _handler(acme: Acme) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keeps connections

        def do_GET(self) -> None:
            self._answer(*(acme.account() if self.path == "/v1/account" else self._nowhere()))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_right = self.path == "/v1/batches"
            self._answer(*(acme.take(json.loads(body)) if is_right else self._nowhere()))

        def _nowhere(self) -> tuple[int, dict[str, Any]]:
            return 404, {"code": "no_such_call", "message": self.path}

        def _answer(self, status: int, document: dict[str, Any]) -> None:
            if self.headers["Authorization"] != f"Bearer {API_KEY}":
                status, document = 401, {"code": "bad_key", "message": "who are you?"}
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if status == 429:
                self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
