"""Where each example begins: a database of either kind with the people on the list.

One database for the whole test, put back before each example: to open another is to compile
every statement again.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from database.session import Database
from tests.people import add
from tests.postgres import connected, empty

PEOPLE = [f"person{n}@example.net" for n in range(9)]


@dataclass(frozen=True, slots=True)
class Start:
    database: Database
    afresh: Callable[[], None]
    """Forget what an example did."""
    plain: sqlite3.Connection | psycopg.Connection

    def look(self, sql: str) -> list[tuple[Any, ...]]:
        """Without anything of ours in between."""
        return self.plain.execute(sql).fetchall()


@contextmanager
def started(database: Database) -> Iterator[Start]:
    with _on_sqlite(database) if database.is_sqlite else _on_postgres(database) as start:
        yield start


@contextmanager
def _on_sqlite(database: Database) -> Iterator[Start]:
    _add_people(database)
    assert database.path is not None
    with (
        closing(sqlite3.connect(database.path, isolation_level=None)) as plain,
        closing(sqlite3.connect(":memory:")) as kept,
    ):
        plain.backup(kept)
        yield Start(database, lambda: kept.backup(plain), plain)


@contextmanager
def _on_postgres(database: Database) -> Iterator[Start]:
    def afresh() -> None:
        empty(database)
        _add_people(database)

    with connected(database) as plain:
        yield Start(database, afresh, plain)


def _add_people(database: Database) -> None:
    for email in PEOPLE:
        add(database, email)
