"""SendGrid as a counting sink: every call is taken after a set latency, and nothing is read.

`python -m bench.sink --latency-ms 100` prints its address. Apart from the simulator, which
looks into each mail and takes a core for it, so that the other side is never what is measured.
"""

import argparse
import asyncio
from itertools import count

_ANSWER = b"HTTP/1.1 202 Accepted\r\nX-Message-Id: sink%d\r\nContent-Length: 0\r\n\r\n"
_NOT_FOUND = (
    b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
)
_MOST_BYTES = 1 << 20


class Sink:
    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s
        self._ids = count(1)

    async def serve(self) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=_MOST_BYTES)
        print(f"sendgrid http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)  # noqa: T201 - read by the bench
        await server.serve_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(_length(head))
                if head.startswith(b"POST /v3/mail/send "):
                    if self._latency_s:
                        await asyncio.sleep(self._latency_s)
                    writer.write(_ANSWER % next(self._ids))
                else:
                    writer.write(_NOT_FOUND)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    asyncio.run(Sink(parser.parse_args().latency_ms / 1000).serve())
