"""When soft bounces bring a rest, and when they end it all: a function of their set."""

import random
from datetime import UTC, datetime, timedelta, timezone

import pytest

from lists.bounces import SoftVerdict, soft_verdict

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


def on(*days: float) -> list[datetime]:
    return [START + timedelta(days=day) for day in days]


def verdict(
    count: int,
    days: int,
    first: float | None = None,
    last: float | None = None,
    until: float | None = None,
    *,
    permanent: bool = False,
) -> SoftVerdict:
    first_at, last_at, until_at = (
        None if day is None else START + timedelta(days=day) for day in (first, last, until)
    )
    return SoftVerdict(
        count=count,
        days=days,
        first_at=first_at,
        last_at=last_at,
        until=until_at,
        permanent=permanent,
    )


@pytest.mark.parametrize(
    ("softs", "delivered", "expected"),
    [
        pytest.param([], None, verdict(0, 0), id="none"),
        pytest.param([0, 1, 2, 3], None, verdict(4, 4, 0, 3), id="four are not enough"),
        pytest.param([0, 1, 2, 3, 4], None, verdict(5, 5, 0, 4, 34), id="five in five days"),
        pytest.param([0, 0.1, 0.2, 1, 1.1], None, verdict(5, 2, 0, 1.1), id="five on two days"),
        pytest.param([0, 0.1, 0.2, 1, 2], None, verdict(5, 3, 0, 2, 32), id="on three days"),
        pytest.param([0, 0.1, 1, 1.1, 1.2, 2], None, verdict(6, 3, 0, 2, 32), id="a third day"),
        pytest.param([0, 7, 14, 21, 28], None, verdict(5, 5, 0, 28, 58), id="weekly"),
        pytest.param([0, 7, 14.5], None, verdict(3, 3, 0, 14.5), id="weekly, half a day late"),
        pytest.param([0, 8, 16], None, verdict(3, 3, 0, 16, 46), id="slower than weekly"),
        pytest.param([0, 14, 28], None, verdict(3, 3, 0, 28, 58), id="every two weeks"),
        pytest.param([0, 60, 120], None, verdict(3, 3, 0, 120, 150), id="every two months"),
        pytest.param([0, 60], None, verdict(2, 2, 0, 60), id="two are never enough"),
        pytest.param([0, 1, 2, 3, 4], 2, verdict(2, 2, 3, 4), id="a delivery between"),
        pytest.param([0, 1, 2, 3, 4], 4, verdict(0, 0), id="delivered at that very moment"),
        pytest.param([0, 1, 2, 3, 4], 40, verdict(0, 0), id="delivered after the rest"),
        pytest.param([0, 1, 2, 3, 4, 33.9], None, verdict(5, 5, 0, 4, 34), id="during the rest"),
        pytest.param(
            [0, 1, 2, 3, 4, 5, 34], None, verdict(6, 6, 0, 34, permanent=True), id="after the rest"
        ),
        pytest.param(
            [0, 1, 2, 3, 4, 35, 36], None, verdict(6, 6, 0, 35, permanent=True), id="given up once"
        ),
        pytest.param([0, 1, 2, 3, 4, 35], 34.5, verdict(1, 1, 35, 35), id="delivered, one more"),
    ],
)
def test_what_soft_bounces_come_to(
    softs: list[float], delivered: float | None, expected: SoftVerdict
) -> None:
    since = None if delivered is None else START + timedelta(days=delivered)
    assert soft_verdict(on(*softs), since) == expected


def test_days_are_those_of_utc() -> None:
    tokyo = timezone(timedelta(hours=9))
    late = START.replace(hour=23)
    two_days = [late + timedelta(hours=hours) for hours in (0, 0.2, 0.4, 0.6, 2)]
    assert soft_verdict([at.astimezone(tokyo) for at in two_days], None).days == 2


def test_neither_order_nor_repetition_matters() -> None:
    dice = random.Random(4)
    for _ in range(2_000):
        softs = on(*(round(dice.uniform(0, 90), 1) for _ in range(dice.randrange(1, 12))))
        delivered = dice.choice([None, *softs, START + timedelta(days=dice.uniform(0, 90))])
        told = softs + dice.choices(softs, k=dice.randrange(4))
        dice.shuffle(told)
        assert soft_verdict(told, delivered) == soft_verdict(softs, delivered)


def test_more_bounces_never_make_it_better() -> None:
    dice = random.Random(5)
    for _ in range(500):
        softs = sorted(on(*(dice.uniform(0, 120) for _ in range(12))))
        given_up = [soft_verdict(softs[:n], None).permanent for n in range(13)]
        assert given_up == sorted(given_up)
