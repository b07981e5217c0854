"""Saved segments, previews whose cost is bounded, tags for many, and plans by a filter."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, select, text

from database.models import (
    Campaign,
    EmailSend,
    Segment,
    SendStatus,
    Subscriber,
    SubscriberCount,
    SubscriberStatus,
)
from database.session import Database
from lists import segments, tagging
from lists.segment_filter import InvalidFilter, parse
from lists.segments import UnknownSegment, find_segment, save_segment
from lists.tagging import TagChange, tag_addresses, tag_selected
from services.campaigns import with_fixed_audience
from services.ledger import plan as planning
from tests.conftest import NOW
from tests.ledgers import Ledgers
from tests.people import either_database, postgres
from tests.rig import NEW, rig

__all__ = ["either_database", "postgres"]  # fixtures

VIP = {"tags": {"any": ["vip"]}}


@pytest.fixture
def at(either_database: Database) -> Ledgers:
    return Ledgers(either_database)


def watch(*moments: float) -> Callable[[], float]:
    """A stopwatch that shows these, and then the last one for ever."""
    left = list(moments)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def preview(at: Ledgers, said: Any, **more: Any) -> segments.Preview:
    with at.database.read() as session:
        return segments.preview(session, parse(said), NOW, **more)


# saved segments


def test_a_segment_is_kept_replaced_and_forgotten(at: Ledgers) -> None:
    with at.database.write() as session:
        assert save_segment(session, "b", VIP, NOW)
        assert save_segment(session, "a", VIP, NOW)
    later = NOW + timedelta(days=1)
    with at.database.write() as session:
        assert not save_segment(session, "b", {"not": VIP}, later)
    with at.database.write() as session:
        kept = [
            (one.name, one.filter, one.created_at, one.updated_at)
            for one in segments.all_segments(session)
        ]
        assert kept == [("a", VIP, NOW, NOW), ("b", {"not": VIP}, NOW, later)]
        segments.delete_segment(session, "b")
    with at.database.read() as session:
        for look in (find_segment, segments.delete_segment):
            with pytest.raises(UnknownSegment):
                look(session, "b")


def test_a_filter_that_is_wrong_or_speaks_of_no_campaign_is_not_kept(at: Ledgers) -> None:
    campaign_id = at.create()
    said = {"or": [{"opened": campaign_id}, {"not": {"not_received": campaign_id + 1}}]}
    with at.database.write() as session:
        with pytest.raises(InvalidFilter) as refused:
            save_segment(session, "a", said, NOW)
        assert refused.value.faults == [
            (("or", 1, "not", "not_received"), f"there is no campaign {campaign_id + 1}")
        ]
        with pytest.raises(InvalidFilter):
            save_segment(session, "a", {"opened": 0}, NOW)
        assert session.scalars(select(Segment)).all() == []


@pytest.mark.parametrize("name", ["a", "Lists of 2026", "ä.b-c_d", "a" * 100])
def test_a_name_that_is_good(name: str) -> None:
    assert segments.check_name(name) == name


@pytest.mark.parametrize("name", ["", " a", "a ", "a/b", "..", "a\n", "a\x00b", "?", "a" * 101])
def test_a_name_that_would_not_stand_in_an_address(name: str) -> None:
    with pytest.raises(ValueError, match="must be 1 to 100 letters"):
        segments.check_name(name)


# previews


def test_a_preview_of_nobody(at: Ledgers) -> None:
    assert preview(at, VIP) == segments.Preview(count=0, is_estimate=False, sample=[])


def test_a_preview_counts_everybody_of_whatever_status_and_shows_ten(
    at: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "IDS_PER_LOOK", 7)
    at.add_people(30, "vip{}@example.net", tags=["vip"])
    at.add_people(30)
    at.add_people(5, "left{}@example.net", tags=["vip"], status=SubscriberStatus.UNSUBSCRIBED)
    found = preview(at, VIP)
    assert (found.count, found.is_estimate) == (35, False)
    assert len(set(found.sample)) == 10
    assert {email[:3] for email in found.sample} <= {"vip", "lef"}
    few = preview(at, {"email": {"in": ["vip29@example.net", "left4@example.net"]}})
    assert few == segments.Preview(
        count=2, is_estimate=False, sample=["vip29@example.net", "left4@example.net"]
    )


def test_a_list_of_ten_thousand_is_counted_exactly_however_long_it_takes(
    at: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "IDS_PER_LOOK", 7)
    at.add_people(50, tags=["vip"])
    found = preview(at, VIP, stopwatch=watch(0, 1_000))
    assert (found.count, found.is_estimate) == (50, False)


@pytest.mark.parametrize(("looks", "is_estimate"), [(1, True), (5, True), (99, True), (100, False)])
def test_when_the_second_is_over_the_count_is_scaled(
    at: Ledgers, monkeypatch: pytest.MonkeyPatch, looks: int, is_estimate: bool
) -> None:
    """1,000 people in 100 looks, each with 4 of 10: whatever was seen, it is 400."""
    monkeypatch.setattr(segments, "IDS_PER_LOOK", 10)
    monkeypatch.setattr(segments, "ALWAYS_EXACT", 50)
    with at.database.write() as session:
        people = [_person(n, tags=["vip"] if n % 10 < 4 else []) for n in range(1_000)]
        session.execute(insert(Subscriber), people)
        session.add(SubscriberCount(status=SubscriberStatus.ACTIVE, n=1_000))
    # The first look at the watch says when the second began; no look is refused while
    # nobody was seen, and each later one asks first.
    stopwatch = watch(0, *[0.5] * (looks - 1), 1.5)
    with counted(at.database, "FROM subscribers") as statements:
        found = preview(at, VIP, stopwatch=stopwatch)
    assert (found.count, found.is_estimate, len(found.sample)) == (
        400,
        is_estimate,
        min(10, looks * 4),
    )
    assert len(statements) <= 2 + looks + 10


def _person(n: int, **columns: Any) -> dict[str, Any]:
    email = f"p{n}@example.net"
    return {
        "email": email,
        "email_key": email,
        "email_hash": n.to_bytes(16),
        "attributes": {},
        "tags": [],
        "status": SubscriberStatus.ACTIVE,
        "mailbox_provider": "other",
        "created_at": NOW,
        "updated_at": NOW,
        **columns,
    }


@pytest.mark.parametrize("n", [1, 2, 3, 10, 64, 200, 1_001])
def test_looks_are_spread_evenly_however_many_there_are_time_for(n: int) -> None:
    order = list(segments._spread(n))
    assert sorted(order) == list(range(n))
    for looks in range(2, n):
        # The largest part of the list that nobody looked at is at most 4 fair shares.
        seen = sorted(order[:looks])
        gaps = [b - a for a, b in zip(seen, [*seen[1:], seen[0] + n], strict=True)]
        assert max(gaps) <= 4 * n / looks + 1, (looks, max(gaps))


# tags for many


def tags_of(at: Ledgers) -> dict[str, list[str]]:
    with at.database.read() as session:
        rows = session.execute(select(Subscriber.email_key, Subscriber.tags))
        return {key.partition("@")[0]: tags for key, tags in rows}


def test_tags_are_given_and_taken_and_only_changed_people_counted(at: Ledgers) -> None:
    at.add_people(1, "none{}@example.net")
    at.add_people(1, "old{}@example.net", tags=["old", "zürich"])
    at.add_people(1, "done{}@example.net", tags=["a'\"b", "new"])
    change = TagChange(add=["new", "a'\"b"], remove=["old", "gone"])
    everybody = parse({"created_at": {"before": {"days_ago": -1}}})
    later = NOW + timedelta(hours=1)
    assert tag_selected(at.database, everybody, change, later) == 2
    assert tags_of(at) == {
        "none0": ["a'\"b", "new"],
        "old0": ["a'\"b", "new", "zürich"],
        "done0": ["a'\"b", "new"],
    }
    with at.database.read() as session:
        changed = select(Subscriber.email_key).where(Subscriber.updated_at == later)
        assert sorted(session.scalars(changed)) == ["none0@example.net", "old0@example.net"]
    assert tag_selected(at.database, everybody, change, later) == 0


def test_the_last_tag_can_be_taken(at: Ledgers) -> None:
    at.add_people(2, tags=["vip"])
    assert tag_selected(at.database, parse(VIP), TagChange(remove=["vip"]), NOW) == 2
    assert list(tags_of(at).values()) == [[], []]


def test_a_long_list_is_tagged_step_by_step(at: Ledgers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tagging, "IDS_PER_STEP", 10)
    at.add_people(35)
    untagged = parse({"not": {"tags": {"any": ["new"]}}})
    with counted(at.database, "UPDATE subscribers") as updates:
        assert tag_selected(at.database, untagged, TagChange(add=["new"]), NOW) == 35
    assert len(updates) == 4
    assert set(map(tuple, tags_of(at).values())) == {("new",)}


def test_people_are_tagged_by_their_addresses(at: Ledgers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tagging, "EMAILS_PER_STEP", 2)
    at.add_people(4)
    keys = ["person3@example.net", "nobody@example.net", "person0@example.net"]
    assert tag_addresses(at.database, keys, TagChange(add=["new"]), NOW) == 2
    assert [tags for _, tags in sorted(tags_of(at).items())] == [["new"], [], [], ["new"]]


# campaigns to a filter


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


# how the databases go about it


@contextmanager
def counted(database: Database, part: str) -> Iterator[list[tuple[str, Any]]]:
    """The statements with this part, and their parameters, while the block runs."""
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if part in " ".join(statement.split()):
            seen.append((statement, parameters))

    # PostgreSQL's reader is its writer with another option, and tells its events too.
    engines = [database.reader, database.writer] if database.is_sqlite else [database.writer]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


def explained(database: Database, statement: str, parameters: Any) -> str:
    how = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
    with database.read() as session:
        rows = session.connection().exec_driver_sql(f"{how} {statement}", parameters)
        return "\n".join(str(row[-1]) for row in rows)


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
            assert not re.search("SCAN (?!item VIRTUAL|wanted VIRTUAL)", told), said
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
    assert preview(at, BIGGEST).count == 0
    assert preview(at, {"not": BIGGEST}).count == 3
    campaign_id = at.create(audience={"filter": {"not": BIGGEST}})
    at.plan(campaign_id)
    assert at.counts(campaign_id) == {"queued": 3}
