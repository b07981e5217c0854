"""A backup is one moment of the database, sound, and nobody waits for it."""

import json
import os
import shutil
import sqlite3
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import update

from cli import cli
from database.backup import InUse, NotABackup, back_up, put_back, rotate, verify
from database.mark_file import MarkFile
from database.migrate import migrate
from database.models import Installation
from database.origin_sqlite import SqliteOrigin
from database.restore_guard import RestoreGuard
from database.session import Database
from tests.conftest import NOW
from tests.environment import API_KEY, SECRET_KEY

BROKEN = b"no database, but long enough to be read as the first page of one" * 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.fixture
def installed(database: Database) -> Path:
    """The file of a database that is open, with its row of identity."""
    migrate(database, NOW)
    assert database.path is not None
    return database.path


def identity(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT identity FROM installation").fetchone()[0])


def rename(database: Database, name: str) -> None:
    with database.write() as session:
        session.execute(update(Installation).values(identity=name))


def modes(folder: Path) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in folder.iterdir()}


def test_a_backup_is_one_closed_file_that_only_its_owner_reads(
    installed: Path, folder: Path
) -> None:
    mask = os.umask(0)
    try:
        made = back_up(installed, folder, NOW)
    finally:
        os.umask(mask)
    assert [path.name for path in folder.iterdir()] == ["email-20261124-120000.db"]
    assert (folder.stat().st_mode & 0o777, modes(folder)) == (0o700, {0o600})
    assert verify(made.path) == made.rows
    assert made.rows["installation"] == 1
    assert [path.name for path in folder.iterdir()] == [made.path.name]  # reading left no WAL


def test_a_backup_holds_what_is_committed_and_waits_for_no_writer(
    database: Database, installed: Path, folder: Path
) -> None:
    rename(database, "committed")  # it is in the WAL alone
    with database.write() as session:
        session.execute(update(Installation).values(identity="under way"))
        made = back_up(installed, folder, NOW)
    assert (identity(made.path), identity(installed)) == ("committed", "under way")


@pytest.mark.parametrize("kind", ["empty", "broken", "cut", "strange", "missing"])
def test_what_is_not_sound_is_no_backup(kind: str, installed: Path, tmp_path: Path) -> None:
    file = tmp_path / "file.db"
    whole = back_up(installed, tmp_path / "backups", NOW).path.read_bytes()
    if kind == "strange":
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("CREATE TABLE installation (id)")
    elif kind != "missing":
        file.write_bytes({"empty": b"", "broken": BROKEN, "cut": whole[: len(whole) // 2]}[kind])
    with pytest.raises(NotABackup):
        verify(file)


def test_a_backup_that_fails_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(sqlite3.Error):
        back_up(tmp_path / "no.db", folder, NOW)
    assert list(folder.iterdir()) == []
    assert not (tmp_path / "no.db").exists()


def test_rotation_removes_the_oldest_of_this_database_and_nothing_else(folder: Path) -> None:
    folder.mkdir()
    ours = [f"email-2026112{day}-120000.db" for day in range(5)]
    others = ["email-20261120-120000.db.1.part", "email.db", "other-20261120-120000.db"]
    for name in (*ours, *others):
        (folder / name).touch()
    gone = rotate(folder, Path("data/email.db"), 2, NOW)
    assert [path.name for path in gone] == ours[:3]
    assert {path.name for path in folder.iterdir()} == {*ours[3:], *others}
    assert rotate(folder, Path("data/email.db"), 2, NOW) == []


def test_rotation_removes_what_killed_backups_left_and_none_that_is_under_way(folder: Path) -> None:
    folder.mkdir()
    left = [f"email-20261120-120000{end}" for end in (".db.part", "-2.db.part", ".db.part-journal")]
    others = ["email.db.part", "other-20261120-120000.db.part", "email-20261124-110000.db.part"]
    for name in (*left, *others):
        (folder / name).touch()
        is_under_way = name == others[-1]
        at = (NOW - timedelta(hours=1 if is_under_way else 25)).timestamp()
        os.utime(folder / name, (at, at))
    gone = rotate(folder, Path("data/email.db"), 2, NOW)
    assert {path.name for path in gone} == set(left)
    assert {path.name for path in folder.iterdir()} == set(others)


def test_two_backups_of_one_second_are_two(
    database: Database, installed: Path, folder: Path
) -> None:
    made = []
    for name in ("first", "second", "third"):
        rename(database, name)
        made.append(back_up(installed, folder, NOW).path)
    assert [path.name for path in made] == [
        "email-20261124-120000.db",
        "email-20261124-120000-2.db",
        "email-20261124-120000-3.db",
    ]
    assert [identity(path) for path in made] == ["first", "second", "third"]
    assert rotate(folder, installed, 2, NOW) == made[:1]
    assert rotate(folder, installed, 1, NOW) == made[1:2]


def test_a_backup_under_way_has_its_name_to_itself(installed: Path, folder: Path) -> None:
    folder.mkdir()
    other = folder / "email-20261124-120000.db.part"
    other.touch()
    assert back_up(installed, folder, NOW).path.name == "email-20261124-120000-2.db"
    assert other.exists()


# putting one back


def held_nothing() -> None:
    """What a restore asks of the mark, where a test does not care for it."""


def test_what_a_restore_replaces_is_kept(database: Database, installed: Path, folder: Path) -> None:
    made = back_up(installed, folder, NOW)
    rename(database, "later")
    database.close()
    kept = put_back(made.path, installed, NOW, hold=held_nothing)
    assert kept is not None
    assert (identity(kept), identity(installed)) == ("later", identity(made.path))
    assert installed.stat().st_mode & 0o777 == 0o600


def test_what_two_restores_of_one_second_replace_is_kept_twice(
    database: Database, installed: Path, folder: Path
) -> None:
    rename(database, "backup")
    made = back_up(installed, folder, NOW)
    rename(database, "later")
    database.close()
    kept = [put_back(made.path, installed, NOW, hold=held_nothing) for _ in range(2)]
    assert [(path.name, identity(path)) for path in kept if path] == [
        ("email.db.before-restore-20261124-120000", "later"),
        ("email.db.before-restore-20261124-120000-2", "backup"),
    ]


def test_a_restore_replaces_a_broken_database_and_a_missing_one(
    database: Database, installed: Path, folder: Path
) -> None:
    made = back_up(installed, folder, NOW)
    database.close()
    installed.write_bytes(BROKEN)
    kept = put_back(made.path, installed, NOW, hold=held_nothing)
    assert kept is not None
    assert (kept.read_bytes(), identity(installed)) == (BROKEN, identity(made.path))
    installed.unlink()
    assert put_back(made.path, installed, NOW, hold=held_nothing) is None
    assert identity(installed) == identity(made.path)


@pytest.mark.parametrize("end", ["-wal", "-shm", "-journal"])
def test_no_log_of_another_database_stays_beside_what_is_restored(
    database: Database, installed: Path, folder: Path, end: str
) -> None:
    made = back_up(installed, folder, NOW)
    database.close()
    installed.unlink()
    Path(f"{installed}{end}").write_bytes(BROKEN)
    assert put_back(made.path, installed, NOW, hold=held_nothing) is None
    assert not Path(f"{installed}{end}").exists()
    assert Path(f"{installed}.before-restore-20261124-120000{end}").read_bytes() == BROKEN


def test_a_database_that_somebody_has_open_is_not_replaced(
    database: Database, installed: Path, folder: Path
) -> None:
    made = back_up(installed, folder, NOW)
    rename(database, "in use")
    held: list[str] = []
    with pytest.raises(InUse):
        put_back(made.path, installed, NOW, hold=lambda: held.append("held"))
    assert (identity(installed), held) == ("in use", [])
    rename(database, "still in use")


class Killed(BaseException):
    pass


def put_back_until(line: int, backup: Path, database: Path) -> bool:
    """Restore as the command does, and die before the `line`th line of that; whether it died."""
    left = line
    acting = (put_back, RestoreGuard.hold, SqliteOrigin.hold, MarkFile.write)
    files = {one.__code__.co_filename for one in acting}

    def tracer(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise Killed
        return tracer

    opened = Database(f"sqlite:///{database}")
    guard, before = RestoreGuard(opened), sys.gettrace()
    sys.settrace(tracer)
    try:
        put_back(backup, database, NOW, hold=lambda: guard.hold("was restored"))
    except Killed:
        return True
    finally:
        sys.settrace(before)
        guard.close()
        opened.close()
    return False


def may_be_moved(path: Path) -> bool:
    database = Database(f"sqlite:///{path}")
    try:
        return RestoreGuard(database).may_be_moved()
    finally:
        database.close()


def test_a_restore_killed_anywhere_leaves_what_was_there_or_what_sends_nothing(
    database: Database, installed: Path, folder: Path, tmp_path: Path
) -> None:
    rename(database, "backup")
    backup = back_up(installed, folder, NOW).path
    rename(database, "later")
    guard = RestoreGuard(database)
    guard.take()
    guard.close()
    database.close()
    found = set()
    for line in range(1, 1_000):
        place = tmp_path / str(line) / "email.db"
        place.parent.mkdir()
        for end in ("", ".mark"):
            shutil.copy(f"{installed}{end}", f"{place}{end}")
        was_killed = put_back_until(line, backup, place)
        is_held = json.loads(Path(f"{place}.mark").read_text())["held"] == "was restored"
        there = identity(place) if place.exists() else None
        found.add((there, is_held))
        if there is not None:
            assert may_be_moved(place) is (there == "later")
        put_back_until(-1, backup, place)
        kept = {identity(path) for path in place.parent.glob("*.before-restore-*")}
        assert (identity(place), "later" in kept) == ("backup", True)
        assert {path.name for path in place.parent.glob("*.part")} == set()
        if not was_killed:
            break
    assert found == {("later", False), ("later", True), (None, True), ("backup", True)}


def test_the_command_makes_verifies_and_rotates(
    monkeypatch: pytest.MonkeyPatch, installed: Path, tmp_path: Path
) -> None:
    for name, value in {
        "API_KEY": API_KEY,
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": f"sqlite:///{installed}",
    }.items():
        monkeypatch.setenv(name, value)
    old = tmp_path / "backups" / "email-20200101-000000.db"
    old.parent.mkdir()
    old.touch()
    told = CliRunner().invoke(cli, ["backup", "--keep", "1", "--json"])
    assert told.exit_code == 0, told.output
    said = json.loads(told.stdout)
    assert said["removed"] == [str(old)]
    assert [str(path) for path in old.parent.iterdir()] == [said["path"]]
    assert said["bytes"] == Path(said["path"]).stat().st_size
    assert verify(Path(said["path"])) == said["rows"]

    monkeypatch.setenv("DATABASE_URL", "postgresql://me@127.0.0.1/email")
    told = CliRunner().invoke(cli, ["backup"])
    assert (told.exit_code, told.stderr) == (
        1,
        "Error: the database is not a SQLite file: PostgreSQL has pg_dump and pg_restore\n",
    )
