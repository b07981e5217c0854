"""gunicorn's threads, kept for requests that have come whole: who is slow waits without one.

gunicorn gives a connection a thread before it has said anything, and its main loop waits for
clients that do not close. Sixty-four of the former, or a few of the latter, stop a server.
"""

import re
import socket
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ
from typing import Any, ClassVar

from gunicorn import http, util
from gunicorn.workers.gthread import ThreadWorker

from api.unreadable import answer_to

LONGEST_READ_S = 30
"""Within this a request must have come whole; one with the key may take longer (imports)."""
CROWDED_READ_S = 5
"""The same, while half of the room is taken by those who are slow."""
LINGER_S = 2
"""So long a client may take to close after our last word; RFC 9112 9.6 says why we wait."""
MOST_GATHERED = 65_536
"""Bytes of a request that wait without a thread; a larger one goes on in a thread."""
ANSWER_BYTES = 262_144
"""What the system keeps of an answer for a client that does not read it: more than any answer
that needs no key."""

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_CANNOT_TELL = re.compile(rb"\r\n(?:transfer-encoding|expect)[ \t]*:", re.IGNORECASE)
_MAY_HAVE_THE_KEY = re.compile(rb"\r\nauthorization:.*?\r\n\r\n", re.IGNORECASE | re.DOTALL)


def expected_bytes(came: bytes | bytearray) -> int:
    """The size of the request that begins so; more than came, while its head has not come whole,
    and more than `MOST_GATHERED` where its end is not to be seen from here."""
    end = came.find(b"\r\n\r\n")
    if end < 0:
        return len(came) + 1
    head = bytes(came[: end + 2])
    if _CANNOT_TELL.search(head):
        return MOST_GATHERED + 1
    length = _LENGTH.search(head)
    return end + 4 + (int(length[1][:18]) if length else 0)


class PatientWorker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
    """Half of the threads are never held by who is slow."""

    reading: ClassVar[dict[Any, float]] = {}
    """Connections that have a thread and have not shown the key, and since when."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._arriving: dict[Any, float] = {}
        """Connections whose request is gathered, and since when."""
        self._large: deque[Any] = deque()
        """Requests that go on in a thread, and wait for it."""
        self._closing: dict[Any, float] = {}
        """Connections that have had our last word, and when."""
        self._next_look = 0.0

    # gunicorn calls these in its main loop.

    def enqueue_req(self, conn: Any) -> None:
        """A connection is new, has something to read, or has sent the next request already."""
        conn.came = bytearray(conn.parser.unreader.take_buffered() if conn.parser else b"")
        conn.sock.setblocking(False)
        if conn.parser is None:
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ANSWER_BYTES)
        self._arriving[conn] = time.monotonic()
        self._arrive(conn)
        if conn in self._arriving:  # most requests come in one piece
            self.poller.register(conn.sock, EVENT_READ, partial(self._arrive, conn))

    def finish_request(self, conn: Any, answered: Future[bool]) -> None:
        if answered.cancelled() or answered.exception() or answered.result():
            super().finish_request(conn, answered)
            return
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(conn.sock, EVENT_READ, partial(self._linger, conn))
        except OSError:  # the client has closed
            self._close(conn)
        else:
            self._closing[conn] = time.monotonic()

    def murder_pending(self) -> None:
        """After every event, and each second at least."""
        super().murder_pending()
        while self._large and len(self.reading) < self.cfg.threads // 2:
            self._hand_over(self._large.popleft())
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + 0.5
            self._end_slow_arrivals(now)
            self.end_slow_reads(now, self.cfg.threads)
            for conn in [one for one, since in self._closing.items() if now - since > LINGER_S]:
                self._stop_listening(conn)
                self._close(conn)

    # In a thread.

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """gunicorn would answer with a page, and write parts of the request into it and the log,
        where a link or a key may be."""
        said = answer_to(exc)
        if said is None:
            super().handle_error(req, client, addr, exc)
            return
        self.log.warning("what came is no request: %s", type(exc).__name__)
        with suppress(OSError):  # closed meanwhile
            util.write_nonblock(client, said)

    def handle(self, conn: Any) -> Any:
        try:
            return super().handle(conn)
        finally:
            self.reading.pop(conn.sock, None)

    # How a request comes

    def _arrive(self, conn: Any, _sock: object = None) -> None:
        try:
            more = conn.sock.recv(MOST_GATHERED)
        except BlockingIOError:
            more = None
        except OSError:
            more = b""
        conn.came += more or b""
        del conn.came[: len(conn.came) - len(conn.came.lstrip(b"\r\n"))]  # as gunicorn does
        expected = expected_bytes(conn.came)
        is_over = more == b"" or expected <= len(conn.came)
        if not is_over and expected <= MOST_GATHERED:
            return
        self._stop_gathering(conn)
        if is_over:
            self._hand_over(conn)
        else:
            self._large.append(conn)

    def _stop_gathering(self, conn: Any) -> None:
        self._stop_listening(conn)
        del self._arriving[conn]

    def _hand_over(self, conn: Any) -> None:
        if conn.parser is None:
            conn.parser = http.get_parser(self.cfg, conn.sock, conn.client)
        conn.parser.unreader.unread(bytes(conn.came))
        conn.came.clear()
        conn.data_ready = True
        self.reading[conn.sock] = time.monotonic()
        super().enqueue_req(conn)

    def _end_slow_arrivals(self, now: float) -> None:
        """No more is read from who is late; a thread answers to what has come, and finds out
        who has the key and may go on."""
        is_crowded = len(self._arriving) >= self.worker_connections // 2 or not self.alive
        limit = CROWDED_READ_S if is_crowded else LONGEST_READ_S
        for conn in [one for one, since in self._arriving.items() if now - since > limit]:
            if _MAY_HAVE_THE_KEY.search(conn.came):
                self._stop_gathering(conn)
                self._large.append(conn)
                continue
            with suppress(OSError):  # closed meanwhile
                conn.sock.shutdown(socket.SHUT_RD)

    @classmethod
    def end_slow_reads(cls, now: float, threads: int) -> None:
        """The same for those in threads; what was read whole is answered all the same."""
        limit = CROWDED_READ_S if len(cls.reading) >= threads // 2 else LONGEST_READ_S
        for sock in [one for one, since in list(cls.reading.items()) if now - since > limit]:
            cls.reading.pop(sock, None)
            with suppress(OSError):  # closed meanwhile
                sock.shutdown(socket.SHUT_RD)

    # How a connection ends

    def _linger(self, conn: Any, _sock: object) -> None:
        try:
            if conn.sock.recv(MOST_GATHERED):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._stop_listening(conn)
        self._close(conn)

    def _stop_listening(self, conn: Any) -> None:
        with suppress(KeyError, ValueError):
            self.poller.unregister(conn.sock)

    def _close(self, conn: Any) -> None:
        self._closing.pop(conn, None)
        self.nr_conns -= 1
        conn.close()
