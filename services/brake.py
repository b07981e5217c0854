"""The brake: figures of mails so bad that going on would cost an ESP account, or a campaign its
name, and what an operator decided about that. Pure functions of values.

Complaints and invalid addresses are rare, and a share of few mails is chance. So a rate is
held against somebody only when its posterior says that it is very likely above the limit
(facts 4.4): of 1,000 mails three complaints, not one, speak for more than 0.1 %.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from config.esp_config import EspName
from utils.beta import beta_tail

ENOUGH_ACCEPTED = 1_000
"""Accepted mails below which nothing brakes: chance, not a record."""
SURE = 0.8
"""How likely a rate has to be above its limit (facts 4.3)."""
COMPLAINTS_PRIOR = (0.25, 499.75)
"""Beta: a mean of 0.05 %, worth 500 mails (facts 4.4)."""
INVALID_PRIOR = (2.0, 98.0)
"""Beta: a mean of 2 %, worth 100 mails (facts 4.4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What became of mails; each counts once."""

    accepted: int = 0
    complaints: int = 0
    invalid: int = 0
    """Refused because there is no such address; what was blocked is not among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Rates that must not be passed: shares of accepted mails."""

    complaints: float
    invalid: float


# Sources: facts 4.2 (what ESPs do), 4.3 and 6.3 (stop bulk well before that).
USUAL = Limits(
    # Gmail and Yahoo: "never 0.3 %", and no help from Gmail until seven days below it.
    complaints=0.003,
    # SES begins a review at 5 %; SendGrid asks its customers to stay below it.
    invalid=0.05,
)
"""Of a campaign, whoever carries it, and of an ESP that has no row of its own."""
LIMITS: Mapping[EspName, Limits] = {
    # No figure for complaints is published; invalid addresses "should be below 5 %".
    EspName.SENDGRID: USUAL,
    # Pauses an account at 0.5 % and 10 %, after a review that begins at 0.1 % and 5 %.
    EspName.SES: USUAL,
    # Most often quoted: 0.1 % and 10 % end a server; no official page has both.
    EspName.POSTMARK: Limits(complaints=0.001, invalid=0.05),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Somebody let it go on, until a moment or until the figures are worse, whichever comes
    first."""

    ordered_by: str
    why: str
    ordered_at: datetime
    until: datetime | None
    limits: Limits
    """Where the figures stood when it was ordered, where that was above the limit."""


def why_brake(figures: Figures, limits: Limits) -> str | None:
    """Which rate is very likely above its limit, in words for a person; `None`: neither is."""
    if figures.accepted < ENOUGH_ACCEPTED:
        return None
    asked = (
        ("complaints", figures.complaints, COMPLAINTS_PRIOR, limits.complaints),
        ("invalid addresses", figures.invalid, INVALID_PRIOR, limits.invalid),
    )
    found = [
        f"{n} {what} among {figures.accepted} accepted mails, more than {_percent(limit)}% "
        f"with a certainty of {sure:.0%}"
        for what, n, prior, limit in asked
        if (sure := certainty(n, figures.accepted, prior, limit)) >= SURE
    ]
    return " and ".join(found) or None


def certainty(n: int, accepted: int, prior: tuple[float, float], limit: float) -> float:
    """P(rate > limit), after `n` of `accepted`; 0 where it is below one half anyway."""
    a, b = prior[0] + n, prior[1] + max(0, accepted - n)
    # The median of a beta distribution with a < b lies below its mean, so this is no
    # approximation, and spares healthy figures, nearly all there are, the computation.
    if a < b and a / (a + b) <= limit:
        return 0.0
    return beta_tail(a, b, limit)


def limits_now(limits: Limits, override: Override | None, now: datetime) -> Limits:
    """The limits that hold at `now`: an override raises them, and never lowers one."""
    if override is None or (override.until is not None and override.until <= now):
        return limits
    return Limits(
        complaints=max(limits.complaints, override.limits.complaints),
        invalid=max(limits.invalid, override.limits.invalid),
    )


def raised(figures: Figures, limits: Limits) -> Limits:
    """Limits that these figures do not pass, and worse ones do."""
    accepted = max(1, figures.accepted)
    return Limits(
        complaints=max(limits.complaints, min(1.0, figures.complaints / accepted)),
        invalid=max(limits.invalid, min(1.0, figures.invalid / accepted)),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g}"
