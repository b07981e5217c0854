"""An ESP whose mail a mailbox provider blocks gets none for it, within one campaign; and recovers."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from config.esp_config import EspName
from database.models import CampaignStatus, EmailSend
from database.session import Database
from services import campaign_answers
from services.base import Outcome
from services.event_recorder import record_events
from services.events import BounceClass, Event, EventKind
from services.ledger.claim import ClaimedBatch
from services.ledger.record import BatchOutcome, record
from services.standing import load
from tests.conftest import Clock
from tests.rig import Rig, rig
from utils.tokens import send_ref

SENDGRID, SES, POSTMARK = EspName.SENDGRID, EspName.SES, EspName.POSTMARK
SIZE = 20
"""Of a batch: ten people at gmail and ten elsewhere, unless only one kind is left."""


class Mailboxes:
    """What mailbox providers do with each batch, told in the transaction that records it."""

    def __init__(self, hash_key: bytes) -> None:
        self.hash_key = hash_key
        self.blocked: set[EspName] = set()
        """ESPs whose mail gmail does not take."""
        self.is_telling = True
        self.untold: list[tuple[EspName, list[Event]]] = []

    def record(
        self, session: Session, batch: ClaimedBatch, outcome: BatchOutcome, now: datetime
    ) -> bool:
        is_new = record(session, batch, outcome, now)
        assert {one.outcome for one in outcome.results} == {Outcome.ACCEPTED}
        events = [self._event(batch, send, now) for send in batch.sends]
        if self.is_telling:
            record_events(session, batch.esp, events, hash_key=self.hash_key, now=now)
        else:
            self.untold.append((batch.esp, events))
        return is_new

    def _event(self, batch: ClaimedBatch, send: Any, now: datetime) -> Event:
        is_blocked = batch.esp in self.blocked and send.mailbox_provider == "gmail"
        return Event(
            key=f"{send.send_id}-{send.attempt}",
            kind=EventKind.BOUNCED if is_blocked else EventKind.DELIVERED,
            bounce_class=BounceClass.BLOCKED if is_blocked else None,
            occurred_at=now,
            payload={},
            send_ref=send_ref(
                self.hash_key,
                campaign_id=batch.campaign_id,
                send_id=send.send_id,
                attempt=send.attempt,
            ),
            address=send.email,
        )


@pytest.fixture
def at(database: Database, clock: Clock) -> Iterator[Rig]:
    with rig(database, clock) as made:
        for esp in EspName:
            made.configure(esp, batch_size=SIZE, concurrency=1)
        for tens in range(10):
            made.add_people(10, f"g{tens}-{{}}@gmail.com", mailbox_provider="gmail")
            made.add_people(10, f"o{tens}-{{}}@example.net")
        yield made


@pytest.fixture
def mailboxes(at: Rig, monkeypatch: pytest.MonkeyPatch) -> Mailboxes:
    made = Mailboxes(at.installation.hash_key)
    monkeypatch.setattr(campaign_answers, "record", made.record)
    return made


def carried(at: Rig, campaign_id: int) -> dict[tuple[str, str], int]:
    """How many sends of each kind of mailbox each ESP took."""
    counted = (
        select(EmailSend.esp, EmailSend.mailbox_provider, func.count())
        .where(EmailSend.campaign_id == campaign_id)
        .group_by(EmailSend.esp, EmailSend.mailbox_provider)
    )
    with at.database.read() as session:
        return {(str(esp), provider): n for esp, provider, n in session.execute(counted)}


def closed(at: Rig) -> dict[str, list[str]]:
    with at.database.read() as session:
        standings = load(session, at.configs, at.clock())
    found = {esp: sorted(one.reputation.closed_to(at.clock())) for esp, one in standings.items()}
    return {esp.value: providers for esp, providers in found.items() if providers}


def all_once(at: Rig, told: dict[str, Any], *, campaigns: int) -> None:
    """The campaign ended, and each of so many reached each person once, by the ESPs' record."""
    assert (told["status"], told["counts"]["accepted"]) == ("sent", 200)
    taken = Counter(recipient for _, recipient, _ in at.simulator.accepted_sends())
    assert (len(taken), set(taken.values())) == (200, {campaigns})


def test_mail_that_is_blocked_goes_through_the_next_esp_until_a_trial_goes_well(
    at: Rig, mailboxes: Mailboxes, clock: Clock
) -> None:
    mailboxes.blocked = {SENDGRID}
    at.start()
    told = at.send(subject="One")
    all_once(at, told, campaigns=1)
    assert carried(at, 1) == {
        ("sendgrid", "gmail"): 10,
        ("ses", "gmail"): 90,
        ("sendgrid", "other"): 100,
    }
    figures = {
        esp: (one["accepted"], one["blocked"]) for esp, one in told["delivery_by_esp"].items()
    }
    assert figures == {"sendgrid": (110, 10), "ses": (90, 0)}
    assert told["delivery_by_provider"]["gmail"]["rates"]["bounced"] == 0.1
    assert closed(at) == {"sendgrid": ["gmail"]}

    # It rested: fifty mails are its trial, and while nobody tells what became of them, no more.
    clock.forward(minutes=61)
    mailboxes.blocked, mailboxes.is_telling = set(), False
    all_once(at, at.send(subject="Two"), campaigns=2)
    assert carried(at, 2) == {
        ("sendgrid", "gmail"): 50,
        ("ses", "gmail"): 50,
        ("sendgrid", "other"): 100,
    }
    assert closed(at) == {"sendgrid": ["gmail"]}

    for esp, events in mailboxes.untold:
        with at.database.write() as session:
            record_events(session, esp, events, hash_key=mailboxes.hash_key, now=clock())
    mailboxes.is_telling = True
    assert closed(at) == {}
    all_once(at, at.send(subject="Three"), campaigns=3)
    assert carried(at, 3) == {("sendgrid", "gmail"): 100, ("sendgrid", "other"): 100}


def test_a_trial_that_is_blocked_again_rests_for_twice_as_long(
    at: Rig, mailboxes: Mailboxes, clock: Clock
) -> None:
    mailboxes.blocked = {SENDGRID}
    at.start()
    at.send(subject="One")
    clock.forward(minutes=61)
    all_once(at, at.send(subject="Two"), campaigns=2)
    assert carried(at, 2)["sendgrid", "gmail"] == 10
    clock.forward(minutes=119)
    assert closed(at) == {"sendgrid": ["gmail"]}
    clock.forward(minutes=2)
    assert closed(at) == {}


def test_when_every_esp_rests_there_the_campaign_waits_and_goes_on_by_itself(
    at: Rig, mailboxes: Mailboxes, clock: Clock
) -> None:
    mailboxes.blocked = set(EspName)
    at.start()
    campaign = at.create()
    told = at.wait(campaign, CampaignStatus.WAITING)
    assert told["reason"] == "; ".join(
        f"{esp} rests at gmail, where too much of it was blocked" for esp in EspName
    )
    assert told["resume_at"] == "2026-11-24T13:00:00+00:00"
    assert (told["counts"]["accepted"], told["counts"]["queued"]) == (150, 50)
    assert carried(at, campaign) == {
        ("None", "gmail"): 50,
        ("sendgrid", "gmail"): 10,
        ("ses", "gmail"): 20,
        ("postmark", "gmail"): 20,
        ("sendgrid", "other"): 100,
    }
    mailboxes.blocked = set()
    clock.forward(minutes=61)
    all_once(at, at.wait(campaign), campaigns=1)
    assert carried(at, campaign)["sendgrid", "gmail"] == 60
    assert closed(at) == {}
