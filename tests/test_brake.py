"""When figures brake, and how far an override goes: values in, values out."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.esp_config import EspName
from services.brake import (
    COMPLAINTS_PRIOR,
    ENOUGH_ACCEPTED,
    INVALID_PRIOR,
    LIMITS,
    SURE,
    USUAL,
    Figures,
    Limits,
    Override,
    certainty,
    limits_now,
    raised,
    why_brake,
)
from utils.beta import beta_tail

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def needed(accepted: int, prior: tuple[float, float], limit: float) -> int:
    """The fewest of `accepted` that speak for a rate above `limit`."""
    return next(n for n in range(accepted + 1) if certainty(n, accepted, prior, limit) >= SURE)


# Facts 4.4.
@pytest.mark.parametrize(
    ("accepted", "by_limit"),
    [
        (1_000, {0.001: 3, 0.003: 7, 0.005: 10}),
        (2_500, {0.001: 5, 0.003: 12, 0.005: 19}),
        (7_500, {0.001: 11, 0.003: 29, 0.005: 46}),
        (17_500, {0.001: 22, 0.003: 61, 0.005: 99}),
    ],
)
def test_so_many_complaints_speak_for_a_rate_above_a_limit(
    accepted: int, by_limit: dict[float, int]
) -> None:
    assert {limit: needed(accepted, COMPLAINTS_PRIOR, limit) for limit in by_limit} == by_limit


@pytest.mark.parametrize(
    ("accepted", "by_limit"),
    [(500, {0.02: 14, 0.05: 33}), (2_500, {0.02: 57, 0.05: 138, 0.1: 272})],
)
def test_so_many_invalid_addresses_speak_for_a_rate_above_a_limit(
    accepted: int, by_limit: dict[float, int]
) -> None:
    assert {limit: needed(accepted, INVALID_PRIOR, limit) for limit in by_limit} == by_limit


@given(
    n=st.integers(0, 3_000),
    accepted=st.integers(0, 1_000_000),
    prior=st.sampled_from([COMPLAINTS_PRIOR, INVALID_PRIOR]),
    limit=st.sampled_from([0.001, 0.003, 0.005, 0.02, 0.05, 0.08, 0.1]),
)
def test_what_is_not_computed_is_below_one_half(
    n: int, accepted: int, prior: tuple[float, float], limit: float
) -> None:
    told = certainty(n, accepted, prior, limit)
    whole = beta_tail(prior[0] + n, prior[1] + max(0, accepted - n), limit)
    assert told == whole or (told == 0 and whole < 0.5)


COMPLAINTS = (
    "{n} complaints among {accepted} accepted mails, more than {limit}% with a certainty of {sure}%"
)
INVALID = COMPLAINTS.replace("complaints", "invalid addresses")


@pytest.mark.parametrize(
    ("accepted", "complaints", "invalid", "why"),
    [
        (0, 0, 0, None),
        (1_000, 0, 0, None),
        (999, 999, 999, None),
        (1_000, 6, 0, None),
        (1_000, 7, 0, COMPLAINTS.format(n=7, accepted=1_000, limit=0.3, sure=86)),
        (2_500, 1, 137, None),
        (2_500, 1, 138, INVALID.format(n=138, accepted=2_500, limit=5, sure=81)),
        (
            2_500,
            12,
            138,
            COMPLAINTS.format(n=12, accepted=2_500, limit=0.3, sure=82)
            + " and "
            + INVALID.format(n=138, accepted=2_500, limit=5, sure=81),
        ),
        (1_000, 0, 1_000, INVALID.format(n=1_000, accepted=1_000, limit=5, sure=100)),
        (1_000, 0, 1_200, INVALID.format(n=1_200, accepted=1_000, limit=5, sure=100)),
    ],
)
def test_figures_brake_when_a_rate_is_very_likely_above_its_limit(
    accepted: int, complaints: int, invalid: int, why: str | None
) -> None:
    figures = Figures(accepted=accepted, complaints=complaints, invalid=invalid)
    assert why_brake(figures, USUAL) == why


@given(accepted=st.integers(0, ENOUGH_ACCEPTED - 1), n=st.integers(0, 2_000))
def test_nothing_brakes_below_a_thousand_accepted_mails(accepted: int, n: int) -> None:
    figures = Figures(accepted=accepted, complaints=n, invalid=n)
    assert why_brake(figures, Limits(complaints=0.0001, invalid=0.0001)) is None


# Facts 4.2: where an account is paused, as far as it is known.
@pytest.mark.parametrize(
    ("esp", "complaints", "invalid"),
    [(EspName.SES, 0.005, 0.1), (EspName.POSTMARK, 0.001, 0.1)],
)
def test_an_esp_brakes_no_later_than_it_would_pause_the_account(
    esp: EspName, complaints: float, invalid: float
) -> None:
    limits = LIMITS[esp]
    assert (limits.complaints <= complaints, limits.invalid < invalid) == (True, True)


RAISED = Limits(complaints=0.01, invalid=0.02)
"""Worse than usual in complaints, better in the rest."""


@pytest.mark.parametrize(
    ("until", "held"), [(None, True), (NOW + HOUR, True), (NOW, False), (NOW - HOUR, False)]
)
def test_an_override_raises_limits_until_its_moment_and_lowers_none(
    until: datetime | None, held: bool
) -> None:
    override = Override(
        ordered_by="Ann", why="known", ordered_at=NOW - 2 * HOUR, until=until, limits=RAISED
    )
    during = Limits(complaints=0.01, invalid=0.05)
    assert limits_now(USUAL, override, NOW) == (during if held else USUAL)


def test_without_an_override_the_limits_hold() -> None:
    assert limits_now(USUAL, None, NOW) == USUAL


some_figures = st.integers(1_000, 200_000).flatmap(
    lambda accepted: st.builds(
        Figures,
        accepted=st.just(accepted),
        complaints=st.integers(0, accepted),
        invalid=st.integers(0, accepted),
    )
)


@given(figures=some_figures)
def test_figures_never_pass_the_limits_that_were_raised_for_them(figures: Figures) -> None:
    assert why_brake(figures, raised(figures, USUAL)) is None


def test_worse_figures_than_those_of_the_order_brake_again() -> None:
    limits = raised(Figures(accepted=2_500, complaints=12), USUAL)
    assert limits == Limits(complaints=0.0048, invalid=0.05)
    alike, worse = Figures(accepted=5_000, complaints=24), Figures(accepted=5_000, complaints=34)
    assert why_brake(alike, limits) is None
    assert why_brake(worse, limits) == COMPLAINTS.format(n=34, accepted=5_000, limit=0.48, sure=92)
