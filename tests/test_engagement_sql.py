"""The score in SQL says what the score in Python says, on both databases."""

import random
import sqlite3
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from database.models import Subscriber, SubscriberStatus
from database.session import Database, ensure_power
from lists.engagement import score_of
from lists.engagement_sql import engagement_sql
from tests.conftest import NOW
from tests.people import either_database, postgres

__all__ = ["either_database", "postgres"]  # fixtures


def random_row(dice: random.Random, number: int) -> dict[str, Any]:
    def ago(most: float) -> Any:
        return NOW - timedelta(days=dice.uniform(0, most))

    mails = dice.choice([0.0, dice.uniform(0, 40)])
    bounces = dice.choice([0, 0, 1, 4])
    return {
        "email": f"p{number}@example.com",
        "email_key": f"p{number}@example.com",
        "email_hash": number.to_bytes(16),
        "attributes": {},
        "tags": [],
        "status": dice.choice([SubscriberStatus.ACTIVE] * 3 + list(SubscriberStatus)),
        "mailbox_provider": "other",
        "consent_at": dice.choice([None, ago(400), NOW + timedelta(hours=1)]),
        "interest": mails * dice.choice([0.0, 0.01, dice.random()]),
        "interest_mails": mails,
        "interest_at": ago(300) if mails else None,
        "last_interest_at": dice.choice([None, ago(300), ago(20)]),
        "soft_bounces": bounces,
        "soft_bounce_last_at": ago(60) if bounces else None,
        "created_at": ago(400),
        "updated_at": NOW,
    }


def test_both_scores_agree(either_database: Database) -> None:
    dice = random.Random(9)
    with either_database.write() as session:
        session.execute(insert(Subscriber), [random_row(dice, n) for n in range(2_000)])
    with either_database.read() as session:
        people = session.scalars(select(Subscriber).order_by(Subscriber.id)).all()
        found = session.scalars(select(engagement_sql(NOW)).order_by(Subscriber.id)).all()
    off = [told - score_of(person, NOW) for told, person in zip(found, people, strict=True)]
    assert {type(told) for told in found} == {int}
    assert set(off) <= {-1, 0, 1}
    assert sum(map(bool, off)) < 10  # by rounding only
    assert len(set(found)) > 60


def test_people_can_be_selected_by_it(either_database: Database) -> None:
    dice = random.Random(9)
    with either_database.write() as session:
        session.execute(insert(Subscriber), [random_row(dice, n) for n in range(200)])
        wanted = select(Subscriber).where(engagement_sql(NOW).between(20, 69))
        found = {person.id for person in session.scalars(wanted)}
        scores = {p.id: score_of(p, NOW) for p in session.scalars(select(Subscriber))}
    assert {i for i, points in scores.items() if 21 <= points <= 68} <= found
    assert found <= {i for i, points in scores.items() if 19 <= points <= 70}


def test_an_sqlite_without_mathematics_gets_a_power() -> None:
    connection = sqlite3.connect(":memory:")
    connection.create_function("power", 2, lambda _base, _exponent: 0)
    connection.create_function("power", 2, None)  # which takes the built-in one away too
    with pytest.raises(sqlite3.OperationalError):
        connection.execute("SELECT power(4, 0.5)")
    ensure_power(connection)
    assert connection.execute("SELECT power(4, 0.5)").fetchone() == (2.0,)
    connection.close()
