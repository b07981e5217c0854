"""Tiers of people, kept: who is in one, how many are in each, on both databases."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, select, update

from database.models import (
    EngagementCount,
    EngagementTier,
    Subscriber,
    SubscriberStatus,
    SuppressionReason,
)
from database.session import Database
from list_manager import Consent, find_subscriber, suppress
from lists.counters import count_moved
from lists.tiers import leave, place, recount_tiers, retier
from tests.conftest import NOW
from tests.people import add, assert_counters_are_true, either_database, postgres, who

__all__ = ["either_database", "postgres"]  # fixtures

ANN = "ann@example.com"
DAY = timedelta(days=1)


def tiers(database: Database) -> dict[str, int]:
    with database.read() as session:
        return {row.tier.value: row.n for row in session.scalars(select(EngagementCount)) if row.n}


def the_person(database: Database, email: str = ANN) -> tuple[str | None, datetime | None]:
    with database.read() as session:
        person = find_subscriber(session, email)
        assert person is not None
        return person.tier and person.tier.value, person.tier_until


def sweep(database: Database, now: datetime, **said: Any) -> int:
    with database.write() as session:
        return retier(session, now, **said)


def change(database: Database, email: str = ANN, **values: Any) -> None:
    with database.write() as session:
        session.execute(update(Subscriber).where(Subscriber.email_key == email).values(**values))


@pytest.mark.parametrize(
    ("consent", "tier"),
    [
        (None, "warm"),
        (Consent(source="shop"), "warm"),
        (Consent(at=NOW - 20 * DAY), "cooling"),
        (Consent(at=NOW - 200 * DAY), "re_engage"),
    ],
)
def test_a_new_person_is_in_the_tier_of_their_consent(
    either_database: Database, consent: Consent | None, tier: str
) -> None:
    add(either_database, ANN, consent=consent)
    assert the_person(either_database)[0] == tier
    assert tiers(either_database) == {tier: 1}
    assert_counters_are_true(either_database)


def test_a_newer_consent_moves_a_known_person(either_database: Database) -> None:
    add(either_database, ANN, consent=Consent(at=NOW - 200 * DAY))
    add(either_database, ANN, consent=Consent(at=NOW))
    assert the_person(either_database)[0] == "warm"
    assert tiers(either_database) == {"warm": 1}


@pytest.mark.parametrize(
    "reason",
    [SuppressionReason.UNSUBSCRIBED, SuppressionReason.HARD_BOUNCE, SuppressionReason.COMPLAINT],
)
def test_whoever_leaves_is_in_no_tier(either_database: Database, reason: SuppressionReason) -> None:
    add(either_database, ANN)
    add(either_database, "bob@example.com")
    for _ in range(2):
        with either_database.write() as session:
            suppress(session, who(ANN), reason=reason, source="test", now=NOW)
    assert the_person(either_database) == (None, None)
    assert tiers(either_database) == {"warm": 1}
    assert_counters_are_true(either_database)


def test_a_rest_leaves_the_tier(either_database: Database) -> None:
    add(either_database, ANN)
    with either_database.write() as session:
        suppress(
            session,
            who(ANN),
            reason=SuppressionReason.PAUSED,
            source="page",
            now=NOW,
            until=NOW + DAY,
        )
    assert tiers(either_database) == {"warm": 1}


def test_place_and_leave_keep_the_counters(either_database: Database) -> None:
    """What a confirmation, a change of status and an erasure do."""
    add(either_database, ANN)
    seen = [tiers(either_database)]
    for before, after in (
        (SubscriberStatus.ACTIVE, SubscriberStatus.SUNSET),
        (SubscriberStatus.SUNSET, SubscriberStatus.ACTIVE),
    ):
        with either_database.write() as session:
            person = find_subscriber(session, ANN)
            assert person is not None
            person.status = after
            count_moved(session, before, after, NOW)
            place(session, person, NOW)
        assert_counters_are_true(either_database)
        seen.append(tiers(either_database))
    with either_database.write() as session:
        person = find_subscriber(session, ANN)
        assert person is not None
        leave(session, person)
        session.delete(person)
    assert [*seen, tiers(either_database)] == [{"warm": 1}, {}, {"warm": 1}, {}]


def test_time_moves_people_down(either_database: Database) -> None:
    add(either_database, ANN)
    add(either_database, "bob@example.com", consent=Consent(at=NOW - 10 * DAY))
    now = NOW
    seen: list[dict[str, int]] = []
    for _ in range(200):
        sweep(either_database, now)
        if not seen or seen[-1] != tiers(either_database):
            seen.append(tiers(either_database))
        now += DAY
    assert seen == [
        {"warm": 2},
        {"warm": 1, "cooling": 1},
        {"cooling": 2},
        {"cooling": 1, "re_engage": 1},
        {"re_engage": 2},
    ]
    assert the_person(either_database) == ("re_engage", None)
    assert_counters_are_true(either_database)


def test_a_sweep_takes_those_whose_time_is_over_and_no_more(either_database: Database) -> None:
    for name in ("ann", "bob", "cid"):
        add(either_database, f"{name}@example.com")
    until = the_person(either_database)[1]
    assert until is not None
    assert sweep(either_database, until - timedelta(seconds=1)) == 0
    swept = [sweep(either_database, until, limit=2) for _ in range(3)]
    assert swept == [2, 1, 0]
    assert tiers(either_database) == {"cooling": 3}


def test_a_sweep_finds_people_without_a_tier(either_database: Database) -> None:
    """As the migration leaves those who were on the list before there were tiers."""
    add(either_database, ANN)
    with either_database.write() as session:
        person = find_subscriber(session, ANN)
        assert person is not None
        leave(session, person)
        person.tier_until = NOW
    sweep(either_database, NOW)
    assert tiers(either_database) == {"warm": 1}
    assert_counters_are_true(either_database)


def test_a_sweep_takes_the_tier_of_whoever_is_not_written_to(either_database: Database) -> None:
    add(either_database, ANN)
    change(either_database, status=SubscriberStatus.SUNSET, tier_until=NOW)
    assert sweep(either_database, NOW) == 1
    assert (the_person(either_database), tiers(either_database)) == ((None, None), {})
    assert sweep(either_database, NOW) == 0


def test_what_was_done_counts_in_a_sweep(either_database: Database) -> None:
    add(either_database, ANN)
    change(
        either_database,
        interest=0.8,
        interest_mails=1.0,
        interest_at=NOW,
        last_interest_at=NOW,
        tier_until=NOW,
    )
    sweep(either_database, NOW)
    assert tiers(either_database) == {"hot": 1}


def test_a_sweep_passes_over_people_whom_somebody_holds(postgres: Database) -> None:
    for name in ("ann", "bob"):
        add(postgres, f"{name}@example.com")
    later = NOW + 20 * DAY
    with postgres.write() as session:
        session.execute(
            select(Subscriber.id).where(Subscriber.email_key == ANN).with_for_update()
        ).all()
        assert sweep(postgres, later) == 1
    assert sweep(postgres, later) == 1
    assert tiers(postgres) == {"cooling": 2}


def test_a_sweep_is_a_fixed_number_of_statements(database: Database) -> None:
    for number in range(50):
        add(database, f"p{number}@example.com")
    statements: list[str] = []
    with database.write() as session:
        event.listen(
            session.connection(), "before_cursor_execute", lambda *said: statements.append(said[2])
        )
        assert retier(session, NOW + 20 * DAY) == 50
        assert recount_tiers(session) == {EngagementTier.COOLING: 50}
    assert len(statements) == 6
