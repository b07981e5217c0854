"""Double opt-in: how often a person may be asked to confirm, and what it does when they do.

Confirming takes back what a person can take back, when their click is newer than it:
- what held before the request, if that was made to lift it (`OptIn.lifts`): whatever the
  reason, also a bounce, since a click in a mail of ours shows that the mailbox works, also a
  complaint, which nobody but the person can undo;
- what came after the request, but for `MANUAL`: that word of the operator is newer than the
  request, and no click undoes it.
docs/decisions/0007 says why.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from database.models import OptIn, Subscriber, SubscriberStatus, Suppression, SuppressionReason
from lists.counters import count_moved, count_suppressed
from lists.suppression import reasons_that_hold
from lists.tiers import place
from utils.tokens import ConfirmLink

CONFIRM_WITHIN = timedelta(days=7)
"""How long a request can be confirmed (`facts/reliability_security.md` 5.3)."""
# Against list bombing: facts/reliability_security.md, T22.
MAIL_EVERY = timedelta(hours=24)
MOST_MAILS, MOST_MAILS_WITHIN = 3, timedelta(days=30)
CONSENT_SOURCE = "double opt-in"
_AGENT_CHARS = 300

_UNSTORABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


class Verdict(StrEnum):
    """What a link to confirm comes to."""

    OPEN = "open"
    """It can be confirmed."""
    CONFIRMED = "confirmed"
    """It was, and the person is written to."""
    USED = "used"
    """It was, and they left since: a link works once."""
    EXPIRED = "expired"
    HELD = "held"
    """Something holds that the person cannot take back with this link."""
    GONE = "gone"
    """Nothing is known of the request or the person (any more): they were erased."""


def next_mail_at(asked: Sequence[datetime], now: datetime) -> datetime:
    """When the next mail to confirm may go to an address; `asked`: when the last ones did, the
    newest first. `now` when it may go at once."""
    times = [now]
    if asked:
        times.append(asked[0] + MAIL_EVERY)
    if len(asked) >= MOST_MAILS:
        times.append(asked[MOST_MAILS - 1] + MOST_MAILS_WITHIN)
    return max(times)


def asked_at(session: Session, email_hash: bytes) -> Sequence[datetime]:
    """When an address was last asked to confirm, the newest first."""
    asked = select(OptIn.created_at).where(OptIn.email_hash == email_hash)
    return session.scalars(asked.order_by(OptIn.id.desc()).limit(MOST_MAILS)).all()


def look(session: Session, link: ConfirmLink, now: datetime) -> Verdict:
    """What confirming would come to; changes nothing."""
    opt_in = session.get(OptIn, link.opt_in_id)
    person = session.get(Subscriber, opt_in.subscriber_id or 0) if opt_in else None
    return _judged(session, link, opt_in, person, now)


def confirm(
    session: Session, link: ConfirmLink, *, ip: str | None, agent: str, now: datetime
) -> Verdict:
    """Take a person's word that they want our mail: once per link, as often as it is said.

    They are active then, and nothing suppresses them that the rule above lets them take back.
    """
    opt_in = session.get(OptIn, link.opt_in_id)
    if opt_in is None:
        return Verdict.GONE
    # The person before the request, as whoever erases them does.
    person = session.get(
        Subscriber, opt_in.subscriber_id or 0, with_for_update=True, populate_existing=True
    )
    opt_in = session.get(OptIn, opt_in.id, with_for_update=True, populate_existing=True)
    verdict = _judged(session, link, opt_in, person, now)
    if verdict is not Verdict.OPEN or opt_in is None or person is None:
        return verdict
    opt_in.confirmed_at, opt_in.confirmed_ip = now, ip
    opt_in.confirmed_agent = _UNSTORABLE.sub(" ", agent)[:_AGENT_CHARS]
    _lift(session, opt_in, now)
    _activate(session, person, ip, now)
    return Verdict.CONFIRMED


def _judged(
    session: Session,
    link: ConfirmLink,
    opt_in: OptIn | None,
    person: Subscriber | None,
    now: datetime,
) -> Verdict:
    if opt_in is None or person is None:
        return Verdict.GONE
    if not opt_in.email_hash == person.email_hash == link.email_hash:
        return Verdict.GONE
    holding = reasons_that_hold(session, person.email_hash, now)
    if opt_in.confirmed_at is not None:
        is_reached = person.status is SubscriberStatus.ACTIVE and not holding
        return Verdict.CONFIRMED if is_reached else Verdict.USED
    if now - link.issued_at > CONFIRM_WITHIN:
        return Verdict.EXPIRED
    if not all(_can_take_back(opt_in, row) for row in holding):
        return Verdict.HELD
    return Verdict.OPEN


def _can_take_back(opt_in: OptIn, row: Suppression) -> bool:
    if row.created_at <= opt_in.created_at:
        return opt_in.lifts
    return row.reason is not SuppressionReason.MANUAL


def _lift(session: Session, opt_in: OptIn, now: datetime) -> None:
    holding = reasons_that_hold(session, opt_in.email_hash, now)
    if not holding:
        return
    for_good = {row.reason: -1 for row in holding if row.until is None}
    session.execute(
        insert(Suppression).values(
            email_hash=opt_in.email_hash,
            reason=SuppressionReason.LIFTED,
            source="page",
            evidence=f"opt-in {opt_in.id}, confirmed {now.isoformat()}",
            until=None,
            created_at=now,
        )
    )
    count_suppressed(session, for_good, now)


def _activate(session: Session, person: Subscriber, ip: str | None, now: datetime) -> None:
    before = person.status
    person.status, person.updated_at = SubscriberStatus.ACTIVE, now
    person.consent_source, person.consent_ip, person.consent_at = CONSENT_SOURCE, ip, now
    person.soft_bounces = person.soft_bounce_days = 0  # the mailbox works
    person.soft_bounce_first_at = person.soft_bounce_last_at = None
    session.flush()
    if before is not SubscriberStatus.ACTIVE:
        count_moved(session, before, SubscriberStatus.ACTIVE, now)
    place(session, person, now)
