"""People who leave by the link in a mail, one or many at once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from database.ledger_lock import lock_ledger
from database.models import Campaign, EmailSend, SuppressionReason
from lists.suppression import NewSuppression, find_people, suppress_all
from utils.tokens import NOBODY_LINK, UnsubscribeLink


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    """One request, and nothing of it that is not needed to repeat it."""

    link: UnsubscribeLink
    source: str
    at: datetime


def unsubscribe(session: Session, link: UnsubscribeLink, *, source: str, now: datetime) -> bool:
    """Take a person off the list for good, as their link asks; whether that is new.

    Works when the person's row is gone. The campaign whose mail held the link counts
    them once. The link of a test mail takes nobody off.
    """
    return bool(_take_off(session, [Unsubscribe(link=link, source=source, at=now)], late=False))


def unsubscribe_late(session: Session, asked: Sequence[Unsubscribe]) -> None:
    """The same for people (some hundred) who asked before now, in a fixed number of statements
    for each day on which some did. An opt-in that was confirmed since undoes it. Harmless when
    repeated."""
    for day in sorted({one.at.date() for one in asked}):
        _take_off(session, [one for one in asked if one.at.date() == day], late=True)


def _take_off(session: Session, asked: Sequence[Unsubscribe], *, late: bool) -> int:
    """How many are new; all of one day."""
    asked = [one for one in asked if one.link != NOBODY_LINK]
    if not asked:
        return 0
    links = [one.link for one in asked]
    _count_for_campaigns(
        session, links
    )  # first, as whoever records a send locks it before a person
    people = find_people(session, {link.email_hash: link.subscriber_id for link in links})
    wanted = [
        NewSuppression(
            email_hash=one.link.email_hash,
            reason=SuppressionReason.UNSUBSCRIBED,
            source=one.source,
            subscriber_id=people.get(one.link.email_hash),
            happened_at=one.at if late else None,
            created_at=one.at,
        )
        for one in asked
    ]
    return len(suppress_all(session, wanted, max(one.at for one in asked)))


def _count_for_campaigns(session: Session, links: Sequence[UnsubscribeLink]) -> None:
    said = {(link.send_id, link.subscriber_id) for link in links if link.send_id}
    if not said:
        return
    lock_ledger(session, alone=False)
    sends = select(EmailSend.id, EmailSend.subscriber_id, EmailSend.campaign_id).where(
        EmailSend.id.in_(sorted({send for send, _ in said})), EmailSend.unsubscribed.is_(False)
    )
    found = session.execute(sends.order_by(EmailSend.id).with_for_update()).all()
    new = [row for row in found if (row.id, row.subscriber_id) in said]
    if not new:
        return
    session.execute(
        update(EmailSend)
        .where(EmailSend.id.in_([row.id for row in new]))
        .values(unsubscribed=True)
        .execution_options(synchronize_session=False)
    )
    for campaign, n in sorted(Counter(row.campaign_id for row in new).items()):
        session.execute(
            update(Campaign)
            .where(Campaign.id == campaign)
            .values(unsubscribed=Campaign.unsubscribed + n)
            .execution_options(synchronize_session=False)
        )
