"""Counters: add to them in one statement, on both databases, be their row there or not."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import Table, Update, bindparam, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from database.models import Base

_Kind = tuple[type[Base], tuple[str, ...], tuple[str, ...]]
"""A table, the columns of its primary key, and those that are added to."""


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
    sums: _Sums | None = session.info.get(_SUMS)
    if not rows:
        return
    if sums is not None:
        sums.add_to_each((table, key, counters), rows)
    else:
        _upsert(session, (table, key, counters), rows)


def add_to_row(
    session: Session,
    table: type[Base],
    row_id: int,
    by: Mapping[str, int],
    also: Mapping[str, Any],
) -> None:
    """Add `by` to the counters of a row that is there, and set what is in `also`."""
    sums: _Sums | None = session.info.get(_SUMS)
    if sums is not None:
        sums.add_to_row(table, row_id, by, also)
    else:
        _update(session, table, row_id, by, also)


@contextmanager
def summed(session: Session) -> Iterator[None]:
    """What the block adds to counters is added up and written at its end: each row once.

    Whoever reads a counter in the block calls `write_sums` before.
    """
    session.info[_SUMS] = _Sums()
    try:
        yield
        write_sums(session)
    finally:
        del session.info[_SUMS]


def write_sums(session: Session) -> None:
    """Write what was added up so far; nothing where nothing is."""
    sums: _Sums | None = session.info.get(_SUMS)
    if sums is None:
        return
    session.info[_SUMS] = _Sums()
    for (table, row_id), (by, also) in sums.of_rows.items():
        _update(session, table, row_id, by, also)
    for kind, by_key in sums.of_keys.items():
        _upsert(session, kind, [(*one, *by) for one, by in by_key.items()])


_SUMS = "sums"
"""Of a session's `info`."""


@dataclass(slots=True)
class _Sums:
    of_rows: dict[tuple[type[Base], int], tuple[Counter[str], dict[str, Any]]] = field(
        default_factory=dict
    )
    of_keys: dict[_Kind, dict[tuple[Any, ...], Sequence[int]]] = field(default_factory=dict)

    def add_to_row(
        self, table: type[Base], row_id: int, by: Mapping[str, int], also: Mapping[str, Any]
    ) -> None:
        sums, latest = self.of_rows.setdefault((table, row_id), (Counter(), {}))
        sums.update(by)
        latest.update(also)

    def add_to_each(self, kind: _Kind, rows: Sequence[tuple[Any, ...]]) -> None:
        sums, width = self.of_keys.setdefault(kind, {}), len(kind[1])
        for row in rows:
            one, by = row[:width], row[width:]
            before = sums.get(one)
            sums[one] = by if before is None else [a + b for a, b in zip(before, by, strict=True)]


def _update(
    session: Session,
    table: type[Base],
    row_id: int,
    by: Mapping[str, int],
    also: Mapping[str, Any],
) -> None:
    statement = _updating(cast("Table", table.__table__), tuple(by), tuple(also))
    said = {f"by_{name}": n for name, n in by.items()}
    said |= {f"to_{name}": value for name, value in also.items()}
    session.connection().execute(statement, {**said, "row": row_id})


def _upsert(session: Session, kind: _Kind, rows: Sequence[tuple[Any, ...]]) -> None:
    table, key, counters = kind
    connection = session.connection()
    statement = _upserting(cast("Table", table.__table__), connection.dialect.name, key, counters)
    connection.execute(statement, [dict(zip((*key, *counters), row, strict=True)) for row in rows])


# Several run for each batch: to build one costs many times what it costs to run it.
@lru_cache
def _updating(table: Table, counters: tuple[str, ...], also: tuple[str, ...]) -> Update:
    columns = table.c
    sums = {name: columns[name] + bindparam(f"by_{name}") for name in counters}
    latest = {name: bindparam(f"to_{name}", type_=columns[name].type) for name in also}
    return update(table).where(columns.id == bindparam("row")).values(sums | latest)


@lru_cache
def _upserting(
    table: Table, dialect: str, key: tuple[str, ...], counters: tuple[str, ...]
) -> postgresql.Insert | sqlite.Insert:
    insert = (postgresql if dialect == "postgresql" else sqlite).insert(table)
    made: postgresql.Insert | sqlite.Insert = insert.on_conflict_do_update(
        index_elements=key,
        set_={name: table.c[name] + insert.excluded[name] for name in counters},
    )
    return made
