"""What safety costs who sends: the mark that goes with a claim, and a backup under writes."""

import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import text

from bench.ledgers import NEWS, NOW, build
from bench.tables import Row, Tables, milliseconds
from config.esp_config import EspName
from database.backup import back_up
from database.models import Campaign, CampaignStatus
from database.restore_guard import RestoreGuard
from database.session import Database
from services.campaigns import create
from services.ledger.claim import claim
from services.ledger.plan import plan_chunk

BATCH = 50
CLAIMS = 200
_ONE_WRITE = text("UPDATE campaigns SET reason = 'again' WHERE id = 1")


def run(people: int) -> Tables:
    """A list of `people` who all got a campaign, in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "email.db"
        build(path, people=people)
        database = Database(f"sqlite:///{path}")
        try:
            return {
                "one claim": claims(database),
                f"a backup of {path.stat().st_size / 1e6:.0f} MB": backups(database, path),
            }
        finally:
            database.close()


def claims(database: Database) -> list[Row]:
    """The commit of a claim, the mark as the engine writes it, and with an fsync each time."""
    campaign, guard = _planned(database), RestoreGuard(database)
    guard.take()
    eager = RestoreGuard(database)
    eager.take()
    took: dict[str, list[float]] = {"claim": [], "mark": [], "mark, fsync'd each time": []}
    cpu = dict.fromkeys(took, 0.0)

    @contextmanager
    def measured(of: str) -> Iterator[None]:
        began, used = time.perf_counter(), time.thread_time()
        yield
        cpu[of] += time.thread_time() - used
        took[of].append(time.perf_counter() - began)

    for _ in range(CLAIMS):
        with measured("claim"):
            batch = _claimed(database, campaign)
        with measured("mark"):
            guard.claimed(batch)
        eager._file._synced_at = 0.0
        with measured("mark, fsync'd each time"):
            eager.claimed(batch)
    guard.close()
    eager.close()
    return [
        {"of": of, **milliseconds(seconds), "CPU µs": round(cpu[of] / CLAIMS * 1e6)}
        for of, seconds in took.items()
    ]


def backups(database: Database, path: Path) -> list[Row]:
    """How long each way takes, and how long writes took meanwhile, one after the other."""
    return [
        _beside(database, "nothing", lambda: time.sleep(1)),
        _beside(database, "cli.py backup", lambda: back_up(path, path.parent / "backups", NOW)),
        _beside(database, "VACUUM INTO, unverified", lambda: _vacuum(path)),
    ]


def _beside(database: Database, of: str, act: Callable[[], object]) -> Row:
    took: list[float] = []
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            began = time.perf_counter()
            with database.write() as session:
                session.execute(_ONE_WRITE)
            took.append(time.perf_counter() - began)

    writer = threading.Thread(target=write)
    writer.start()
    began = time.perf_counter()
    act()
    seconds = time.perf_counter() - began
    done.set()
    writer.join()
    return {
        "beside": of,
        "s": round(seconds, 2),
        **{f"write {name}": value for name, value in milliseconds(took).items()},
        "slowest write ms": round(max(took) * 1000, 1),
    }


def _vacuum(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM INTO ?", (str(path.parent / "vacuumed.db"),))


def _planned(database: Database) -> int:
    """A new campaign to everybody, planned."""
    with database.write() as session:
        campaign_id = create(session, NEWS, now=NOW, sandbox=False).id
    while True:
        with database.write() as session:
            campaign = session.get_one(Campaign, campaign_id)
            if campaign.status is not CampaignStatus.PLANNING:
                return campaign_id
            plan_chunk(session, campaign, NOW)


def _claimed(database: Database, campaign_id: int) -> int:
    with database.write() as session:
        campaign = session.get_one(Campaign, campaign_id)
        batch = claim(session, campaign, EspName.SENDGRID, BATCH, NOW, probe=False)
    assert batch is not None
    return batch.id
