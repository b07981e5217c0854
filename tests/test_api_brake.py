"""The brake as operators see it, by API and command: what holds, and how it is overridden."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app import create_app
from cli import cli
from config.esp_config import EspName
from database.models import (
    BrakeOverride,
    Campaign,
    CampaignStatus,
    CampaignTally,
    EspPerformanceDay,
    TallyKind,
)
from database.session import Database
from services.base import Outcome, SendResult
from services.brake import Limits, Override
from services.brake_overrides import keep, of_campaign, of_esps
from services.event_recorder import record_events
from services.events import BounceClass, Event, EventKind
from services.reputation import ALL_PROVIDERS
from services.system import System
from tests.conftest import NOW
from tests.ledgers import HASH_KEY, Ledgers
from tests.openapi import Description
from tests.people import either_database, postgres
from tests.web import call, problem, system
from utils.tokens import send_ref

__all__ = ["either_database", "postgres", "system"]  # fixtures

SENDGRID, SES = EspName.SENDGRID, EspName.SES
BAD = "12 complaints among 2500 accepted mails, more than 0.3% with a certainty of 82%"
ORDER = {"by": "Ann", "why": "the list of the fair"}
Run = Callable[..., Result]


def a_week(session: Session, accepted: dict[int, int], now: datetime) -> None:
    """So many accepted, so many days ago; those who complained did today."""
    for esp, complained in ((SENDGRID, 12), (SES, 1)):
        for ago, n in accepted.items():
            session.add(
                EspPerformanceDay(
                    esp=esp,
                    mailbox_provider=ALL_PROVIDERS,
                    day=(now - timedelta(days=ago)).date(),
                    accepted=n,
                    bounced=20,
                    blocked=5,
                    complained=0 if ago else complained,
                )
            )


@pytest.fixture
def bad(system: System) -> Iterator[System]:
    """SendGrid's week, and campaign 1, have twelve complaints of 2,500 mails."""
    system.start_simulator()
    at = Ledgers(system.database)
    assert at.create() == 1
    with system.database.write() as session:
        a_week(session, {0: 2_000, 6: 500, 7: 90_000}, NOW)
        campaign = session.get_one(Campaign, 1)
        campaign.status, campaign.reason = CampaignStatus.PAUSED, f"brakes: {BAD}"
        campaign.accepted, campaign.complained, campaign.bounced = 2_500, 12, 400
        session.add(
            CampaignTally(campaign_id=1, kind=TallyKind.HARD_BOUNCED, key="sendgrid/gmail", n=60)
        )
    yield system
    system.close()


@pytest.fixture
def client(bad: System) -> FlaskClient:
    return create_app(system=bad).test_client()


@pytest.fixture
def run(bad: System, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Commands have a clock of their own; no day of these leaves the seven while a test runs."""
    with bad.database.write() as session:
        session.execute(delete(EspPerformanceDay))
        a_week(session, {0: 2_000, 3: 500, 30: 90_000}, datetime.now(UTC))
    bad.close()
    for name, value in {
        "API_KEY": bad.settings.api_key,
        "SECRET_KEY": bad.settings.secret_keys[0],
        "DATABASE_URL": str(bad.database.url),
    }.items():
        monkeypatch.setenv(name, value)
    return lambda *said: CliRunner().invoke(cli, said)


def told_of(client: FlaskClient, esp: EspName) -> dict[str, Any]:
    esps: list[dict[str, Any]] = call(client, "GET", "/esp-status").get_json()["esps"]
    return next(one for one in esps if one["esp"] == esp)


WEEK = {
    "brakes": True,
    "accepted": 2_500,
    "complaints": 12,
    "invalid": 30,
    "complaint_limit": 0.003,
    "invalid_limit": 0.05,
    "override": None,
}


def test_the_status_tells_why_an_esp_brakes(client: FlaskClient) -> None:
    sendgrid, ses = told_of(client, SENDGRID), told_of(client, SES)
    assert (sendgrid["available"], sendgrid["unavailable_because"]) == (False, f"brakes: {BAD}")
    assert sendgrid["brake"] == WEEK
    assert (ses["available"], ses["brake"]) == (True, {**WEEK, "brakes": False, "complaints": 1})


def test_an_esp_is_let_go_on_and_who_and_why_are_kept(client: FlaskClient, bad: System) -> None:
    until = (NOW + timedelta(hours=6)).isoformat()
    answer = call(client, "POST", "/esps/sendgrid/override-brake", json={**ORDER, "until": until})
    Description(client).check("POST", "/esps/{esp}/override-brake", answer)
    after = {
        **WEEK,
        "brakes": False,
        "complaint_limit": 0.0048,
        "override": {**ORDER, "at": NOW.isoformat(), "until": until},
    }
    assert (answer.status_code, answer.get_json()) == (200, after)
    sendgrid = told_of(client, SENDGRID)
    assert (sendgrid["available"], sendgrid["brake"]) == (True, after)
    with bad.database.read() as session:
        [kept] = session.scalars(select(BrakeOverride))
        assert (kept.esp, kept.because, kept.until) == (SENDGRID, BAD, NOW + timedelta(hours=6))
    again = call(client, "POST", "/esps/sendgrid/override-brake", json=ORDER)
    assert again.status_code == 409
    assert problem(again)["detail"] == "Sendgrid does not brake by its own figures."


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/esps/ses/override-brake", ORDER, 409),
        ("/esps/acme/override-brake", ORDER, 422),
        ("/esps/sendgrid/override-brake", {"by": "Ann"}, 422),
        ("/esps/sendgrid/override-brake", {**ORDER, "by": ""}, 422),
        ("/esps/sendgrid/override-brake", {**ORDER, "why": "a\nb"}, 422),
        ("/esps/sendgrid/override-brake", {**ORDER, "until": "2026-11-25T00:00:00"}, 422),
        ("/esps/sendgrid/override-brake", {**ORDER, "until": "2026-11-24T12:00:00Z"}, 409),
        ("/campaigns/1/override-brake", {**ORDER, "until": "2026-11-24T12:00:00Z"}, 409),
        ("/campaigns/1/override-brake", {"why": "w"}, 422),
        ("/campaigns/2/override-brake", ORDER, 404),
    ],
)
def test_an_order_that_says_too_little_or_comes_to_nothing_is_refused(
    client: FlaskClient, bad: System, path: str, body: dict[str, str], status: int
) -> None:
    refused = call(client, "POST", path, json=body)
    assert (refused.status_code, problem(refused)["status"]) == (status, status)
    with bad.database.read() as session:
        assert session.scalars(select(BrakeOverride)).all() == []


def test_a_campaign_that_braked_is_resumed_once_its_brake_is_overridden(
    client: FlaskClient,
) -> None:
    refused = call(client, "POST", "/campaigns/1/resume")
    assert refused.status_code == 409
    assert problem(refused)["detail"] == (
        f"Campaign 1 stays paused: {BAD}; override its brake first."
    )
    assert call(client, "GET", "/campaigns/1").get_json()["reason"] == f"brakes: {BAD}"
    answer = call(client, "POST", "/campaigns/1/override-brake", json=ORDER)
    Description(client).check("POST", "/campaigns/{campaign_id}/override-brake", answer)
    assert (answer.status_code, answer.get_json()["status"]) == (200, "paused")
    resumed = call(client, "POST", "/campaigns/1/resume")
    assert (resumed.status_code, resumed.get_json()["status"]) == (200, "sending")


def test_better_figures_let_a_campaign_go_on_too(client: FlaskClient, bad: System) -> None:
    with bad.database.write() as session:
        session.get_one(Campaign, 1).accepted = 4_000
    assert call(client, "POST", "/campaigns/1/resume").status_code == 200


def test_a_dry_run_leaves_out_who_brakes(client: FlaskClient, bad: System) -> None:
    Ledgers(bad.database).add_people(10)
    mailing = {"subject": "Hi", "text": "Hi", "dry_run": True}
    told = call(client, "POST", "/send-campaign", json=mailing).get_json()
    assert told["by_esp"] == {"ses": 10}
    told = call(client, "POST", "/send-campaign", json={**mailing, "esp": "sendgrid"}).get_json()
    assert (told["by_esp"], told["counts"]["queued"]) == ({}, 10)


HARD, BLOCKED, SOFT = BounceClass.HARD, BounceClass.BLOCKED, BounceClass.SOFT


@pytest.mark.parametrize(
    ("told", "invalid"),
    [
        ([HARD], 1),
        ([HARD, HARD], 1),
        ([SOFT, HARD], 1),
        ([BLOCKED], 0),
        ([SOFT], 0),
        ([BLOCKED, HARD], 0),
        ([HARD, BLOCKED], 0),
    ],
)
def test_an_address_is_invalid_if_that_is_all_that_was_held_against_it(
    either_database: Database, told: list[BounceClass], invalid: int
) -> None:
    at = Ledgers(either_database)
    at.add_people(1)
    at.plan(campaign := at.create())
    batch = at.claimed(campaign)
    at.record(batch, SendResult(outcome=Outcome.ACCEPTED, message_id="m"))
    [send] = batch.sends
    ref = send_ref(HASH_KEY, campaign_id=campaign, send_id=send.send_id, attempt=send.attempt)
    for number, bounce_class in enumerate(told):
        event = Event(
            key=str(number),
            kind=EventKind.BOUNCED,
            bounce_class=bounce_class,
            occurred_at=NOW,
            payload={},
            send_ref=ref,
        )
        with either_database.write() as session:
            record_events(session, batch.esp, [event], hash_key=HASH_KEY, now=NOW)
    assert at.standing(batch.esp).reputation.week.invalid == invalid


def test_the_last_override_of_each_counts(either_database: Database) -> None:
    at = Ledgers(either_database)
    first, second = at.create(), at.create(subject="Other")

    def override(number: int) -> Override:
        limits = Limits(complaints=number / 1_000, invalid=number / 100)
        until = NOW + timedelta(hours=number) if number % 2 else None
        return Override(
            ordered_by=f"Ann {number}", why="w", ordered_at=NOW, until=until, limits=limits
        )

    ordered: list[EspName | int] = [SENDGRID, first, SES, SENDGRID, first, second]
    with either_database.write() as session:
        for number, of in enumerate(ordered):
            keep(session, override(number), of=of, because="b")
    with either_database.read() as session:
        assert of_esps(session) == {SENDGRID: override(3), SES: override(2)}
        assert of_campaign(session, first) == override(4)
        assert of_campaign(session, second) == override(5)
        assert of_campaign(session, 99) is None


def test_the_commands_tell_and_order_the_same(run: Run) -> None:
    told = json.loads(run("esp", "status", "--json").stdout)
    sendgrid = next(one for one in told if one["esp"] == "sendgrid")
    assert (sendgrid["why_not"], sendgrid["complaints_7d"], sendgrid["invalid_7d"]) == (
        f"brakes: {BAD}",
        12,
        30,
    )
    refused = run("campaigns", "resume", "1")
    assert (refused.exit_code, BAD in refused.stderr) == (1, True)
    order = ["--by", "Ann", "--why", "the fair", "--until", "2126-11-24 18:00"]
    done = run("esp", "override", "sendgrid", *order, "--json")
    assert json.loads(done.stdout) == [
        {
            "esp": "sendgrid",
            "available": True,
            "why_not": None,
            "brake_override": "by Ann until 2126-11-24 18:00 UTC: the fair",
        }
    ]
    again = run("esp", "override", "sendgrid", *order)
    assert (again.exit_code, "does not brake" in again.stderr) == (1, True)
    late = run("campaigns", "override", "1", "--by", "Ann", "--why", "w", "--until", "2020-01-01")
    assert (late.exit_code, "is over already" in late.stderr) == (1, True)
    assert run("campaigns", "override", "1", "--by", "Ann", "--why", "w").exit_code == 0
    assert json.loads(run("campaigns", "resume", "1", "--json").stdout)["status"] == "sending"
