"""People who show no sign of life for long: who they are, and that they are not written to.

Facts 5.4, for a weekly newsletter. Not a suppression: it is a status that a confirmed opt-in
of the person takes back.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, func, literal_column, select, update
from sqlalchemy.orm import Session

from database.models import (
    Campaign,
    CampaignKind,
    EmailSend,
    EngagementTier,
    Subscriber,
    SubscriberStatus,
    WebhookEvent,
)
from lists.counters import count_moved
from lists.tiers import count_tiers
from lists.touches import Agent

RE_ENGAGE_AFTER = timedelta(days=90)
SUNSET_AFTER = timedelta(days=180)
MIN_MAILS = 10
"""Delivered since the last sign of life: whoever got fewer had no chance to show any."""
FORGOTTEN_AFTER = timedelta(days=730)
"""However few mails: Google closes accounts that nobody used for two years, and what bounces
first comes back as a spam trap."""

_MACHINE_OPENS = timedelta(days=90)


class Step(StrEnum):
    KEEP = "keep"
    RE_ENGAGE = "re_engage"
    """Ask them whether they want to stay."""
    SUNSET = "sunset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The step for each of some people, by their ids; `after` is where the next page begins."""

    steps: dict[int, Step]
    after: int | None

    def people(self, step: Step) -> list[int]:
        return [person for person, found in self.steps.items() if found is step]


def sunset_step(silent_for: timedelta, mails: int, *, hidden: bool) -> Step:
    """What to do with a person who has been silent, `mails` being delivered meanwhile.

    `hidden`: Apple's proxy opens their mails, so that their own opens cannot be seen. They
    have twice the time, and their mailbox is in use: nobody has forgotten it.
    """
    if silent_for >= FORGOTTEN_AFTER and not hidden:
        return Step.SUNSET
    patience = 2 if hidden else 1
    if mails < MIN_MAILS or silent_for < patience * RE_ENGAGE_AFTER:
        return Step.KEEP
    return Step.SUNSET if silent_for >= patience * SUNSET_AFTER else Step.RE_ENGAGE


def silent_people(session: Session, now: datetime, after: int = 0, limit: int = 500) -> Page:
    """The step for the next people, in the order of their ids, who have been silent for long."""
    since = _silent_since()
    people = session.execute(
        select(Subscriber.id, since.label("since"))
        .where(
            Subscriber.id > after,
            Subscriber.status == SubscriberStatus.ACTIVE,
            since <= now - RE_ENGAGE_AFTER,
        )
        .order_by(Subscriber.id)
        .limit(limit)
    ).all()
    mails = _mails(session, [person.id for person in people], now)
    return Page(
        steps={
            person.id: sunset_step(
                now - person.since, mails[person.id][0], hidden=bool(mails[person.id][1])
            )
            for person in people
        },
        after=people[-1].id if len(people) == limit else None,
    )


def sunset(session: Session, people: Collection[int], now: datetime) -> int:
    """Nobody writes to these people any more until they ask for it; how many that were.

    Leaves out whoever has shown a sign of life since they were found, or left.
    """
    silent = (
        Subscriber.id.in_(sorted(people)),
        Subscriber.status == SubscriberStatus.ACTIVE,
        _silent_since() <= now - SUNSET_AFTER,
    )
    found = session.execute(
        select(Subscriber.id, Subscriber.tier)
        .where(*silent)
        .order_by(Subscriber.id)
        .with_for_update()
    ).all()
    if not found:
        return 0
    session.execute(
        update(Subscriber)
        .where(Subscriber.id.in_([person.id for person in found]))
        .values(status=SubscriberStatus.SUNSET, tier=None, tier_until=None, updated_at=now)
        .execution_options(synchronize_session="fetch")
    )
    count_moved(session, SubscriberStatus.ACTIVE, SubscriberStatus.SUNSET, now, len(found))
    gone: Counter[EngagementTier] = Counter()
    gone.subtract(person.tier for person in found if person.tier is not None)
    count_tiers(session, gone)
    return len(found)


def _silent_since() -> ColumnElement[datetime]:
    """SQL: a person's last sign of life: what they did with a mail, or that they joined."""
    return func.coalesce(Subscriber.last_interest_at, Subscriber.consent_at, Subscriber.created_at)


def _mails(session: Session, people: Collection[int], now: datetime) -> dict[int, tuple[int, int]]:
    """Mails delivered since each person's silence began, and those that Apple's proxy opened
    lately. Looks up each person in each campaign: `email_sends` has no index by person."""
    machine_opened = (
        select(literal_column("1"))
        .where(
            WebhookEvent.send_id == EmailSend.id,
            # The words of the partial index, which is not used for a parameter.
            WebhookEvent.kind.in_([literal_column("'opened'"), literal_column("'clicked'")]),
            WebhookEvent.agent == Agent.MPP,
            WebhookEvent.occurred_at > now - _MACHINE_OPENS,
        )
        .exists()
    )
    counted = session.execute(
        select(Subscriber.id, func.count(), func.count().filter(machine_opened))
        .join(EmailSend, EmailSend.email_key == Subscriber.email_key)
        .join(Campaign, Campaign.id == EmailSend.campaign_id)
        .where(
            Subscriber.id.in_(people),
            Campaign.kind == CampaignKind.CAMPAIGN,
            EmailSend.delivered_at > _silent_since(),
        )
        .group_by(Subscriber.id)
    )
    found = dict.fromkeys(people, (0, 0))
    found.update({person: (mails, opened) for person, mails, opened in counted})
    return found
