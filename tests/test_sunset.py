"""Who is silent for too long, and what happens to them, on both databases."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from config.esp_config import EspName
from database.models import (
    Campaign,
    CampaignKind,
    EmailSend,
    SendStatus,
    Subscriber,
    SubscriberStatus,
    WebhookEvent,
)
from database.session import Database
from list_manager import AddedAs, Consent
from lists.sunset import Page, Step, silent_people, sunset, sunset_step
from services.events import EventKind
from tests.conftest import NOW
from tests.ledgers import Ledgers
from tests.people import add, assert_counters_are_true, days, either_database, postgres

__all__ = ["either_database", "postgres"]  # fixtures

DAY = timedelta(days=1)
ANN = "ann@example.com"


@pytest.mark.parametrize(
    ("silent", "mails", "hidden", "step"),
    [
        (89.9, 30, False, "keep"),
        (90, 9, False, "keep"),
        (90, 10, False, "re_engage"),
        (179.9, 30, False, "re_engage"),
        (180, 10, False, "sunset"),
        (180, 9, False, "keep"),
        (179.9, 30, True, "keep"),
        (180, 10, True, "re_engage"),
        (360, 10, True, "sunset"),
        (729, 0, False, "keep"),
        (730, 0, False, "sunset"),
        (730, 0, True, "keep"),
    ],
)
def test_the_steps(silent: float, mails: int, hidden: bool, step: str) -> None:
    assert sunset_step(timedelta(days=silent), mails, hidden=hidden) == step


def person(database: Database, email: str = ANN, *, joined: float, **values: Any) -> int:
    added = add(database, email, consent=Consent(at=NOW - joined * DAY))
    assert added.subscriber is not None
    if values:
        with database.write() as session:
            changed = update(Subscriber).where(Subscriber.id == added.subscriber.id)
            session.execute(changed.values(**values))
    return added.subscriber.id


def deliver(database: Database, email: str, *ago: float, kind: str = "campaign") -> list[int]:
    """One campaign with one mail for each time."""
    sends = []
    for day in ago:
        campaign = Ledgers(database, NOW - day * DAY).create()
        with database.write() as session:
            session.execute(
                update(Campaign).where(Campaign.id == campaign).values(kind=CampaignKind(kind))
            )
            send = session.execute(
                insert(EmailSend)
                .values(
                    campaign_id=campaign,
                    email_key=email,
                    mailbox_provider="other",
                    status=SendStatus.ACCEPTED,
                    delivered_at=NOW - day * DAY,
                )
                .returning(EmailSend.id)
            )
            sends.append(send.scalar_one())
    return sends


def opened_by(database: Database, send_id: int, agent: str, ago: float) -> None:
    with database.write() as session:
        session.execute(
            insert(WebhookEvent).values(
                esp=EspName.SENDGRID,
                event_key=f"{send_id}/{agent}",
                kind=EventKind.OPENED,
                send_id=send_id,
                agent=agent,
                occurred_at=NOW - ago * DAY,
                received_at=NOW,
            )
        )


def steps(database: Database, **said: Any) -> dict[int, Step]:
    with database.read() as session:
        return silent_people(session, NOW, **said).steps


WEEKS = [7 * week + 1 for week in range(10)]


def test_mails_since_the_last_sign_of_life_are_counted(either_database: Database) -> None:
    silent = person(either_database, joined=300)
    deliver(either_database, ANN, *WEEKS)
    bob = person(either_database, "bob@example.com", joined=300)
    deliver(either_database, "bob@example.com", *WEEKS[1:], 301)
    cid = person(either_database, "cid@example.com", joined=300)
    deliver(either_database, "cid@example.com", *WEEKS[1:])
    deliver(either_database, "cid@example.com", 5, kind="confirmation")
    fay = person(either_database, "fay@example.com", joined=300, last_interest_at=NOW - 100 * DAY)
    deliver(either_database, "fay@example.com", *WEEKS)
    person(either_database, "gil@example.com", joined=300, last_interest_at=NOW - 80 * DAY)
    deliver(either_database, "gil@example.com", *WEEKS)
    assert steps(either_database) == {
        silent: Step.SUNSET,
        bob: Step.KEEP,
        cid: Step.KEEP,
        fay: Step.RE_ENGAGE,
    }


@pytest.mark.parametrize(
    ("agent", "ago", "step"),
    [("mpp", 5, "keep"), ("mpp", 91, "re_engage"), ("machine", 5, "re_engage")],
)
def test_people_behind_apples_proxy_have_twice_the_time(
    either_database: Database, agent: str, ago: float, step: str
) -> None:
    ann = person(either_database, joined=100)
    sends = deliver(either_database, ANN, *WEEKS)
    opened_by(either_database, sends[0], agent, ago)
    assert steps(either_database) == {ann: step}


def test_people_are_found_page_by_page(either_database: Database) -> None:
    people = [person(either_database, f"p{n}@example.com", joined=800) for n in range(5)]
    person(either_database, "new@example.com", joined=1)
    person(either_database, "left@example.com", joined=800, status=SubscriberStatus.UNSUBSCRIBED)
    seen: list[Page] = []
    after: int | None = 0
    while after is not None:
        with either_database.read() as session:
            seen.append(silent_people(session, NOW, after, limit=2))
        after = seen[-1].after
    assert [page.people(Step.SUNSET) for page in seen] == [people[:2], people[2:4], people[4:]]


def test_the_silent_are_not_written_to_until_they_ask(either_database: Database) -> None:
    ann = person(either_database, joined=800)
    bob = person(either_database, "bob@example.com", joined=800)
    with either_database.write() as session:
        assert sunset(session, [ann, bob], NOW) == 2
        assert sunset(session, [ann, bob], NOW) == 0
    assert days(either_database) == {"joined": 2, "sunset": 2}
    assert_counters_are_true(either_database)
    again = add(either_database, ANN)
    assert (again.outcome, again.subscriber and again.subscriber.status) == (
        AddedAs.MERGED,
        SubscriberStatus.SUNSET,
    )


@pytest.mark.parametrize(
    "since",
    [
        {"last_interest_at": NOW - DAY},
        {"consent_at": NOW - DAY},
        {"status": SubscriberStatus.COMPLAINED},
    ],
    ids=["a click", "a consent", "a complaint"],
)
def test_a_sign_of_life_comes_before_a_list_of_the_silent(
    either_database: Database, since: dict[str, Any]
) -> None:
    ann = person(either_database, joined=800)
    assert steps(either_database) == {ann: Step.SUNSET}
    with either_database.write() as session:
        session.execute(update(Subscriber).values(**since))
        before = session.scalars(select(Subscriber.status)).all()
        assert sunset(session, [ann], NOW) == 0
        assert session.scalars(select(Subscriber.status)).all() == before
