"""The wire: listening, connections that stay alive, and the ways in which they break."""

import asyncio
import contextlib
import socket
from abc import ABC, abstractmethod
from dataclasses import replace

from services.simulator.desk import NOTHING, Desk
from services.simulator.http1 import (
    READ_AHEAD_BYTES,
    Malformed,
    Request,
    json_response,
    read_body,
    read_head,
)
from services.simulator.wire import Wire, finish, read_out

LOOPBACK = "127.0.0.1"
LINGER_S = 2.0


class Listener(ABC):
    """One TCP port of the loopback interface, opened and closed by the event loop."""

    def __init__(self, port: int) -> None:
        """Holds the port at once (0: a free one); raises OSError when it is taken."""
        self._socket = _bind(port)
        self.port: int = self._socket.getsockname()[1]
        self.connections = 0
        """Connections that were ever accepted."""
        self._server: asyncio.Server | None = None
        self._writers: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        self._busy: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def is_open(self) -> bool:
        return self._server is not None

    async def open(self) -> None:
        self._server = await asyncio.start_server(
            self._accept, sock=self._socket, limit=READ_AHEAD_BYTES
        )

    def refuse(self) -> None:
        """Stop listening and drop idle connections; the port stays ours."""
        self._stop_listening()
        self._socket = _bind(self.port)
        for writer in self._writers.keys() - self._busy:
            writer.close()

    def release(self) -> None:
        """Give the port back, before anything was opened."""
        self._socket.close()

    async def close(self) -> None:
        """End everything, calls under way included."""
        self._stop_listening()
        self._socket.close()
        tasks = list(self._writers.values())
        for writer, task in self._writers.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)

    @abstractmethod
    async def exchange(self, head: Request, wire: Wire) -> bool:
        """Answer one request; return whether the connection stays. Raises `Malformed`."""

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers[writer] = asyncio.get_running_loop().create_task(self._live(reader, writer))

    async def _live(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # The client may leave at any moment; that is its right.
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._converse(reader, writer)
        finally:
            del self._writers[writer]
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (head := await read_head(reader)) is not None:
                self._busy.add(writer)
                stays = await self.exchange(head, Wire(reader, writer, head.keep_alive))
                self._busy.discard(writer)
                if not stays or not self.is_open:
                    return
        except Malformed as error:
            await self._turn_away(error, reader, writer)
        finally:
            self._busy.discard(writer)

    async def _turn_away(
        self, error: Malformed, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        response = json_response(error.status, {"message": str(error)})
        writer.write(response.encode(close=True))
        writer.write_eof()
        # Closing with unread input resets the connection, and the answer would be lost.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(read_out(reader), LINGER_S)


class EspListener(Listener):
    """One ESP's port: serves its desk, breaks the wire as the behaviour says."""

    def __init__(self, port: int, desk: Desk) -> None:
        super().__init__(port)
        self.in_flight = 0
        self.peak_in_flight = 0
        self._desk = desk

    async def obey(self) -> None:
        """Listen, or do not, as the board says now."""
        if self._desk.board.is_refusing and self.is_open:
            self.refuse()
        elif not self._desk.board.is_refusing and not self.is_open:
            await self.open()

    async def exchange(self, head: Request, wire: Wire) -> bool:
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        try:
            return await self._exchange(head, wire)
        finally:
            self.in_flight -= 1

    async def _exchange(self, head: Request, wire: Wire) -> bool:
        early = self._desk.strike_early(head)
        if early is not None:
            return await finish(wire, NOTHING, early)
        body = await read_body(wire.reader, wire.writer, head)
        reply = self._desk.serve(replace(head, body=body))
        await self.obey()
        wire.keep_alive = wire.keep_alive and self.is_open
        return await finish(wire, reply.response, reply.behaviour)


def _bind(port: int) -> socket.socket:
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((LOOPBACK, port))
    except BaseException:
        held.close()
        raise
    return held
