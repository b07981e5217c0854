"""Campaigns through three ESPs: each mail at most once, and everybody accounted for."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy.orm import Session

from config.esp_config import EspName
from config.settings import EspDistribution
from database.models import Campaign, CampaignStatus, SubscriberStatus
from database.session import Database
from services import campaign_step
from services.ledger import plan as planning
from services.simulator.modes import Mode
from services.simulator.server import SIMULATED
from tests.conftest import Clock
from tests.ledgers import Ledgers
from tests.rig import Rig, rig

SENDGRID, SES, POSTMARK = EspName.SENDGRID, EspName.SES, EspName.POSTMARK


@pytest.fixture
def at(database: Database, clock: Clock) -> Iterator[Rig]:
    with rig(database, clock) as made:
        yield made


def test_everybody_gets_one_mail_from_the_first_esp(at: Rig) -> None:
    at.add_people(230)
    at.start()
    told = at.send()
    assert (told["status"], told["planned"], told["by_esp"]) == ("sent", 230, {"sendgrid": 230})
    assert at.simulator.accepted() == {SENDGRID: 230, SES: 0, POSTMARK: 0}
    assert at.simulator.duplicates() == {}


def test_the_first_are_written_to_while_others_are_planned(
    at: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "IDS_PER_CHUNK", 10)
    begun = []

    def plan_chunk(session: Session, campaign: Campaign, now: datetime) -> None:
        begun.append((campaign.planned, campaign.sending + campaign.accepted))
        planning.plan_chunk(session, campaign, now)

    at.add_people(30)
    at.configure(SENDGRID, batch_size=5, concurrency=1)
    at.start()
    at.send(audience={"emails": ["person0@example.net"]})  # once the ESPs were looked up
    monkeypatch.setattr(campaign_step, "plan_chunk", plan_chunk)
    assert at.send()["by_esp"] == {"sendgrid": 30}
    assert [planned for planned, _ in begun] == [0, 10, 20]
    assert [going >= 5 for _, going in begun] == [False, True, True]


def test_a_campaign_that_has_to_wait_is_planned_to_its_end(
    at: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "IDS_PER_CHUNK", 10)
    at.add_people(30)
    for esp in SIMULATED:
        at.configure(esp, daily_limit=1)
    at.start()
    told = at.wait(at.create(), CampaignStatus.WAITING)
    assert (told["planned"], told["counts"]["accepted"], told["counts"]["queued"]) == (30, 3, 27)


def test_every_mail_carries_both_unsubscribe_headers_and_its_own_link(at: Rig) -> None:
    at.add_people(3)
    at.configure(SENDGRID, daily_limit=1)
    at.configure(SES, daily_limit=1)
    at.start()
    at.send()
    headers = [mail.headers or {} for mail in at.simulator.mails()]
    links = {given["List-Unsubscribe"] for given in headers}
    assert len(headers) == len(links) == 3
    assert all(link.startswith("<https://mail.example.com/unsubscribe?token=") for link in links)
    assert {given["List-Unsubscribe-Post"] for given in headers} == {"List-Unsubscribe=One-Click"}


# What each behaviour must come to. Definite refusals lose nothing: the next ESP has all.
DEFINITE = [
    Mode.UNAUTHORIZED,
    Mode.SUSPENDED,
    Mode.QUOTA,
    Mode.THROTTLE,
    Mode.REFUSE,
    Mode.REDIRECT,
]


@pytest.mark.parametrize("mode", DEFINITE)
@pytest.mark.parametrize("esp", SIMULATED)
def test_a_definite_refusal_goes_to_the_next_esp_with_nothing_lost(
    at: Rig, esp: EspName, mode: Mode
) -> None:
    for other in SIMULATED:
        at.configure(other, priority=1 if other is esp else 2)
    at.add_people(300)
    # A kept connection that ends under a request leaves it unclear; a new one does not.
    at.simulator.behave(esp, mode, after=0 if mode is Mode.REFUSE else 100)
    at.start()
    told = at.send()
    assert told["status"] == "sent"
    assert told["counts"]["accepted"] == 300
    taken = at.simulator.accepted()
    assert {name: n for name, n in taken.items() if n} == told["by_esp"]
    assert at.simulator.duplicates() == {}
    assert {change["from"] for change in told["failovers"]} == {esp.value}


AMBIGUOUS = [
    Mode.RESET_AFTER,
    Mode.CLOSE_AFTER,
    Mode.RESET_BEFORE,
    Mode.CLOSE_BEFORE,
    Mode.ERROR_500,
    Mode.ERROR_502,
    Mode.ERROR_503,
    Mode.ERROR_504,
    Mode.GARBAGE,
    Mode.EMPTY,
    Mode.CUT,
]


@pytest.mark.parametrize("mode", AMBIGUOUS)
@pytest.mark.parametrize("esp", SIMULATED)
def test_an_unclear_answer_is_unknown_at_no_other_esp_and_bounded(
    at: Rig, esp: EspName, mode: Mode
) -> None:
    for other in SIMULATED:
        at.configure(other, priority=1 if other is esp else 2, batch_size=20, concurrency=2)
    at.add_people(300)
    at.simulator.behave(esp, mode, after=100)
    at.start()
    told = at.send()
    taken = at.simulator.accepted()
    assert told["status"] in ("sent", "needs_review")
    assert told["counts"]["accepted"] + told["counts"]["unknown"] == 300
    assert told["counts"]["unknown"] <= 2 * 20 + 5
    assert at.simulator.duplicates() == {}
    for name in set(SIMULATED) - {esp}:
        assert taken[name] == told["by_esp"].get(name, 0)
    assert taken[esp] >= told["by_esp"].get(esp, 0)


def test_quotas_are_used_exactly_in_the_order_of_priority(at: Rig) -> None:
    at.add_people(500)
    at.configure(SENDGRID, daily_limit=150)
    at.configure(SES, daily_limit=200)
    at.start()
    told = at.send()
    assert told["by_esp"] == {"sendgrid": 150, "ses": 200, "postmark": 150}
    assert at.simulator.accepted() == {SENDGRID: 150, SES: 200, POSTMARK: 150}


@pytest.mark.parametrize(
    ("window", "forward"),
    [("daily_limit", {"hours": 12.1}), ("monthly_limit", {"days": 7})],
)
def test_all_quotas_used_is_a_wait_that_ends_when_the_window_turns(
    at: Rig, clock: Clock, window: str, forward: dict[str, float]
) -> None:
    at.add_people(100)
    at.configs = {SENDGRID: at.configs[SENDGRID]}
    at.configure(SENDGRID, **{window: 60})
    at.start()
    campaign = at.create()
    told = at.wait(campaign, CampaignStatus.WAITING)
    assert told["counts"]["accepted"] == 60
    assert told["counts"]["queued"] == 40
    assert "limit of 60 used, until" in told["reason"]
    clock.forward(**forward)
    assert at.wait(campaign)["by_esp"] == {"sendgrid": 100}


def test_the_daily_limit_of_ses_counts_the_last_24_hours(at: Rig, clock: Clock) -> None:
    at.add_people(100)
    at.configs = {SES: at.configs[SES]}
    at.configure(SES, daily_limit=60)
    at.start()
    campaign = at.create()
    at.wait(campaign, CampaignStatus.WAITING)
    clock.forward(hours=23)  # past midnight, but not a day
    assert at.engine is not None
    at.engine.wake()
    assert at.wait(campaign, CampaignStatus.WAITING)["counts"]["accepted"] == 60
    clock.forward(hours=2)
    assert at.wait(campaign)["by_esp"] == {"ses": 100}


def test_balanced_gives_each_batch_to_the_esp_that_had_least(at: Rig) -> None:
    at.add_people(300)
    at.distribution = EspDistribution.BALANCED
    for esp in SIMULATED:
        at.configure(esp, batch_size=20)
    at.start()
    assert at.send()["by_esp"] == {"sendgrid": 100, "ses": 100, "postmark": 100}


def test_the_one_esp_that_was_asked_for_carries_all(at: Rig) -> None:
    at.add_people(60)
    at.start()
    assert at.send(esp=POSTMARK)["by_esp"] == {"postmark": 60}


@pytest.mark.parametrize("esp", SIMULATED)
def test_an_invalid_address_is_rejected_alone_and_never_tried_elsewhere(
    at: Rig, esp: EspName
) -> None:
    for other in SIMULATED:
        at.configure(other, priority=1 if other is esp else 2)
    at.add_people(20)
    at.add_people(2, "invalid+{}@example.net")
    at.start()
    told = at.send()
    assert told["status"] == "sent"
    assert told["counts"]["rejected"] == 2
    assert told["by_esp"] == {esp.value: 20}
    assert at.simulator.accepted()[esp] == 20


def test_an_address_that_postmark_holds_inactive_is_suppressed(at: Rig) -> None:
    at.configs = {POSTMARK: at.configs[POSTMARK]}
    at.add_people(5)
    at.add_people(1, "inactive+{}@example.net")
    at.start()
    told = at.send()
    assert (told["counts"]["accepted"], told["counts"]["rejected"]) == (5, 1)
    again = at.send(subject="Another")
    assert again["planned"] == 5


@pytest.mark.parametrize("esp", SIMULATED)
def test_a_refused_message_pauses_the_campaign_and_nothing_more_is_sent(
    at: Rig, esp: EspName
) -> None:
    for other in SIMULATED:
        at.configure(other, priority=1 if other is esp else 2)
    at.add_people(400)
    at.simulator.behave(esp, Mode.MESSAGE_REJECTED)
    at.start()
    told = at.send()
    assert told["status"] == "paused"
    assert told["reason"].startswith(f"{esp} refused the message: ")
    assert told["counts"] == {
        "queued": 400,
        "sending": 0,
        "accepted": 0,
        "rejected": 0,
        "unknown": 0,
        "cancelled": 0,
    }


@pytest.mark.parametrize(
    ("status", "planned"),
    [(status, int(status is SubscriberStatus.ACTIVE)) for status in SubscriberStatus],
)
def test_only_active_people_are_the_audience(
    at: Rig, status: SubscriberStatus, planned: int
) -> None:
    at.add_people(1, status=status)
    at.start()
    told = at.send()
    assert (told["status"], told["planned"]) == ("sent", planned)


def test_an_audience_of_addresses_says_why_somebody_is_left_out(at: Rig) -> None:
    at.add_people(2)
    at.add_people(1, "left{}@example.net", status=SubscriberStatus.UNSUBSCRIBED)
    at.start()
    emails = [
        *("person0@example.net", "PERSON0@Example.net", "person1@example.net"),
        *("left0@example.net", "stranger@example.net", "no address"),
    ]
    told = at.send(audience={"emails": emails})
    assert told["planned"] == 6
    assert told["counts"]["accepted"] == 2
    assert told["skipped"] == {
        "duplicate": 1,
        "invalid": 1,
        "not_active": 1,
        "unknown_subscriber": 1,
    }


def test_an_audience_of_tags_is_everybody_with_any_of_them(at: Rig) -> None:
    at.add_people(2, "a{}@example.net", tags=["red"])
    at.add_people(3, "b{}@example.net", tags=["blue", "green"])
    at.add_people(4, "c{}@example.net", tags=["grey"])
    at.start()
    assert at.send(audience={"tags": ["red", "blue"]})["planned"] == 5


def test_an_empty_audience_is_sent_at_once(at: Rig) -> None:
    at.start()
    told = at.send()
    assert (told["status"], told["planned"]) == ("sent", 0)


def test_an_esp_that_recovers_is_used_again_after_its_rest(at: Rig, clock: Clock) -> None:
    at.add_people(50)
    at.configs = {SENDGRID: at.configs[SENDGRID]}
    at.simulator.behave(SENDGRID, Mode.UNAUTHORIZED)
    at.start()
    campaign = at.create()
    told = at.wait(campaign, CampaignStatus.WAITING)
    assert told["reason"].startswith("sendgrid rests until 2026-11-24 12:01:00 UTC after: ")
    at.simulator.behave(SENDGRID)
    clock.forward(seconds=61)
    assert at.wait(campaign)["by_esp"] == {"sendgrid": 50}


def test_a_breaker_survives_a_restart(at: Rig) -> None:
    at.add_people(50)
    at.simulator.behave(SENDGRID, Mode.UNAUTHORIZED)
    at.start()
    at.send()
    at.stop()
    at.simulator.behave(SENDGRID)
    at.start()
    assert at.send(subject="Another")["by_esp"] == {"ses": 50}


def test_no_limit_of_an_esp_is_broken(at: Rig) -> None:
    for esp in SIMULATED:
        at.simulator.limit(esp, per_second=400)
        at.configure(esp, per_second=400)
    at.configure(SENDGRID, daily_limit=400)
    at.configure(SES, daily_limit=400)
    at.add_people(1200)
    at.start()
    told = at.send()
    assert told["by_esp"] == {"sendgrid": 400, "ses": 400, "postmark": 400}
    assert at.simulator.limit_violations == {}


def test_the_rate_that_an_account_reports_is_kept_without_a_setting(at: Rig) -> None:
    at.configs = {SES: at.configs[SES]}
    at.simulator.limit(SES, per_second=100)
    at.add_people(150)
    at.start()
    assert at.send()["by_esp"] == {"ses": 150}
    assert at.simulator.limit_violations == {}


def test_a_stop_leaves_no_unknown_and_a_restart_goes_on(at: Rig) -> None:
    at.add_people(600)
    at.simulator.behave(SENDGRID, latency_s=0.05)
    at.start()
    campaign = at.create()
    at.wait(campaign, CampaignStatus.SENDING)
    at.stop()
    told = at.report(campaign)
    assert (told["counts"]["sending"], told["counts"]["unknown"]) == (0, 0)
    assert told["counts"]["queued"] > 0
    at.start()
    assert at.wait(campaign)["counts"]["accepted"] == 600
    assert at.simulator.duplicates() == {}


def test_two_engines_on_one_database_send_once_and_the_second_takes_over(
    at: Rig, database: Database, clock: Clock
) -> None:
    at.add_people(100)
    first = at.start()
    at.send()
    second = at.start()
    assert (first.may_send, second.may_send) == (True, False)
    first.close()
    assert at.send(subject="Another")["counts"]["accepted"] == 100
    assert second.may_send


def test_a_campaign_that_stood_still_for_long_waits_for_a_person(at: Rig, clock: Clock) -> None:
    at.add_people(10)
    campaign = at.create()
    clock.forward(hours=7)
    at.start()
    told = at.wait(campaign)
    assert (told["status"], told["counts"]["accepted"]) == ("paused", 0)
    assert told["reason"].startswith("stale")


NOT_ALLOWED = (
    "its sender news@example.com is none of ALLOWED_SENDERS, the setting for this; add it there "
    "and restart, or cancel the campaign and send it from another"
)


@pytest.mark.parametrize("is_planned", [False, True])
def test_a_sender_that_a_restart_no_longer_allows_sends_nothing_more(
    at: Rig, is_planned: bool
) -> None:
    at.add_people(3)
    at.configs = {SENDGRID: at.configs[SENDGRID]}
    at.configure(SENDGRID, daily_limit=1 if is_planned else None)
    if is_planned:
        at.start()
        campaign = at.create()
        at.wait(campaign, CampaignStatus.WAITING)
        at.stop()
        at.configure(SENDGRID, daily_limit=None)
    else:
        campaign = at.create()
    at.may_send_as = {"other@example.com"}.__contains__
    at.start()
    told = at.wait(campaign)
    assert (told["status"], told["reason"]) == ("paused", NOT_ALLOWED)
    other = at.send(subject="Another", from_email="other@example.com")
    assert (other["status"], other["counts"]["accepted"]) == ("sent", 3)
    assert sum(at.simulator.accepted().values()) == is_planned + 3


def test_a_sender_that_is_no_longer_allowed_leaves_alone_what_has_nothing_left_to_send(
    at: Rig,
) -> None:
    ledgers = Ledgers(at.database)
    campaign = ledgers.planned(10)
    ledgers.claimed(campaign, 10)
    at.may_send_as = {"other@example.com"}.__contains__
    at.start()
    told = at.wait(campaign)
    assert (told["status"], told["counts"]["unknown"]) == ("needs_review", 10)


def test_someone_who_leaves_after_the_plan_is_skipped_by_the_claim(at: Rig) -> None:
    from_before: dict[str, Any] = {"daily_limit": 1}
    at.add_people(3)
    at.configs = {SENDGRID: at.configs[SENDGRID]}
    at.configure(SENDGRID, **from_before)
    at.start()
    campaign = at.create()
    at.wait(campaign, CampaignStatus.WAITING)
    at.suppress("person1@example.net")
    at.stop()
    at.configure(SENDGRID, daily_limit=None)
    at.start()
    told = at.wait(campaign)
    assert (told["counts"]["accepted"], told["skipped"]) == (2, {"suppressed": 1})
