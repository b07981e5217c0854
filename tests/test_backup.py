"""A backup is one moment of the database, sound, and nobody waits for it."""

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import update

from cli import cli
from database.backup import InUse, NotABackup, back_up, put_back, rotate, set_aside, verify
from database.migrate import migrate
from database.models import Installation
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
    gone = rotate(folder, Path("data/email.db"), 2)
    assert [path.name for path in gone] == ours[:3]
    assert {path.name for path in folder.iterdir()} == {*ours[3:], *others}
    assert rotate(folder, Path("data/email.db"), 2) == []


def test_what_a_restore_replaces_is_kept(database: Database, installed: Path, folder: Path) -> None:
    made = back_up(installed, folder, NOW)
    rename(database, "later")
    database.close()
    kept = set_aside(installed, NOW)
    assert kept is not None
    put_back(made.path, installed)
    assert (identity(kept), identity(installed)) == ("later", identity(made.path))
    assert installed.stat().st_mode & 0o777 == 0o600


def test_a_restore_replaces_a_broken_database_and_a_missing_one(
    database: Database, installed: Path, folder: Path
) -> None:
    made = back_up(installed, folder, NOW)
    database.close()
    installed.write_bytes(BROKEN)
    kept = set_aside(installed, NOW)
    assert kept is not None
    put_back(made.path, installed)
    assert (kept.read_bytes(), identity(installed)) == (BROKEN, identity(made.path))
    installed.unlink()
    assert set_aside(installed, NOW) is None
    put_back(made.path, installed)
    assert identity(installed) == identity(made.path)


def test_a_database_that_somebody_has_open_is_not_replaced(
    database: Database, installed: Path
) -> None:
    rename(database, "in use")
    with pytest.raises(InUse):
        set_aside(installed, NOW)
    assert identity(installed) == "in use"
    rename(database, "still in use")


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
