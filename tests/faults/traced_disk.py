"""What is on the disk at each moment of a traced process, if the power failed just then.

`strace` writes down each write of a file, each fsync, and each byte for a socket, in one
order for all threads. A write counts from the first fsync of its file that began after it:
the worst that a disk may do. Shared memory (`-shm`) is not traced; recovery makes it anew.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

FILES = ("email.db", "email.db-wal")
TRACE = (
    "strace",
    "--follow-forks",
    "--seccomp-bpf",
    # Descriptors with what they are, every string whole and in hex.
    *("--decode-fds=all", "--strings-in-hex=all", "--string-limit=4000000", "--signal=none"),
    "--trace=pwrite64,write,ftruncate,fsync,fdatasync,sendto,sendmsg,writev",
)
_CALL = re.compile(r"(\d+) +(\w+)\(\d+<([^\n]*?)>(?:, |\)| <unf)(.*)")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>.*= (-?\d+)")
_BYTES = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?, (\d+)(?:, (\d+))?')


@dataclass(slots=True)
class File:
    """A file: what is safe, and what is written and may be lost."""

    safe: bytearray
    pending: list[tuple[int, bytes]] = field(default_factory=list)
    """(offset, bytes); bytes that are empty cut it off there."""
    syncing: dict[int, int] = field(default_factory=dict)
    """By thread: how many of the pending writes came before its fsync."""

    def finish_sync(self, thread: int) -> None:
        n = self.syncing.pop(thread)
        for offset, said in self.pending[:n]:
            if said:
                self.safe.extend(bytes(max(0, offset - len(self.safe))))
                self.safe[offset : offset + len(said)] = said
            else:
                del self.safe[offset:]
        del self.pending[:n]
        # Another thread's fsync may be under way; what it would save is a part of the rest.
        self.syncing = {other: max(0, m - n) for other, m in self.syncing.items()}


@dataclass(frozen=True, slots=True)
class Said:
    """Bytes that begin their way to a socket, and the files that are safe at that moment."""

    peer: str
    content: bytes
    safe: dict[str, bytes]


def replay(trace: Iterable[str], folder: Path, start: dict[str, bytes]) -> Iterator[Said]:
    """All that was said to sockets, in its order; `start`: the files before the process began."""
    files = {str(folder / name): File(bytearray(start.get(name, b""))) for name in FILES}
    under_way: dict[int, File] = {}
    for line in trace:
        if resumed := _RESUMED.match(line):
            file = under_way.pop(int(resumed[1]), None)
            if file is not None and resumed[3] == "0":
                file.finish_sync(int(resumed[1]))
            continue
        if (call := _CALL.match(line)) is None:
            continue
        thread, name, target, rest = int(call[1]), call[2], _plain(call[3]), call[4]
        if target.startswith("TCP"):
            content = b"".join(_raw(one[1]) for one in _BYTES.finditer(rest))
            yield Said(target, content, {Path(p).name: bytes(f.safe) for p, f in files.items()})
        elif (file := files.get(target)) is None:
            continue
        elif name in ("fsync", "fdatasync"):
            file.syncing[thread] = len(file.pending)
            if "unfinished" in line:
                under_way[thread] = file
            else:
                file.finish_sync(thread)
        elif name == "ftruncate":
            file.pending.append((int(rest.split(")")[0].split(" ")[0]), b""))
        else:
            file.pending.append(_written(rest))


def _plain(target: str) -> str:
    """A path is in hex, a socket is not."""
    return _raw(target).decode() if target.startswith("\\x") else target


def _written(rest: str) -> tuple[int, bytes]:
    found = _BYTES.match(rest)
    assert found is not None
    assert not found[2], "a write is not whole in the trace"
    assert found[4] is not None, f"a write without its place: {rest[-80:]}"
    return int(found[4]), _raw(found[1])


def _raw(in_hex: str) -> bytes:
    return bytes.fromhex(in_hex.replace("\\x", ""))
