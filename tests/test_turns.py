"""Whoever waits to write to a SQLite file goes before whoever has just written."""

import fcntl
import threading
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeout

from database import turns
from database.session import Database
from database.turns import Turns


@pytest.mark.parametrize("same_process", [True, False])
def test_nobody_writes_twice_while_another_waits(same_process: bool, tmp_path: Path) -> None:
    path = tmp_path / "email.db"
    busy = Turns(path)
    waiting = busy if same_process else Turns(path)
    order: list[str] = []

    def write(own: Turns, name: str) -> None:
        with own:
            order.append(name)

    with busy:
        patient = threading.Thread(target=write, args=(waiting, "waited"))
        patient.start()
        while not (busy._next.locked() if same_process else is_locked(f"{path}.next.lock")):
            pass
        again = threading.Thread(target=write, args=(busy, "again"))
        again.start()
    patient.join()
    again.join()
    assert order == ["waited", "again"]


def test_nobody_waits_longer_than_their_patience_for_others_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the database is locked, each of a queue would wait for all before it."""
    turns_of_all = Turns(tmp_path / "email.db")
    with turns_of_all:
        monkeypatch.setattr(turns, "PATIENCE_S", 0.0)
        for _ in range(2):
            with pytest.raises(PoolTimeout):
                turns_of_all.__enter__()
    monkeypatch.undo()
    with turns_of_all:
        pass


def is_locked(path: str) -> bool:
    try:
        with open(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def test_who_waited_in_vain_writes_if_the_database_lets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped process may hold the turn, and nothing else."""
    monkeypatch.setattr(turns, "PATIENCE_S", 0.0)
    database = Database(f"sqlite:///{tmp_path / 'email.db'}")
    with Turns(database.path):
        for _ in range(2):
            with database.write() as session:
                session.execute(text("CREATE TABLE IF NOT EXISTS t (a)"))
    database.close()


def test_a_closed_database_may_be_used_again(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'email.db'}")
    for _ in range(2):
        with database.write() as session:
            session.execute(text("SELECT 1"))
        database.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "email.db",
        "email.db.next.lock",
        "email.db.turn.lock",
    ]
