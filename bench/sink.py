"""SendGrid, SES and Postmark as one counting sink: calls are answered after a set latency.

`python -m bench.sink --latency-ms 100` prints its address. It reads no JSON: mails are counted
by a substring, so that the other side is never what is measured. Only the standard library, and
uvloop where it is at hand. `GET /counts` tells, `POST /reset` begins anew, and `GET /body` gives
the longest body of a call that brought mails.
"""

import argparse
import asyncio
import json
import re
from collections.abc import Iterator
from itertools import count
from typing import cast

try:
    from uvloop import new_event_loop
except ImportError:
    from asyncio import new_event_loop

MARKS = {
    b"/v3/mail/send": b'"to":',
    b"/email/batch": b'"To":',
    b"/email/batchWithTemplates": b'"To":',
    b"/email": b'"To":',
    b"/v2/email/outbound-bulk-emails": b'"Destination":',
    b"/v2/email/outbound-emails": b'"Destination":',
}
"""What each mail has once in a body, by the path of the call."""
_ACCOUNTS = (b"/v3/user/credits", b"/server", b"/message-streams/", b"/v2/email/account")
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_TO = re.compile(rb'"To": *("(?:[^"\\]|\\.)*")')


class Sink:
    def __init__(self, latency_s: float) -> None:
        self.latency_s = latency_s
        self._ids = count(1)
        self.reset()

    def reset(self) -> None:
        self._counts = dict.fromkeys(("calls", "messages", "bytes"), 0)
        self._callers: set[object] = set()
        self.longest = b""

    def counts(self) -> dict[str, int]:
        """What came since the last reset, and over how many connections."""
        return {**self._counts, "connections": len(self._callers)}

    def took(self, caller: object, path: bytes, body: bytes) -> bytes:
        """Count a call; its whole answer."""
        messages = body.count(MARKS[path])
        self._counts["calls"] += 1
        self._counts["messages"] += messages
        self._counts["bytes"] += len(body)
        self._callers.add(caller)
        self.longest = max(self.longest, body, key=len)
        if path == b"/v3/mail/send":
            accepted = b"HTTP/1.1 202 Accepted\r\nX-Message-Id: sink%d\r\nContent-Length: 0\r\n\r\n"
            return accepted % next(self._ids)
        return _answer(self._results(path, body, messages))

    def _results(self, path: bytes, body: bytes, messages: int) -> bytes:
        """An id for each message, as SES and Postmark give them."""
        if path == b"/v2/email/outbound-emails":
            return b'{"MessageId":"sink%d"}' % next(self._ids)
        if path == b"/v2/email/outbound-bulk-emails":
            one = b'{"Status":"SUCCESS","MessageId":"sink%d"}'
            entries = [one % next(self._ids) for _ in range(messages)]
            return b'{"BulkEmailEntryResults":[%s]}' % b",".join(entries)
        one = b'{"ErrorCode":0,"Message":"OK","MessageID":"sink%d","To":%s}'
        mails = b",".join(one % (next(self._ids), to) for to in _recipients(body))
        return mails if path == b"/email" else b"[%s]" % mails


class Connection(asyncio.Protocol):
    """One client, and its calls one after the other."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._read = bytearray()
        self._needed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        while len(self._read) >= self._needed and (end := self._read.find(b"\r\n\r\n") + 4) > 3:
            found = _LENGTH.search(self._read, 0, end)
            self._needed = end + (int(found[1]) if found else 0)
            if len(self._read) < self._needed:
                return
            method, path, _ = bytes(self._read[:end]).split(b" ", 2)
            body = bytes(self._read[end : self._needed])
            del self._read[: self._needed]
            self._needed = 0
            self._called(method, path, body)

    def _called(self, method: bytes, path: bytes, body: bytes) -> None:
        sink = self._sink
        if method == b"POST" and path in MARKS:
            answer = sink.took(self, path, body)
            if sink.latency_s:
                asyncio.get_running_loop().call_later(sink.latency_s, self._transport.write, answer)
            else:
                self._transport.write(answer)
            return
        if path == b"/reset":
            sink.reset()
        said = {b"/counts": json.dumps(sink.counts()).encode(), b"/body": sink.longest}
        is_known = path in (*said, b"/reset") or path.startswith(_ACCOUNTS)
        self._transport.write(
            _answer(said.get(path, b"{}"), b"200 OK" if is_known else b"404 Not Found")
        )


def _answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body)) + body


def _recipients(body: bytes) -> Iterator[bytes]:
    """Each `To` as it stands in the JSON; `find` passes over megabytes faster than a pattern."""
    at = -1
    while (at := body.find(b'"To":', at + 1)) >= 0:
        if found := _TO.match(body, at):
            yield found[1]


async def serve(latency_s: float) -> None:
    sink = Sink(latency_s)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(sink), "127.0.0.1", 0
    )
    print(f"sink http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)  # noqa: T201 - read by the bench
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(serve(parser.parse_args().latency_ms / 1000))
