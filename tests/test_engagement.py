"""The score, its tiers, and when they change: facts 5.3."""

import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import permutations

import pytest

from database.models import EngagementTier, Subscriber, SubscriberStatus
from lists.engagement import (
    Interest,
    add_interest,
    add_mail,
    decayed_sum,
    score,
    score_of,
    tier_at,
    tier_of,
    tier_until,
)
from tests.conftest import NOW

CLICK, OPEN, MACHINE = 0.8, 0.3, 0.0
WEEKLY = 7
MONTHLY = 30

Deed = tuple[float, float]
"""How many days ago, and what it was worth."""


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def person(opted_in: float, mails: Iterable[float] = (), deeds: Iterable[Deed] = ()) -> Interest:
    """Somebody who did something with some of the mails, on the day they came."""
    interest = Interest(opted_in_at=ago(opted_in))
    for day in mails:
        interest = add_mail(interest, ago(day))
    for day, worth in deeds:
        interest = add_interest(interest, worth, ago(day), ago(day) if worth else None)
    return interest


def every(days: int, n: int) -> list[int]:
    """The ages of `n` mails, the last of which came yesterday."""
    return [1 + days * number for number in range(n)]


@pytest.mark.parametrize(
    ("interest", "points"),
    [
        pytest.param(person(0), 46, id="opted in today, no mail"),
        pytest.param(person(15, every(WEEKLY, 3)), 34, id="3 weekly mails ignored"),
        pytest.param(
            person(57, every(WEEKLY, 8), [(day, CLICK) for day in every(WEEKLY, 8)]),
            99,
            id="8 weekly, clicks all",
        ),
        pytest.param(
            person(57, every(WEEKLY, 8), [(day, OPEN) for day in every(WEEKLY, 8)]),
            80,
            id="8 weekly, opens all",
        ),
        pytest.param(person(183, every(WEEKLY, 26), [(1, CLICK)]), 67, id="one click 1 d ago"),
        pytest.param(person(183, every(WEEKLY, 26), [(92, CLICK)]), 20, id="one click 92 d ago"),
        pytest.param(person(183, every(WEEKLY, 26), [(176, OPEN)]), 8, id="one open 176 d ago"),
        pytest.param(person(183, every(WEEKLY, 26)), 6, id="26 weekly, nothing"),
        pytest.param(
            person(183, every(WEEKLY, 26), [(day, MACHINE) for day in every(WEEKLY, 26)]),
            6,
            id="26 weekly, opened by a machine only",
        ),
        pytest.param(
            person(180, every(MONTHLY, 6), [(1, CLICK), (91, CLICK)]), 79, id="6 monthly, clicks 2"
        ),
        pytest.param(
            person(61, every(1, 60), [(day, OPEN) for day in every(1, 60)[::5]]),
            65,
            id="60 daily, opens 1 in 5",
        ),
    ],
)
def test_the_vectors(interest: Interest, points: int) -> None:
    assert score(interest, NOW) == points


@pytest.mark.parametrize(
    ("bounces", "bounced", "points"),
    [(0, None, 46), (1, 0, 41), (3, 29.9, 31), (3, 30, 46), (20, 1, 0)],
)
def test_soft_bounces_cost_five_points_each_for_30_days(
    bounces: int, bounced: float | None, points: int
) -> None:
    at = None if bounced is None else ago(bounced)
    interest = replace(person(0), soft_bounces=bounces, soft_bounced_at=at)
    assert score(interest, NOW) == points


@pytest.mark.parametrize(
    ("status", "points"),
    [
        (SubscriberStatus.ACTIVE, 46),
        (SubscriberStatus.PENDING, 46),
        (SubscriberStatus.SUNSET, 46),
        (SubscriberStatus.UNSUBSCRIBED, 0),
        (SubscriberStatus.BOUNCED, 0),
        (SubscriberStatus.COMPLAINED, 0),
    ],
)
def test_who_left_scores_nothing(status: SubscriberStatus, points: int) -> None:
    ann = Subscriber(
        status=status, created_at=NOW, interest=0.0, interest_mails=0.0, soft_bounces=0
    )
    assert score_of(ann, NOW) == points


@pytest.mark.parametrize(
    ("points", "tier"),
    [
        *((100, "hot"), (70, "hot")),
        *((69, "warm"), (40, "warm")),
        *((39, "cooling"), (20, "cooling")),
        *((19, "re_engage"), (8, "re_engage")),
        *((7, "sunset"), (0, "sunset")),
    ],
)
def test_the_tiers(points: int, tier: str) -> None:
    assert tier_of(points) == tier


def test_sums_do_not_depend_on_the_order_of_what_is_added() -> None:
    added = [(1.0, ago(200)), (-0.4, ago(3.5)), (0.8, ago(90)), (0.3, ago(0)), (0.2, ago(90))]
    expected = sum(x * 0.5 ** ((NOW - t) / timedelta(days=90)) for x, t in added)
    for order in permutations(added):
        value, at = order[0]
        for x, t in order[1:]:
            value, at = decayed_sum(value, at, x, t)
        assert at == NOW
        assert value == pytest.approx(expected, abs=1e-9)
    assert decayed_sum(0.0, None, 0.3, ago(5)) == (0.3, ago(5))


def test_mails_and_deeds_may_be_told_in_any_order() -> None:
    dice = random.Random(1)
    for _ in range(200):
        mails = [dice.uniform(0, 400) for _ in range(20)]
        told = [(add_mail, (ago(day),)) for day in mails] + [
            (add_interest, (dice.choice([0.8, 0.3, -0.1]), ago(day), ago(day / 2)))
            for day in mails[::3]
        ]
        found = []
        for _ in range(2):
            dice.shuffle(told)
            interest = Interest(opted_in_at=ago(400))
            for add, values in told:
                interest = add(interest, *values)
            found.append(interest)
        one, other = found
        assert (one.at, one.last_at) == (other.at, other.last_at)
        assert (one.mails, one.positive) == pytest.approx((other.mails, other.positive), abs=1e-9)


def test_what_is_taken_back_leaves_nothing() -> None:
    before = person(10, [3])
    after = add_mail(before, ago(5))
    after = add_interest(after, 0.8, ago(5), None)
    after = add_mail(add_interest(after, -0.8, ago(5), None), ago(5), -1)
    assert (after.mails, after.positive) == pytest.approx((before.mails, before.positive))


@pytest.mark.parametrize(
    ("interest", "tier", "days", "next_tier"),
    [
        pytest.param(person(0), "warm", 15.9, "cooling", id="a new person"),
        pytest.param(person(150), "re_engage", None, None, id="nothing ever: stays at 16"),
        pytest.param(person(183, every(WEEKLY, 26)), "sunset", 108.8, "re_engage", id="forgiven"),
        pytest.param(
            replace(person(0), soft_bounces=2, soft_bounced_at=ago(28)),
            "cooling",
            2.0,
            "warm",
            id="the penalty ends",
        ),
        pytest.param(
            person(57, every(WEEKLY, 8), [(day, CLICK) for day in every(WEEKLY, 8)]),
            "hot",
            43.7,
            "warm",
            id="clicks everything, and then no more",
        ),
    ],
)
def test_a_tier_ends_by_itself(
    interest: Interest, tier: str, days: float | None, next_tier: str | None
) -> None:
    found, until = tier_at(interest, NOW)
    assert found == tier
    assert days == (until and pytest.approx((until - NOW) / timedelta(days=1), abs=0.1))
    assert next_tier == (until and tier_of(score(interest, until)))


def random_person(dice: random.Random) -> Interest:
    mails = [dice.uniform(0, 400) for _ in range(dice.choice([0, 1, 5, 30, 200]))]
    share = dice.choice([0, 0.01, 0.1, 0.5])
    deeds = [(day, dice.choice([0.8, 0.3, 0.2])) for day in mails if dice.random() < share]
    bounces = dice.choice([0, 0, 1, 3])
    return replace(
        person(dice.uniform(0, 400), mails, deeds),
        soft_bounces=bounces,
        soft_bounced_at=ago(dice.uniform(0, 40)) if bounces else None,
    )


def test_until_then_the_tier_holds_and_then_it_does_not() -> None:
    dice = random.Random(2)
    went: set[tuple[EngagementTier, EngagementTier]] = set()
    for _ in range(500):
        interest = random_person(dice)
        tier, until = tier_at(interest, NOW)
        last = (until or NOW + timedelta(days=3650)) - timedelta(minutes=1)
        for step in range(100):
            moment = NOW + (last - NOW) * step / 99
            assert tier_of(score(interest, max(moment, NOW))) == tier
        if until is not None:
            assert until > NOW
            went.add((tier, tier_of(score(interest, until))))
            assert tier != tier_of(score(interest, until))
    assert len(went) >= 7  # up and down, of all tiers


def test_the_moment_is_found_in_both_directions() -> None:
    """Somebody who ignores mail falls, and is forgiven once the mails have aged."""
    interest = person(100, every(1, 100))
    now, tiers = NOW, [tier_of(score(interest, NOW)).value]
    while (until := tier_until(interest, now)) is not None:
        now = until
        tiers.append(tier_of(score(interest, now)).value)
    assert tiers == ["re_engage", "sunset", "re_engage"]
