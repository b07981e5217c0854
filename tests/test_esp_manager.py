"""Which ESP gets the next batch, and how large it may be: values in, values out."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from config.esp_config import EspName
from config.settings import EspDistribution
from database.models import BreakerState
from services.brake import Figures, Limits, Override
from services.breaker import Breaker
from services.esp_manager import batch_size, eligible_again_at, rank, why_all_brake, why_not
from services.reputation import Reputation
from services.standing import Allowance, Standing

SENDGRID, SES, POSTMARK = EspName.SENDGRID, EspName.SES, EspName.POSTMARK
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MIDNIGHT, NEXT_MONTH = datetime(2026, 11, 25, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def a_day(used: int = 0, limit: int | None = None) -> Allowance:
    return Allowance(used=used, limit=limit, resets_at=MIDNIGHT)


def a_month(used: int = 0, limit: int | None = None) -> Allowance:
    return Allowance(used=used, limit=limit, resets_at=NEXT_MONTH)


FARES = {"successes", "failures", "cells", "week", "complaint_factor"}


def standing(esp: EspName = SENDGRID, **known: Any) -> Standing:
    fares = {name: known.pop(name) for name in FARES & known.keys()}
    known = {"day": a_day(), "month": a_month(), "breaker": Breaker(), **known}
    known = {"per_second": None, "batch_size": 100, "concurrency": 4, "priority": 1, **known}
    return Standing(esp=esp, reputation=Reputation(**fares), **known)


def of_mails(accepted: int, **told: int) -> Figures:
    return Figures(accepted=accepted, **told)


COMPLAINED = "7 complaints among 1000 accepted mails, more than 0.3% with a certainty of 86%"


def allowed(until: datetime | None = None) -> Override:
    """What an operator ordered when 7 of 1,000 had complained."""
    limits = Limits(complaints=0.007, invalid=0.05)
    return Override(ordered_by="Ann", why="w", ordered_at=later(-60), until=until, limits=limits)


OPEN = Breaker(state=BreakerState.OPEN, open_until=later(60), last_error="401: bad key")
HALF_OPEN = replace(OPEN, open_until=NOW)
PROBING = Breaker(state=BreakerState.PROBING, last_error="no answer")
WAITING = Breaker(throttled_until=later(7), last_error="429: slow")
BAD = {"failures": 400.0, "successes": 600.0}


@pytest.mark.parametrize(
    ("known", "probing", "why"),
    [
        ({}, False, None),
        ({}, True, None),
        ({"breaker": OPEN}, False, "rests until 2026-11-24 12:01:00 UTC after: 401: bad key"),
        ({"breaker": HALF_OPEN}, False, None),
        ({"breaker": HALF_OPEN}, True, "is being probed after: 401: bad key"),
        ({"breaker": PROBING}, False, None),
        ({"breaker": PROBING}, True, "is being probed after: no answer"),
        (
            {"breaker": WAITING},
            False,
            "asked us to wait until 2026-11-24 12:00:07 UTC: 429: slow",
        ),
        ({"breaker": replace(WAITING, throttled_until=NOW)}, False, None),
        ({"day": a_day(99, 100)}, False, None),
        (
            {"day": a_day(100, 100)},
            False,
            "daily limit of 100 used, until 2026-11-25 00:00:00 UTC",
        ),
        (
            {"day": a_day(101, 100)},
            False,
            "daily limit of 100 used, until 2026-11-25 00:00:00 UTC",
        ),
        (
            {"month": a_month(100, 100)},
            False,
            "monthly limit of 100 used, until 2026-12-01 00:00:00 UTC",
        ),
        ({**BAD, "week": of_mails(999)}, False, None),
        ({**BAD, "week": of_mails(1000)}, False, "reputation 61% is below 80%"),
        ({"successes": 900.0, "failures": 100.0, "week": of_mails(5000)}, False, None),
        ({"successes": 900.0, "complaint_factor": 0.5, "week": of_mails(5000)}, False, None),
        ({"week": of_mails(999, complaints=99, invalid=99)}, False, None),
        ({"week": of_mails(1000, complaints=6, invalid=56)}, False, None),
        ({"week": of_mails(1000, complaints=7)}, False, f"brakes: {COMPLAINED}"),
        (
            {"week": of_mails(1000, complaints=7), "breaker": OPEN, "day": a_day(5, 5)},
            False,
            f"brakes: {COMPLAINED}",
        ),
        ({"week": of_mails(1000, complaints=7), "override": allowed()}, False, None),
        (
            {"week": of_mails(1000, complaints=7), "override": allowed(NOW)},
            False,
            f"brakes: {COMPLAINED}",
        ),
        ({"week": of_mails(1000, complaints=7), "override": allowed(later(1))}, False, None),
    ],
)
def test_an_esp_that_may_get_nothing_says_why(
    known: dict[str, Any], probing: bool, why: str | None
) -> None:
    assert why_not(standing(**known), NOW, probing=probing) == why


@pytest.mark.parametrize(
    ("known", "at"),
    [
        ({}, None),
        ({"breaker": OPEN}, later(60)),
        ({"breaker": HALF_OPEN}, None),
        ({"breaker": PROBING}, None),
        ({"breaker": WAITING}, later(7)),
        ({"breaker": replace(OPEN, throttled_until=later(90))}, later(90)),
        ({"day": a_day(5, 5)}, MIDNIGHT),
        ({"day": a_day(4, 5)}, None),
        ({"month": a_month(5, 5)}, NEXT_MONTH),
        ({"day": a_day(5, 5), "month": a_month(5, 5), "breaker": OPEN}, NEXT_MONTH),
        ({**BAD, "week": of_mails(1000)}, None),
        ({"week": of_mails(1000, complaints=7), "breaker": OPEN}, None),
    ],
)
def test_time_alone_makes_it_eligible_again_when_all_that_holds_it_has_passed(
    known: dict[str, Any], at: datetime | None
) -> None:
    assert eligible_again_at(standing(**known), NOW) == at


@pytest.mark.parametrize(
    ("known", "most", "size"),
    [
        ({}, 50, 50),
        ({}, 500, 100),
        ({"per_second": 14.0}, 50, 14),
        ({"per_second": 1.9}, 50, 1),
        ({"per_second": 0.2}, 50, 1),
        ({"day": a_day(93, 100)}, 50, 7),
        ({"month": a_month(98, 100), "day": a_day(93, 100)}, 50, 2),
        ({"breaker": PROBING}, 50, 1),
        ({"breaker": HALF_OPEN}, 50, 1),
        ({"day": a_day(0, 100)}, 1, 1),
    ],
)
def test_a_batch_is_the_least_of_all_that_bounds_it(
    known: dict[str, Any], most: int, size: int
) -> None:
    assert batch_size(standing(**known), most=most) == size


def test_the_better_priority_comes_first_however_it_fared() -> None:
    standings = [
        standing(SENDGRID, priority=3, successes=10_000.0),
        standing(SES, priority=1, successes=10.0, failures=90.0),
        standing(POSTMARK, priority=2),
    ]
    for seed in range(50):
        assert rank(standings, NOW, rng=Random(seed)) == [SES, POSTMARK, SENDGRID]


def test_who_may_get_nothing_is_not_ranked() -> None:
    standings = [
        standing(SENDGRID, breaker=OPEN),
        standing(SES, priority=3),
        standing(POSTMARK, breaker=PROBING),
    ]
    assert rank(standings, NOW, rng=Random(0), probing=[POSTMARK]) == [SES]
    assert rank(standings, NOW, rng=Random(0), probing=[SES]) == [POSTMARK, SES]
    assert rank([], NOW, rng=Random(0)) == []


def first_of(standings: list[Standing], times: int = 4000) -> dict[EspName, float]:
    """How often each came first, as a share."""
    rng = Random(7)
    firsts = Counter(rank(standings, NOW, rng=rng)[0] for _ in range(times))
    return {esp: n / times for esp, n in firsts.items()}


def test_equals_share_one_priority_evenly() -> None:
    shares = first_of([standing(esp) for esp in EspName])
    assert all(abs(share - 1 / len(EspName)) < 0.05 for share in shares.values())


def test_within_one_priority_the_better_one_gets_more_and_the_other_is_never_starved() -> None:
    shares = first_of(
        [
            standing(SENDGRID, successes=480.0, failures=20.0),
            standing(SES, successes=470.0, failures=30.0),
        ]
    )
    assert 0.80 < shares[SENDGRID] < 0.99
    assert shares[SES] > 0.01


def test_an_esp_with_little_data_is_tried_beside_one_with_a_good_record() -> None:
    shares = first_of([standing(SENDGRID, successes=4900.0, failures=100.0), standing(SES)])
    assert shares[SES] > 0.3


def test_complaints_lower_the_chance_of_an_esp() -> None:
    shares = first_of([standing(SENDGRID, complaint_factor=0.9), standing(SES)])
    assert shares[SES] > 0.9


def test_a_seed_makes_the_choice_repeatable() -> None:
    standings = [standing(esp) for esp in EspName]
    first, second = (
        [rank(standings, NOW, rng=rng) for _ in range(20)] for rng in (Random(3), Random(3))
    )
    assert first == second


@pytest.mark.parametrize(
    ("claimed", "order"),
    [
        ({}, [POSTMARK, SES, SENDGRID]),
        ({POSTMARK: 1}, [SES, SENDGRID, POSTMARK]),
        ({POSTMARK: 20, SES: 10, SENDGRID: 15}, [SES, SENDGRID, POSTMARK]),
        ({POSTMARK: 20, SES: 20, SENDGRID: 20}, [POSTMARK, SES, SENDGRID]),
    ],
)
def test_balanced_is_the_fewest_recipients_first_whatever_the_record(
    claimed: dict[EspName, int], order: list[EspName]
) -> None:
    standings = [
        standing(SENDGRID, priority=3, successes=10_000.0),
        standing(SES, priority=2),
        standing(POSTMARK, priority=1, failures=50.0),
    ]
    for seed in range(10):
        ranked = rank(
            standings,
            NOW,
            rng=Random(seed),
            distribution=EspDistribution.BALANCED,
            claimed=claimed,
        )
        assert ranked == order


def test_balanced_leaves_out_who_may_get_nothing() -> None:
    standings = [standing(SENDGRID, day=a_day(5, 5)), standing(SES), standing(POSTMARK)]
    ranked = rank(
        standings,
        NOW,
        rng=Random(0),
        distribution=EspDistribution.BALANCED,
        claimed={SES: 3, POSTMARK: 2},
    )
    assert ranked == [POSTMARK, SES]


@pytest.mark.parametrize(
    ("complaints", "why"),
    [
        ({}, None),
        ({SENDGRID: 7}, None),
        ({SENDGRID: 7, SES: 6}, None),
        ({SENDGRID: 7, SES: 7}, f"sendgrid brakes: {COMPLAINED}; ses brakes: {COMPLAINED}"),
    ],
)
def test_only_when_all_brake_a_person_has_to_look(
    complaints: dict[EspName, int], why: str | None
) -> None:
    standings = [
        standing(esp, week=of_mails(1000, complaints=complaints.get(esp, 0)))
        for esp in (SENDGRID, SES)
    ]
    assert why_all_brake(standings, NOW) == why
    assert why_all_brake([], NOW) is None


def test_each_esp_brakes_at_its_own_limit() -> None:
    week = of_mails(1000, complaints=3)
    assert {esp: why_not(standing(esp, week=week), NOW) for esp in EspName} == {
        SENDGRID: None,
        SES: None,
        POSTMARK: "brakes: 3 complaints among 1000 accepted mails, more than 0.1% "
        "with a certainty of 85%",
    }
