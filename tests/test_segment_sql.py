"""A filter in SQL selects whom a naive reading of it selects, on both databases."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select

from database.models import EmailSend, Subscriber
from database.session import Database
from lists.engagement_sql import engagement_sql
from lists.segment_filter import parse
from lists.segment_sql import selects
from services.campaigns import create
from tests.people import either_database, postgres
from tests.rig import NEW
from tests.segment_reference import CAMPAIGNS, NOW, filters, is_selected, people

__all__ = ["either_database", "postgres"]  # fixtures


@pytest.fixture
def list_with_campaigns(either_database: Database) -> Database:
    with either_database.write() as session:
        for _ in CAMPAIGNS:
            create(session, NEW, now=NOW, sandbox=True)
    return either_database


def selected(database: Database, said: Any) -> set[str]:
    with database.read() as session:
        found = select(Subscriber.email_key).where(selects(parse(said), NOW))
        return set(session.scalars(found))


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    made=st.lists(people, min_size=1, max_size=12),
    filters=st.lists(filters, min_size=5, max_size=12),
)
def test_any_filter_selects_whom_a_naive_reading_selects(
    list_with_campaigns: Database, made: list[Any], filters: list[Any]
) -> None:
    known = replace_people(list_with_campaigns, made)
    for said in filters:
        wanted = {person["email_key"] for person in known if is_selected(said, person, NOW)}
        assert selected(list_with_campaigns, said) == wanted, said


def replace_people(database: Database, made: list[Any]) -> list[Any]:
    """The list is `made` from now on; returns it with what the reference needs beside."""
    known = []
    for number, one in enumerate(made):
        key = f"{one['local'].lower()}{number}@{one['host']}"
        known.append({**one, "email": key, "email_key": key, "email_hash": number.to_bytes(16)})
    beside = {"local", "host", "sends"}
    rows = [
        {**{k: v for k, v in one.items() if k not in beside}, "updated_at": NOW} for one in known
    ]
    sends = [
        {
            "campaign_id": campaign_id,
            "email_key": one["email_key"],
            "mailbox_provider": "other",
            "status": status,
            "delivery": delivery,
            "opened": opened,
            "clicked": clicked,
        }
        for one in known
        for campaign_id, (status, delivery, opened, clicked) in one["sends"].items()
    ]
    with database.write() as session:
        session.execute(delete(EmailSend))
        session.execute(delete(Subscriber))
        session.execute(insert(Subscriber), rows)
        if sends:
            session.execute(insert(EmailSend), sends)
        # Not Python's: the databases may round a half the other way (tests/test_engagement_sql.py).
        scores = dict(session.execute(select(Subscriber.email_key, engagement_sql(NOW))).all())
    return [{**one, "score": scores[one["email_key"]]} for one in known]
