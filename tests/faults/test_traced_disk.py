"""What is taken to be on the disk, held against traces written by hand: an error there would hide
a mail that left before its claim was safe."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.traced_disk import replay

FOLDER = Path("/data")
WAL = "".join(f"\\x{byte:02x}" for byte in b"/data/email.db-wal")
SAID = r'1 sendto(9<TCP:[1->2]>, "\x68\x69", 2, 0, NULL, 0) = 2'
EIO = "-1 EIO (Input/output error) (INJECTED)"


def write(text: str, offset: int, *, thread: int = 1, result: str = "") -> str:
    inner = "".join(f"\\x{byte:02x}" for byte in text.encode())
    size = len(text)
    return f'{thread} pwrite64(5<{WAL}>, "{inner}", {size}, {offset}) = {result or size}'


def sync(*, thread: int = 1, result: str = "0") -> str:
    return f"{thread} fdatasync(5<{WAL}>) = {result}"


def begun(*, thread: int) -> str:
    return f"{thread} fdatasync(5<{WAL}> <unfinished ...>"


def resumed(*, thread: int, result: str = "0") -> str:
    return f"{thread} <... fdatasync resumed>) = {result}"


@pytest.mark.parametrize(
    ("trace", "safe"),
    [
        ([write("ab", 0)], b""),
        ([write("ab", 0), sync()], b"ab"),
        ([write("ab", 0), sync(), write("c", 1)], b"ab"),
        ([write("ab", 0), sync(), write("c", 1), sync()], b"ac"),
        ([write("ab", 0, result="-1 ENOSPC"), sync()], b""),
        # What an fsync that failed was to save is lost, whatever the next one says.
        ([write("ab", 0), sync(result=EIO)], b""),
        ([write("ab", 0), sync(result=EIO), sync()], b""),
        ([write("ab", 0), sync(result=EIO), write("c", 0), sync()], b"c"),
        # Nor does it save what was written while it was under way.
        ([write("ab", 0), begun(thread=2), write("c", 2), resumed(thread=2)], b"ab"),
        ([write("ab", 0), begun(thread=2), resumed(thread=2, result=EIO), sync()], b""),
        ([write("ab", 0), begun(thread=2), sync(result=EIO), resumed(thread=2)], b""),
    ],
)
def test_only_what_an_fsync_said_to_be_safe_is_safe(trace: Sequence[str], safe: bytes) -> None:
    (said,) = replay([*trace, SAID], FOLDER, {})
    assert (said.content, said.safe["email.db-wal"]) == (b"hi", safe)
