"""The claim is on the disk before the first byte of a mail leaves.

The real server under `strace`, one small campaign: at each body that goes to an ESP the files
are put together as a power failure would leave them, and the ledger in them must say that each
mail of that body may be on its way. With `synchronous=NORMAL` the same test must fail.
"""

import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.driver import SERVER, site_in
from tests.faults.traced_disk import FILES, TRACE, Said, replay

WEAK = (sys.executable, "-m", "tests.faults.serve_without_fsync")
PEOPLE, BATCH = 60, 3
SETTINGS = {
    "ESP_DISTRIBUTION": "balanced",
    **{f"{esp}_BATCH_SIZE": str(BATCH) for esp in ("SENDGRID", "SES", "POSTMARK")},
}
REF = re.compile(rb"\b([0-9]+)-([0-9]+)-[A-Za-z0-9_-]{11}(?![A-Za-z0-9_-])")
"""`cx_send_id`: send id and attempt, in clear in the body of each ESP."""


def _can_trace() -> bool:
    """Some containers have strace and forbid it."""
    strace = shutil.which(TRACE[0])
    return bool(strace) and subprocess.run([*TRACE, "true"], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(
    not _can_trace(), reason="strace is not installed or not allowed: the order is not looked at"
)


def send_traced(folder: Path, command: Sequence[str]) -> list[Said]:
    """What was said to the ESPs during one campaign that reached everybody."""
    trace = folder / "trace"
    with site_in(folder, settings=SETTINGS) as site:
        ready = site.add_server()
        ready.start()
        site.add_people(ready.client, PEOPLE)
        ready.terminate()
        start = {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}
        site.command = (*TRACE, f"--output={trace}", *command)
        traced = site.add_server()
        traced.start()
        answer = traced.client.send_to_the_end("news")
        traced.kill()
        assert answer.json["counts"]["accepted"] == PEOPLE
        ports = {url.rpartition(":")[2] for url in site.simulator.base_urls.values()}
    with trace.open() as lines:
        said = list(replay(lines, folder, start))
    return [one for one in said if one.peer.rstrip("]").rpartition(":")[2] in ports]


def unclaimed(said: Said, folder: Path) -> list[tuple[int, int]]:
    """(send id, attempt) of the mails in it that the files would not know to be on their way."""
    mails = {(int(ref[1]), int(ref[2])) for ref in REF.finditer(said.content)}
    folder.mkdir()
    for name, content in said.safe.items():
        (folder / name).write_bytes(content)
    with sqlite3.connect(folder / "email.db") as ledger:
        claimed = ledger.execute("SELECT id, attempt FROM email_sends WHERE status <> 'queued'")
        return sorted(mails - set(claimed))


def check(folder: Path, command: Sequence[str]) -> tuple[int, int]:
    """How many mails were looked at, and how many of them left before their claim was safe."""
    bodies = [one for one in send_traced(folder, command) if REF.search(one.content)]
    mails = [ref.groups() for one in bodies for ref in REF.finditer(one.content)]
    early = [unclaimed(one, folder / f"body-{n}") for n, one in enumerate(bodies)]
    return len(set(mails)), sum(map(len, early))


def test_no_mail_leaves_before_its_claim_is_safe(tmp_path: Path) -> None:
    assert check(tmp_path, SERVER) == (PEOPLE, 0)


def test_without_fsync_the_same_test_sees_mails_leave_too_early(tmp_path: Path) -> None:
    looked_at, early = check(tmp_path, WEAK)
    assert looked_at == PEOPLE
    assert early > 0
