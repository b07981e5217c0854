"""A file of people into the list: page by page, a handful of statements per page.

Each page is a transaction of its own, so an import that breaks off can be run again: what
was done is then an update that changes nothing. Nobody who left is revived.
"""

import io
import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    cast,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateTable, DropTable

from config.failpoints import Failpoint
from database.models import Subscriber, SubscriberStatus
from database.session import Database
from lists.counters import count_joined
from lists.csv_rows import Refusal, Row, read_rows
from lists.refusals import RefusalFile, forget_old_refusals
from lists.suppression import suppressed
from lists.tiers import count_tiers, first_tier
from utils.failpoints import reach
from utils.intake import Refuse
from utils.tokens import email_hash

PAGE = 10_000
SHOWN_REFUSALS = 100

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """`rows` = created + updated + suppressed + duplicates + invalid."""

    rows: int
    created: int
    updated: int
    suppressed: int
    """Left, bounced or complained, or not confirmed yet: their data is as it was."""
    duplicates: int
    """Lines after the first that name the same person: not looked at."""
    invalid: int
    """Nobody can, or ought to, be written to: no address, a role, a throw-away mailbox."""
    refused: tuple[Refusal, ...]
    """The first hundred of the invalid ones."""
    refused_id: str | None
    """Names the file with all of them."""


def import_csv(
    database: Database,
    stream: IO[bytes] | io.RawIOBase,
    *,
    hash_key: bytes,
    now: datetime,
    refusals: Path,
    progress: Progress | None = None,
    refuse: Refuse | None = None,
) -> ImportResult:
    """Add or update everybody in a CSV file; raises `BadHeader` before anything is done.

    `refusals` is the folder for the file of refused lines. `progress` is told the rows
    done after each page. `refuse`: as `read_rows` has it.
    """
    with read_rows(stream, refuse) as rows:
        forget_old_refusals(refusals, now)
        run = _Run(database, hash_key, now, RefusalFile(refusals))
        while page := list(islice(rows, PAGE)):
            run.take(page)
            if progress is not None:
                progress(run.rows)
    return run.result()


class _Run:
    """One import under way: what was counted so far."""

    def __init__(
        self, database: Database, hash_key: bytes, now: datetime, file: RefusalFile
    ) -> None:
        self._database = database
        self._hash_key = hash_key
        self._now = now
        self._file = file
        self._seen = _Seen()
        self._shown: list[Refusal] = []
        self.rows = self._created = self._updated = self._suppressed = 0
        self._duplicates = self._invalid = 0

    def take(self, page: list[Row | Refusal]) -> None:
        refused = [one for one in page if isinstance(one, Refusal)]
        # Backwards, so that the first line of a person stays; by key, as the index is filled.
        lines = [one for one in reversed(page) if not isinstance(one, Refusal)]
        lines.sort(key=itemgetter(0))
        people = {email_hash(self._hash_key, one[0]): one for one in lines}
        for again in self._seen.again(people):
            del people[again]
        if people:
            with self._database.write() as session:
                created, updated = _store(session, people, self._now)
                reach(Failpoint.IMPORT_BEFORE_COMMIT)
            reach(Failpoint.IMPORT_AFTER_COMMIT)
            self._created += created
            self._updated += updated
            self._suppressed += len(people) - created - updated
        self._file.add(refused)
        self._shown += refused[: SHOWN_REFUSALS - len(self._shown)]
        self.rows += len(page)
        self._invalid += len(refused)
        self._duplicates += len(page) - len(refused) - len(people)

    def result(self) -> ImportResult:
        return ImportResult(
            rows=self.rows,
            created=self._created,
            updated=self._updated,
            suppressed=self._suppressed,
            duplicates=self._duplicates,
            invalid=self._invalid,
            refused=tuple(self._shown),
            refused_id=self._file.id,
        )


class _Seen:
    """Whom the file named before, in a private SQLite file that may grow beyond memory.

    Keeps 8 of the hash's 16 bytes: two strangers among 20 million meet with a chance of
    1 in 90,000, and then one is counted as the other's duplicate.
    """

    def __init__(self) -> None:
        self._kept = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._kept.execute("PRAGMA journal_mode=OFF")
        self._kept.execute("CREATE TABLE seen (id INTEGER PRIMARY KEY)")

    def __del__(self) -> None:
        self._kept.close()

    def again(self, people: Mapping[bytes, Any]) -> list[bytes]:
        """Those of a page who were on an earlier one."""
        ids = {int.from_bytes(who[:8], signed=True): who for who in people}
        page = [json.dumps(sorted(ids))]
        found = self._kept.execute(
            "SELECT value FROM json_each(?) WHERE value IN (SELECT id FROM seen)", page
        ).fetchall()
        self._kept.execute("INSERT OR IGNORE INTO seen SELECT value FROM json_each(?)", page)
        return [ids[number] for (number,) in found]


# The hash, and then what a `Row` has, in its order.
_page = Table(
    "import_page",
    MetaData(),
    Column("email_hash", LargeBinary(16)),
    Column("email_key", String(320)),
    Column("email", String(320)),
    Column("first_name", String(200)),
    Column("last_name", String(200)),
    Column("attributes", Text),
    Column("tags", Text),
    Column("mailbox_provider", String(32)),
    prefixes=["TEMPORARY"],
)

# Keys are added or overwritten one by one; tags are kept sorted, so that the same file
# twice changes nothing.
_MERGED: dict[str, dict[str, str]] = {
    "sqlite": {
        "attributes": "json_patch(subscribers.attributes, excluded.attributes)",
        "tags": (
            "(SELECT json_group_array(value) FROM (SELECT value FROM json_each(subscribers.tags)"
            " UNION SELECT value FROM json_each(excluded.tags) ORDER BY value))"
        ),
    },
    "postgresql": {
        "attributes": "subscribers.attributes || excluded.attributes",
        "tags": (
            "(SELECT coalesce(jsonb_agg(tag ORDER BY tag COLLATE \"C\"), '[]') FROM (SELECT tag"
            " FROM jsonb_array_elements_text(subscribers.tags) tag UNION"
            " SELECT tag FROM jsonb_array_elements_text(excluded.tags) tag) AS merged)"
        ),
    },
}


def _store(session: Session, people: Mapping[bytes, Row], now: datetime) -> tuple[int, int]:
    """Upsert one page; how many are new, and how many were known and may be written to."""
    connection = session.connection()
    connection.execute(CreateTable(_page))
    _fill(connection, people)
    upsert = _upsert(connection, now)
    if connection.dialect.name == "postgresql":
        created, updated = _count_postgresql(connection, upsert)
    else:
        created, updated = _count_sqlite(connection, upsert)
    connection.execute(DropTable(_page))
    count_joined(session, SubscriberStatus.ACTIVE, now, created)
    count_tiers(session, {first_tier(now, now)[0]: created})
    return created, updated


def _fill(connection: Connection, people: Mapping[bytes, Row]) -> None:
    """The page into its table, past SQLAlchemy: a dict per row would take half the time."""
    rows = ((who, *row) for who, row in people.items())
    if connection.dialect.name == "postgresql":
        names = ", ".join(_page.c.keys())
        cursor: Any = connection.connection.cursor()
        with cursor, cursor.copy(f"COPY import_page ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    else:
        marks = ", ".join("?" * len(_page.c))
        connection.exec_driver_sql(f"INSERT INTO import_page VALUES ({marks})", list(rows))


def _upsert(connection: Connection, now: datetime) -> Any:
    is_postgresql = connection.dialect.name == "postgresql"
    make = postgresql.insert if is_postgresql else sqlite.insert
    values = _columns(is_postgresql, now)
    page = select(*values.values()).where(~suppressed(_page.c.email_hash, now))
    if is_postgresql:
        page = page.order_by(_page.c.email_key)  # two imports at once lock in one order
    statement = make(Subscriber).from_select(list(values), page)
    new = statement.excluded
    merged = _MERGED[connection.dialect.name]
    return statement.on_conflict_do_update(
        index_elements=["email_key"],
        set_={
            "email": new.email,
            "first_name": func.coalesce(new.first_name, Subscriber.first_name),
            "last_name": func.coalesce(new.last_name, Subscriber.last_name),
            "attributes": literal_column(merged["attributes"]),
            "tags": literal_column(merged["tags"]),
            "updated_at": new.updated_at,
        },
        where=Subscriber.status == SubscriberStatus.ACTIVE,
    )


def _columns(is_postgresql: bool, now: datetime) -> dict[str, ColumnElement[Any]]:
    """The columns of a new subscriber, as a SELECT over the page gives them."""
    columns = Subscriber.__table__.c
    tier, until = first_tier(now, now)
    json_of = (lambda text: cast(text, postgresql.JSONB)) if is_postgresql else (lambda text: text)
    given = {column.name: column for column in _page.c}
    return {
        **given,
        "attributes": json_of(_page.c.attributes),
        "tags": json_of(_page.c.tags),
        "status": literal(SubscriberStatus.ACTIVE, columns.status.type),
        "consent_source": literal("import", columns.consent_source.type),
        "tier": literal(tier, columns.tier.type),
        "tier_until": literal(until, columns.tier_until.type),
        "created_at": literal(now, columns.created_at.type),
        "updated_at": literal(now, columns.updated_at.type),
    }


def _count_sqlite(connection: Connection, upsert: Any) -> tuple[int, int]:
    """There is one writer at a time, so ids above the last one are ours."""
    last = connection.execute(select(func.coalesce(func.max(Subscriber.id), 0))).scalar_one()
    touched = connection.execute(upsert).rowcount
    ours = select(func.count()).select_from(Subscriber).where(Subscriber.id > last)
    created = connection.execute(ours).scalar_one()
    return created, touched - created


def _count_postgresql(connection: Connection, upsert: Any) -> tuple[int, int]:
    """A row version that no transaction has replaced (xmax = 0) was inserted, not updated."""
    touched = connection.execute(upsert.returning(literal_column("subscribers.xmax = 0")))
    inserted = [is_new for (is_new,) in touched]
    return sum(inserted), len(inserted) - sum(inserted)
