"""Saved segments, previews whose cost is bounded, and tags for many."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from database.models import (
    Segment,
    Subscriber,
    SubscriberCount,
    SubscriberStatus,
)
from lists import segments, tagging
from lists.segment_filter import InvalidFilter, parse
from lists.segments import UnknownSegment, find_segment, save_segment
from lists.tagging import TagChange, tag_addresses, tag_selected
from tests.conftest import NOW
from tests.ledgers import Ledgers, at
from tests.people import either_database, postgres
from tests.segment_reference import VIP
from tests.statements import counted

__all__ = ["at", "either_database", "postgres"]  # fixtures


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
