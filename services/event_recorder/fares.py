"""What events say about the ESP that carried a mail, at the recipient's mailbox provider."""

from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime

from sqlalchemy.orm import Session

from config.esp_config import EspName
from database.models import EspPerformanceDay
from database.upsert import add_to
from services.event_recorder.sends import BIT, BOUNCED, Step
from services.reputation import ALL_PROVIDERS, Fare, note_fares

LATE_FAILURE = 0.25
"""How much of a failure it is that a mail was put off for long (facts 6.3)."""

_DAY_OF = (
    (BIT["delivered"], "delivered"),
    (BIT["blocked"], "blocked"),
    (BIT["soft_bounced"], "soft_bounced"),
    (BIT["complained"], "complained"),
)


OF_INTEREST = BOUNCED | BIT["late"] | sum(bit for bit, _ in _DAY_OF if not bit & BOUNCED)


def note_performance(
    session: Session, esp: EspName, steps: Mapping[Step, int], now: datetime
) -> None:
    """Add what was heard for the first time to the ESP's standing, and to the figures of the
    day when the mail was sent, so that each day's figures are of the same mails."""
    days: dict[tuple[str, date], Counter[str]] = {}
    fares: list[Fare] = []
    for step, n in steps.items():
        if not step.first & OF_INTEREST:
            continue
        at = step.claimed_at or now
        for provider in (step.mailbox_provider, ALL_PROVIDERS):
            counted = days.setdefault((provider, at.date()), Counter())
            counted.update({name: n for bit, name in _DAY_OF if step.first & bit})
            counted["bounced"] += n * step.is_first_bounce
        fares.append(_fare(step, at, n))
    note_fares(session, esp, fares, now)
    for (provider, day), by in sorted(days.items()):
        if by.total():
            key = {"esp": esp, "mailbox_provider": provider, "day": day}
            add_to(session, EspPerformanceDay, key, dict.fromkeys(_COLUMNS, 0) | by)


_COLUMNS = ("delivered", "bounced", *(name for _, name in _DAY_OF if name != "delivered"))


def _fare(step: Step, claimed_at: datetime, n: int) -> Fare:
    failure = LATE_FAILURE if step.first & BIT["late"] else 0.0
    return Fare(
        mailbox_provider=step.mailbox_provider,
        claimed_at=claimed_at,
        delivered=bool(step.first & BIT["delivered"]),
        failure=1.0 if step.first & BIT["blocked"] else failure,
        n=n,
    )
