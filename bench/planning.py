"""The plan of a campaign to everybody, against a bare INSERT … SELECT into the same ledger."""

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from bench.ledgers import NEWS, NOW, build
from bench.tables import Row, Tables, goal
from database.models import Campaign, CampaignStatus
from database.session import Database
from services.campaigns import create
from services.ledger.plan import IDS_PER_CHUNK, plan_chunk

LEAST = 0.8
"""Of the speed of one bare statement."""
ROUNDS = 3
CAMPAIGN = 1
_BARE = """
INSERT INTO email_sends (campaign_id, subscriber_id, email_key, mailbox_provider, status)
SELECT ?, id, email_key, mailbox_provider, 'queued' FROM subscribers
WHERE id > ? AND id <= ? ORDER BY id
"""

Measured = tuple[int, float, float]
"""Rows, seconds, CPU seconds."""


def run(people: int, rounds: int = ROUNDS) -> Tables:
    """Medians. Each side plans in a process of its own, over a copy of the same list."""
    sides = {"ours": ours, **BARE}
    found: dict[str, list[Measured]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory() as folder:
        made, copy = Path(folder) / "people.db", Path(folder) / "email.db"
        _prepare(made, people)
        for _ in range(rounds):
            for name, side in sides.items():
                shutil.copy(made, copy)
                with get_context("spawn").Pool(1) as pool:
                    found[name].append(pool.apply(side, (copy,)))
                assert found[name][-1][0] == people, found[name][-1]
                for one in copy.parent.glob("email.db*"):
                    one.unlink()
    rates = {name: median(n / wall for n, wall, _ in each) for name, each in found.items()}
    limit = rates[LIMIT]
    rows: list[Row] = [
        {
            "side": name,
            "rows/s": round(rates[name]),
            "CPU µs/row": round(median(cpu / n * 1e6 for n, _, cpu in each), 2),
            "x one statement": round(rates[name] / limit, 2),
        }
        for name, each in found.items()
    ]
    ratio = rates["ours"] / limit
    judged = [goal(f"ours >= {LEAST} x {LIMIT}", ratio, ratio >= LEAST)]
    return {f"ledger rows of {people:,} people, medians of {rounds}": rows, "goals": judged}


def _prepare(path: Path, people: int) -> None:
    """The list, and a campaign that is not planned yet."""
    build(path, people=people, campaigns=0)
    database = Database(f"sqlite:///{path}")
    with database.write() as session:
        assert create(session, NEWS, now=NOW, sandbox=False).id == CAMPAIGN
    database.close()


def ours(path: Path) -> Measured:
    database = Database(f"sqlite:///{path}")

    def plan() -> int:
        while True:
            with database.write() as session:
                campaign = session.get_one(Campaign, CAMPAIGN)
                plan_chunk(session, campaign, NOW)
            if campaign.status is not CampaignStatus.PLANNING:
                with database.read() as session:
                    return session.get_one(Campaign, CAMPAIGN).planned

    measured = _measured(plan)
    database.close()
    return measured


def bare(path: Path) -> Measured:
    return _bare(path, chunk=None)


def bare_chunks(path: Path) -> Measured:
    return _bare(path, chunk=IDS_PER_CHUNK)


LIMIT = "bare, one statement"
BARE = {LIMIT: bare, "bare, in our chunks": bare_chunks}


def _bare(path: Path, *, chunk: int | None) -> Measured:
    """With a commit for each chunk of so many ids."""
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            raw.execute(f"PRAGMA {pragma}")
        [last] = raw.execute("SELECT max(id) FROM subscribers").fetchone()

        def insert() -> int:
            for after in range(0, last, chunk or last):
                raw.execute("BEGIN IMMEDIATE")
                raw.execute(_BARE, (CAMPAIGN, after, after + (chunk or last)))
                raw.execute("COMMIT")
            return raw.total_changes

        return _measured(insert)


def _measured(work: Callable[[], int]) -> Measured:
    began, used = time.perf_counter(), time.process_time()
    n = work()
    return n, time.perf_counter() - began, time.process_time() - used
