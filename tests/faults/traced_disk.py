"""What is on the disk at each moment of a traced process, if the power failed just then.

`strace` writes down each write of a file, each fsync, and each byte for a socket, in one
order for all threads. A write counts from the first fsync of its file that began after it:
the worst that a disk may do. One that failed was not made; and what an fsync was to save that
failed is lost, whatever a later one answers, as Linux has it. Shared memory (`-shm`) is not traced; recovery makes it anew.
"""

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.http_client import wait_until

FILES = ("email.db", "email.db-wal")
TRACE = (
    "strace",
    "--follow-forks",
    "--seccomp-bpf",
    # Descriptors with what they are, every string whole and in hex.
    *("--decode-fds=all", "--strings-in-hex=all", "--string-limit=4000000", "--signal=none"),
    "--trace=pwrite64,write,ftruncate,fsync,fdatasync,sendto,sendmsg,writev",
)
REF = re.compile(rb"\b([0-9]+)-([0-9]+)-[A-Za-z0-9_-]{11}(?![A-Za-z0-9_-])")
"""`cx_send_id`: send id and attempt, in clear in the body of each ESP."""
CLAIMED = "SELECT id, attempt FROM email_sends WHERE status <> 'queued'"
_RESULT = re.compile(r".*= (-?\d+)")
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

    def finish_sync(self, thread: int, *, failed: bool) -> None:
        n = self.syncing.pop(thread)
        for offset, said in [] if failed else self.pending[:n]:
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


def can_trace() -> bool:
    """Some containers have strace and forbid it."""
    strace = shutil.which(TRACE[0])
    return bool(strace) and subprocess.run([*TRACE, "true"], capture_output=True).returncode == 0


def can_attach() -> bool:
    """Some let a process be traced by its parent alone."""
    if not can_trace():
        return False
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            with attached(other.pid, "pwrite64:error=ENOSPC", Path(os.devnull)) as strace:
                return strace.poll() is None
        finally:
            other.kill()


@contextmanager
def attached(pid: int, failure: str, trace: Path) -> Iterator[subprocess.Popen[bytes]]:
    """In the block, each such call of every thread of a running process fails."""
    how = (f"--inject={failure}", f"--output={trace}", f"--attach={pid}")
    strace = subprocess.Popen([*TRACE, *how], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: strace.poll() is not None or not _free_threads(pid), "strace")
        yield strace
    finally:
        strace.kill()  # it may outwait a process that was killed
        strace.wait()


def _free_threads(pid: int) -> list[str]:
    """Those that nobody traces."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [one.name for one in threads if "TracerPid:\t0\n" in (one / "status").read_text()]


def snapshot(folder: Path) -> dict[str, bytes]:
    """The files of a database that nobody has open."""
    return {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}


def ask(said: Said, folder: Path, sql: str) -> list[tuple[int, ...]]:
    """What the database would say if the power failed as this was said."""
    folder.mkdir(parents=True)
    for name, content in said.safe.items():
        (folder / name).write_bytes(content)
    with sqlite3.connect(folder / "email.db") as database:
        return database.execute(sql).fetchall()


Mails = set[tuple[int, int]]
"""By send id and attempt."""


def mails_of(said: Iterable[Said], folder: Path) -> tuple[Mails, Mails]:
    """All that began their way to an ESP, and those of them whose claim was not safe by then."""
    mails, early = Mails(), Mails()
    for number, body in enumerate(one for one in said if REF.search(one.content)):
        of_body = {(int(ref[1]), int(ref[2])) for ref in REF.finditer(body.content)}
        mails |= of_body
        early |= of_body - set(ask(body, folder / f"body-{number}", CLAIMED))
    return mails, early


def replay(trace: Iterable[str], folder: Path, start: dict[str, bytes]) -> Iterator[Said]:
    """All that was said to sockets, in its order; `start`: the files before the process began."""
    files = {str(folder / name): File(bytearray(start.get(name, b""))) for name in FILES}
    under_way: dict[int, _Step] = {}
    for line in trace:
        if resumed := _RESUMED.match(line):
            if step := under_way.pop(int(resumed[1]), None):
                step.finish(failed=resumed[3] == "-1")
            continue
        if (call := _CALL.match(line)) is None:
            continue
        thread, name, target, rest = int(call[1]), call[2], _plain(call[3]), call[4]
        if target.startswith("TCP"):
            content = b"".join(_raw(one[1]) for one in _BYTES.finditer(rest))
            yield Said(target, content, {Path(p).name: bytes(f.safe) for p, f in files.items()})
        elif file := files.get(target):
            step = _begun(file, thread, name, rest)
            if result := _RESULT.match(rest):
                step.finish(failed=result[1] == "-1")
            else:
                under_way[thread] = step


@dataclass(frozen=True, slots=True)
class _Step:
    """A call that changes a file, or saves it."""

    file: File
    thread: int
    written: tuple[int, bytes] | None
    """As in `File.pending`; None: an fsync."""

    def finish(self, *, failed: bool) -> None:
        if self.written is None:
            self.file.finish_sync(self.thread, failed=failed)
        elif not failed:
            self.file.pending.append(self.written)


def _begun(file: File, thread: int, name: str, rest: str) -> _Step:
    if name in ("fsync", "fdatasync"):
        file.syncing[thread] = len(file.pending)
        return _Step(file, thread, None)
    if name == "ftruncate":
        return _Step(file, thread, (int(rest.split(")")[0].split(" ")[0]), b""))
    return _Step(file, thread, _written(rest))


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
