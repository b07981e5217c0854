"""The claim is on the disk before a mail leaves, and so is an unsubscribe before it is answered.

The real server under `strace`, one small campaign: at each body that goes to an ESP the files
are put together as a power failure would leave them, and the ledger in them must say that each
mail of that body may be on its way. With `synchronous=NORMAL` the same test must fail.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.driver import SERVER, site_in
from tests.faults.http_client import unsubscribe
from tests.faults.traced_disk import TRACE, Said, ask, can_trace, mails_of, replay, snapshot

WEAK = (sys.executable, "-m", "tests.faults.serve_without_fsync")
PEOPLE, BATCH = 60, 3
SETTINGS = {
    "ESP_DISTRIBUTION": "balanced",
    **{f"{esp}_BATCH_SIZE": str(BATCH) for esp in ("SENDGRID", "SES", "POSTMARK")},
}
GOODBYE = b"You are off the list"


pytestmark = pytest.mark.skipif(
    not can_trace(), reason="strace is not installed or not allowed: the order is not looked at"
)


def traced(folder: Path, command: Sequence[str]) -> list[Said]:
    """What was said to ESPs and clients during a campaign that reached everybody, and while one
    of them left."""
    trace = folder / "trace"
    with site_in(folder, settings=SETTINGS) as site:
        ready = site.add_server()
        ready.start()
        site.add_people(ready.client, PEOPLE)
        ready.terminate()
        start = snapshot(folder)
        site.command = (*TRACE, f"--output={trace}", *command)
        server = site.add_server()
        server.start()
        answer = server.client.send_to_the_end("news")
        assert answer.json["counts"]["accepted"] == PEOPLE
        (mail,) = site.simulator.mails(limit=1)
        assert mail.headers is not None
        unsubscribe(mail.headers["List-Unsubscribe"])
        server.kill()
    with trace.open() as lines:
        return list(replay(lines, folder, start))


def check(folder: Path, command: Sequence[str]) -> dict[str, int]:
    """How many mails were looked at, how many of them left before their claim was safe, and how
    many suppressions were safe when the reader was told to be off the list."""
    said = traced(folder, command)
    mails, early = mails_of(said, folder)
    (goodbye,) = [one for one in said if GOODBYE in one.content]
    safe = len(ask(goodbye, folder / "goodbye", "SELECT id FROM suppressions"))
    return {"mails": len(mails), "early": len(early), "safe suppressions": safe}


def test_no_mail_leaves_before_its_claim_is_safe_and_no_goodbye_before_the_suppression(
    tmp_path: Path,
) -> None:
    assert check(tmp_path, SERVER) == {"mails": PEOPLE, "early": 0, "safe suppressions": 1}


def test_without_fsync_the_same_test_sees_both_come_too_early(tmp_path: Path) -> None:
    found = check(tmp_path, WEAK)
    assert found["mails"] == PEOPLE
    assert found["early"] > 0
    assert found["safe suppressions"] == 0
