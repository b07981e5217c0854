"""Many rows written at the speed of the driver are the rows that SQLAlchemy would write."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Table, bindparam, delete, insert, select, update

from config.esp_config import EspName
from database.bulk import Bulk
from database.models import WebhookEvent
from database.session import Database
from services.events import EventKind
from tests.people import either_database, postgres

__all__ = ["either_database", "postgres"]  # fixtures

EVENTS: Table = WebhookEvent.__table__  # type: ignore[assignment] # a Table, not any FromClause
NAMES = ("esp", "event_key", "kind", "occurred_at", "received_at", "payload", "send_id", "origin")
NOW = datetime(2026, 11, 24, 12, 0, 0, 5, tzinfo=UTC)
ROWS = [
    (EspName.SES, "a", EventKind.OPENED, NOW, NOW, {"words": ["ü", None, 1.5]}, 2**40, -(2**63)),
    (EspName.POSTMARK, "b", EventKind.OTHER, NOW, NOW, None, None, None),
]


def stored(database: Database) -> list[tuple[object, ...]]:
    rows = select(*(EVENTS.c[name] for name in NAMES)).order_by(EVENTS.c.event_key)
    with database.read() as session:
        return [tuple(row) for row in session.execute(rows)]


def test_rows_come_back_as_they_were_given(either_database: Database) -> None:
    add = Bulk(insert(EVENTS), NAMES)
    with either_database.write() as session:
        add.run(session.connection(), ROWS)
    assert stored(either_database) == ROWS


def test_what_is_not_a_parameter_has_the_value_of_the_statement(either_database: Database) -> None:
    change = Bulk(
        update(EVENTS)
        .where(EVENTS.c.event_key == bindparam("key"))
        .values(kind=EventKind.CLICKED, occurred_at=bindparam("at"), received_at=NOW, payload=None),
        ("at", "key"),
    )
    remove = Bulk(delete(EVENTS).where(EVENTS.c.event_key == bindparam("key")), ("key",))
    elsewhere = NOW.astimezone(timezone(timedelta(hours=2)))
    with either_database.write() as session:
        Bulk(insert(EVENTS), NAMES).run(session.connection(), ROWS)
        change.run(session.connection(), [(elsewhere, "a")])
        remove.run(session.connection(), [("b",)])
        remove.run(session.connection(), [])
    [expected, _] = ROWS
    assert stored(either_database) == [
        (*expected[:2], EventKind.CLICKED, NOW, NOW, None, *expected[6:])
    ]


@pytest.mark.parametrize("row", [("a",), ("a", "b", "c")])
def test_a_row_of_another_length_is_refused(
    row: tuple[str, ...], either_database: Database
) -> None:
    with (
        either_database.write() as session,
        pytest.raises(ValueError, match="zip"),
    ):
        Bulk(insert(EVENTS), ("esp", "event_key")).run(session.connection(), [row])


def test_a_time_without_zone_is_refused(either_database: Database) -> None:
    naive = [(*ROWS[0][:3], NOW.replace(tzinfo=None), *ROWS[0][4:])]
    with (
        pytest.raises(Exception, match="a time without time zone"),
        either_database.write() as session,
    ):
        Bulk(insert(EVENTS), NAMES).run(session.connection(), naive)
