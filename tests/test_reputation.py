"""How ESPs are judged by what became of their mail: sums, windows, rests and trials."""

import itertools
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select

from config.esp_config import EspName
from database.models import BreakerState, EspPerformance, EspPerformanceDay, EspState
from database.session import Database
from services.reputation import (
    ALL_PROVIDERS,
    Cell,
    Fare,
    Reputation,
    load_reputations,
    note_claimed,
    note_fares,
    note_heard,
    note_outcomes,
    note_unheard,
)
from tests.conftest import NOW
from tests.people import either_database, postgres

__all__ = ["either_database", "postgres"]  # fixtures

SENDGRID, SES = EspName.SENDGRID, EspName.SES
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
HALF = timedelta(hours=18)


def fare(at: datetime = NOW, provider: str = "gmail", **said: Any) -> Fare:
    return Fare(
        mailbox_provider=provider,
        claimed_at=at,
        **{"delivered": False, "failure": 0.0, **said},
    )


def fares(delivered: int = 0, blocked: int = 0, at: datetime = NOW) -> list[Fare]:
    return [fare(at, delivered=True)] * delivered + [fare(at, failure=1.0)] * blocked


def note(database: Database, told: list[Fare], now: datetime = NOW) -> None:
    with database.write() as session:
        note_fares(session, SENDGRID, told, now)


def claimed(database: Database, now: datetime, **providers: int) -> None:
    with database.write() as session:
        note_claimed(session, SENDGRID, providers, now)


def known(database: Database, now: datetime = NOW) -> Reputation:
    with database.read() as session:
        return load_reputations(session, now)[SENDGRID]


def cell(database: Database, now: datetime = NOW, provider: str = "gmail") -> Cell:
    return known(database, now).cells[provider]


def closed(database: Database, now: datetime) -> list[str]:
    return sorted(known(database, now).closed_to(now))


# Scores


@pytest.mark.parametrize(
    ("said", "score"),
    [
        ({}, 0.98),
        ({"successes": 80.0}, 0.996),
        ({"failures": 20.0}, 0.49),
        ({"successes": 60.4, "failures": 19.6}, 0.8),
        ({"successes": -50.0, "failures": 19.6}, 19.6 / 39.6),
        ({"complaint_factor": 0.5}, 0.49),
    ],
    ids=["new", "good", "bad", "at the limit", "more taken back than given", "complaints"],
)
def test_a_score_is_the_mean_of_what_is_known_and_a_good_beginning(
    said: dict[str, Any], score: float
) -> None:
    assert Reputation(**said).score == pytest.approx(score)


@pytest.mark.parametrize(
    ("cells", "score"),
    [
        ({}, 0.98),
        ({"yahoo": Cell(failures=500.0)}, 0.98),
        ({"gmail": Cell(successes=20.0)}, 0.99),
        ({"gmail": Cell(failures=20.0)}, 0.49),
        ({"gmail": Cell(successes=49.0, failures=931.0)}, 0.0686),
    ],
    ids=["unknown there", "bad elsewhere", "good there", "bad there", "much known"],
)
def test_at_a_mailbox_provider_little_evidence_leans_on_the_whole(
    cells: dict[str, Cell], score: float
) -> None:
    assert Reputation(cells=cells).score_at("gmail") == pytest.approx(score)
    halved = Reputation(cells=cells, complaint_factor=0.5)
    assert halved.score_at("gmail") == pytest.approx(score / 2)


@pytest.mark.parametrize(
    ("accepted", "complained", "factor"),
    [
        (0, 0, 1.0),
        (0, 1, 2 ** -((1.25 / 500 - 0.0005) / 0.0025)),
        (999_500, 499, 1.0),
        (999_500, 2_999.75, 0.5),
        (999_500, 5_499.75, 0.25),
        (1_000_000, 1_000, 0.870),
    ],
    ids=["nothing", "one of none", "usual", "one share more", "two shares more", "0.1 %"],
)
def test_complaints_beyond_the_usual_halve_the_score_for_each_quarter_percent(
    either_database: Database, accepted: int, complained: float, factor: float
) -> None:
    figures = dict.fromkeys(
        ("calls", "rejected", "unknown", "refused", "delivered", "bounced", "blocked"), 0
    )
    with either_database.write() as session:
        for ago, share in ((0, 0.4), (6, 0.6), (7, 5.0)):  # the eighth day counts no more
            session.add(
                EspPerformanceDay(
                    esp=SENDGRID,
                    mailbox_provider=ALL_PROVIDERS,
                    day=(NOW - timedelta(days=ago)).date(),
                    accepted=round(accepted * share),
                    complained=round(complained * share),
                    soft_bounced=0,
                    **figures,
                )
            )
    assert known(either_database).complaint_factor == pytest.approx(factor, abs=0.001)
    assert known(either_database).week.accepted == accepted


# Sums that decay

STEPS: tuple[tuple[str, datetime, dict[str, Any]], ...] = (
    ("outcomes", NOW, {"successes": 10, "failures": 1}),
    ("outcomes", NOW + HALF, {"successes": 8, "failures": 0}),
    ("fare", NOW - HALF, {"delivered": True}),
    ("fare", NOW, {"failure": 1.0}),
    ("fare", NOW + HALF, {"failure": 0.25}),
)


def test_sums_are_the_same_in_whatever_order_they_are_told(either_database: Database) -> None:
    found = []
    for order in itertools.permutations(STEPS):
        with either_database.write() as session:
            session.execute(delete(EspPerformance))
            for what, at, said in order:
                if what == "outcomes":
                    note_outcomes(session, SENDGRID, at, **said)
                else:
                    note_fares(session, SENDGRID, [fare(at, **said)], NOW + HALF)
        one = known(either_database, NOW + 2 * HALF)
        gmail = one.cells["gmail"]
        found.append((one.successes, one.failures, gmail.successes, gmail.failures))
    # As of two half-lives after `NOW`: ten that age twice, one of them blocked, and so on.
    whole = (10 / 4 + 8 / 2 - 1 / 4 - 0.25 / 2, 1 / 4 + 1 / 4 + 0.25 / 2)
    expected = (*whole, 1 / 8, 1 / 4 + 0.25 / 2)
    assert all(one == pytest.approx(expected) for one in found)


def test_a_claim_from_the_future_ages_from_now(database: Database) -> None:
    note(database, [fare(NOW + 30 * HALF, delivered=True)])
    assert cell(database, NOW + HALF).successes == pytest.approx(0.5)


def test_what_is_neither_delivered_nor_a_failure_says_nothing(database: Database) -> None:
    note(database, [fare()])
    assert cell(database) == Cell()


# Windows and rests


@pytest.mark.parametrize(
    ("told", "rests"),
    [
        ([fares(blocked=4)], False),
        ([fares(blocked=5)], True),
        ([fares(delivered=45, blocked=4), fares(blocked=1)], True),
        ([fares(delivered=45, blocked=5)], True),
        ([fares(delivered=46, blocked=5)], False),
        ([fares(delivered=46, blocked=4), fares(blocked=4)], False),
        ([fares(delivered=500, blocked=60)], True),
        ([[fare(failure=0.25)] * 50], False),
        ([fares(blocked=5, at=NOW - 30 * HOUR)], True),
    ],
    ids=[
        "four",
        "five",
        "five in two calls",
        "one in ten",
        "less than one in ten",
        "a window is over after fifty",
        "one large call",
        "delays are no blocks",
        "sent long ago",
    ],
)
def test_one_in_ten_blocked_and_five_at_least_is_a_rest(
    either_database: Database, told: list[list[Fare]], rests: bool
) -> None:
    for some in told:
        note(either_database, some)
    assert closed(either_database, NOW) == (["gmail"] if rests else [])
    assert cell(either_database).rests_until == (NOW + HOUR if rests else None)


def test_blocks_at_one_mailbox_provider_rest_nothing_elsewhere(database: Database) -> None:
    note(database, [*fares(blocked=5), *[fare(provider="yahoo", failure=1.0)] * 4])
    assert closed(database, NOW) == ["gmail"]


def test_rests_double_up_to_twelve_hours_and_begin_anew_after_a_good_trial(
    either_database: Database,
) -> None:
    now, rests = NOW, []
    for _ in range(6):
        note(either_database, fares(blocked=5, at=now), now)
        until = cell(either_database, now).rests_until
        assert until is not None
        rests.append((until - now) / HOUR)
        now = until
    assert rests == [1, 2, 4, 8, 12, 12]
    note(either_database, fares(delivered=50, at=now), now)
    assert cell(either_database, now).rests_until is None
    note(either_database, fares(blocked=5, at=now), now)
    assert cell(either_database, now).rests_until == now + HOUR


def test_mails_sent_before_the_rest_ended_say_nothing_about_the_trial(database: Database) -> None:
    note(database, fares(blocked=5))
    note(database, fares(blocked=50), NOW + MINUTE)
    assert cell(database, NOW + MINUTE).rests_until == NOW + HOUR
    note(database, fares(delivered=50), NOW + 2 * HOUR)
    assert cell(database, NOW + 2 * HOUR).rests_until == NOW + HOUR  # not forgiven either


@pytest.mark.parametrize(
    ("at", "opens"),
    [(NOW, NOW + HOUR), (NOW + HOUR - MINUTE, NOW + HOUR), (NOW + HOUR, None)],
)
def test_a_rest_ends_by_time_alone(database: Database, at: datetime, opens: datetime) -> None:
    note(database, fares(blocked=5))
    assert (closed(database, at), known(database, at).opens_at(at)) == (
        ["gmail"] if opens else [],
        opens,
    )


# Trials


def test_a_trial_is_fifty_mails_and_waits_six_hours_for_what_became_of_them(
    either_database: Database,
) -> None:
    note(either_database, fares(blocked=5))
    begin = NOW + HOUR
    claimed(either_database, begin, gmail=49, yahoo=500)
    assert closed(either_database, begin) == []
    claimed(either_database, begin, gmail=1)
    assert closed(either_database, begin) == ["gmail"]
    assert closed(either_database, begin + 6 * HOUR) == ["gmail"]
    after = begin + 6 * HOUR + MINUTE
    assert closed(either_database, after) == []
    # Nobody told: it begins again from there.
    claimed(either_database, after, gmail=50)
    assert closed(either_database, after) == ["gmail"]
    assert closed(either_database, after + 6 * HOUR + MINUTE) == []


def test_a_trial_that_goes_well_ends_the_matter(either_database: Database) -> None:
    note(either_database, fares(blocked=5))
    begin = NOW + HOUR
    claimed(either_database, begin, gmail=50)
    note(either_database, fares(delivered=49, at=begin), begin + MINUTE)
    assert closed(either_database, begin + MINUTE) == ["gmail"]
    note(either_database, fares(delivered=1, at=begin), begin + MINUTE)
    assert closed(either_database, begin + MINUTE) == []
    claimed(either_database, begin + MINUTE, gmail=5_000)
    assert closed(either_database, begin + MINUTE) == []


def test_a_trial_that_is_blocked_rests_again_at_once(either_database: Database) -> None:
    note(either_database, fares(blocked=5))
    begin = NOW + HOUR
    claimed(either_database, begin, gmail=10)
    note(either_database, fares(blocked=5, at=begin), begin)
    assert cell(either_database, begin).rests_until == begin + 2 * HOUR


def test_claims_where_it_does_not_rest_are_not_counted(database: Database) -> None:
    note(database, fares(delivered=1))
    claimed(database, NOW, gmail=500)
    with database.read() as session:
        counted = select(EspPerformance.window_claimed)
        assert session.scalars(counted).all() == [0, 0]


# What is heard


def test_mails_accepted_since_the_last_event_are_counted_from_the_first_on(
    either_database: Database,
) -> None:
    state = dict.fromkeys(("failures", "cooldown_s", "throttles", "unheard"), 0)
    with either_database.write() as session:
        for esp in (SENDGRID, SES):
            session.add(
                EspState(
                    esp=esp, breaker=BreakerState.CLOSED, suppressions_pushed_through=0, **state
                )
            )

    def heard() -> list[Any]:
        columns = (EspState.unheard, EspState.unheard_since, EspState.last_event_at)
        with either_database.read() as session:
            rows = session.execute(select(*columns).order_by(EspState.esp))
            return [tuple(row) for row in rows]

    for minutes, n in ((0, 60), (5, 40)):
        with either_database.write() as session:
            note_unheard(session, SENDGRID, n, NOW + minutes * MINUTE)
    assert heard() == [(100, NOW, None), (0, None, None)]
    with either_database.write() as session:
        note_heard(session, SENDGRID, NOW + HOUR)
    assert heard() == [(0, None, NOW + HOUR), (0, None, None)]
    with either_database.write() as session:
        note_unheard(session, SENDGRID, 1, NOW + 2 * HOUR)
    assert heard() == [(1, NOW + 2 * HOUR, NOW + HOUR), (0, None, None)]
