"""A PostgreSQL database with nothing in it for each test that asks for one."""

import atexit
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

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
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
    database = _opened(name)
    _empty(database)
    yield database
    database.close()


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


def _empty(database: Database) -> None:
    tables = [table for table in Base.metadata.tables.values() if table.name not in _KEPT]
    with database.writer.begin() as connection:
        for table in tables:
            connection.exec_driver_sql(f"DELETE FROM {table.name}")
        connection.exec_driver_sql(
            "SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'"
        )


def _admin() -> psycopg.Connection:
    try:
        return psycopg.connect(
            f"postgresql://postgres@{_SERVER}/postgres", autocommit=True, connect_timeout=2
        )
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL at {_SERVER} for user postgres: {error}")


def _opened(name: str) -> Database:
    return Database(f"postgresql+psycopg://postgres@{_SERVER}/{name}")


def _drop(name: str) -> None:
    with _admin() as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
