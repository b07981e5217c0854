"""What docs/operations.md has done by hand after a PostgreSQL dump was restored."""

import re
from pathlib import Path

from sqlalchemy import text

from database.session import Database
from services.restoring import _LEAPS
from tests.people import postgres

__all__ = ["postgres"]

PAGE = Path(__file__).parent.parent / "docs" / "operations.md"


def test_the_statements_leave_out_as_many_numbers_as_confirm_restore(postgres: Database) -> None:
    _, _, section = PAGE.read_text("utf-8").partition("\n## PostgreSQL\n")
    [block] = re.findall(r"```sql\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    last = {table: number(postgres, table) for table in _LEAPS}
    with postgres.writer.begin() as connection:
        for statement in filter(str.strip, block.split(";")):
            connection.execute(text(statement))
    for table, least in _LEAPS.items():
        assert last[table] + least < number(postgres, table) < last[table] + 1_001 * least


def number(database: Database, table: str) -> int:
    """The next one that a row of this table gets."""
    with database.writer.begin() as connection:
        found: int = connection.execute(text(f"SELECT nextval('{table}_id_seq')")).scalar_one()
    return found
