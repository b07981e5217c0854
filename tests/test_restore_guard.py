"""A database that was restored or copied sends nothing until a person says that it may."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

from config.esp_config import EspName
from config.settings import load_settings
from database.backup import back_up
from database.mark_file import Mark
from database.models import Campaign, CampaignStatus, EmailSend
from database.origin import OLDER
from database.origin_sqlite import why_held
from database.restore_guard import RestoreGuard, safe_mode
from database.session import Database
from services import restoring
from services.ledger import plan as planning
from services.restoring import REASON, CannotConfirm, Confirmed, confirm
from services.system import System
from tests.conftest import NOW, Clock
from tests.environment import API_KEY, SECRET_KEY
from tests.ledgers import Ledgers
from tests.rig import LINK_KEY, Rig, rig

MARK = Mark(batch=7, suppression=3, identity="us", machine="m1", place="/srv/email.db")


@pytest.mark.parametrize(
    ("mark", "now", "was_marked", "why"),
    [
        (None, MARK, False, None),
        (None, MARK, True, "was restored or copied: its mark is not beside it"),
        (MARK, MARK, True, None),
        (MARK, replace(MARK, batch=8, suppression=4), True, None),
        (MARK, replace(MARK, batch=6), True, OLDER),
        (MARK, replace(MARK, batch=6), False, OLDER),
        (MARK, replace(MARK, suppression=2), True, OLDER),
        (MARK, replace(MARK, machine="m2"), True, "was copied from another machine"),
        (MARK, replace(MARK, machine=""), True, "was copied from another machine"),
        (MARK, replace(MARK, place="/b.db"), True, "was copied or moved from /srv/email.db"),
        (MARK, Mark(identity="new"), False, None),
        (
            MARK,
            replace(MARK, identity="others"),
            True,
            "is another one than was sent from here last",
        ),
        (replace(MARK, held="was restored from x"), MARK, True, "was restored from x"),
        (replace(MARK, held="was restored from x"), MARK, False, "was restored from x"),
    ],
)
def test_what_is_not_the_database_that_was_sent_from_is_held(
    mark: Mark | None, now: Mark, was_marked: bool, why: str | None
) -> None:
    assert why_held(mark, now, was_marked=was_marked) == why


def file(database: Database) -> Path:
    assert database.path is not None
    return database.path


def mark_of(database: Database) -> Path:
    return Path(f"{file(database)}.mark")


def change(database: Database, **to: Any) -> None:
    """What the mark of another machine or place says."""
    path = mark_of(database)
    path.write_text(json.dumps({**json.loads(path.read_text()), **to}))


# the file


@pytest.fixture
def ledgers(database: Database) -> Ledgers:
    """Two claims, with marks as the engine writes them."""
    guard, made = RestoreGuard(database), Ledgers(database)
    guard.take()
    campaign_id = made.planned(4)
    for _ in range(2):
        guard.claimed(made.claimed(campaign_id, 1).id)
    guard.close()
    return made


def test_the_mark_goes_with_the_claims_and_is_nobody_elses(
    ledgers: Ledgers, database: Database
) -> None:
    path = mark_of(database)
    assert (json.loads(path.read_text())["batch"], len(path.read_bytes())) == (2, 4096)
    assert path.stat().st_mode & 0o777 == 0o600
    assert RestoreGuard(database).why_held() is None


def test_a_crash_between_a_claim_and_its_mark_holds_nothing(
    ledgers: Ledgers, database: Database
) -> None:
    ledgers.claimed(1, 1)
    assert RestoreGuard(database).why_held() is None


def test_who_left_after_the_backup_counts_as_well_as_what_was_sent(
    ledgers: Ledgers, database: Database, tmp_path: Path
) -> None:
    made = back_up(file(database), tmp_path / "backups", NOW)
    ledgers.suppress("person3@example.net")
    guard = RestoreGuard(database)
    guard.take()
    guard.close()
    by_hand(database, made.path)
    assert RestoreGuard(database).why_held() == OLDER


def test_a_suppression_is_noted_while_nothing_is_sent(ledgers: Ledgers, database: Database) -> None:
    guard = RestoreGuard(database)
    guard.take()
    ledgers.suppress("person3@example.net")
    guard.keep_up()
    guard.close()
    assert json.loads(mark_of(database).read_text())["suppression"] == 1


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: path.unlink(), "was restored or copied: its mark is not beside it"),
        (lambda path: path.write_text("{"), "has a mark that cannot be read, email.db.mark: "),
        (lambda path: path.write_text("{}x"), "has a mark that cannot be read, email.db.mark: "),
        (lambda path: path.write_text('{"a": 1}'), "has a mark that cannot be read, email.db.mark"),
    ],
)
def test_a_mark_that_is_lost_or_spoilt_holds(
    ledgers: Ledgers, database: Database, spoil: Callable[[Path], Any], why: str
) -> None:
    spoil(mark_of(database))
    held = RestoreGuard(database).why_held()
    assert held is not None
    assert held.startswith(why)


def test_a_database_of_a_version_without_marks_gets_one(
    ledgers: Ledgers, database: Database
) -> None:
    mark_of(database).unlink()
    with database.write() as session:
        session.execute(text("PRAGMA user_version = 0"))
    guard = RestoreGuard(database)
    assert guard.why_held() is None
    guard.take()
    guard.close()
    assert json.loads(mark_of(database).read_text())["batch"] == 2


# the engine


@pytest.fixture
def at(database: Database, clock: Clock) -> Iterator[Rig]:
    with rig(database, clock) as made:
        yield made


@pytest.fixture
def backup(at: Rig, tmp_path: Path) -> Path:
    """Of a campaign that had sent 10 of 30, and of one that was not planned; both went on."""
    at.add_people(30)
    at.configs = {EspName.SENDGRID: replace(at.configs[EspName.SENDGRID], daily_limit=10)}
    at.start()
    at.wait(at.create(), CampaignStatus.WAITING)
    at.stop()
    at.create(name="Second", subject="Second")
    made = back_up(file(at.database), tmp_path / "backups", NOW)
    at.configure(EspName.SENDGRID, daily_limit=None)
    at.start()
    at.wait(1)
    at.wait(2)
    at.stop()
    assert taken(at) == {"Hello Ann": 30, "Second": 30}
    return made.path


def taken(at: Rig) -> dict[str | None, int]:
    """Mails that the ESP has, by subject; nobody has one twice."""
    mails = Counter((mail.subject, mail.recipient) for mail in at.simulator.mails(limit=None))
    assert set(mails.values()) == {1}
    return dict(Counter(subject for subject, _ in mails))


def by_hand(database: Database, backup: Path) -> None:
    """Put it in place as people do who have no command for it."""
    database.close()
    for end in ("-wal", "-shm"):
        Path(f"{file(database)}{end}").unlink(missing_ok=True)
    shutil.copy(backup, file(database))


def system_of(at: Rig) -> System:
    url = f"sqlite:///{file(at.database)}"
    settings = {"API_KEY": API_KEY, "SECRET_KEY": SECRET_KEY, "DATABASE_URL": url}
    return System(
        settings=load_settings(settings, None),
        database=at.database,
        hash_key=at.installation.hash_key,
        link_keys=(LINK_KEY,),
        clock=at.clock,
    )


def see_nothing_sent(at: Rig) -> None:
    """The engine runs in safe mode, until it has looked three times."""
    before = at.simulator.requests(EspName.SENDGRID)
    engine = at.start()
    for _ in range(3):
        engine.wake()
        engine.wait_for_stand(0.1)
    assert (engine.may_send, engine.adapters) == (False, {})
    assert at.simulator.requests(EspName.SENDGRID) == before


def test_a_restored_database_sends_nothing_and_then_nothing_twice(at: Rig, backup: Path) -> None:
    by_hand(at.database, backup)
    see_nothing_sent(at)
    assert at.report(1)["counts"]["queued"] == 20

    told = confirm(system_of(at), moved=False)
    assert told == Confirmed(why=OLDER, unknown={1: 20, 2: 30})
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


def test_a_copy_that_was_not_moved_ends_what_its_original_may_send(at: Rig) -> None:
    at.add_people(3)
    at.start()
    at.stop()
    at.create()
    change(at.database, machine="another")
    assert confirm(system_of(at), moved=False).unknown == {1: 3}


@pytest.mark.parametrize("lost", [True, False])
def test_an_older_database_was_not_merely_moved(at: Rig, backup: Path, lost: bool) -> None:
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
    at: Rig, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of its transactions in turn; it stays in safe mode until the last is done."""
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
            assert RestoreGuard(at.database).why_held() == OLDER
        else:
            break
    assert survived > 3
    assert told.unknown.keys() <= {1, 2}
    monkeypatch.setattr(at.database, "write", original)
    for campaign, unknown in ((1, 20), (2, 30)):
        report = at.report(campaign)
        assert (report["status"], report["counts"]["unknown"]) == ("needs_review", unknown)
        at.check_identity(campaign)


def test_a_paused_campaign_of_a_backup_may_have_gone_on(at: Rig, backup: Path) -> None:
    by_hand(at.database, backup)
    with at.database.write() as session:
        session.execute(update(Campaign).values(status=CampaignStatus.PAUSED))
    assert confirm(system_of(at), moved=False).unknown == {1: 20, 2: 30}


def test_safe_mode_is_told_with_what_to_do() -> None:
    assert safe_mode(OLDER) == (
        "safe mode: the database was restored from a backup: it is older than what was sent from "
        "here last. Nothing is sent until `python3 cli.py confirm-restore` says that it may"
    )
