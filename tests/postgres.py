"""A PostgreSQL database of its own for each test that asks for one."""

import atexit
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import psycopg
import pytest

from database.migrate import migrate
from database.session import Database
from tests.conftest import NOW

_SERVER = "127.0.0.1:5432"


@contextmanager
def postgres_database() -> Iterator[Database]:
    """A migrated database, dropped afterwards; the test is skipped where no server answers."""
    with _admin() as admin:
        name = _new(admin, template=_template())
        database = _opened(name)
        try:
            yield database
        finally:
            database.close()
            _drop(admin, name)


@cache
def _template() -> str:
    """Migrated once per process: a copy takes a tenth of the time."""
    with _admin() as admin:
        name = _new(admin, template="template1")
    atexit.register(_drop_at_exit, name)
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


def _new(admin: psycopg.Connection, *, template: str) -> str:
    name = f"test_{uuid.uuid4().hex}"  # several workers and runs may share the server
    admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    return name


def _opened(name: str) -> Database:
    return Database(f"postgresql+psycopg://postgres@{_SERVER}/{name}")


def _drop(admin: psycopg.Connection, name: str) -> None:
    admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _drop_at_exit(name: str) -> None:
    with _admin() as admin:
        _drop(admin, name)
