"""The tail of a beta distribution: how likely a rate is to lie above a limit."""

from functools import lru_cache
from math import exp, lgamma, log, log1p

_TINY = 1e-300
_EPSILON = 1e-15
_MOST_TERMS = 1_000_000
"""Some multiple of the square root of a + b is needed: enough for 10**10 mails."""


@lru_cache(maxsize=1024)
def beta_tail(a: float, b: float, x: float) -> float:
    """P(X > x) of X ~ Beta(a, b): 1 less the regularised incomplete beta function.

    By its continued fraction (DLMF 8.17.22), taken on the side of the mean where it
    converges quickly; off by less than 1e-9 for a + b up to 10**8, where the logarithms of
    gamma functions cancel.
    """
    if a <= 0 or b <= 0:
        raise ValueError(f"Beta({a}, {b}) is no distribution")
    if x <= 0:
        return 1.0
    if x >= 1:
        return 0.0
    if x < (a + 1) / (a + b + 2):
        return 1 - _below(a, b, x)
    return _below(b, a, 1 - x)


def _below(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function, for x below (a + 1) / (a + b + 2)."""
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a
    return front * _fraction(a, b, x)


def _fraction(a: float, b: float, x: float) -> float:
    """1 / (1 + d1 / (1 + d2 / (1 + ...))) by the modified Lentz algorithm."""
    c, d = 1.0, _reciprocal(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for step in (even, odd):
            d = _reciprocal(1 + step * d)
            c = 1 + step / c or _TINY
            value *= c * d
        if abs(c * d - 1) < _EPSILON:
            return value
    raise ArithmeticError(f"no limit after {_MOST_TERMS} terms for a={a}, b={b}, x={x}")


def _reciprocal(value: float) -> float:
    return 1 / (value or _TINY)
