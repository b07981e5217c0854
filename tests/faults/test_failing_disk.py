"""The disk fails under a campaign: `fsync` with EIO, or writes with ENOSPC, given by `strace`."""

import random
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.driver import SERVER, Server, Site
from tests.faults.http_client import NoAnswer, wait_until
from tests.faults.promises import (
    MOST_UNDER_WAY,
    assert_promise_kept,
    site,
    unknown,
)
from tests.faults.tiers import Tier
from tests.faults.traced_disk import (
    TRACE,
    attached,
    can_attach,
    can_trace,
    mails_of,
    replay,
    snapshot,
)

__all__ = ["site"]  # fixtures

PEOPLE = 300
FAILURES = ("fdatasync,fsync:error=EIO", "pwrite64:error=ENOSPC")
FIRST = {FAILURES[0]: range(5, 16), FAILURES[1]: range(10, 250)}
"""Which call of a thread fails first: the engine's later ones than those of its start."""
INJECTED = b"(INJECTED)"

pytestmark = pytest.mark.skipif(
    not can_trace(), reason="strace is not installed or not allowed: no disk fails"
)


@pytest.fixture
def server(site: Site) -> Server:
    server = site.add_server()
    server.start()
    site.add_people(server.client, PEOPLE)
    return server


def test_what_could_not_be_made_safe_is_not_sent(
    site: Site, server: Server, rng: random.Random, tier: Tier
) -> None:
    """For a while or for good; then the server is killed, and the disk is well."""
    server.terminate()
    seen = 0
    for number in range(tier.disk_failures):
        failure = FAILURES[number % len(FAILURES)]
        first = rng.choice(FIRST[failure])
        when = rng.choice((f"{first}+", f"{first}..{first + rng.randrange(4)}"))
        trace = site.folder / f"trace-{number}"
        start = snapshot(site.folder)
        site.command = (*TRACE, f"--inject={failure}:when={when}", f"--output={trace}", *SERVER)
        failing = site.add_server()
        failing.start()
        mailing = site.new_mailing(f"news-{number}")
        posting = site.clients.submit(failing.client.send_to_the_end, mailing.subject)
        wait_until(lambda t=trace, p=posting: p.done() or INJECTED in t.read_bytes(), failure)  # type: ignore[misc]
        threading.Event().wait(rng.uniform(0, 1))
        failing.kill()
        with suppress(NoAnswer):
            posting.result()
        with trace.open() as lines:
            mails, early = mails_of(replay(lines, site.folder, start), site.folder / f"{number}")
        seen += len(mails)
        assert (INJECTED in trace.read_bytes(), early) == (True, set()), when
        server.start()
        server.client.send_to_the_end(mailing.subject)
        assert unknown(site, mailing) <= MOST_UNDER_WAY
        server.terminate()
    assert seen > 0
    assert_promise_kept(site)


@pytest.mark.skipif(not can_attach(), reason="strace may not attach: no disk fills up midway")
def test_from_the_moment_at_which_the_disk_is_full_nothing_more_is_claimed_or_said_to_be_sent(
    site: Site, server: Server, rng: random.Random, tier: Tier
) -> None:
    """For all threads at once, in the middle of a campaign: no `when=`, which counts the calls of
    each thread apart, so that the engine may go on while a request meets a full disk."""
    for number in range(tier.disk_failures // 2):
        trace = site.folder / f"attached-{number}"
        mailing = site.new_mailing(f"full-{number}")
        posting = site.clients.submit(server.client.send_to_the_end, mailing.subject)
        site.wait_for(mailing, rng.randrange(1, PEOPLE // 2))
        with attached(server.worker, FAILURES[1], trace):
            taken = len(site.taken())
            wait_until(lambda t=trace: INJECTED in t.read_bytes(), "a write")  # type: ignore[misc]
            threading.Event().wait(rng.uniform(0, 1))
            server.kill()
        with suppress(NoAnswer):
            posting.result()
        assert len(site.taken()) - taken <= MOST_UNDER_WAY
        said = f"SELECT status FROM campaigns WHERE subject = '{mailing.subject}'"
        assert site.query(said) in ([("planning",)], [("sending",)])
        assert [line for line in writes(trace) if INJECTED not in line] == []
        server.start()
        server.client.send_to_the_end(mailing.subject)
        assert unknown(site, mailing) <= MOST_UNDER_WAY
    assert_promise_kept(site)


def writes(trace: Path) -> list[bytes]:
    """All that were begun, of any thread."""
    return [line for line in trace.read_bytes().splitlines() if b" pwrite64(" in line]
