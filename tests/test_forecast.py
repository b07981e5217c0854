"""The forecast of a dry run: quotas and rates, day by day."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from config.esp_config import EspName
from config.settings import EspDistribution
from database.models import BreakerState
from services.breaker import Breaker
from services.forecast import Forecast, forecast
from services.standing import Allowance, Standing
from tests.conftest import NOW

SENDGRID, SES, POSTMARK = EspName.SENDGRID, EspName.SES, EspName.POSTMARK
MIDNIGHT = datetime(2026, 11, 25, tzinfo=UTC)
FIRST = datetime(2026, 12, 1, tzinfo=UTC)


def standing(
    esp: EspName,
    priority: int,
    *,
    day: tuple[int, int | None] = (0, None),
    month: tuple[int, int | None] = (0, None),
    **more: Any,
) -> Standing:
    return Standing(
        esp=esp,
        priority=priority,
        day=Allowance(used=day[0], limit=day[1], resets_at=MIDNIGHT),
        month=Allowance(used=month[0], limit=month[1], resets_at=FIRST),
        **{
            "breaker": Breaker(),
            "per_second": None,
            "batch_size": 100,
            "concurrency": 4,
            **more,
        },
    )


RESTING = Breaker(state=BreakerState.OPEN, open_until=NOW + timedelta(minutes=1))

ROWS = [
    ("no limit: the first takes all, now", [standing(SES, 1)], 500, {SES: 500}, NOW),
    (
        "quotas in the order of priority",
        [
            standing(SENDGRID, 1, day=(0, 150)),
            standing(SES, 2, day=(0, 200)),
            standing(POSTMARK, 3),
        ],
        500,
        {SENDGRID: 150, SES: 200, POSTMARK: 150},
        NOW,
    ),
    ("what was used today is gone", [standing(SES, 1, day=(40, 100))], 60, {SES: 60}, NOW),
    (
        "the rest goes on the days after",
        [standing(SES, 1, day=(90, 100))],
        210,
        {SES: 210},
        MIDNIGHT + timedelta(days=1),
    ),
    (
        "a used month waits for the next",
        [standing(SES, 1, month=(100, 100))],
        50,
        {SES: 50},
        FIRST,
    ),
    (
        "a rate takes its time",
        [standing(SES, 1, per_second=10)],
        600,
        {SES: 600},
        NOW + timedelta(seconds=60),
    ),
    (
        "a rest is waited for",
        [standing(SES, 1, breaker=RESTING)],
        5,
        {SES: 5},
        NOW + timedelta(minutes=1),
    ),
    ("nobody to write to", [standing(SES, 1)], 0, {}, NOW),
    ("no ESP at all", [], 5, {}, None),
]


@pytest.mark.parametrize(
    ("standings", "n", "by_esp", "ends_at"),
    [row[1:] for row in ROWS],
    ids=[row[0] for row in ROWS],
)
def test_a_forecast_follows_the_quotas_and_rates(
    standings: list[Standing], n: int, by_esp: dict[EspName, int], ends_at: datetime | None
) -> None:
    told = forecast(standings, n, NOW, distribution=EspDistribution.PRIORITY)
    assert told == Forecast(by_esp=by_esp, ends_at=ends_at)


def test_balanced_shares_equally_as_far_as_quotas_allow() -> None:
    standings = [standing(SENDGRID, 1, day=(0, 20)), standing(SES, 2), standing(POSTMARK, 3)]
    told = forecast(standings, 301, NOW, distribution=EspDistribution.BALANCED)
    assert dict(told.by_esp) == {SENDGRID: 20, SES: 141, POSTMARK: 140}
