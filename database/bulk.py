"""One statement for many rows, at the speed of the driver.

For each row of an `executemany` SQLAlchemy makes a dictionary and looks up every type's
processor, which on SQLite takes longer than to write the row. Here the statement is compiled
once, and the values of a column go through its processor together.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, Delete, Insert, Update
from sqlalchemy.dialects import sqlite

_DIALECT = sqlite.dialect(paramstyle="qmark")


class Bulk:
    """A statement whose parameters are `names`; of an INSERT, these are its columns.

    Defaults of columns that the database does not know are not applied.
    """

    def __init__(self, statement: Insert | Update | Delete, names: Sequence[str]) -> None:
        self._statement = statement
        self._names = tuple(names)

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
        """Execute it for each row: its values in the order of `names`. How many rows changed."""
        if not rows:
            return 0
        if connection.dialect.name == "sqlite":
            return connection.exec_driver_sql(self._sql, self._processed(rows)).rowcount
        said = [dict(zip(self._names, row, strict=True)) for row in rows]
        return connection.execute(self._statement, said).rowcount

    def _processed(self, rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        given = dict(zip(self._names, zip(*rows, strict=True), strict=True))
        columns: list[Sequence[Any]] = []
        for name, processor, constant in self._parameters:
            if name not in given:
                columns.append((constant,) * len(rows))
            elif processor is None:
                columns.append(given[name])
            else:
                columns.append(tuple(map(processor, given[name])))
        return list(zip(*columns, strict=True))

    @cached_property
    def _compiled(self) -> Any:
        columns = self._names if isinstance(self._statement, Insert) else None
        return self._statement.compile(dialect=_DIALECT, column_keys=columns)

    @cached_property
    def _sql(self) -> str:
        return str(self._compiled)

    @cached_property
    def _parameters(self) -> list[tuple[str, Any, Any]]:
        """Name, processor and, where it is not given, the value of each `?`."""
        found = []
        for name in self._compiled.positiontup:
            type_ = self._compiled.binds[name].type
            processor = type_.dialect_impl(_DIALECT).bind_processor(_DIALECT)
            constant = self._compiled.params[name]
            if processor is not None and name not in self._names:
                constant = processor(constant)
            found.append((name, processor, constant))
        return found
