"""When an ESP rests, is probed or asked to wait: the rules as tables, with no ESP in sight."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from database.models import BreakerState
from services.breaker import (
    FAILURES_TO_OPEN,
    FIRST_COOLDOWN_S,
    LONGEST_ASKED_WAIT_S,
    LONGEST_COOLDOWN_S,
    LONGEST_THROTTLE_S,
    Breaker,
    after_refusal,
    after_success,
    after_throttle,
    after_unknown,
)

CLOSED, PROBING, OPEN = BreakerState.CLOSED, BreakerState.PROBING, BreakerState.OPEN
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def failed(breaker: Breaker, *, probe: bool, now: datetime = NOW) -> Breaker:
    return after_unknown(breaker, now, probe=probe, error="no answer")


def refused(breaker: Breaker, *, probe: bool = False, now: datetime = NOW) -> Breaker:
    return after_refusal(breaker, now, probe=probe, error="bad key", resets_at=None)


def throttled(
    breaker: Breaker, now: datetime = NOW, *, retry_after_s: float | None = None, jitter: float = 1
) -> Breaker:
    return after_throttle(breaker, now, error="429", retry_after_s=retry_after_s, jitter=jitter)


RESTING = Breaker(state=OPEN, failures=5, cooldown_s=60, open_until=later(60))
DUE = replace(RESTING, open_until=NOW)


def test_the_first_unclear_answer_makes_the_next_call_a_probe() -> None:
    assert failed(Breaker(), probe=False) == Breaker(
        state=PROBING, failures=1, last_error="no answer", last_error_at=NOW
    )


def test_five_failures_in_a_row_open_the_breaker_for_a_minute() -> None:
    breaker = Breaker()
    for failures in range(1, FAILURES_TO_OPEN):
        breaker = failed(breaker, probe=failures > 1)
        assert (breaker.state, breaker.failures) == (PROBING, failures)
    assert failed(breaker, probe=True) == Breaker(
        state=OPEN,
        failures=5,
        cooldown_s=FIRST_COOLDOWN_S,
        open_until=later(FIRST_COOLDOWN_S),
        last_error="no answer",
        last_error_at=NOW,
    )


def test_each_failed_probe_doubles_the_rest_up_to_its_longest() -> None:
    breaker, rests = DUE, []
    for _ in range(6):
        breaker = failed(breaker, probe=True)
        rests.append(breaker.cooldown_s)
        assert breaker.open_until == later(breaker.cooldown_s)
    assert rests == [120, 240, 480, LONGEST_COOLDOWN_S, LONGEST_COOLDOWN_S, LONGEST_COOLDOWN_S]


@pytest.mark.parametrize("breaker", [RESTING, DUE])
def test_calls_that_were_under_way_when_it_opened_do_not_prolong_the_rest(
    breaker: Breaker,
) -> None:
    sixth = replace(breaker, failures=6, last_error_at=NOW)
    assert failed(breaker, probe=False) == replace(sixth, last_error="no answer")
    assert refused(breaker) == replace(sixth, last_error="bad key")


@pytest.mark.parametrize("before", [Breaker(), failed(Breaker(), probe=False)])
@pytest.mark.parametrize("probe", [False, True])
def test_a_refusal_of_the_account_opens_it_at_once(before: Breaker, probe: bool) -> None:
    after = refused(before, probe=probe)
    assert (after.state, after.open_until, after.last_error) == (OPEN, later(60), "bad key")


@pytest.mark.parametrize(
    ("resets_in_s", "rests_s"), [(None, 60), (-5, 60), (30, 60), (3600, 3600), (86_400, 86_400)]
)
def test_a_used_up_quota_rests_until_the_esp_says_but_never_shorter_than_a_minute(
    resets_in_s: float | None, rests_s: float
) -> None:
    resets_at = None if resets_in_s is None else later(resets_in_s)
    after = after_refusal(Breaker(), NOW, probe=False, error="quota", resets_at=resets_at)
    assert after.open_until == later(rests_s)


@pytest.mark.parametrize("breaker", [failed(Breaker(), probe=False), RESTING, DUE])
def test_only_a_probe_that_is_taken_closes_a_breaker(breaker: Breaker) -> None:
    assert after_success(breaker, NOW, probe=False) == breaker
    assert after_success(breaker, NOW, probe=True) == Breaker(
        last_error=breaker.last_error, last_error_at=breaker.last_error_at
    )


@pytest.mark.parametrize("state", [PROBING, OPEN])
def test_everything_but_closed_is_probed_one_at_a_time(state: BreakerState) -> None:
    assert Breaker(state=state).wants_probe()
    assert not Breaker().wants_probe()


def test_back_off_doubles_from_one_second_to_its_longest_when_the_esp_names_no_time() -> None:
    breaker, waits, now = Breaker(), [], NOW
    for _ in range(8):
        breaker = throttled(breaker, now)
        assert breaker.throttled_until is not None
        waits.append((breaker.throttled_until - now).total_seconds())
        now = breaker.throttled_until
    assert waits == [1, 2, 4, 8, 16, 32, LONGEST_THROTTLE_S, LONGEST_THROTTLE_S]
    assert (breaker.state, breaker.failures) == (CLOSED, 0)


@pytest.mark.parametrize(("jitter", "wait_s"), [(0, 0.5), (0.5, 0.75), (1, 1)])
def test_back_off_is_spread_so_that_not_all_come_back_at_once(jitter: float, wait_s: float) -> None:
    assert throttled(Breaker(), jitter=jitter).throttled_until == later(wait_s)


@pytest.mark.parametrize(
    ("asked_s", "wait_s"),
    [
        (0, 0.05),
        (-3, 0.05),
        (0.2, 0.2),
        (7, 7),
        (600, 600),
        (1e300, LONGEST_ASKED_WAIT_S),
        (math.inf, LONGEST_ASKED_WAIT_S),
        (math.nan, LONGEST_ASKED_WAIT_S),
    ],
)
def test_the_esps_own_time_is_kept_within_reason(asked_s: float, wait_s: float) -> None:
    assert throttled(Breaker(), retry_after_s=asked_s).throttled_until == later(wait_s)


def test_calls_throttled_together_count_once() -> None:
    once = throttled(Breaker())
    together = throttled(throttled(once))
    assert (together.throttles, together.throttled_until) == (1, once.throttled_until)


@pytest.mark.parametrize("order", [(30, 2), (2, 30)])
def test_the_longest_of_several_waits_holds(order: tuple[float, float]) -> None:
    breaker = Breaker()
    for asked in order:
        breaker = throttled(breaker, retry_after_s=asked)
    assert breaker.throttled_until == later(30)


@pytest.mark.parametrize("probe", [False, True])
def test_a_success_that_was_under_way_does_not_cut_a_wait_short(probe: bool) -> None:
    waiting = throttled(Breaker(), retry_after_s=30)
    assert after_success(waiting, later(29), probe=probe) == waiting
    assert after_success(waiting, later(30), probe=probe) == Breaker(
        last_error="429", last_error_at=NOW
    )


def test_a_throttled_probe_is_neither_a_failure_nor_a_recovery() -> None:
    probing = failed(Breaker(), probe=False)
    after = throttled(probing, retry_after_s=5)
    assert (after.state, after.failures, after.throttled_until) == (PROBING, 1, later(5))
