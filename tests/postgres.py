"""A PostgreSQL database with nothing in it for each test that asks for one."""

import atexit
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg
import pytest

from database.migrate import migrate
from database.models import Base
from database.session import Database
from tests.conftest import NOW

_SERVER = "127.0.0.1:5432"
_KEPT = {"installation"}


@contextmanager
def postgres_database() -> Iterator[Database]:
    """A migrated, empty database; the test is skipped where no server answers.

    One per process, emptied before each use: to make or drop one costs a checkpoint of the
    whole server.
    """
    with _admin() as admin:
        name = _migrated()
        _cut(admin, name)
    database = _opened(name)
    empty(database)
    yield database
    database.close()


@contextmanager
def own_database(folder: Path | None = None) -> Iterator[Database]:
    """As `postgres_database`, but a test may copy it, drop its tables and restore them."""
    with _copied(_migrated()) as name:
        database = _opened(name, folder)
        empty(database)
        yield database
        database.close()


@contextmanager
def copy_of(database: Database, folder: Path | None = None) -> Iterator[Database]:
    """Made by the server, of a database that nobody may use meanwhile."""
    assert database.url.database is not None
    with _copied(database.url.database) as name:
        copy = _opened(name, folder)
        yield copy
        copy.close()


def empty(database: Database) -> None:
    """As it was when it was migrated, ids and all."""
    tables = [table for table in Base.metadata.tables.values() if table.name not in _KEPT]
    with database.writer.begin() as connection:
        for table in tables:
            connection.exec_driver_sql(f"DELETE FROM {table.name}")
        connection.exec_driver_sql(
            "SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'"
        )


@contextmanager
def connected(database: Database) -> Iterator[psycopg.Connection]:
    """Past all of ours; each statement sees what is committed."""
    with psycopg.connect(_plain_url(database), autocommit=True) as connection:
        yield connection


def dump(database: Database, file: Path, *how: str) -> None:
    """As `pg_dump` makes it, in SQL."""
    file.write_bytes(_run("pg_dump", database, *how))


def restore(database: Database, file: Path) -> None:
    """Run a dump, in one transaction that must succeed."""
    _run("psql", database, "-v", "ON_ERROR_STOP=1", "-q", "-1", "-f", str(file))


def drop_tables(database: Database) -> None:
    with database.writer.begin() as connection:
        connection.exec_driver_sql(
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC"
        )
    database.close()


def _run(program: str, database: Database, *arguments: str) -> bytes:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run(
        [path, "-d", _plain_url(database), *arguments], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def _plain_url(database: Database) -> str:
    return database.url.set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def _copied(source: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    with _admin() as admin:
        _cut(admin, source)
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {source}".encode())
    try:
        yield name
    finally:
        _drop(name)


def _cut(admin: psycopg.Connection, name: str) -> None:
    admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
    )


@cache
def _migrated() -> str:
    name = f"test_{uuid.uuid4().hex}"  # several workers and runs may share the server
    with _admin() as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
    atexit.register(_drop, name)
    database = _opened(name)
    migrate(database, NOW)
    database.close()
    return name


def _admin() -> psycopg.Connection:
    try:
        return psycopg.connect(
            f"postgresql://postgres@{_SERVER}/postgres", autocommit=True, connect_timeout=2
        )
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL at {_SERVER} for user postgres: {error}")


def _opened(name: str, folder: Path | None = None) -> Database:
    return Database(f"postgresql+psycopg://postgres@{_SERVER}/{name}", folder=folder)


def _drop(name: str) -> None:
    with _admin() as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
