"""How an answer leaves, or does not: the ways in which a connection can end."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.simulator.http1 import Response
from services.simulator.modes import Behaviour, Mode

DRIP_S = 0.05
CUT_BYTES = 64


@dataclass(slots=True)
class Wire:
    """One connection, while it waits for an answer."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    keep_alive: bool


async def finish(wire: Wire, response: Response, behaviour: Behaviour) -> bool:
    """End the exchange as the behaviour says; return whether the connection stays."""
    if behaviour.mode is Mode.DRIP:
        return await _drip(wire, response, behaviour.latency_s or DRIP_S)
    if behaviour.latency_s:
        await asyncio.sleep(behaviour.latency_s)
    return await _ENDINGS.get(behaviour.mode, _answer)(wire, response)


async def read_out(reader: asyncio.StreamReader) -> None:
    """Until the client leaves."""
    while await reader.read(65_536):
        pass


async def _answer(wire: Wire, response: Response) -> bool:
    wire.writer.write(response.encode(close=not wire.keep_alive))
    await wire.writer.drain()
    return wire.keep_alive


async def _reset(wire: Wire, response: Response) -> bool:
    # To linger for no time at all makes close() send RST instead of FIN.
    connection: socket.socket = wire.writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.writer.transport.abort()
    return False


async def _close(wire: Wire, response: Response) -> bool:
    return False


async def _hang(wire: Wire, response: Response) -> bool:
    await read_out(wire.reader)
    return False


async def _cut(wire: Wire, response: Response) -> bool:
    wire.writer.write(response.encode(close=True, missing=CUT_BYTES))
    await wire.writer.drain()
    return False


async def _drip(wire: Wire, response: Response, pause_s: float) -> bool:
    for byte in response.encode(close=not wire.keep_alive):
        wire.writer.write(bytes((byte,)))
        await wire.writer.drain()
        await asyncio.sleep(pause_s)
    return wire.keep_alive


_ENDINGS: dict[Mode, Callable[[Wire, Response], Awaitable[bool]]] = {
    Mode.RESET_BEFORE: _reset,
    Mode.RESET_AFTER: _reset,
    Mode.CLOSE_BEFORE: _close,
    Mode.CLOSE_AFTER: _close,
    Mode.HANG_BEFORE: _hang,
    Mode.HANG_AFTER: _hang,
    Mode.REFUSE: _reset,  # who was already inside when the door closed
    Mode.CUT: _cut,
}
