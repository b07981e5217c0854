"""Counters that may not exist yet: add to them in one statement, on both databases."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from database.models import Base


def add_to(
    session: Session, table: type[Base], key: Mapping[str, Any], by: Mapping[str, int]
) -> None:
    """Add `by` to the counters of the row with that primary key, making the row if need be."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = insert(table)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=list(key),
            set_={name: table.__table__.c[name] + statement.excluded[name] for name in by},
        ),
        [{**key, **by}],
    )
