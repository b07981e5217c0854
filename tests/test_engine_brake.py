"""Complaints and invalid addresses stop a campaign, or rest an ESP, until somebody lets it go on."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from config.esp_config import EspName
from database.models import (
    BrakeOverride,
    Campaign,
    CampaignKind,
    CampaignStatus,
    EmailSend,
    EspPerformanceDay,
)
from database.session import Database
from services import campaign_answers
from services.braking import NothingToOverride, OverrideOrder, override_campaign, override_esp
from services.campaign_control import Conflict, resume
from services.event_recorder import record_events
from services.events import BounceClass, Event, EventKind
from services.ledger.claim import ClaimedBatch
from services.ledger.record import BatchOutcome, record
from services.reputation import ALL_PROVIDERS
from services.simulator.happenings import Rates, chance
from services.standing import load
from tests.conftest import Clock
from tests.rig import Rig, rig
from utils.tokens import send_ref

SENDGRID, SES, POSTMARK = EspName.SENDGRID, EspName.SES, EspName.POSTMARK
PEOPLE, SIZE = 2_400, 50
COMPLAINING = Rates(complaint=0.0025)
"""Four of the first 1,350 people: Postmark's limit, and far from anybody else's."""
BOUNCING = Rates(bounce=0.1)
"""109 of the first 1,000."""
ORDER = OverrideOrder(ordered_by="Ann", why="the list of the fair, once")


class Readers:
    """What people do by the simulator's rates, told in the transaction that records their batch."""

    def __init__(self, hash_key: bytes) -> None:
        self.hash_key = hash_key
        self.rates = Rates()

    def record(
        self, session: Session, batch: ClaimedBatch, outcome: BatchOutcome, now: datetime
    ) -> bool:
        is_new = record(session, batch, outcome, now)
        events = [event for send in batch.sends for event in self._events(batch, send, now)]
        record_events(session, batch.esp, events, hash_key=self.hash_key, now=now)
        return is_new

    def _events(self, batch: ClaimedBatch, send: Any, now: datetime) -> Iterator[Event]:
        ref = send_ref(
            self.hash_key,
            campaign_id=batch.campaign_id,
            send_id=send.send_id,
            attempt=send.attempt,
        )
        common = {"occurred_at": now, "payload": {}, "send_ref": ref, "address": send.email}
        key = f"{send.send_id}-{send.attempt}"
        if chance("bounce", send.email) < self.rates.bounce:
            yield Event(
                key=f"{key}-1", kind=EventKind.BOUNCED, bounce_class=BounceClass.HARD, **common
            )
            return
        yield Event(key=f"{key}-1", kind=EventKind.DELIVERED, **common)
        if chance("complaint", send.email) < self.rates.complaint:
            yield Event(key=f"{key}-2", kind=EventKind.COMPLAINED, **common)


@pytest.fixture
def at(database: Database, clock: Clock) -> Iterator[Rig]:
    with rig(database, clock) as made:
        for esp in EspName:
            made.configure(esp, batch_size=SIZE, concurrency=1)
        made.add_people(PEOPLE)
        yield made


@pytest.fixture
def readers(at: Rig, monkeypatch: pytest.MonkeyPatch) -> Readers:
    made = Readers(at.installation.hash_key)
    monkeypatch.setattr(campaign_answers, "record", made.record)
    return made


def carried(at: Rig, campaign_id: int) -> dict[str, int]:
    counted = (
        select(EmailSend.esp, func.count())
        .where(EmailSend.campaign_id == campaign_id, EmailSend.esp.is_not(None))
        .group_by(EmailSend.esp)
    )
    with at.database.read() as session:
        return {str(esp): n for esp, n in session.execute(counted)}


def all_once(at: Rig, told: dict[str, Any]) -> None:
    assert (told["status"], told["counts"]["accepted"]) == ("sent", PEOPLE)
    taken = Counter(recipient for _, recipient, _ in at.simulator.accepted_sends())
    assert (len(taken), set(taken.values())) == (PEOPLE, {1})


def order_resume(at: Rig, campaign_id: int) -> None:
    with at.database.write() as session:
        campaign = session.get_one(Campaign, campaign_id, with_for_update=True)
        resume(session, campaign, at.configs, at.clock(), may_send_as=at.may_send_as)
    assert at.engine is not None
    at.engine.wake()


def override_brake_of(at: Rig, of: EspName | int, order: OverrideOrder = ORDER) -> None:
    with at.database.write() as session:
        if isinstance(of, EspName):
            standing = load(session, at.configs, at.clock())[of]
            override_esp(session, standing, order, at.clock())
        else:
            override_campaign(session, session.get_one(Campaign, of), order, at.clock())


def a_bad_week(at: Rig, *esps: EspName, **figures: int) -> None:
    """Other campaigns of today, and what became of them."""
    with at.database.write() as session:
        for esp in esps:
            session.add(
                EspPerformanceDay(
                    esp=esp,
                    mailbox_provider=ALL_PROVIDERS,
                    day=at.clock().date(),
                    **figures,
                )
            )


POSTMARK_BRAKES = (
    "postmark brakes: 4 complaints among 1350 accepted mails, more than 0.1% "
    "with a certainty of 91%"
)


def test_an_esp_near_its_limit_rests_and_others_carry_the_rest(at: Rig, readers: Readers) -> None:
    at.configure(POSTMARK, priority=1)
    at.configure(SENDGRID, priority=2)
    at.configure(SES, priority=3)
    readers.rates = COMPLAINING
    at.start()
    told = at.send()
    all_once(at, told)
    assert carried(at, told["campaign_id"]) == {"postmark": 1_350, "sendgrid": 1_050}


def test_when_no_esp_is_left_the_campaign_pauses_until_one_may_go_on(
    at: Rig, readers: Readers
) -> None:
    readers.rates = COMPLAINING
    at.start()
    told = at.send(esp=POSTMARK)
    assert (told["status"], told["reason"]) == ("paused", POSTMARK_BRAKES)
    assert (told["counts"]["accepted"], told["resume_at"]) == (1_350, None)
    campaign = told["campaign_id"]
    with pytest.raises(Conflict, match="4 complaints among 1350") as refused:
        order_resume(at, campaign)
    assert str(refused.value) == (
        f"campaign {campaign} stays paused: {POSTMARK_BRAKES}; "
        "override the brake of one of them first"
    )
    override_brake_of(at, POSTMARK)
    order_resume(at, campaign)
    all_once(at, at.wait(campaign))
    with at.database.read() as session:
        [kept] = session.scalars(select(BrakeOverride))
    assert (kept.esp, kept.campaign_id, kept.ordered_by, kept.why, kept.because) == (
        POSTMARK,
        None,
        "Ann",
        "the list of the fair, once",
        POSTMARK_BRAKES.removeprefix("postmark brakes: "),
    )


def test_a_campaign_with_too_many_invalid_addresses_pauses_until_its_brake_is_overridden(
    at: Rig, readers: Readers
) -> None:
    readers.rates = BOUNCING
    at.start()
    told = at.send()
    campaign = told["campaign_id"]
    bad = "109 invalid addresses among 1000 accepted mails, more than 5% with a certainty of 100%"
    assert (told["status"], told["reason"]) == ("paused", f"brakes: {bad}")
    assert told["counts"]["accepted"] == 1_000
    with pytest.raises(Conflict) as refused:
        order_resume(at, campaign)
    assert (
        str(refused.value) == f"campaign {campaign} stays paused: {bad}; override its brake first"
    )
    override_brake_of(at, campaign)
    order_resume(at, campaign)
    all_once(at, at.wait(campaign))
    # SendGrid's own brake holds; SES reached its thousand within the campaign.
    assert carried(at, campaign) == {"sendgrid": 1_000, "ses": 1_000, "postmark": 400}


def test_an_override_ends_at_its_moment(at: Rig, readers: Readers, clock: Clock) -> None:
    readers.rates = BOUNCING
    at.start()
    campaign = at.send()["campaign_id"]
    until = clock() + timedelta(hours=1)
    override_brake_of(at, campaign, OverrideOrder(ordered_by="Ann", why="w", until=until))
    clock.forward(hours=1)
    with pytest.raises(Conflict, match="109 invalid addresses among 1000"):
        order_resume(at, campaign)
    with pytest.raises(NothingToOverride, match="is over already"):
        override_brake_of(at, campaign, OverrideOrder(ordered_by="Ann", why="w", until=until))


def test_a_campaign_overridden_brakes_again_when_its_figures_get_worse(
    at: Rig, readers: Readers
) -> None:
    readers.rates = BOUNCING
    at.start()
    campaign = at.send()["campaign_id"]
    override_brake_of(at, campaign)
    readers.rates = Rates(bounce=0.3)
    order_resume(at, campaign)
    told = at.wait(campaign)
    assert told["status"] == "paused"
    assert "more than 10.9% with a certainty of" in told["reason"]
    assert 1_000 < told["counts"]["accepted"] < 1_200


def test_blocked_mail_is_no_invalid_address(at: Rig) -> None:
    a_bad_week(at, SENDGRID, accepted=5_000, bounced=3_000, blocked=2_900)
    at.start()
    told = at.send()
    assert carried(at, told["campaign_id"]) == {"sendgrid": PEOPLE}


def test_a_week_later_bad_figures_count_no_more(at: Rig, clock: Clock) -> None:
    a_bad_week(at, *EspName, accepted=5_000, bounced=1_000)
    at.start()
    told = at.send()
    campaign = told["campaign_id"]
    assert (told["status"], told["counts"]["accepted"]) == ("paused", 0)
    assert [part.split(":")[0] for part in told["reason"].split("; ")] == [
        f"{esp} brakes" for esp in EspName
    ]
    clock.forward(days=6)
    with pytest.raises(Conflict, match="stays paused"):
        order_resume(at, campaign)
    clock.forward(days=1)
    order_resume(at, campaign)
    all_once(at, at.wait(campaign))


def test_while_one_esp_is_merely_out_of_quota_the_campaign_waits_for_it(at: Rig) -> None:
    a_bad_week(at, SENDGRID, POSTMARK, accepted=5_000, bounced=1_000)
    at.configure(SES, daily_limit=100)
    at.start()
    told = at.wait(at.create(), CampaignStatus.WAITING)
    assert told["counts"]["accepted"] == 100
    assert "ses daily limit of 100 used" in told["reason"]
    assert "sendgrid brakes: 1000 invalid addresses among 5000" in told["reason"]


def test_a_confirmation_is_sent_whatever_campaigns_did(at: Rig) -> None:
    """The brake is for bulk; somebody waits for this one."""
    a_bad_week(at, *EspName, accepted=5_000, bounced=1_000, complained=100)
    at.start()
    campaign = at.create(
        kind=CampaignKind.CONFIRMATION, audience={"emails": ["person0@example.net"]}
    )
    assert at.wait(campaign)["status"] == "sent"


def test_a_confirmation_waits_for_esps_that_rest_all_the_same(at: Rig) -> None:
    a_bad_week(at, *EspName, accepted=5_000, complained=100)
    for esp in EspName:
        at.configure(esp, daily_limit=0)
    campaign = at.create(
        kind=CampaignKind.CONFIRMATION, audience={"emails": ["person0@example.net"]}
    )
    at.start()
    told = at.wait(campaign, CampaignStatus.WAITING)
    assert "sendgrid daily limit of 0 used" in told["reason"]
    assert "brakes" not in told["reason"]


def test_what_does_not_brake_is_not_overridden(at: Rig) -> None:
    campaign = at.create()
    with pytest.raises(NothingToOverride, match=f"campaign {campaign} does not brake"):
        override_brake_of(at, campaign)
    with pytest.raises(NothingToOverride, match="ses does not brake"):
        override_brake_of(at, SES)
