"""A wave of unsubscribes that no mail explains: links that were copied out of mails and are
called by somebody else (RFC 8058 6), or an ESP that tells of them by mistake.

From kept counters, a few rows: it is asked every minute.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from database.models import EspPerformanceDay, SubscriberDay, SubscriberStatus
from services.reputation import ALL_PROVIDERS

DAYS = 7
FEW = 20
"""Fewer people are no wave, however quiet the list was."""
TIMES = 10
SHARE_THAT_LEAVES = 0.02
"""Of those who were written to; 0.2 % are usual, so that this is ten times that too."""
MAIL_IS_ANSWERED = timedelta(days=3)


def wave_of_unsubscribes(session: Session, now: datetime) -> str | None:
    """What to tell a person about today (UTC), if it is far from usual."""
    today = now.date()
    rows = select(SubscriberDay.day, SubscriberDay.n).where(
        SubscriberDay.day.between(today - timedelta(days=DAYS), today),
        SubscriberDay.kind == SubscriberStatus.UNSUBSCRIBED.value,
    )
    left = {day: n for day, n in session.execute(rows)}  # noqa: C416 - dict() loses the types
    accepted = session.scalar(
        select(func.sum(EspPerformanceDay.accepted)).where(
            EspPerformanceDay.day >= today - MAIL_IS_ANSWERED,
            EspPerformanceDay.mailbox_provider == ALL_PROVIDERS,
        )
    )
    return _warning(left.pop(today, 0), list(left.values()), int(accepted or 0))


def _warning(left: int, before: Sequence[int], accepted: int) -> str | None:
    """`left`: people today; `before`: on each of the `DAYS` before that had any; `accepted`: mails
    of the last days."""
    usual = sum(before) / DAYS
    if left < max(FEW, TIMES * usual) or left <= SHARE_THAT_LEAVES * accepted:
        return None
    return (
        f"{left} people unsubscribed today, {usual:.1f} a day in the week before, and {accepted} "
        "mails went out in three days: if none of yours explains it, `cli.py suppressions list` "
        "tells by what they left"
    )
