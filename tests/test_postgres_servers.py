"""Copies of a whole PostgreSQL server: promoted, recovered, put back, or merely crashed."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from database.migrate import migrate
from database.origin import OLDER
from database.restore_guard import RestoreGuard
from database.session import Database
from tests.conftest import NOW
from tests.faults.postgres_cluster import Cluster, base_backup, cluster, programs
from tests.ledgers import Ledgers
from tests.postgres import drop_tables, dump, own_database, restore
from tests.test_origin_postgres import ELSEWHERE, PROMOTED, claim, held, take

pytestmark = pytest.mark.skipif(
    programs() is None, reason="no PostgreSQL programs: copies of a server are not tried"
)

At = Callable[[Cluster, str], Database]


@pytest.fixture
def server() -> Iterator[Cluster]:
    with cluster() as one:
        yield one


@pytest.fixture
def at(tmp_path: Path) -> Iterator[At]:
    """The database of a server, as a machine of that name opens it."""
    with ExitStack() as closing:

        def opened(server: Cluster, machine: str) -> Database:
            url = server.url.replace("postgresql:", "postgresql+psycopg:")
            database = Database(url, folder=tmp_path / machine)
            closing.callback(database.close)
            return database

        yield opened


@pytest.fixture
def sent_from(server: Cluster, at: At) -> Database:
    """Once, by the first machine."""
    database = at(server, "first")
    migrate(database, NOW)
    Ledgers(database).planned(4)
    take(database)
    claim(database)
    return database


def test_a_crash_of_the_server_holds_nothing(server: Cluster, sent_from: Database, at: At) -> None:
    with server.away():
        sent_from.close()
    assert (held(sent_from), held(at(server, "second"))) == (None, None)


def test_a_promoted_replica_is_held(server: Cluster, sent_from: Database, at: At) -> None:
    with base_backup(server, "standby.signal") as replica:
        replica.promote()
        assert held(at(replica, "second")) == PROMOTED
        first = at(replica, "first")
        assert (held(first), RestoreGuard(first).may_be_moved()) == (PROMOTED, True)
        claim(sent_from)  # which the replica lacks
        assert RestoreGuard(first).may_be_moved() is False
        assert held(sent_from) is None


def test_a_server_that_was_recovered_is_held(server: Cluster, sent_from: Database, at: At) -> None:
    with base_backup(server, "recovery.signal") as recovered:
        assert held(at(recovered, "first")) == PROMOTED
        assert held(at(recovered, "second")) == PROMOTED


def test_files_of_the_server_put_back_are_seen_where_it_was_sent_from_since(
    server: Cluster, sent_from: Database, at: At
) -> None:
    """Nothing in them differs from what they were: another machine cannot know."""
    data, kept = server.folder / "data", server.folder / "kept"
    sent_from.close()
    server.stop()
    subprocess.run(["cp", "-a", data, kept], check=True)
    server.start()
    claim(sent_from)
    sent_from.close()
    server.stop()
    shutil.rmtree(data)
    kept.rename(data)
    server.start()
    assert (held(sent_from), held(at(server, "second"))) == (OLDER, None)
    RestoreGuard(sent_from).report()
    assert held(at(server, "second")) == OLDER


def test_a_dump_restored_on_another_server_is_held(
    server: Cluster, sent_from: Database, at: At, tmp_path: Path
) -> None:
    dump(sent_from, tmp_path / "dump.sql")
    with own_database(tmp_path / "first") as elsewhere:
        drop_tables(elsewhere)
        restore(elsewhere, tmp_path / "dump.sql")
        assert held(elsewhere) == ELSEWHERE
        assert RestoreGuard(elsewhere).may_be_moved() is True
