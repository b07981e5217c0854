"""Databases that fail at the worst moment: in the commit of a step of the engine."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import event

from database.session import Database

# What the transaction of each kind of step says, and no other one.
STEPS = {
    "plan": re.compile("INSERT INTO email_sends"),
    "claim": re.compile("INSERT INTO send_batches"),
    "record": re.compile("INSERT INTO esp_performance_days"),
    "finish": re.compile("UPDATE campaigns SET status=.*finished_at="),
}


class Trouble:
    """Commits of one kind of step that fail, and how many of them did."""

    def __init__(self, database: Database, step: str, *, times: int, landed: bool) -> None:
        self.failed = 0
        self._says, self._times, self._landed = STEPS[step], times, landed
        self._said = False
        self._is_sqlite = database.is_sqlite
        self._dialect: Any = database.writer.dialect
        self._commit = self._dialect.do_commit

    def note(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self._said = self._said or self._says.match(statement) is not None

    def commit(self, connection: Any) -> None:
        is_due, self._said = self._said and self.failed < self._times, False
        if not is_due:
            self._commit(connection)
            return
        self.failed += 1
        if self._landed:
            self._commit(connection)
        if self._is_sqlite:
            raise sqlite3.OperationalError("database or disk is full")
        connection.driver_connection.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")


@contextmanager
def trouble(
    database: Database, step: str, *, times: int = 2, landed: bool = False
) -> Iterator[Trouble]:
    """The next `times` commits of such a step fail; `landed`: after they took effect."""
    made = Trouble(database, step, times=times, landed=landed)
    event.listen(database.writer, "before_cursor_execute", made.note)
    made._dialect.do_commit = made.commit
    try:
        yield made
    finally:
        del made._dialect.do_commit
        event.remove(database.writer, "before_cursor_execute", made.note)
