"""What the tests of the list share: people, and a database of each kind."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select

from database.models import (
    EngagementCount,
    SubscriberCount,
    SubscriberDay,
    SubscriberStatus,
    Suppression,
)
from database.reports import subscriber_stats
from database.session import Database
from list_manager import Added, Person, add_subscriber, recount
from lists.suppression import reasons_that_hold
from lists.tiers import recount_tiers
from tests.conftest import NOW
from tests.postgres import postgres_database
from utils.addresses import normalise
from utils.tokens import email_hash

HASH_KEY = b"k" * 32


def who(email: str) -> bytes:
    return email_hash(HASH_KEY, email)


def add(database: Database, email: str, **said: Any) -> Added:
    with database.write() as session:
        person = Person(address=normalise(email), **said)
        return add_subscriber(session, person, hash_key=HASH_KEY, now=NOW)


def reasons(database: Database) -> list[str]:
    with database.read() as session:
        return [row.value for row in session.scalars(select(Suppression.reason))]


def days(database: Database) -> dict[str, int]:
    """Who came and went today, by kind; the test's clock knows one day unless it moves it."""
    with database.read() as session:
        rows = session.scalars(select(SubscriberDay))
        return {row.kind: row.n for row in rows if ":" not in row.kind}


def assert_suppressions_are_counted(database: Database, now: datetime) -> None:
    """What is told to hold for good, by reason, is what the rows say."""
    with database.read() as session:
        told = subscriber_stats(session, now)["suppressions"]
        true: Counter[str] = Counter()
        for who in session.scalars(select(Suppression.email_hash).distinct()):
            holding = reasons_that_hold(session, who, now)
            true.update({row.reason.value for row in holding if row.until is None})
    assert {reason: n for reason, n in told.items() if n} == true


def assert_counters_are_true(database: Database) -> None:
    """Of statuses and of tiers; and the active are in one, the others in none."""
    with database.read() as session:
        kept = {row.status: row.n for row in session.scalars(select(SubscriberCount)) if row.n}
        assert kept == recount(session)
        in_tiers = {row.tier: row.n for row in session.scalars(select(EngagementCount)) if row.n}
        assert in_tiers == recount_tiers(session)
        assert sum(in_tiers.values()) == kept.get(SubscriberStatus.ACTIVE, 0)


@pytest.fixture
def postgres() -> Iterator[Database]:
    with postgres_database() as database:
        yield database


@pytest.fixture(params=["sqlite", "postgresql"])
def either_database(request: pytest.FixtureRequest) -> Any:
    """The same test on both databases."""
    if request.param == "sqlite":
        return request.getfixturevalue("database")
    return request.getfixturevalue("postgres")
