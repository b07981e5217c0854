"""To how many people a mailing would go, and whether it may: a slip, or a stolen key, ends here."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from config.settings import Settings
from database.models import Subscriber
from services.campaigns import NewCampaign, audience_of, with_fixed_audience
from services.ledger.plan import count_audience


class TooMany(Exception):
    """More people than any campaign may go to."""

    def __init__(self, recipients: int, most: int) -> None:
        super().__init__(f"{recipients} people; the setting MAX_RECIPIENTS_PER_CAMPAIGN is {most}")
        self.recipients = recipients


class NotConfirmed(Exception):
    """Who orders it has to say the number first."""

    def __init__(self, recipients: int) -> None:
        super().__init__(f"it would go to {recipients} people")
        self.recipients = recipients


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many people a mailing would go to, and where the list ended when they were counted."""

    recipients: int
    counted_until: int
    """The last id: whoever joins later is not counted, so they must not be planned either."""


def count(session: Session, new: NewCampaign, now: datetime) -> Counter[str]:
    """People who would be written to, under ""; those who would be skipped, by reason.

    Raises as `with_fixed_audience` does.
    """
    audience, dropped = audience_of(with_fixed_audience(session, new).audience)
    counted = count_audience(session, audience, now)
    counted.update({reason: n for reason, n in dropped.items() if n})
    return counted


def measure(
    session: Session, new: NewCampaign, settings: Settings, confirmed: int | None, now: datetime
) -> Size | None:
    """What `check_size` wants to know; nothing if there is nothing to check.

    For a session that only reads: to count a million people keeps every writer waiting.
    """
    limits = (settings.max_recipients_per_campaign, settings.confirm_count_over)
    if not any(limits) and confirmed is None:
        return None
    until = session.scalar(select(func.max(Subscriber.id))) or 0
    return Size(recipients=count(session, new, now)[""], counted_until=until)


def check_size(size: Size, settings: Settings, confirmed: int | None) -> None:
    """Raise `TooMany` or `NotConfirmed`, if it may not go to as many as it would go to.

    `confirmed`: how many whoever orders it says there are; a wrong number is never let pass.
    """
    most, freely = settings.max_recipients_per_campaign, settings.confirm_count_over
    recipients = size.recipients
    if most and recipients > most:
        raise TooMany(recipients, most)
    is_asked_for = freely and recipients > freely
    if confirmed != recipients and (confirmed is not None or is_asked_for):
        raise NotConfirmed(recipients)
