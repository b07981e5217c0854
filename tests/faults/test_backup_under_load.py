"""Backups that are made while mail goes out and events come, and the server or the backup itself
is killed: each one that is there is sound and true to its moment, and sends nothing by itself."""

import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from config.settings import ROOT
from tests.faults import oracle
from tests.faults.backups import Backup, command, faults_of, restore
from tests.faults.driver import Moment, Server, Site, free_port
from tests.faults.http_client import wait_until
from tests.faults.promises import assert_promise_kept, site
from tests.faults.tiers import Tier

__all__ = ["site"]  # fixtures

RECIPIENTS = 300
PARTS = "*.part"
KILLED = ("nobody", "server", "backup")
LONGEST_COPY_S = 0.03
TOLD_WITHIN_S = 900
"""SES and Postmark tell each event in a call of its own: some 60,000 calls after 60 campaigns."""


@pytest.fixture
def server(site: Site) -> Server:
    server = site.add_server()
    server.start()
    site.add_people(server.client, RECIPIENTS)
    site.simulator.post_webhooks_to(server.url, delay_s=0.0, shuffle=True, repeat=2)
    return server


def test_every_backup_that_is_there_is_sound_and_true_to_its_moment(
    site: Site, server: Server, rng: random.Random, tier: Tier
) -> None:
    attempts = [
        one
        for number in range(tier.backups)
        for one in attempt(site, server, rng, KILLED[number % len(KILLED)], number)
    ]
    wait_until(site.has_told_all, "all webhooks", within_s=TOLD_WITHIN_S)
    assert_promise_kept(site)
    taken = site.taken()
    assert list(oracle.told_wrongly(oracle.sqlite_query(site.database), taken)) == []
    assert len(attempts) >= tier.backups - tier.backups // len(KILLED)
    scratch = site.folder / "restored"
    for backup in attempts:
        assert faults_of(backup, server._environ, scratch, taken) == [], backup
    check_safe_mode(site, server, attempts[-1])


def attempt(
    site: Site, server: Server, rng: random.Random, killed: str, number: int
) -> list[Backup]:
    """A backup during a campaign, and who is killed while the copy is made: the backup, if one
    is left that has its name."""
    folder = site.folder / f"backups-{number}"
    mailing = site.new_mailing(f"news-{number}")
    moment = Moment(taken=rng.randrange(1, RECIPIENTS // 2), later_s=0)
    with reading(site.database), site.under_way(mailing, server.client, moment):
        site.someone_leaves(mailing)
        begun_at, left = datetime.now(UTC), frozenset(site.left)
        process = begin_backup(server, folder)
        wait_until(lambda: any(folder.glob(PARTS)) or process.poll() is not None, "the copy")
        if killed != "nobody":
            wait_a_part_of(LONGEST_COPY_S, rng, process)
        if killed == "backup":
            process.kill()
        elif killed == "server":
            server.kill()
        said = process.communicate()
    assert process.returncode == 0 or killed == "backup", said
    if killed == "server":
        server.start()
    server.client.send_to_the_end(mailing.subject)
    there = sorted(folder.glob("email-*.db"))
    assert len(there) == 1 or process.returncode != 0
    return [Backup(path=path, begun_at=begun_at, left=left) for path in there]


@contextmanager
def reading(database: Path) -> Iterator[None]:
    """Somebody who reads all the while: what is committed meanwhile stays in the WAL, so that a
    backup without it has none of it."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM campaigns").fetchone()
        yield


def begin_backup(server: Server, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "cli.py", "backup", "--to", str(folder)],
        cwd=ROOT,
        env=dict(server._environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_a_part_of(seconds: float, rng: random.Random, process: subprocess.Popen[str]) -> None:
    try:
        process.wait(rng.uniform(0, seconds))
    except subprocess.TimeoutExpired:
        return


def check_safe_mode(site: Site, server: Server, backup: Backup) -> None:
    """A server on what was restored takes unsubscribes and sends nothing; and once it may, it
    sends no mail of the campaigns that it knows again, whoever posts them again."""
    server.terminate()
    folder = site.folder / "installed"
    folder.mkdir()
    elsewhere, database = restore(backup.path, server._environ, folder)
    restored = another_server(site, elsewhere)
    requests = site.requests()
    ready = restored.client.call("GET", "/readyz").json
    assert (ready["status"], f"was restored from {backup.path.name}" in ready["reason"]) == (
        "safe-mode",
        True,
    )
    refused = restored.client.send_campaign("after")
    assert (refused.status, "safe mode" in refused.json["detail"]) == (503, True)
    assert leave(site, restored) == 200
    assert site.requests() == requests
    said = command(elsewhere, "confirm-restore", "--yes", "--no-pull")
    assert said.returncode == 0, said.stderr
    after = restored.client.send_to_the_end("after").json["counts"]
    on_list = oracle.sqlite_query(database)(
        "SELECT COUNT(*) FROM subscribers WHERE status = 'active'"
    )
    assert [(after["accepted"],)] == on_list
    for (subject,) in oracle.sqlite_query(database)("SELECT subject FROM campaigns"):
        assert restored.client.send_campaign(subject).status in (200, 409)
    assert list(oracle.duplicates(site.taken())) == []


def another_server(site: Site, environ: dict[str, str]) -> Server:
    port = free_port()
    here = {"PORT": str(port), "PUBLIC_BASE_URL": f"http://127.0.0.1:{port}"}
    site.servers.append(Server(site.command, {**environ, **here}, site.folder / "restored.log"))
    site.servers[-1].start()
    return site.servers[-1]


def leave(site: Site, server: Server) -> int:
    """Somebody who got a mail before, by its link, at this server."""
    link = urlsplit(next(iter(site.ways_out().values())).strip("<>"))
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = b"List-Unsubscribe=One-Click"
    return server.client.call("POST", f"{link.path}?{link.query}", body, form).status
