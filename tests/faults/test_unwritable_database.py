"""The promise to those who leave while the real server's database cannot be written."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults import oracle
from tests.faults.driver import Mailing, Server, Site, site_in

PEOPLE = 40
LARGEST_FILE = 3_000
"""Bytes: room for lines of a spool, and none for a page of the database's WAL."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path, settings={}) as site:
        yield site


@pytest.fixture
def server(site: Site) -> Server:
    server = site.add_server()
    server.start()
    site.add_people(server.client, PEOPLE)
    return server


@pytest.fixture
def first(site: Site, server: Server) -> Mailing:
    """A campaign that everybody has."""
    mailing = site.new_mailing("first")
    server.client.send_to_the_end(mailing.subject)
    return mailing


def test_a_kill_between_the_answer_and_the_database_brings_nobody_back(
    site: Site, server: Server, first: Mailing
) -> None:
    with failing_disk(server):
        site.someone_leaves(first)
        server.kill()
    assert (len(site.left), spooled(site), left_in_database(site)) == (1, 1, 0)
    server.start()
    send_to_who_stayed(site, server)


def test_a_server_that_goes_on_when_the_disk_does_knows_who_left(
    site: Site, server: Server, first: Mailing
) -> None:
    with failing_disk(server):
        site.someone_leaves(first)
        assert (len(site.left), spooled(site), left_in_database(site)) == (1, 1, 0)
    send_to_who_stayed(site, server)


def send_to_who_stayed(site: Site, server: Server) -> None:
    second = site.new_mailing("second")
    assert server.client.send_to_the_end(second.subject).json["counts"]["accepted"] == PEOPLE - 1
    audiences = {mailing.subject: mailing.audience for mailing in site.mailings}
    query = oracle.sqlite_query(site.database)
    assert oracle.examine(query, site.taken(), audiences, site.left) == []
    assert (spooled(site), left_in_database(site)) == (0, 1)


def spooled(site: Site) -> int:
    return (site.folder / "email.db.unsubscribes").read_bytes().count(b"\n")


def left_in_database(site: Site) -> int:
    ((n,),) = oracle.sqlite_query(site.database)("SELECT COUNT(*) FROM suppressions")
    return int(n)


@contextmanager
def failing_disk(server: Server) -> Iterator[None]:
    """No process of the server can write beyond that many bytes of any file (`EFBIG`)."""
    assert server._process is not None
    pids = [server._process.pid, *children(server._process.pid)]
    # Its log would be longer than that by now; it is opened to append.
    os.truncate(server._log, 0)
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (LARGEST_FILE, resource.RLIM_INFINITY))
    yield
    for pid in pids:
        if server._process is not None:
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
