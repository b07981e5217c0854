"""What is said to a database while a test looks, and how the database goes about it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from database.session import Database


@contextmanager
def counted(database: Database, part: str) -> Iterator[list[tuple[str, Any]]]:
    """The statements with this part, and their parameters, while the block runs."""
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if part in " ".join(statement.split()):
            seen.append((statement, parameters))

    # PostgreSQL's reader is its writer with another option, and tells its events too.
    engines = [database.reader, database.writer] if database.is_sqlite else [database.writer]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


def explained(database: Database, statement: str, parameters: Any) -> str:
    how = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
    with database.read() as session:
        rows = session.connection().exec_driver_sql(f"{how} {statement}", parameters)
        return "\n".join(str(row[-1]) for row in rows)
