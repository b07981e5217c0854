"""Calls to an ESP stay within its allowance per second: the rule, with a clock that stands still."""

import pytest

from services.pace import MARGIN, Pace


class Stopwatch:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("n", "per_second", "wait_s"),
    [(14, 14.0, 1.0), (7, 14.0, 0.5), (1, 0.5, 2.0), (1, 1.9, 1 / 1.9), (100, None, 0.0)],
)
def test_after_a_batch_the_next_one_waits_for_as_long_as_its_recipients_take(
    n: int, per_second: float | None, wait_s: float
) -> None:
    watch = Stopwatch()
    pace = Pace(watch)
    assert pace.ready_in() == 0
    pace.take(n, per_second)
    assert pace.ready_in() == pytest.approx(wait_s * MARGIN)
    watch.now += wait_s * MARGIN + 0.001
    assert pace.ready_in() == 0


@pytest.mark.parametrize("per_second", [1.0, 14.0, 400.0])
def test_no_second_holds_more_than_its_allowance_and_the_batch_that_begins_it(
    per_second: float,
) -> None:
    watch = Stopwatch()
    pace = Pace(watch)
    taken: list[tuple[float, int]] = []
    while watch.now < 110:
        size = max(1, int(per_second) // 3)
        pace.take(size, per_second)
        taken.append((watch.now, size))
        watch.now += pace.ready_in()
    for start, _ in taken:
        within = sum(n for at, n in taken if start <= at < start + 1)
        assert within <= per_second + max(1, int(per_second) // 3)
    rate = sum(n for _, n in taken) / 10
    assert per_second * 0.9 <= rate <= per_second * 1.1
