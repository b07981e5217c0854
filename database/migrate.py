"""Bring a database to the schema of this code, and give it its identity.

Alembic takes half a second to import, so it is asked only when there is something to do.
"""

import importlib
import re
import secrets
from collections.abc import Collection
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.orm import Session

from database.models import Installation
from database.session import Database

_MIGRATIONS = Path(__file__).parent / "migrations"
_REVISION = re.compile(r"^(down_)?revision = (?:'|\")?(\w+)", re.MULTILINE)


class SchemaNewerThanCode(Exception):
    """The database was written by a later version; this one must not touch it."""


def migrate(database: Database, now: datetime) -> Installation:
    """Create or upgrade the tables if need be; return the installation's row.

    One transaction: a process killed in the middle leaves the database as it was, and a
    second process that starts meanwhile waits and finds the work done.
    """
    revisions = _revisions()
    head = (revisions.keys() - set(revisions.values())).pop()
    with database.reader.connect() as connection:
        current = _current(connection)
    if current != head:
        with database.write() as session:
            _upgrade(session.connection(), head, known=revisions.keys())
    if database.path is not None:
        database.path.chmod(0o600)
    with database.write() as session:
        return _installation(session, now)


def _revisions() -> dict[str, str | None]:
    """Each revision with the one before it, read without importing Alembic."""
    found: dict[str, str | None] = {}
    for path in (_MIGRATIONS / "versions").glob("*.py"):
        lines = {bool(down): name for down, name in _REVISION.findall(path.read_text())}
        found[lines[False]] = None if lines[True] == "None" else lines[True]
    return found


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection, head: str, *, known: Collection[str]) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('alembic'))"))
    current = _current(connection)
    if current == head:
        return
    if current is not None and current not in known:
        raise SchemaNewerThanCode(
            f"the database has schema {current}, which this version does not know: "
            "start the version that wrote it, or restore a backup made before the upgrade"
        )
    command = importlib.import_module("alembic.command")
    config = importlib.import_module("alembic.config").Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _installation(session: Session, now: datetime) -> Installation:
    found = session.scalar(select(Installation))
    if found is None:
        found = Installation(
            identity=secrets.token_hex(8), hash_key=secrets.token_bytes(32), created_at=now
        )
        session.add(found)
        session.flush()
    return found
