"""What ESPs tell is recorded once, and means the same in whatever order it comes."""

import itertools
import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, null, select, update

from config.esp_config import EspName
from database.models import (
    Bounce,
    Campaign,
    CampaignStatus,
    CampaignTally,
    Complaint,
    Delivery,
    EmailSend,
    EngagementCount,
    EspPerformance,
    EspPerformanceDay,
    SendStatus,
    Subscriber,
    SubscriberCount,
    Suppression,
    WebhookEvent,
)
from database.session import Database
from list_manager import suppression_of
from lists.erasing import erased_key
from services.base import Outcome
from services.event_recorder import Recorded, record_events, replay_events
from services.event_recorder.judging import CROWD
from services.events import BounceClass, Event, EventKind, SuppressionReason
from services.ledger.finish import finish
from services.reputation import ALL_PROVIDERS
from tests.conftest import NOW
from tests.ledgers import HASH_KEY, Ledgers
from tests.people import either_database, postgres
from utils.tokens import email_hash, send_ref

__all__ = ["either_database", "postgres"]  # fixtures

SENDGRID = EspName.SENDGRID
HOUR = timedelta(hours=1)
PERSON: dict[str, Any] = {
    "user_agent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)",
    "ip": "198.51.100.7",
}
HARD: dict[str, Any] = {"bounce_class": BounceClass.HARD, "suppress": SuppressionReason.HARD_BOUNCE}
SOFT: dict[str, Any] = {"bounce_class": BounceClass.SOFT}
BLOCKED: dict[str, Any] = {"bounce_class": BounceClass.BLOCKED}


class Hook:
    """A campaign that SendGrid carried, and the events that it tells of its sends."""

    def __init__(
        self, at: Ledgers, people: int = 3, outcome: Outcome | None = Outcome.ACCEPTED
    ) -> None:
        self.at = at
        self.campaign_id = at.planned(people)
        self.batch = at.claimed(self.campaign_id, people)
        if outcome is not None:
            at.record(self.batch, *[outcome] * people)
        self.sends = at.sends(self.campaign_id)
        self.numbers = itertools.count()

    def event(
        self, kind: EventKind, person: int = 0, after: timedelta = HOUR, **more: Any
    ) -> Event:
        send = self.sends[person]
        known = {
            "key": f"event-{next(self.numbers)}",
            "occurred_at": NOW + after,
            "payload": {"n": 1},
            "send_ref": self.ref(person),
            "address": send.email_key,
            "message_id": "m1",
        }
        return Event(kind=kind, **{**known, **more})

    def ref(self, person: int = 0, **changes: Any) -> str:
        send = self.sends[person]
        about = {"campaign_id": self.campaign_id, "send_id": send.id, "attempt": send.attempt}
        return send_ref(HASH_KEY, **{**about, **changes})

    def tell(self, *events: Event) -> Recorded:
        with self.at.database.write() as session:
            return record_events(
                session, SENDGRID, events, hash_key=HASH_KEY, now=NOW + timedelta(days=60)
            )

    def send(self, person: int = 0) -> EmailSend:
        return self.at.sends(self.campaign_id)[person]

    def told(self) -> dict[str, int]:
        campaign = self.at.campaign(self.campaign_id)
        names = ("delivered", "bounced", "complained", "opened", "clicked", "unsubscribed")
        return {name: n for name in names if (n := getattr(campaign, name))}

    def reasons(self, address: str = "person0@example.net") -> list[str]:
        """Why nobody writes to this address now."""
        who = email_hash(HASH_KEY, address)
        with self.at.database.read() as session:
            if suppression_of(session, who, NOW + timedelta(days=60)) is None:
                return []
            rows = select(Suppression.reason).where(Suppression.email_hash == who)
            return [reason.value for reason in session.scalars(rows.order_by(Suppression.id))]

    def status(self, person: int = 0) -> str:
        with self.at.database.read() as session:
            return session.get_one(Subscriber, self.sends[person].subscriber_id).status.value


@pytest.fixture
def at(either_database: Database) -> Ledgers:
    return Ledgers(either_database)


@pytest.fixture
def hook(at: Ledgers) -> Hook:
    return Hook(at)


def test_a_delivery_moves_its_send_and_counts_once(hook: Hook) -> None:
    delivered = hook.event(EventKind.DELIVERED)
    assert hook.tell(delivered) == Recorded(received=1, new=1, duplicates=0, ignored=0)
    assert hook.tell(delivered) == Recorded(received=1, new=0, duplicates=1, ignored=0)
    again = hook.event(EventKind.DELIVERED, after=2 * HOUR)
    assert hook.tell(again, again) == Recorded(received=2, new=1, duplicates=1, ignored=0)
    send = hook.send()
    assert (send.delivery, send.delivered_at) == (Delivery.DELIVERED, NOW + HOUR)
    assert hook.told() == {"delivered": 1}


@pytest.mark.parametrize(
    ("kind", "more", "delivery", "told", "reasons", "status"),
    [
        (EventKind.PROCESSED, {}, "processed", {}, [], "active"),
        (EventKind.DEFERRED, {}, "deferred", {}, [], "active"),
        (EventKind.DELIVERED, {}, "delivered", {"delivered": 1}, [], "active"),
        (EventKind.BOUNCED, HARD, "bounced", {"bounced": 1}, ["hard_bounce"], "bounced"),
        (EventKind.BOUNCED, SOFT, "soft_bounced", {}, [], "active"),
        (EventKind.BOUNCED, BLOCKED, "bounced", {"bounced": 1}, [], "active"),
        (EventKind.DROPPED, {}, "dropped", {}, [], "active"),
        (
            EventKind.DROPPED,
            {"suppress": SuppressionReason.ESP_INACTIVE},
            *("dropped", {}, ["esp_inactive"], "bounced"),
        ),
        (
            EventKind.COMPLAINED,
            {"suppress": SuppressionReason.COMPLAINT},
            *("complained", {"complained": 1}, ["complaint"], "complained"),
        ),
        (EventKind.OPENED, PERSON, "none", {"opened": 1}, [], "active"),
        (EventKind.OPENED, {"is_machine": True}, "none", {}, [], "active"),
        (EventKind.CLICKED, PERSON, "none", {"clicked": 1}, [], "active"),
        (EventKind.CLICKED, {"user_agent": "curl/8"}, "none", {}, [], "active"),
        (
            EventKind.UNSUBSCRIBED,
            {"suppress": SuppressionReason.UNSUBSCRIBED},
            *("none", {"unsubscribed": 1}, ["unsubscribed"], "unsubscribed"),
        ),
        (EventKind.RESUBSCRIBED, {}, "none", {}, [], "active"),
        (EventKind.OTHER, {}, "none", {}, [], "active"),
    ],
)
def test_what_each_event_means(
    hook: Hook,
    kind: EventKind,
    more: dict[str, Any],
    delivery: str,
    told: dict[str, int],
    reasons: list[str],
    status: str,
) -> None:
    hook.tell(hook.event(kind, **more))
    assert (hook.send().delivery.value, hook.told(), hook.reasons(), hook.status()) == (
        delivery,
        told,
        reasons,
        status,
    )


def snapshot(at: Ledgers) -> dict[str, Any]:
    """All that events may change, but for ids, evidence, and what depends on when they came."""
    skip = {"id", "event_id", "received_at", "updated_at", "created_at", "evidence", "source"}
    window = {"window_from", "window_claimed", "window_outcomes", "window_blocks", "rests_until"}
    state: dict[str, Any] = {}
    with at.database.read() as session:
        for table in (
            *(EmailSend, Campaign, CampaignTally, Subscriber, SubscriberCount, EngagementCount),
            *(Bounce, Complaint, EspPerformance, EspPerformanceDay, WebhookEvent),
        ):
            columns = [c for c in table.__table__.c if c.name not in skip | window | {"rest_s"}]
            rows = session.execute(select(*columns)).all()
            if "n" in table.__table__.c:
                rows = [row for row in rows if row.n]
            state[table.__tablename__] = sorted(map(repr, (_rounded(row) for row in rows)))
        people = session.scalars(select(Subscriber.email_hash)).all()
        state["kept from"] = [
            suppression_of(session, who, NOW + days * timedelta(days=1)) is not None
            for who in sorted(people)
            for days in range(0, 120, 5)
        ]
    return state


def _rounded(row: Sequence[Any]) -> list[Any]:
    return [round(value, 6) + 0.0 if isinstance(value, float) else value for value in row]


# Sets of events of which the outcome must not depend on the order.
def life_and_death(hook: Hook) -> list[Event]:
    return [
        hook.event(EventKind.PROCESSED),
        hook.event(EventKind.DELIVERED, after=2 * HOUR),
        hook.event(EventKind.OPENED, after=3 * HOUR, **PERSON),
        hook.event(EventKind.BOUNCED, after=4 * HOUR, **HARD),
        hook.event(EventKind.COMPLAINED, after=5 * HOUR, suppress=SuppressionReason.COMPLAINT),
    ]


def a_scanner(hook: Hook) -> list[Event]:
    """One click looks like a person's until the others of the burst are known."""
    second = timedelta(seconds=1)
    return [
        hook.event(EventKind.DELIVERED),
        *(
            hook.event(
                EventKind.CLICKED, after=2 * HOUR + n * second, url=f"https://x/{n}", **PERSON
            )
            for n in range(3)
        ),
        hook.event(EventKind.OPENED, after=30 * HOUR, **PERSON),
    ]


def a_hasty_click(hook: Hook) -> list[Event]:
    """It is one only beside the delivery, which may be told later."""
    return [
        hook.event(EventKind.DELIVERED, after=2 * HOUR),
        hook.event(
            EventKind.CLICKED, after=2 * HOUR + timedelta(seconds=1), url="https://x/", **PERSON
        ),
        hook.event(EventKind.DELIVERED, after=3 * HOUR),
        hook.event(EventKind.CLICKED, person=1, after=9 * HOUR, url="https://x/", **PERSON),
    ]


def a_crowd(hook: Hook) -> list[Event]:
    """A gateway opens five mails within a minute; each alone looks like a person's."""
    return [
        hook.event(
            EventKind.CLICKED,
            person=n,
            after=HOUR + n * timedelta(seconds=9),
            url="https://x/",
            **PERSON,
        )
        for n in range(5)
    ]


def soft_bounces(hook: Hook) -> list[Event]:
    """Five on three days bring a rest; a delivery in between, or after, takes it back."""
    return [
        *(hook.event(EventKind.BOUNCED, after=n * timedelta(hours=15), **SOFT) for n in range(5)),
        hook.event(EventKind.DELIVERED, after=timedelta(hours=35)),
    ]


def soft_and_hard(hook: Hook) -> list[Event]:
    return [
        *(hook.event(EventKind.BOUNCED, after=n * timedelta(days=8), **SOFT) for n in range(3)),
        hook.event(EventKind.UNSUBSCRIBED, suppress=SuppressionReason.UNSUBSCRIBED),
        hook.event(EventKind.BOUNCED, after=timedelta(days=40), **SOFT),
    ]


def disabled(hook: Hook) -> list[Event]:
    """Twice within a week is for good; a delivery between does not make the mailbox work."""
    return [
        *(
            hook.event(EventKind.BOUNCED, after=n * timedelta(days=4), code="5.2.1", **SOFT)
            for n in range(2)
        ),
        hook.event(EventKind.DELIVERED, after=timedelta(days=1)),
        hook.event(EventKind.BOUNCED, person=1, code="5.2.1", **SOFT),
        hook.event(EventKind.BOUNCED, person=1, after=timedelta(days=9), code="5.2.1", **SOFT),
    ]


def test_a_mailbox_that_is_disabled_twice_within_a_week_is_gone(hook: Hook) -> None:
    hook.tell(*disabled(hook))
    assert (hook.reasons(), hook.status(), hook.status(1)) == (
        ["hard_bounce"],
        "bounced",
        "active",
    )


SETS = [life_and_death, a_scanner, a_hasty_click, a_crowd, soft_bounces, soft_and_hard, disabled]


@pytest.mark.parametrize("events_of", SETS)
def test_the_outcome_depends_on_the_set_of_events_only(
    database: Database, tmp_path: Path, events_of: Any
) -> None:
    """Every order, one call each and all in one; each event told once more at the end."""
    at = Ledgers(database)
    hook = Hook(at, people=5)
    with database.write() as session:
        session.execute(update(Subscriber).values(tier="warm"))
        session.execute(insert(EngagementCount).values(tier="warm", n=5))
    events = events_of(hook)
    with database.write() as session:
        session.connection().exec_driver_sql("COMMIT")
        session.connection().exec_driver_sql(f"VACUUM INTO '{tmp_path / 'start.db'}'")
        session.connection().exec_driver_sql("BEGIN")
    hook.tell(*events)
    expected = snapshot(at)
    orders = list(itertools.permutations(events))
    for number, order in enumerate(random.Random(4).sample(orders, min(len(orders), 24))):
        copy = shutil.copy(tmp_path / "start.db", tmp_path / f"{number}.db")
        hook.at = Ledgers(Database(f"sqlite:///{copy}"))
        for event in order:
            hook.tell(event)
        hook.tell(*events)
        found = snapshot(hook.at)
        changed = {k: set(found[k]) ^ set(v) for k, v in expected.items() if found[k] != v}
        assert changed == {}, [event.key for event in order]
        hook.at.database.close()


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Outcome.UNKNOWN, EventKind.PROCESSED),
        (Outcome.UNKNOWN, EventKind.OPENED),
        (Outcome.UNKNOWN, EventKind.DROPPED),
        (None, EventKind.DELIVERED),
        (Outcome.THROTTLED, EventKind.DELIVERED),
    ],
)
def test_an_event_shows_that_the_esp_had_a_send(
    at: Ledgers, outcome: Outcome | None, kind: EventKind
) -> None:
    """Unknown, not recorded yet, or refused as the ESP said: it was accepted, and is not sent again."""
    hook = Hook(at, 3, outcome)
    hook.tell(hook.event(kind))
    send = hook.send()
    assert (send.status, send.esp, send.esp_message_id) == (SendStatus.ACCEPTED, SENDGRID, "m1")
    before = {None: "sending", Outcome.UNKNOWN: "unknown", Outcome.THROTTLED: "queued"}[outcome]
    assert at.counts(hook.campaign_id) == {"accepted": 1, before: 2}
    assert at.report(hook.campaign_id)["by_esp"] == {"sendgrid": 1}


def test_an_answer_recorded_after_the_event_changes_what_is_left(at: Ledgers) -> None:
    hook = Hook(at, 3, None)
    hook.tell(hook.event(EventKind.DELIVERED))
    at.record(hook.batch, *[Outcome.UNKNOWN] * 3)
    assert at.counts(hook.campaign_id) == {"accepted": 1, "unknown": 2}
    hook.tell(*(hook.event(EventKind.DELIVERED, person=n) for n in (1, 2)))
    assert at.counts(hook.campaign_id) == {"accepted": 3}


def test_the_last_unknown_that_is_settled_ends_the_campaign(at: Ledgers) -> None:
    hook = Hook(at, 2, Outcome.UNKNOWN)
    with at.database.write() as session:
        finish(session, session.get_one(Campaign, hook.campaign_id), NOW)
    assert at.campaign(hook.campaign_id).status is CampaignStatus.NEEDS_REVIEW
    hook.tell(hook.event(EventKind.DELIVERED))
    assert at.campaign(hook.campaign_id).status is CampaignStatus.NEEDS_REVIEW
    hook.tell(hook.event(EventKind.DELIVERED, person=1))
    assert at.campaign(hook.campaign_id).status is CampaignStatus.SENT
    assert [(b.accepted, b.unknown, b.state.value) for b in at.batches()] == [(2, 0, "done")]


@pytest.mark.parametrize(
    "foreign",
    [
        {"send_ref": None},
        {"send_ref": "1-1-AAAAAAAAAAA"},
        {"send_ref": "999999-1-AAAAAAAAAAA"},
        {"send_ref": "nonsense" * 50},
        {"address": "person1@example.net"},
        {"address": "stranger@example.net"},
    ],
)
def test_what_is_not_ours_credits_nobody(hook: Hook, foreign: dict[str, Any]) -> None:
    """A reference of another installation, or the right one with another's address."""
    told = hook.tell(
        *(hook.event(kind, **{**PERSON, **foreign}) for kind in EventKind if kind != "other")
    )
    assert told == Recorded(received=10, new=10, duplicates=0, ignored=10)
    assert (hook.told(), hook.send().delivery) == ({}, Delivery.NONE)


def test_an_open_of_no_send_of_ours_is_no_part_of_a_crowd(at: Ledgers) -> None:
    hook = Hook(at, people=CROWD - 1)
    events = [hook.event(EventKind.OPENED, person, **PERSON) for person in range(CROWD - 1)]
    stranger = replace(hook.event(EventKind.OPENED, **PERSON), send_ref=None)
    assert [hook.tell(event).new for event in [stranger, *events]] == [1] * CROWD


@pytest.mark.parametrize(
    ("address", "reasons"),
    [
        ("person0@example.net", ["hard_bounce"]),
        ("Person0@EXAMPLE.net", ["hard_bounce"]),
        ("Ann <person0@example.net>", ["hard_bounce"]),
        ("stranger@example.net", []),
        (None, []),
    ],
)
def test_a_report_without_our_id_counts_for_people_on_our_list(
    hook: Hook, address: str | None, reasons: list[str]
) -> None:
    hook.tell(hook.event(EventKind.BOUNCED, send_ref=None, address=address, **HARD))
    assert (hook.reasons(), hook.reasons("stranger@example.net")) == (reasons, [])
    assert hook.status() == ("bounced" if reasons else "active")
    assert hook.told() == {}


def test_who_was_erased_is_left_alone_for_good(hook: Hook) -> None:
    send = hook.sends[0]
    who = email_hash(HASH_KEY, send.email_key)
    with hook.at.database.write() as session:
        session.execute(delete(Subscriber).where(Subscriber.id == send.subscriber_id))
        session.execute(
            update(EmailSend).where(EmailSend.id == send.id).values(email_key=erased_key(who))
        )
    hook.tell(
        hook.event(EventKind.DELIVERED),
        hook.event(EventKind.BOUNCED, detail="person0@example.net is full", **SOFT),
        hook.event(EventKind.CLICKED, after=3 * HOUR, **PERSON),
        hook.event(EventKind.COMPLAINED, suppress=SuppressionReason.COMPLAINT),
    )
    assert hook.reasons() == ["complaint"]
    assert hook.told() == {"delivered": 1, "clicked": 1, "complained": 1}
    with hook.at.database.read() as session:
        full = select(WebhookEvent.id).where(WebhookEvent.payload.is_not(null()))
        assert session.scalars(full).all() == []
        assert session.scalars(select(Bounce.diagnostic)).all() == [None]


def test_events_of_a_deleted_campaign_are_kept_and_still_keep_people_from_mail(hook: Hook) -> None:
    with hook.at.database.write() as session:
        session.execute(delete(Campaign).where(Campaign.id == hook.campaign_id))
    told = hook.tell(
        hook.event(EventKind.DELIVERED),
        hook.event(EventKind.COMPLAINED, suppress=SuppressionReason.COMPLAINT),
    )
    assert told == Recorded(received=2, new=2, duplicates=0, ignored=1)
    assert hook.reasons() == ["complaint"]


def test_an_opt_in_that_was_confirmed_later_undoes_what_comes_late(hook: Hook) -> None:
    send = hook.sends[0]
    with hook.at.database.write() as session:
        session.execute(
            insert(Suppression).values(
                email_hash=email_hash(HASH_KEY, send.email_key),
                reason=SuppressionReason.LIFTED,
                source="confirm",
                created_at=NOW + 5 * HOUR,
            )
        )
    gone: dict[str, Any] = {"suppress": SuppressionReason.UNSUBSCRIBED}
    hook.tell(hook.event(EventKind.UNSUBSCRIBED, after=4 * HOUR, **gone))
    assert (hook.reasons(), hook.status()) == ([], "active")
    hook.tell(hook.event(EventKind.UNSUBSCRIBED, after=6 * HOUR, **gone))
    assert (hook.reasons(), hook.status()) == (["lifted", "unsubscribed"], "unsubscribed")


def test_a_replay_changes_nothing_that_counted(database: Database) -> None:
    at = Ledgers(database)
    hook = Hook(at, people=5)
    events = [event for make in SETS for event in make(hook)]
    hook.tell(*events)
    before = snapshot(at)
    with database.write() as session:
        ids = dict(session.execute(select(WebhookEvent.event_key, WebhookEvent.id)).all())
        by_id = {ids[event.key]: event for event in events}
        replay_events(session, SENDGRID, by_id, hash_key=HASH_KEY, now=NOW + timedelta(days=60))
    assert snapshot(at) == before


def test_a_replay_counts_what_was_not_understood_before(hook: Hook) -> None:
    event = hook.event(EventKind.OTHER)
    hook.tell(event)
    with hook.at.database.write() as session:
        stored = session.scalars(select(WebhookEvent)).one()
        meant = replace(event, kind=EventKind.CLICKED, **PERSON)
        replay_events(
            session, SENDGRID, {stored.id: meant}, hash_key=HASH_KEY, now=NOW + timedelta(days=60)
        )
    assert hook.told() == {"clicked": 1}


def test_an_esp_is_judged_by_what_became_of_its_mails(hook: Hook) -> None:
    hook.tell(hook.event(EventKind.DELIVERED), hook.event(EventKind.BOUNCED, person=1, **BLOCKED))
    with hook.at.database.read() as session:
        days = {
            row.mailbox_provider: (row.delivered, row.bounced, row.blocked)
            for row in session.scalars(select(EspPerformanceDay))
        }
        cells = {
            row.mailbox_provider: (round(row.successes, 3), round(row.failures, 3))
            for row in session.scalars(select(EspPerformance))
        }
    assert days == {"other": (1, 1, 1), ALL_PROVIDERS: (1, 1, 1)}
    assert cells["other"][0] == cells["other"][1] == -cells[ALL_PROVIDERS][0]
