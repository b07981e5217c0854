"""Which PostgreSQL database may be sent from: on this machine, on another, of what was copied."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import delete, text
from sqlalchemy.exc import OperationalError

from database import restore_guard
from database.mark_file import Mark
from database.models import SendBatch
from database.origin import OLDER, highest
from database.origin_postgres import Place, Seal, _told, why_held
from database.restore_guard import RestoreGuard
from database.session import Database
from tests.ledgers import Ledgers
from tests.postgres import copy_of, drop_tables, dump, own_database, restore

HERE = Place(server="7711824477897328753", timeline="00000001", database=16384)
SEAL = Seal(generation=2, place=HERE, is_original=True, held=None)
NOW = Mark(generation=2, batch=7, suppression=3, identity="us")
COPIED = "was copied or restored from another database of its server"
RESTORED = "was restored from a dump"
ELSEWHERE = "was copied or restored to another PostgreSQL server"
PROMOTED = "was recovered to a point in time, or its server was promoted from a replica"


@pytest.mark.parametrize(
    ("seal", "place", "mark", "why"),
    [
        (None, {}, None, None),
        (SEAL, {}, None, None),
        (SEAL, {}, NOW, None),
        (SEAL, {}, replace(NOW, batch=6, suppression=2), None),
        (SEAL, {"server": "1"}, NOW, ELSEWHERE),
        (SEAL, {"server": ""}, NOW, ELSEWHERE),
        (SEAL, {"database": 2, "timeline": "00000002"}, NOW, COPIED),
        (SEAL, {"timeline": "00000002"}, NOW, PROMOTED),
        (replace(SEAL, is_original=False), {}, NOW, RESTORED),
        (replace(SEAL, held="was said so"), {"server": "1"}, NOW, "was said so"),
        # What the mark of this machine says, where the row fits.
        (SEAL, {}, replace(NOW, batch=8), OLDER),
        (SEAL, {}, replace(NOW, suppression=4), OLDER),
        (SEAL, {}, replace(NOW, generation=3, batch=0), OLDER),
        (None, {}, replace(NOW, generation=3), OLDER),
        (SEAL, {}, replace(NOW, generation=1, batch=900), None),
        (SEAL, {}, replace(NOW, identity="others", batch=900), None),
        (SEAL, {}, Mark(held="has a mark that cannot be read"), "has a mark that cannot be read"),
    ],
)
def test_what_is_not_the_database_that_was_sent_from_is_held(
    seal: Seal | None, place: dict[str, Any], mark: Mark | None, why: str | None
) -> None:
    assert why_held(seal, replace(HERE, **place), mark, NOW) == why


# of a real server


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Database]:
    """A database that was sent from on this machine: two claims of one campaign."""
    with own_database(tmp_path / "data") as database:
        Ledgers(database).planned(4)
        take(database)
        for _ in range(2):
            claim(database)
        yield database


def take(database: Database) -> None:
    guard = RestoreGuard(database)
    guard.take()
    guard.close()


def claim(database: Database) -> int:
    """With its mark, as the engine writes it."""
    with database.read() as session:
        before = highest(session, SendBatch)
    batch = Ledgers(database).claimed(1, 1).id
    guard = RestoreGuard(database)
    guard._mark = replace(read_mark(database), batch=before)
    guard.claimed(batch)
    guard.close()
    return batch


def read_mark(database: Database) -> Mark:
    path = database.beside("mark")
    assert path is not None
    return Mark(**json.loads(path.read_text())) if path.exists() else Mark()


def held(database: Database) -> str | None:
    return RestoreGuard(database).why_held()


@pytest.fixture
def other(own: Database, tmp_path: Path) -> Iterator[Database]:
    """The same database at a machine that has not sent from it yet."""
    database = at_another_machine(own, tmp_path / "other")
    yield database
    database.close()


def at_another_machine(database: Database, folder: Path) -> Database:
    return Database(database.url.render_as_string(False), folder=folder)


def held_elsewhere(database: Database) -> str | None:
    """At a machine that has not sent from it yet."""
    other = at_another_machine(database, Path("/nonexistent"))
    try:
        return held(other)
    finally:
        other.close()


def test_the_mark_goes_with_the_claims(own: Database) -> None:
    mark = read_mark(own)
    assert (mark.generation, mark.batch, held(own)) == (1, 2, None)


def test_a_database_of_a_version_without_seals_is_not_held_and_gets_one(
    own: Database, other: Database
) -> None:
    with own.write() as session:
        session.execute(text("DELETE FROM sent_from"))
    assert held(other) is None
    take(other)
    with copy_of(own) as copy:
        assert held(copy) == COPIED


def test_another_machine_takes_over_at_once_and_the_first_again(
    own: Database, other: Database
) -> None:
    assert held(other) is None
    take(other)
    claim(other)
    assert held(own) is None


@pytest.mark.parametrize(
    "statement",
    ["VACUUM FREEZE sent_from", "VACUUM FULL sent_from", "CLUSTER sent_from USING pk_sent_from"],
)
def test_what_a_server_does_to_its_rows_holds_nothing(own: Database, statement: str) -> None:
    with own.writer.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(statement)
    assert held(own) is None


def test_a_copy_is_held_and_its_original_is_not(own: Database, tmp_path: Path) -> None:
    with copy_of(own, tmp_path / "data") as copy:
        assert (held(copy), held_elsewhere(copy), held(own)) == (COPIED, COPIED, None)


def test_a_new_name_is_no_copy(own: Database) -> None:
    with copy_of(own) as copy:
        take(copy)
        copy.close()
        name = copy.url.database
        admin_url = copy.url.set(drivername="postgresql", database="postgres")
        with psycopg.connect(admin_url.render_as_string(False), autocommit=True) as admin:
            admin.execute(f"ALTER DATABASE {name} RENAME TO {name}_new".encode())
            renamed = Database(str(copy.url.set(database=f"{name}_new")))
            found = held(renamed)
            renamed.close()
            admin.execute(f"ALTER DATABASE {name}_new RENAME TO {name}".encode())
        assert found is None


@pytest.mark.parametrize("later", [True, False])
def test_a_dump_restored_in_another_database_is_held(
    own: Database, tmp_path: Path, later: bool
) -> None:
    dump(own, tmp_path / "dump.sql")
    if later:
        claim(own)
    with own_database(tmp_path / "data") as new:
        drop_tables(new)
        restore(new, tmp_path / "dump.sql")
        assert (held(new), held_elsewhere(new)) == (COPIED, COPIED)
        # Nothing is missing in it, as far as this machine knows, or something is.
        assert RestoreGuard(new).may_be_moved() is not later
        take(new)
        assert (held(new), held_elsewhere(new)) == (None, None)


def test_a_dump_restored_in_its_own_database_is_held_on_every_machine(
    own: Database, tmp_path: Path
) -> None:
    dump(own, tmp_path / "dump.sql")
    claim(own)
    drop_tables(own)
    restore(own, tmp_path / "dump.sql")
    assert (held(own), held_elsewhere(own)) == (RESTORED, RESTORED)


def test_the_rows_of_a_dump_in_the_same_tables_are_held_too(own: Database, tmp_path: Path) -> None:
    dump(own, tmp_path / "dump.sql", "--data-only", "--table=sent_from")
    with own.write() as session:
        session.execute(text("TRUNCATE sent_from"))
    restore(own, tmp_path / "dump.sql")
    assert held(own) == RESTORED


def test_whoever_writes_the_row_by_hand_holds_it(own: Database) -> None:
    for statement in ("held = 'was put back from a snapshot'", "held = NULL"):
        with own.write() as session:
            session.execute(text(f"UPDATE sent_from SET {statement}"))
    assert held(own) == RESTORED


# what only the mark tells


@pytest.fixture
def rolled_back(own: Database) -> Database:
    """As after a snapshot of the server's disk: no row was written, there are only fewer."""
    with own.write() as session:
        session.execute(text("UPDATE email_sends SET batch_id = NULL WHERE batch_id = 2"))
        session.execute(delete(SendBatch).where(SendBatch.id == 2))
    return own


def test_a_machine_without_a_mark_cannot_tell_that_nothing_is_missing(
    own: Database, other: Database
) -> None:
    assert (RestoreGuard(own).may_be_moved(), RestoreGuard(other).may_be_moved()) == (True, False)
    for database in (other, own):
        guard = RestoreGuard(database)
        guard.follow()
        guard.close()
    assert (RestoreGuard(own).may_be_moved(), RestoreGuard(other).may_be_moved()) == (True, False)


def test_a_snapshot_put_back_is_seen_where_it_was_sent_from(rolled_back: Database) -> None:
    assert held(rolled_back) == OLDER
    assert RestoreGuard(rolled_back).may_be_moved() is False
    assert held_elsewhere(rolled_back) is None


def test_who_sees_it_tells_the_other_machines(rolled_back: Database, other: Database) -> None:
    RestoreGuard(other).report()
    assert held(other) is None
    RestoreGuard(rolled_back).report()
    assert (held(other), held(rolled_back)) == (OLDER, OLDER)
    take(other)
    assert (held(other), held(rolled_back)) == (None, None)


def test_a_spoilt_mark_holds_its_own_machine_alone(own: Database) -> None:
    path = own.beside("mark")
    assert path is not None
    path.write_text("{")
    assert str(held(own)).startswith("has a mark that cannot be read, postgresql.mark: ")
    RestoreGuard(own).report()
    assert held_elsewhere(own) is None


def test_what_was_confirmed_elsewhere_is_not_held_by_a_mark_from_before(
    rolled_back: Database, other: Database
) -> None:
    """Nor is what was there before the confirmation let through by one from after it."""
    RestoreGuard(other).hold("was put back from a snapshot")
    take(other)
    assert held(rolled_back) is None
    take(rolled_back)
    assert read_mark(rolled_back).generation == 2
    with rolled_back.write() as session:
        session.execute(text("DELETE FROM sent_from"))
    assert held(rolled_back) == OLDER


def test_a_machine_that_waits_notes_how_far_the_other_has_sent(
    own: Database, other: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore_guard, "_LOOK_EVERY_S", 0.0)
    guard = RestoreGuard(other)
    for batches in (2, 3):
        guard.follow()
        assert read_mark(other) == replace(read_mark(own), batch=batches, is_noted=True)
        claim(own)
    with own.write() as session:
        session.execute(text("UPDATE email_sends SET batch_id = NULL"))
        session.execute(delete(SendBatch))
    guard.follow()
    guard.close()
    assert (read_mark(other).batch, held(other)) == (3, OLDER)


# who may not ask


@pytest.fixture
def without_rights(own: Database, tmp_path: Path) -> Iterator[Database]:
    """As a role from which the rights were taken to ask the server who it is."""
    role = own.url.database or ""

    def statements(said: str) -> None:
        with own.writer.begin() as connection:
            connection.exec_driver_sql(said)

    statements(
        f"CREATE ROLE {role} LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role};"
        "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC;"
        "REVOKE EXECUTE ON FUNCTION pg_walfile_name(pg_lsn) FROM PUBLIC"
    )
    limited = Database(str(own.url.set(username=role)), folder=tmp_path / "data")
    yield limited
    limited.close()
    statements(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_role_that_may_not_ask_sends_and_still_sees_a_copy(
    own: Database, without_rights: Database, tmp_path: Path
) -> None:
    assert held(without_rights) == ELSEWHERE
    assert RestoreGuard(without_rights).may_be_moved() is True
    take(without_rights)
    assert (held(without_rights), held(own)) == (None, ELSEWHERE)
    dump(own, tmp_path / "dump.sql", "--no-owner")
    drop_tables(own)
    restore(own, tmp_path / "dump.sql")
    assert held(without_rights) == RESTORED


def test_a_connection_that_is_lost_is_no_server_that_does_not_tell(own: Database) -> None:
    with own.read() as session, pytest.raises(OperationalError):
        _told(session, "SELECT pg_terminate_backend(pg_backend_pid())")
