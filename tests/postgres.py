"""A PostgreSQL database of its own for each test that asks for one."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from database.migrate import migrate
from database.session import Database
from tests.conftest import NOW

_SERVER = "127.0.0.1:5432"


@contextmanager
def postgres_database() -> Iterator[Database]:
    """A migrated database, dropped afterwards; the test is skipped where no server answers."""
    name = f"test_{uuid.uuid4().hex}"  # several workers and runs may share the server
    try:
        admin = psycopg.connect(
            f"postgresql://postgres@{_SERVER}/postgres", autocommit=True, connect_timeout=2
        )
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL at {_SERVER} for user postgres: {error}")
    with admin:
        admin.execute(f"CREATE DATABASE {name}")
        database = Database(f"postgresql+psycopg://postgres@{_SERVER}/{name}")
        try:
            migrate(database, NOW)
            yield database
        finally:
            database.close()
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
