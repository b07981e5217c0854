"""Counters that may not exist yet: add to them in one statement, on both databases."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from database.models import Base


def add_to(
    session: Session, table: type[Base], key: Mapping[str, Any], by: Mapping[str, int]
) -> None:
    """Add `by` to the counters of the row with that primary key, making the row if need be."""
    add_to_each(session, table, tuple(key), tuple(by), [(*key.values(), *by.values())])


def add_to_each(
    session: Session,
    table: type[Base],
    key: tuple[str, ...],
    counters: tuple[str, ...],
    rows: Sequence[tuple[Any, ...]],
) -> None:
    """The same for several rows: the values of their primary `key`, then of their `counters`."""
    if not rows:
        return
    connection = session.connection()
    statement = _statement(cast("Table", table.__table__), connection.dialect.name, key, counters)
    connection.execute(statement, [dict(zip((*key, *counters), row, strict=True)) for row in rows])


# Several run for each batch: to build one costs many times what it costs to run it.
@lru_cache
def _statement(
    table: Table, dialect: str, key: tuple[str, ...], counters: tuple[str, ...]
) -> postgresql.Insert | sqlite.Insert:
    insert = (postgresql if dialect == "postgresql" else sqlite).insert(table)
    made: postgresql.Insert | sqlite.Insert = insert.on_conflict_do_update(
        index_elements=key,
        set_={name: table.c[name] + insert.excluded[name] for name in counters},
    )
    return made
