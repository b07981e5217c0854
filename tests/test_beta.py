"""The tail of a beta distribution, against closed forms and against numeric integration."""

from itertools import pairwise
from math import comb, exp, lgamma, log, log1p

import pytest

from utils.beta import beta_tail

CELLS = 20_000


def integrated(a: float, b: float, x: float) -> float:
    """P(X > x) by the midpoint rule, up to forty standard deviations above the mean."""
    mean = a / (a + b)
    spread = (mean * (1 - mean) / (a + b + 1)) ** 0.5
    top = min(1.0, max(mean, x) + 40 * spread)
    width = (top - x) / CELLS
    const = lgamma(a + b) - lgamma(a) - lgamma(b)
    points = (x + width * (cell + 0.5) for cell in range(CELLS))
    heights = (exp(const + (a - 1) * log(p) + (b - 1) * log1p(-p)) for p in points)
    return float(width * sum(heights))


@pytest.mark.parametrize("rate", [0.0005, 0.001, 0.003, 0.01, 0.02, 0.05, 0.08, 0.3])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        (0.25, 499.75),
        (3.25, 1_496.75),
        (22.25, 17_977.75),
        (2, 98),
        (14, 586),
        (57, 2_543),
        (2, 3),
        (5_000, 95_000),
    ],
)
def test_it_is_the_integral_of_the_density(a: float, b: float, rate: float) -> None:
    assert beta_tail(a, b, rate) == pytest.approx(integrated(a, b, rate), abs=1e-6)


@pytest.mark.parametrize("x", [0.001, 0.2, 0.5, 0.77, 0.999])
@pytest.mark.parametrize(("a", "b"), [(1, 1), (1, 500), (3, 5), (40, 2), (30, 30), (7, 1)])
def test_of_whole_numbers_it_is_a_sum_of_binomials(a: int, b: int, x: float) -> None:
    # DLMF 8.17.5: X > x when fewer than a of a + b - 1 uniform numbers lie below x.
    n = a + b - 1
    expected = sum(float(comb(n, k) * x**k * (1 - x) ** (n - k)) for k in range(a))
    assert beta_tail(a, b, x) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("a", "b"), [(0.25, 499.75), (1e3, 1e6), (1e5, 1e8), (1e8, 1e8), (0.5, 0.5), (1e8, 3.0)]
)
def test_it_falls_from_one_to_nothing_however_much_there_is_to_go_by(a: float, b: float) -> None:
    mean = a / (a + b)
    places = [0.0, *(mean * k / 20 for k in range(1, 20)), mean, (1 + mean) / 2, 1.0]
    tails = [beta_tail(a, b, place) for place in places]
    assert (tails[0], tails[-1]) == (1.0, 0.0)
    assert all(left >= right - 1e-9 for left, right in pairwise(tails))


@pytest.mark.parametrize("x", [0.0, 1e-6, 0.1, 0.4, 0.5, 0.9, 1.0])
def test_both_tails_together_are_all(x: float) -> None:
    assert beta_tail(3.5, 11.0, x) + beta_tail(11.0, 3.5, 1 - x) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (1.0, -2.0)])
def test_what_is_no_distribution_is_refused(a: float, b: float) -> None:
    with pytest.raises(ValueError, match="is no distribution"):
        beta_tail(a, b, 0.5)
