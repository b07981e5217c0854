"""The list as CSV, in the form that the import reads: page by page, from one moment.

Nobody who writes waits for it. SQLite keeps what is written meanwhile beside the database
until the last page is read, so a reader who takes hours costs disk.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import IO, Any

from sqlalchemy import ColumnElement, Text, cast, func, select, true
from sqlalchemy.orm import Session

from database.models import Subscriber, SubscriberStatus
from database.session import Database
from lists.cells import harmless
from lists.profiles import chosen

PAGE = 5_000
COLUMNS = ("email", "first_name", "last_name", "tags")


def export_csv(
    database: Database,
    file: IO[str],
    *,
    status: SubscriberStatus = SubscriberStatus.ACTIVE,
    tag: str | None = None,
) -> int:
    """Write everybody with this status, and with the tag where one is given; how many."""
    written = 0
    with database.read() as session:
        for lines, people in _pages(session, chosen(session, status, tag)):
            file.write(lines)
            written += people
    return written


def csv_pages(
    database: Database,
    *,
    status: SubscriberStatus = SubscriberStatus.ACTIVE,
    tag: str | None = None,
) -> Iterator[str]:
    """The same, a page at a time. Each attribute is a column of its own.

    A value that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    with database.read() as session:
        for lines, _ in _pages(session, chosen(session, status, tag)):
            yield lines


def _pages(
    session: Session, conditions: Sequence[ColumnElement[bool]]
) -> Iterator[tuple[str, int]]:
    """Lines and how many people they are; the first is the header alone."""
    names = _attribute_names(session, conditions)
    yield _lines([(*COLUMNS, *names)]), 0
    after = 0
    while page := session.execute(
        select(
            Subscriber.id,
            Subscriber.email,
            Subscriber.first_name,
            Subscriber.last_name,
            Subscriber.tags,
            Subscriber.attributes,
        )
        .where(Subscriber.id > after, *conditions)
        .order_by(Subscriber.id)
        .limit(PAGE)
    ).all():
        yield _lines(_row(person, names) for person in page), len(page)
        after = page[-1].id


def _lines(rows: Any) -> str:
    buffer = StringIO(newline="")
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()


def _row(person: Any, names: Sequence[str]) -> list[str]:
    values = [person.email, person.first_name, person.last_name, ";".join(person.tags)]
    values += [person.attributes.get(name) for name in names]
    return [_cell(value) for value in values]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return harmless(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _attribute_names(session: Session, conditions: Sequence[ColumnElement[bool]]) -> list[str]:
    if session.get_bind().dialect.name == "postgresql":
        key = func.jsonb_object_keys(Subscriber.attributes)
        return sorted(session.scalars(select(key).where(*conditions).distinct()))
    each: Any = func.json_each(Subscriber.attributes).table_valued("key")
    found = select(cast(each.c.key, Text)).select_from(Subscriber).join(each, true())
    return sorted(session.scalars(found.where(*conditions).distinct()))
