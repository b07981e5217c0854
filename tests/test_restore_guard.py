"""The mark beside a SQLite database tells whether it is the one that was sent from."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from database.backup import back_up
from database.mark_file import Mark
from database.origin import OLDER
from database.origin_sqlite import why_held
from database.restore_guard import RestoreGuard, safe_mode
from database.session import Database
from tests.conftest import NOW
from tests.ledgers import Ledgers
from tests.test_restored import by_hand

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


def test_safe_mode_is_told_with_what_to_do() -> None:
    assert safe_mode(OLDER) == (
        "safe mode: the database was restored from a backup: it is older than what was sent from "
        "here last. Nothing is sent until `python3 cli.py confirm-restore` says that it may"
    )
