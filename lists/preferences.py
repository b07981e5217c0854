"""What a person sees and changes on their own page, with the link of any mail of ours."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from database.models import Subscriber, SuppressionReason
from lists import fields
from lists.suppression import reasons_that_hold, suppress
from utils.tokens import UnsubscribeLink

SOURCE = "page"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """How a person stands; without a name or address when they are not on the list."""

    masked_email: str | None
    first_name: str
    last_name: str
    is_on_list: bool
    """Nothing keeps us from writing to them, but perhaps a pause."""
    paused_until: datetime | None


def masked(email: str) -> str:
    """`j***@e***.com`: enough for the person to know it, and for nobody else to write to it."""
    local, _, domain = email.rpartition("@")
    name, dot, top = domain.rpartition(".")
    return f"{local[:1]}***@{name[:1]}***{dot}{top}"


def preferences_of(session: Session, link: UnsubscribeLink, now: datetime) -> Preferences:
    person = _person(session, link)
    holding = reasons_that_hold(session, link.email_hash, now)
    pauses = [row.until for row in holding if row.reason is SuppressionReason.PAUSED]
    return Preferences(
        masked_email=masked(person.email) if person else None,
        first_name=(person and person.first_name) or "",
        last_name=(person and person.last_name) or "",
        is_on_list=person is not None and len(holding) == len(pauses),
        paused_until=pauses[0] if pauses else None,
    )


def pause(session: Session, link: UnsubscribeLink, days: int, now: datetime) -> None:
    """Write to a person again in so many days, counted from now; 0 ends a pause."""
    suppress(
        session,
        link.email_hash,
        reason=SuppressionReason.PAUSED,
        source=SOURCE,
        now=now,
        until=now + timedelta(days=days),
        subscriber_id=link.subscriber_id,
    )


def correct_names(
    session: Session, link: UnsubscribeLink, first_name: str, last_name: str, now: datetime
) -> None:
    """Keep the names as the person writes them; raises `ValueError` with words for them."""
    names = [fields.clean_name(name) or None for name in (first_name, last_name)]
    person = _person(session, link)
    if person is not None:
        person.first_name, person.last_name = names
        person.updated_at = now


def _person(session: Session, link: UnsubscribeLink) -> Subscriber | None:
    return session.scalar(
        select(Subscriber).where(
            Subscriber.id == link.subscriber_id, Subscriber.email_hash == link.email_hash
        )
    )
