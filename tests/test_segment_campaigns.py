"""Campaigns to a filter: whom they reach, chunk by chunk, and what that costs a database."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, text

from database.models import (
    Campaign,
    EmailSend,
    SendStatus,
    Subscriber,
    SubscriberStatus,
)
from database.session import Database
from lists import segments
from lists.segment_filter import parse
from lists.segments import save_segment
from services.campaigns import with_fixed_audience
from services.ledger import plan as planning
from tests.conftest import NOW
from tests.ledgers import Ledgers, at
from tests.people import either_database, postgres
from tests.rig import NEW, rig
from tests.segment_reference import VIP
from tests.statements import counted, explained

__all__ = ["at", "either_database", "postgres"]  # fixtures


def test_a_plan_by_a_filter_is_the_active_it_selects_chunk_by_chunk(
    at: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "IDS_PER_CHUNK", 10)
    at.add_people(20, "vip{}@example.net", tags=["vip"])
    at.add_people(10)
    at.add_people(3, "left{}@example.net", tags=["vip"], status=SubscriberStatus.UNSUBSCRIBED)
    at.suppress("vip7@example.net")
    said = {"or": [VIP, {"status": {"ne": "active"}}]}
    with at.database.read() as session:
        counted_before = planning.count_audience(session, {"filter": said}, NOW)
    campaign_id = at.create(audience={"filter": said})
    assert at.plan(campaign_id) == 4
    assert at.counts(campaign_id) == {"queued": 19}
    assert {send.email_key[:3] for send in at.sends(campaign_id)} == {"vip"}
    assert counted_before == {"": 19}


def test_a_segment_that_changes_later_changes_no_campaign(at: Ledgers) -> None:
    at.add_people(2, "vip{}@example.net", tags=["vip"])
    at.add_people(3)
    with at.database.write() as session:
        save_segment(session, "readers", VIP, NOW)
        new = with_fixed_audience(session, replace(NEW, audience={"segment": "readers"}))
        save_segment(session, "readers", {"not": VIP}, NOW)
    campaign_id = at.create(audience=new.audience)
    with at.database.write() as session:
        segments.delete_segment(session, "readers")
    at.plan(campaign_id)
    assert at.counts(campaign_id) == {"queued": 2}


def test_days_ago_are_those_before_the_campaign_was_made(at: Ledgers) -> None:
    at.add_people(2, "new{}@example.net", created_at=NOW - timedelta(days=6))
    at.add_people(3, "old{}@example.net", created_at=NOW - timedelta(days=8))
    campaign_id = at.create(audience={"filter": {"created_at": {"after": {"days_ago": 7}}}})
    at.now = NOW + timedelta(days=5)
    at.plan(campaign_id)
    assert at.counts(campaign_id) == {"queued": 2}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"filter": VIP}, {"filter": VIP}, True),
        ({"filter": {"or": [VIP, {"opened": 1}]}}, {"filter": {"or": [{"opened": 1}, VIP]}}, True),
        ({"filter": VIP}, {"filter": {"not": VIP}}, False),
        ({"filter": VIP}, {"tags": ["vip"]}, False),
        ({"filter": VIP}, {}, False),
        ({"tags": ["a", "b"]}, {"tags": ["b", "a", "a"]}, True),
        ({"emails": ["A@b.co ", "c@d.co"]}, {"emails": ["c@d.co", "a@b.co"]}, True),
    ],
)
def test_the_guard_against_the_same_mailing_knows_a_filter_in_any_order(
    one: dict[str, Any], other: dict[str, Any], same: bool
) -> None:
    hashes = [replace(NEW, audience=audience).content_hash for audience in (one, other)]
    assert (hashes[0] == hashes[1]) == same


def test_a_segment_goes_through_the_engine_to_those_who_did_not_open(database: Database) -> None:
    with rig(database, lambda: NOW) as installation:
        installation.add_people(12)
        installation.start()
        first = installation.send()["campaign_id"]
        with database.write() as session:
            for send in session.scalars(select(EmailSend).where(EmailSend.id % 3 == 0)):
                send.opened = True
            save_segment(session, "sleepers", {"not_opened": first}, NOW)
            audience = with_fixed_audience(
                session, replace(NEW, audience={"segment": "sleepers"})
            ).audience
        again = installation.send(audience=audience, subject="Once more")
        assert (again["status"], again["planned"], again["counts"]["accepted"]) == ("sent", 8, 8)
        with database.read() as session:
            keys = select(EmailSend.email_key)
            opened = set(session.scalars(keys.where(EmailSend.opened)))
            reached = keys.where(EmailSend.campaign_id == again["campaign_id"])
            assert not opened & set(session.scalars(reached))


CHUNKED = [
    VIP,
    {"attributes.city": {"eq": "Oslo"}},
    {"first_name": {"contains": "a"}},
    {"engagement_score": {"gte": 40}},
    {"created_at": {"after": {"days_ago": 30}}},
    {"not_opened": 1},
    {"and": [{"not_received": 1}, {"not": {"clicked": 1}}]},
]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_chunk_of_the_plan_reads_its_ids_and_no_more(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = request.getfixturevalue("database" if kind == "sqlite" else "postgres")
    monkeypatch.setattr(planning, "IDS_PER_CHUNK", 500)
    at = Ledgers(database)
    at.add_people(20_000)
    first = at.create()
    assert first == 1
    with database.write() as session:
        rows = select(Subscriber.id, Subscriber.email_key)
        sends = [
            {
                "campaign_id": first,
                "email_key": key,
                "mailbox_provider": "other",
                "status": SendStatus.ACCEPTED,
            }
            for _, key in session.execute(rows)
        ]
        session.execute(insert(EmailSend), sends)
        session.execute(text("ANALYZE"))
    for said in CHUNKED:
        campaign_id = at.create(audience={"filter": said})
        with database.write() as session:
            session.get_one(Campaign, campaign_id).planned_through = 10_000
        with counted(database, "INSERT INTO email_sends") as statements:
            at.plan_one(campaign_id)
        [(statement, parameters)] = statements
        told = explained(database, statement, parameters)
        if database.is_sqlite:
            assert "SEARCH subscribers USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in told, (
                said
            )
            assert "TEMP B-TREE" not in told, said
            assert not re.search("SCAN (?!item VIRTUAL|wanted VIRTUAL|person$)", told), said
        else:
            assert "Index Cond: ((id > " in told.replace("subscribers.", ""), (said, told)
            assert "Seq Scan on subscribers" not in told, (said, told)
            assert "Seq Scan on email_sends" not in told, (said, told)


BIGGEST = {
    "or": [
        *({"attributes.a.b.c.d.e": {"in": [*range(900), True, "x", 0.5]}} for _ in range(5)),
        {"tags": {"all": [f"tag {n}" for n in range(400)]}},
        *(
            {"attributes.a": {"contains": "a" * 200, "gt": 1, "lt": "2026-01-01"}}
            for _ in range(20)
        ),
        *({"engagement_score": {"gte": 99, "lte": 0}} for _ in range(10)),
        *({"not": {"not_received": 1}} for _ in range(5)),
    ]
}


def test_the_biggest_filter_there_can_be_is_no_burden_to_a_database(at: Ledgers) -> None:
    at.add_people(3, attributes={"a": "b"}, tags=["c"])
    assert at.create() == 1
    with at.database.read() as session:
        for said, n in ((BIGGEST, 0), ({"not": BIGGEST}, 3)):
            assert segments.preview(session, parse(said), NOW).count == n
    campaign_id = at.create(audience={"filter": {"not": BIGGEST}})
    at.plan(campaign_id)
    assert at.counts(campaign_id) == {"queued": 3}
