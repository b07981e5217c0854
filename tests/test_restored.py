"""A database that was restored or copied sends nothing until a person says that it may, and
then nothing twice; as the engine and `confirm` do it, on both kinds of database."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

from config.esp_config import EspName
from config.settings import load_settings
from database import restore_guard
from database.backup import back_up
from database.ledger_lock import lock_ledger
from database.models import Campaign, CampaignStatus, EmailSend
from database.origin import OLDER
from database.restore_guard import RestoreGuard
from database.session import Database
from services import restoring
from services.ledger import plan as planning
from services.restoring import REASON, CannotConfirm, Confirmed, confirm
from services.system import System
from tests.conftest import NOW, Clock
from tests.environment import API_KEY, SECRET_KEY
from tests.faults.http_client import wait_until
from tests.postgres import drop_tables, dump, own_database, restore
from tests.rig import LINK_KEY, Rig, rig

RESTORED = "was restored from a dump"


@pytest.fixture
def at(database: Database, clock: Clock) -> Iterator[Rig]:
    with rig(database, clock) as made:
        yield made


@pytest.fixture
def at_postgres(clock: Clock, tmp_path: Path) -> Iterator[Rig]:
    with own_database(tmp_path / "data") as database, rig(database, clock) as made:
        yield made


@pytest.fixture(params=["at", "at_postgres"])
def either(request: pytest.FixtureRequest) -> Any:
    """The same test on both databases."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def backup(either: Rig, tmp_path: Path) -> Path:
    """Of a campaign that had sent 10 of 30, and of one that was not planned; both went on."""
    at = either
    at.add_people(30)
    at.configs = {EspName.SENDGRID: replace(at.configs[EspName.SENDGRID], daily_limit=10)}
    at.start()
    at.wait(at.create(), CampaignStatus.WAITING)
    at.stop()
    at.create(name="Second", subject="Second")
    made = made_backup(at.database, tmp_path)
    at.configure(EspName.SENDGRID, daily_limit=None)
    at.start()
    at.wait(1)
    at.wait(2)
    at.stop()
    assert taken(at) == {"Hello Ann": 30, "Second": 30}
    return made


def taken(at: Rig) -> dict[str | None, int]:
    """Mails that the ESP has, by subject; nobody has one twice."""
    mails = Counter((mail.subject, mail.recipient) for mail in at.simulator.mails(limit=None))
    assert set(mails.values()) == {1}
    return dict(Counter(subject for subject, _ in mails))


def made_backup(database: Database, folder: Path) -> Path:
    if database.path is not None:
        return back_up(database.path, folder / "backups", NOW).path
    dump(database, folder / "dump.sql")
    return folder / "dump.sql"


def by_hand(database: Database, backup: Path) -> None:
    """Put it in place as people do who have no command for it."""
    if database.path is None:
        drop_tables(database)
        restore(database, backup)
        return
    database.close()
    for end in ("-wal", "-shm"):
        Path(f"{database.path}{end}").unlink(missing_ok=True)
    shutil.copy(backup, database.path)


def why_of(at: Rig) -> str:
    """A dump is told from the row that it was sent from under, before anything is compared."""
    return OLDER if at.database.is_sqlite else RESTORED


def system_of(at: Rig) -> System:
    url = str(at.database.url)
    settings = {"API_KEY": API_KEY, "SECRET_KEY": SECRET_KEY, "DATABASE_URL": url}
    return System(
        settings=load_settings(settings, None),
        database=at.database,
        hash_key=at.installation.hash_key,
        link_keys=(LINK_KEY,),
        clock=at.clock,
    )


def mark_of(database: Database) -> Path:
    path = database.beside("mark")
    assert path is not None
    return path


def change(database: Database, **to: Any) -> None:
    """What the mark of another machine or place says."""
    path = mark_of(database)
    path.write_text(json.dumps({**json.loads(path.read_text()), **to}))


def see_nothing_sent(at: Rig) -> None:
    """The engine runs in safe mode, until it has looked three times."""
    before = at.simulator.requests(EspName.SENDGRID)
    engine = at.start()
    for _ in range(3):
        engine.wake()
        engine.wait_for_stand(0.1)
    assert (engine.may_send, engine.adapters) == (False, {})
    assert at.simulator.requests(EspName.SENDGRID) == before


def test_a_restored_database_sends_nothing_and_then_nothing_twice(
    either: Rig, backup: Path
) -> None:
    at = either
    by_hand(at.database, backup)
    see_nothing_sent(at)
    assert at.report(1)["counts"]["queued"] == 20

    told = confirm(system_of(at), moved=False)
    assert told == Confirmed(why=why_of(at), unknown={1: 20, 2: 30})
    at.wait(1, CampaignStatus.NEEDS_REVIEW)
    at.wait(2, CampaignStatus.NEEDS_REVIEW)
    counts = {name: n for name, n in at.report(1)["counts"].items() if n}
    assert counts == {"accepted": 10, "unknown": 20}
    # It sends again, and what is new gets numbers that no mail out there has.
    third = at.send(subject="Third")
    assert (third["status"], third["counts"]["accepted"]) == ("sent", 30), third
    assert third["campaign_id"] > 1_000
    assert taken(at) == {"Hello Ann": 30, "Second": 30, "Third": 30}
    with at.database.read() as session:
        reasons = select(EmailSend.reason).where(EmailSend.status == "unknown").distinct()
        assert session.scalars(reasons).all() == [REASON]


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ({"machine": "another"}, "was copied from another machine"),
        ({"place": "/srv/a.db"}, "was copied or moved from /srv/a.db"),
    ],
)
def test_a_copy_sends_nothing_until_it_is_said_that_it_was_moved(
    at: Rig, to: dict[str, str], why: str
) -> None:
    at.add_people(3)
    at.start()
    at.send()
    at.stop()
    campaign = at.create(subject="Second")
    change(at.database, **to)
    see_nothing_sent(at)
    assert confirm(system_of(at), moved=True) == Confirmed(why=why, unknown={})
    assert at.wait(campaign)["status"] == "sent"


def test_what_a_killed_restore_left_as_it_was_goes_on(at: Rig) -> None:
    at.add_people(3)
    at.start()
    at.send()
    at.stop()
    campaign = at.create(subject="Second")
    RestoreGuard(at.database).hold("was restored from b.db")
    see_nothing_sent(at)
    assert confirm(system_of(at), moved=True).unknown == {}
    assert at.wait(campaign)["status"] == "sent"


def test_a_copy_that_was_not_moved_ends_what_its_original_may_send(at: Rig) -> None:
    at.add_people(3)
    at.start()
    at.stop()
    at.create()
    change(at.database, machine="another")
    assert confirm(system_of(at), moved=False).unknown == {1: 3}


@pytest.mark.parametrize("lost", [True, False])
def test_an_older_database_was_not_merely_moved(either: Rig, backup: Path, lost: bool) -> None:
    at = either
    by_hand(at.database, backup)
    if lost:
        mark_of(at.database).unlink()
    with pytest.raises(CannotConfirm, match="not merely moved"):
        confirm(system_of(at), moved=True)
    assert RestoreGuard(at.database).why_held() is not None


def test_what_is_not_held_cannot_be_confirmed(at: Rig) -> None:
    with pytest.raises(CannotConfirm, match="not in safe mode"):
        confirm(system_of(at), moved=False)


def test_nothing_is_confirmed_while_another_process_sends(
    at: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "PATIENCE_S", 0.1)
    at.add_people(1)
    at.start()
    at.send()
    with pytest.raises(CannotConfirm, match="another process sends"):
        confirm(system_of(at), moved=False)


def test_a_confirmation_that_is_killed_is_begun_again(
    either: Rig, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of its transactions in turn; it stays in safe mode until the last is done."""
    at = either
    monkeypatch.setattr(restoring, "PER_SLICE", 7)
    monkeypatch.setattr(planning, "IDS_PER_CHUNK", 11)
    by_hand(at.database, backup)
    original = at.database.write
    for survived in range(1, 100):
        left = iter(range(survived))

        def write(left: Iterator[int] = left) -> Any:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return original()

        monkeypatch.setattr(at.database, "write", write)
        try:
            told = confirm(system_of(at), moved=False)
        except KeyboardInterrupt:
            assert RestoreGuard(at.database).why_held() == why_of(at)
        else:
            break
    assert survived > 3
    assert told.unknown.keys() <= {1, 2}
    monkeypatch.setattr(at.database, "write", original)
    for campaign, unknown in ((1, 20), (2, 30)):
        report = at.report(campaign)
        assert (report["status"], report["counts"]["unknown"]) == ("needs_review", unknown)
        at.check_identity(campaign)


def test_a_paused_campaign_of_a_backup_may_have_gone_on(either: Rig, backup: Path) -> None:
    at = either
    by_hand(at.database, backup)
    with at.database.write() as session:
        session.execute(update(Campaign).values(status=CampaignStatus.PAUSED))
    assert confirm(system_of(at), moved=False).unknown == {1: 20, 2: 30}


def test_a_postgresql_database_that_lacks_nothing_goes_on_where_it_was_moved(
    at_postgres: Rig, tmp_path: Path
) -> None:
    at = at_postgres
    at.add_people(3)
    at.start()
    at.send()
    at.stop()
    campaign = at.create(subject="Second")
    by_hand(at.database, made_backup(at.database, tmp_path))
    see_nothing_sent(at)
    assert confirm(system_of(at), moved=True) == Confirmed(why=RESTORED, unknown={})
    assert at.wait(campaign)["status"] == "sent"
    assert taken(at) == {"Hello Ann": 3, "Second": 3}


def test_another_machine_takes_a_postgresql_database_over_at_once(
    at_postgres: Rig, tmp_path: Path, clock: Clock
) -> None:
    """Also in the middle of a campaign, and back again."""
    first = at_postgres
    other = another_machine(first, tmp_path, clock)
    first.add_people(30)
    limited = {EspName.SENDGRID: replace(first.configs[EspName.SENDGRID], daily_limit=10)}
    first.configs = limited
    first.start()
    campaign = first.create()
    first.wait(campaign, CampaignStatus.WAITING)
    first.stop()
    other.start()
    other.wait(campaign, CampaignStatus.SENT)
    other.stop()
    other.database.close()
    first.configure(EspName.SENDGRID, daily_limit=None)
    first.start()
    first.send(subject="Second")
    assert taken(first) == {"Hello Ann": 30, "Second": 30}


def test_a_machine_that_waits_keeps_a_mark_of_its_own(
    at_postgres: Rig, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore_guard, "_LOOK_EVERY_S", 0.0)
    at = at_postgres
    at.add_people(3)
    at.start()
    waiting = another_machine(at, tmp_path, clock)
    waiting.start()
    at.send()
    noted = mark_of(waiting.database)
    wait_until(lambda: noted.exists() and json.loads(noted.read_text())["batch"] == 1, "its mark")
    waiting.stop()
    waiting.database.close()


def test_a_machine_that_sees_an_older_database_keeps_others_from_sending(
    at_postgres: Rig, tmp_path: Path, clock: Clock
) -> None:
    at = at_postgres
    at.add_people(3)
    at.start()
    at.send()
    at.stop()
    change(at.database, batch=7)
    see_nothing_sent(at)
    at.stop()
    other = another_machine(at, tmp_path, clock)
    see_nothing_sent(other)
    assert confirm(system_of(other), moved=False).why == OLDER
    other.send(subject="Second")
    other.stop()
    other.database.close()
    at.start()
    at.send(subject="Third")
    assert taken(at) == {"Hello Ann": 3, "Second": 3, "Third": 3}


def test_a_confirmation_waits_for_events_that_are_being_recorded(at_postgres: Rig) -> None:
    """Who records one locks sends before campaigns: they would wait for each other."""
    at = at_postgres
    at.add_people(3)
    at.create()
    guard = RestoreGuard(at.database)
    guard.hold("was put back")
    waiting = text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with ThreadPoolExecutor() as threads:
        with at.database.write() as session:
            lock_ledger(session, alone=False)
            confirming = threads.submit(confirm, system_of(at), moved=False)
            wait_until(lambda: session.scalar(waiting) == 1, "it to wait")
        assert confirming.result().unknown == {1: 3}


def another_machine(at: Rig, tmp_path: Path, clock: Clock) -> Rig:
    url = at.database.url.render_as_string(False)
    return Rig(Database(url, folder=tmp_path / "other"), at.simulator, clock)
