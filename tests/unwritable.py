"""SQLite databases that can be read and not written, each for a real reason."""

import ctypes
import os
import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from database.session import Database


def hurry(database: Database) -> None:
    """Who finds it locked waits a moment only."""
    _pragma(database.writer, "busy_timeout=20")


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """Another program is in the middle of a write."""
    with closing(sqlite3.connect(str(database.path), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def failing_disk(database: Database, *, largest_file: int = 3000) -> Iterator[None]:
    """Writes beyond so many bytes of a file fail: the WAL's, not those of a short file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def read_only(database: Database) -> Iterator[None]:
    """The file may not be written any more; connections made before could, so they go."""
    assert database.path is not None
    database.path.chmod(0o400)
    database.close()
    try:
        with _bound_by_permissions():
            yield
    finally:
        database.path.chmod(0o600)
        database.close()


UNWRITABLE: dict[str, Callable[[Database], AbstractContextManager[None]]] = {
    "locked": locked,
    "failing disk": failing_disk,
    "read-only file": read_only,
}
"""Ways in which a database cannot be written and a short file beside it can."""


@contextmanager
def small_disk(folder: Path, size: str = "4m") -> Iterator[Path]:
    """A disk of its own, which can be filled; skips the test where nobody may mount one."""
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder))
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nobody may mount a tmpfs here")
    try:
        yield folder
    finally:
        subprocess.run(("umount", "--lazy", str(folder)), check=True)


@contextmanager
def filled(disk: Path, *, but: int = 0) -> Iterator[None]:
    """Not a byte is left on the disk, or so many."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
        file.truncate(file.tell() - but)
    try:
        yield
    finally:
        ballast.unlink()


def _pragma(engine: Engine, pragma: str) -> None:
    event.listen(engine, "connect", lambda raw, _: raw.execute(f"PRAGMA {pragma}"))
    engine.dispose()


@contextmanager
def _bound_by_permissions() -> Iterator[None]:
    """root may write what nobody may: let this thread be without that privilege."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3 of capabilities(7), this thread
    held = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: the low words, the high
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, held) == 0
    less = (ctypes.c_uint32 * 6)(*held)
    less[0] &= ~((1 << 1) | (1 << 2))  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, less) == 0
    try:
        yield
    finally:
        assert libc.capset(header, held) == 0
