"""What is known of an ESP now: windows of its quota, what others used, how its mails fared."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from config.esp_config import EspConfig, EspName
from database.models import BreakerState, EspPerformanceDay
from database.session import Database
from services.base import Account
from services.breaker import Breaker
from services.reputation import ALL_PROVIDERS, note_outcomes
from services.standing import (
    Allowance,
    Standing,
    load,
    load_breaker,
    month_of,
    reserve_quota,
    save_account,
    save_breaker,
)
from tests.people import either_database, postgres

__all__ = ["either_database", "postgres"]  # fixtures

SENDGRID, SES, POSTMARK = EspName.SENDGRID, EspName.SES, EspName.POSTMARK
NOW = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
MIDNIGHT, NEXT_MONTH = datetime(2026, 11, 25, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
CONFIGS: Mapping[EspName, EspConfig] = {
    esp: EspConfig(name=esp, priority=1, batch_size=100, concurrency=4) for esp in EspName
}


def standing(database: Database, esp: EspName, now: datetime = NOW, **limits: Any) -> Standing:
    configs = {**CONFIGS, esp: replace(CONFIGS[esp], **limits)}
    with database.read() as session:
        return load(session, configs, now)[esp]


def use(database: Database, esp: EspName, n: int, hour: datetime) -> None:
    with database.write() as session:
        reserve_quota(session, esp, n, hour)


def look_up(database: Database, esp: EspName, account: Account, now: datetime = NOW) -> None:
    with database.write() as session:
        save_account(session, esp, account, now)


def test_a_fresh_esp_has_everything_left(either_database: Database) -> None:
    assert standing(either_database, SENDGRID, daily_limit=100) == Standing(
        esp=SENDGRID,
        priority=1,
        breaker=Breaker(),
        day=Allowance(used=0, limit=100, resets_at=MIDNIGHT),
        month=Allowance(used=0, limit=None, resets_at=NEXT_MONTH),
        per_second=None,
        batch_size=100,
        concurrency=4,
    )


def test_only_configured_esps_have_a_standing(database: Database) -> None:
    use(database, SES, 5, NOON)
    with database.read() as session:
        assert load(session, {SENDGRID: CONFIGS[SENDGRID]}, NOW).keys() == {SENDGRID}


@pytest.mark.parametrize(
    ("now", "day", "month"),
    [
        (datetime(2026, 11, 24, 0, 0, tzinfo=UTC), 12, 17),
        (datetime(2026, 11, 24, 23, 59, 59, tzinfo=UTC), 12, 17),
        (datetime(2026, 11, 25, 0, 0, tzinfo=UTC), 0, 17),
        (datetime(2026, 12, 1, 0, 0, tzinfo=UTC), 0, 0),
    ],
)
def test_a_day_and_a_month_are_those_of_the_calendar_in_utc(
    either_database: Database, now: datetime, day: int, month: int
) -> None:
    use(either_database, SENDGRID, 5, datetime(2026, 11, 23, 23, tzinfo=UTC))
    use(either_database, SENDGRID, 7, datetime(2026, 11, 24, 0, tzinfo=UTC))
    use(either_database, SENDGRID, 2, datetime(2026, 11, 24, 0, tzinfo=UTC))
    use(either_database, SENDGRID, 3, datetime(2026, 11, 24, 0, tzinfo=UTC))
    found = standing(either_database, SENDGRID, now)
    assert (found.day.used, found.month.used) == (day, month)
    assert found.day.resets_at.hour == 0
    assert found.day.resets_at - now <= timedelta(days=1)


@pytest.mark.parametrize(
    ("now", "used", "resets_at"),
    [
        (NOW, 30, datetime(2026, 11, 24, 22, tzinfo=UTC)),
        # 21:00 counts until what was sent at 21:59 is 24 hours old.
        (
            datetime(2026, 11, 24, 21, 59, 59, tzinfo=UTC),
            30,
            datetime(2026, 11, 24, 22, tzinfo=UTC),
        ),
        (datetime(2026, 11, 24, 22, 0, tzinfo=UTC), 20, datetime(2026, 11, 25, 10, tzinfo=UTC)),
        (datetime(2026, 11, 25, 10, 0, tzinfo=UTC), 0, datetime(2026, 11, 26, 11, tzinfo=UTC)),
    ],
)
def test_the_day_of_ses_is_the_last_24_hours_bucket_by_bucket(
    either_database: Database, now: datetime, used: int, resets_at: datetime
) -> None:
    use(either_database, SES, 10, datetime(2026, 11, 23, 21, tzinfo=UTC))
    use(either_database, SES, 20, datetime(2026, 11, 24, 9, tzinfo=UTC))
    day = standing(either_database, SES, now).day
    assert (day.used, day.resets_at) == (used, resets_at)


def test_quota_goes_back_to_the_hour_it_was_taken_from(either_database: Database) -> None:
    before_midnight = datetime(2026, 11, 30, 23, tzinfo=UTC)
    after = datetime(2026, 12, 1, 0, 5, tzinfo=UTC)
    use(either_database, SENDGRID, 50, before_midnight)
    use(either_database, SENDGRID, 8, after.replace(minute=0))
    use(either_database, SENDGRID, -50, before_midnight)
    found = standing(either_database, SENDGRID, after, daily_limit=10)
    assert (found.day.used, found.month.used, found.left) == (8, 8, 2)
    assert standing(either_database, SENDGRID, before_midnight).month.used == 0


@pytest.mark.parametrize(
    ("ours", "theirs", "limit"), [(100, 40, 40), (40, 100, 40), (None, 7, 7), (7, None, 7)]
)
def test_the_lesser_of_our_limit_and_the_accounts_holds(
    database: Database, ours: int | None, theirs: int | None, limit: int
) -> None:
    look_up(
        database,
        SENDGRID,
        Account(daily_limit=theirs, monthly_limit=theirs, per_second=theirs),
    )
    found = standing(database, SENDGRID, daily_limit=ours, monthly_limit=ours, per_second=ours)
    assert (found.day.limit, found.month.limit, found.per_second) == (limit, limit, limit)


@pytest.mark.parametrize(
    ("ours", "counted", "used"), [(30, 100, 100), (30, 20, 30), (0, 100, 100), (30, None, 30)]
)
def test_what_the_account_counts_beyond_ours_was_used_by_others(
    either_database: Database, ours: int, counted: int | None, used: int
) -> None:
    use(either_database, SES, ours, NOON)
    look_up(either_database, SES, Account(daily_used=counted, monthly_used=counted))
    found = standing(either_database, SES, daily_limit=1000, monthly_limit=500)
    assert (found.day.used, found.month.used, found.left) == (used, used, 500 - used)


def test_our_own_sends_after_a_look_up_are_added_to_the_others(database: Database) -> None:
    look_up(database, SENDGRID, Account(daily_used=100))
    use(database, SENDGRID, 5, NOON)
    assert standing(database, SENDGRID).day.used == 105


@pytest.mark.parametrize(
    ("esp", "hours_later", "day", "month"),
    [
        (SENDGRID, 11, 60, 80),
        (SENDGRID, 12, 0, 80),  # past midnight
        (SENDGRID, 24 * 7, 0, 0),  # past the month
        (SES, 23, 60, 80),
        (SES, 25, 0, 80),
    ],
)
def test_what_others_used_is_forgotten_when_the_window_turns_though_no_look_up_succeeds(
    database: Database, esp: EspName, hours_later: float, day: int, month: int
) -> None:
    look_up(database, esp, Account(daily_used=60, monthly_used=80))
    found = standing(database, esp, NOW + timedelta(hours=hours_later))
    assert (found.day.used, found.month.used) == (day, month)


@pytest.mark.parametrize("nonsense", [-1, 10**30, float("nan")])
def test_a_limit_that_makes_no_sense_is_no_limit(database: Database, nonsense: Any) -> None:
    look_up(
        database,
        SES,
        Account(daily_limit=nonsense, monthly_limit=nonsense, per_second=nonsense),
    )
    found = standing(database, SES)
    assert (found.day.limit, found.month.limit, found.per_second) == (None, None, None)


def test_an_account_that_may_send_nothing_has_nothing_left(database: Database) -> None:
    look_up(database, SES, Account(daily_limit=0, per_second=0, daily_used=10**30))
    found = standing(database, SES)
    assert (found.left, found.per_second) == (0, None)


def test_successes_and_failures_count_half_after_18_hours(either_database: Database) -> None:
    with either_database.write() as session:
        note_outcomes(session, SES, NOW, successes=90, failures=2)
        note_outcomes(session, SES, NOW, successes=10, failures=0)
    for halves in range(4):
        found = standing(either_database, SES, NOW + halves * timedelta(hours=18))
        assert found.reputation.successes == pytest.approx(100 / 2**halves)
        assert found.reputation.failures == pytest.approx(2 / 2**halves)
    with either_database.write() as session:
        note_outcomes(session, SES, NOW + timedelta(hours=18), successes=1, failures=1)
    found = standing(either_database, SES, NOW + timedelta(hours=18))
    assert found.reputation.successes == pytest.approx(51)
    assert found.reputation.failures == pytest.approx(2)


def test_a_clock_set_back_neither_raises_nor_repeats_the_decay(database: Database) -> None:
    back = NOW - timedelta(hours=18)
    with database.write() as session:
        note_outcomes(session, SES, NOW, successes=100, failures=0)
        note_outcomes(session, SES, back, successes=0, failures=0)
    assert standing(database, SES, back).reputation.successes == pytest.approx(100)
    assert standing(database, SES, NOW).reputation.successes == pytest.approx(100)


def test_a_clock_set_back_keeps_what_was_used_in_the_hours_ahead(database: Database) -> None:
    use(database, SENDGRID, 60, NOON + timedelta(hours=2))
    use(database, SES, 60, NOON + timedelta(hours=2))
    assert standing(database, SENDGRID).day.used == 60
    assert standing(database, SES).day.used == 60


def test_the_score_begins_at_98_percent_and_is_lowered_by_failures_and_complaints(
    database: Database,
) -> None:
    fresh = standing(database, SES).reputation
    assert fresh.posterior == (19.6, 0.4)
    assert fresh.score == pytest.approx(0.98)
    worse = replace(fresh, failures=20.0)
    assert worse.score == pytest.approx(19.6 / 40)
    assert replace(worse, complaint_factor=0.5).score == pytest.approx(19.6 / 80)


def test_accepted_sends_of_the_last_seven_days_are_the_base_of_a_reputation(
    database: Database,
) -> None:
    with database.write() as session:
        for days_ago, n in ((0, 1), (6, 20), (7, 300)):
            session.add(
                EspPerformanceDay(
                    esp=SES,
                    mailbox_provider=ALL_PROVIDERS,
                    day=date(2026, 11, 24) - timedelta(days=days_ago),
                    accepted=n,
                )
            )
        session.add(
            EspPerformanceDay(
                esp=SES, mailbox_provider="gmail", day=date(2026, 11, 24), accepted=4000
            )
        )
    assert standing(database, SES).reputation.week.accepted == 21


def test_a_breaker_is_found_as_it_was_saved(either_database: Database) -> None:
    saved = Breaker(
        state=BreakerState.OPEN,
        failures=5,
        cooldown_s=120,
        open_until=NOW,
        throttles=2,
        throttled_until=NEXT_MONTH,
        last_error="no answer",
        last_error_at=NOON,
    )
    with either_database.write() as session:
        assert load_breaker(session, SES) == Breaker()
        save_breaker(session, SES, replace(saved, failures=4))
        save_breaker(session, SES, saved)
        assert load_breaker(session, SES) == saved
    assert standing(either_database, SES).breaker == saved


@pytest.mark.parametrize(("n", "left"), [(0, 10), (4, 6), (10, 0), (30, 0)])
def test_a_claim_lowers_what_day_and_month_leave(database: Database, n: int, left: int) -> None:
    found = standing(database, SENDGRID, daily_limit=10, monthly_limit=500)
    after = found.after_claim(n)
    assert (after.left, after.day.used, after.month.used) == (left, n, n)
    assert standing(database, SENDGRID).after_claim(n).left is None


def test_a_month_begins_on_the_first_at_midnight() -> None:
    assert month_of(NOW) == datetime(2026, 11, 1, tzinfo=UTC)
    assert month_of(NOW.astimezone()) == datetime(2026, 11, 1, tzinfo=UTC)
