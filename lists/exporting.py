"""Writes the list as CSV, page by page, in the form that the import reads."""

import csv
import json
from collections.abc import Iterator, Sequence
from typing import IO, Any

from sqlalchemy import Text, cast, func, select, true
from sqlalchemy.orm import Session

from database.models import Subscriber, SubscriberStatus
from database.session import Database

PAGE = 5_000
COLUMNS = ("email", "first_name", "last_name", "tags")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def export_csv(
    database: Database, file: IO[str], *, status: SubscriberStatus = SubscriberStatus.ACTIVE
) -> int:
    """Write everybody with this status; how many. Each attribute is a column of its own.

    A value that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    rows = csv.writer(file)
    with database.read() as session:
        names = _attribute_names(session)
        rows.writerow((*COLUMNS, *names))
        written = 0
        for page in _pages(session, status):
            rows.writerows(_row(person, names) for person in page)
            written += len(page)
    return written


def _pages(session: Session, status: SubscriberStatus) -> Iterator[Sequence[Any]]:
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
        .where(Subscriber.id > after, Subscriber.status == status)
        .order_by(Subscriber.id)
        .limit(PAGE)
    ).all():
        yield page
        after = page[-1].id


def _row(person: Any, names: Sequence[str]) -> list[str]:
    values = [person.email, person.first_name, person.last_name, ";".join(person.tags)]
    values += [person.attributes.get(name) for name in names]
    return [_cell(value) for value in values]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.startswith(_FORMULA) and isinstance(value, str) else text


def _attribute_names(session: Session) -> list[str]:
    if session.get_bind().dialect.name == "postgresql":
        key = func.jsonb_object_keys(Subscriber.attributes)
        return sorted(session.scalars(select(key).distinct()))
    each: Any = func.json_each(Subscriber.attributes).table_valued("key")
    found = select(cast(each.c.key, Text)).select_from(Subscriber).join(each, true()).distinct()
    return sorted(session.scalars(found))
