"""How Alembic reaches our database: the caller's connection, or DATABASE_URL's."""

from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection, Enum, String
from sqlalchemy.types import TypeEngine

from config.settings import load_settings
from database.models import Base, UtcDateTime
from database.session import Database


def render_item(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Old migrations name SQLAlchemy's types only, never classes of ours that may change."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, Enum):
        return f"sa.String(length={item.length})"
    return False


def compare_type(
    _context: object, _inspected: object, _meta: object, seen: object, meant: TypeEngine[Any]
) -> bool | None:
    """An enum is a VARCHAR(32) in the database, whatever its members."""
    if isinstance(meant, Enum):
        return not (isinstance(seen, String) and seen.length == meant.length)
    return None


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        render_item=render_item,
        compare_type=compare_type,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    database = Database(load_settings().database_url)
    with database.writer.begin() as connection:
        run(connection)
