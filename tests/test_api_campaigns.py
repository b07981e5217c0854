"""Keys, waits, pages, a second process and the ESPs' standing, through the real app.

Each answer is also held against /openapi.json.
"""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, insert
from sqlalchemy.exc import OperationalError
from werkzeug.test import TestResponse

from api.waiting import MOST_WAITING, places, wait_seconds
from app import create_app
from config.esp_config import EspName
from config.settings import load_settings
from database.models import Campaign, CampaignStatus, IdempotencyKey
from database.sender_lock import SenderLock
from database.session import Database
from services import campaign_step
from services.campaigns import create, find, page, report
from services.simulator.modes import Mode
from services.simulator.server import SIMULATED, Simulator
from services.system import System
from tests.conftest import NOW, Clock
from tests.ledgers import Ledgers
from tests.openapi import Description
from tests.people import either_database, postgres
from tests.rig import NEW
from tests.web import API_KEY, KEY, SECRET_KEY, call, problem
from utils.tokens import link_key

__all__ = ["either_database", "postgres"]  # fixtures

SENDGRID, SES, POSTMARK = EspName.SENDGRID, EspName.SES, EspName.POSTMARK
MAILING = {"subject": "Hello {{ first_name }}", "html": "<p>Hello {{ first_name }}</p>"}
DAY = {"used": 0, "limit": None, "remaining": None, "resets_at": "2026-11-25T00:00:00+00:00"}
MONTH = {**DAY, "resets_at": "2026-12-01T00:00:00+00:00"}
FIGURES = {"calls": 0, "accepted": 0, "rejected": 0, "unknown": 0, "requeued": 0}


@dataclass
class Office:
    """An app that sends, its ESPs, and what a client does."""

    app: Flask
    system: System
    description: Description

    @property
    def simulator(self) -> Simulator:
        assert self.system.simulator is not None
        return self.system.simulator

    @property
    def ledgers(self) -> Ledgers:
        return Ledgers(self.system.database)

    def call(self, method: str, path: str, **said: Any) -> TestResponse:
        with self.app.test_client() as client:
            response = call(client, method, path, **said)
        template = "/".join(
            "{campaign_id}" if part.isdecimal() else part for part in path.split("/")
        )
        self.description.check(method, template.partition("?")[0], response)
        return response

    def send(self, headers: dict[str, str] | None = None, **said: Any) -> TestResponse:
        body = {**MAILING, **said}
        return self.call("POST", "/send-campaign", json=body, headers={**KEY, **(headers or {})})

    def get(self, path: str) -> Any:
        response = self.call("GET", path)
        assert response.status_code == 200
        return response.get_json()

    def until(self, is_so: Callable[[], bool]) -> None:
        assert self.system.engine is not None
        for _ in range(1500):
            if is_so():
                return
            self.system.engine.wait_for_stand(0.02)
        raise AssertionError("never so")

    def until_still(self, campaign_id: int) -> dict[str, Any]:
        still = ("sent", "needs_review", "paused", "cancelled")
        self.until(lambda: self.get(f"/campaigns/{campaign_id}")["status"] in still)
        told: dict[str, Any] = self.get(f"/campaigns/{campaign_id}")
        return told


def a_system(database: Database, clock: Clock, **environ: str) -> System:
    url = database.url.render_as_string(hide_password=False)
    names = {"API_KEY": API_KEY, "SECRET_KEY": SECRET_KEY, "DATABASE_URL": url, **environ}
    return System(
        settings=load_settings(names, None),
        database=database,
        hash_key=b"k" * 32,
        link_keys=(link_key(SECRET_KEY),),
        clock=clock,
    )


def opened(system: System) -> Office:
    system.start()
    app = create_app(system=system)
    office = Office(app, system, Description(app.test_client()))
    office.until(lambda: office.call("GET", "/readyz", headers={}).status_code == 200)
    return office


@pytest.fixture
def at(database: Database, clock: Clock) -> Iterator[Office]:
    office = opened(a_system(database, clock))
    office.until(lambda: office.system.engine is not None and office.system.engine.may_send)
    yield office
    office.system.close()


@pytest.fixture
def either(either_database: Database, clock: Clock) -> Iterator[Office]:
    """The same on PostgreSQL, where writers run side by side."""
    office = opened(a_system(either_database, clock))
    office.until(lambda: office.system.engine is not None and office.system.engine.may_send)
    yield office
    office.system.close()


# Keys


def at_once(n: int, act: Callable[[], TestResponse]) -> list[TestResponse]:
    together = threading.Barrier(n)

    def one(_: int) -> TestResponse:
        together.wait()
        return act()

    with ThreadPoolExecutor(n) as threads:
        return list(threads.map(one, range(n)))


def test_twenty_requests_with_one_key_at_once_make_one_campaign(either: Office) -> None:
    either.ledgers.add_people(10)
    answers = at_once(20, lambda: either.send({"Idempotency-Key": "one"}))
    statuses = sorted(answer.status_code for answer in answers)
    assert set(statuses) <= {200, 409}
    assert statuses[0] == 200
    for answer in answers:
        if answer.status_code == 409:
            assert problem(answer)["type"] == "/problems/in-progress"
            assert answer.headers["Location"] == "/campaigns/1"
            assert answer.headers["Retry-After"] == "2"
    assert [told["campaign_id"] for told in either.get("/campaigns")["campaigns"]] == [1]
    assert either.simulator.duplicates() == {}


def test_the_same_mailing_without_a_key_twenty_times_at_once_is_sent_once(either: Office) -> None:
    either.ledgers.add_people(10)
    answers = at_once(20, either.send)
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 19
    kinds = {problem(answer)["type"] for answer in answers if answer.status_code == 409}
    assert kinds == {"/problems/possible-duplicate"}
    assert len(either.get("/campaigns")["campaigns"]) == 1


def test_a_key_finds_its_campaign_again_whatever_order_its_names_have(at: Office) -> None:
    key = {"Idempotency-Key": "one", **KEY}
    for body in ('{"subject": "A", "text": "B"}', '{"text":"B","subject":"A"}'):
        response = at.call(
            "POST", "/send-campaign", data=body, content_type="application/json", headers=key
        )
        assert (response.status_code, response.get_json()["campaign_id"]) == (200, 1)


def test_a_key_is_kept_with_its_campaign_and_not_with_a_refusal(at: Office) -> None:
    key = {"Idempotency-Key": "one"}
    assert at.send(key, subject="{{ nobody }}").status_code == 422
    assert at.send(key).status_code == 200
    assert at.send(key, subject="Another").status_code == 422
    assert at.send(key).get_json()["campaign_id"] == 1


def test_a_key_of_a_campaign_that_waits_is_a_409_until_it_stands_still(at: Office) -> None:
    for esp in SIMULATED:
        at.simulator.behave(esp, Mode.UNAUTHORIZED)
    at.ledgers.add_people(1)
    key = {"Idempotency-Key": "one"}
    assert at.send(key).status_code == 202
    again = at.send(key)
    assert (again.status_code, again.headers["Location"]) == (409, "/campaigns/1")
    assert "runs (waiting)" in problem(again)["detail"]
    at.call("POST", "/campaigns/1/cancel")
    assert (at.send(key).status_code, at.send(key).get_json()["status"]) == (200, "cancelled")


def _audiences(kind: str, *ones: str) -> list[dict[str, Any]]:
    return [{"audience": {kind: list(order)}} for order in permutations(ones)]


@pytest.mark.parametrize(
    ("said", "again", "status"),
    [
        ({}, {}, 409),
        ({"name": "A"}, {"name": "B"}, 409),
        ({"esp": "ses"}, {"esp": "postmark"}, 409),
        ({"track_opens": True, "tags": ["a"]}, {}, 409),
        (*_audiences("tags", "red", "blue"), 409),
        (*_audiences("emails", "person0@example.net", "PERSON1@example.net"), 409),
        ({}, {"subject": "Another"}, 200),
        ({}, {"html": "<p>Another</p>"}, 200),
        ({}, {"text": "Another"}, 200),
        ({}, {"from_name": "Another"}, 200),
        ({}, {"reply_to": "another@example.com"}, 200),
        ({}, {"audience": {"tags": ["red"]}}, 200),
        ({}, {"audience": {"emails": ["person0@example.net"]}}, 200),
    ],
)
def test_the_same_mailing_is_the_same_content_sender_and_audience(
    at: Office, said: dict[str, Any], again: dict[str, Any], status: int
) -> None:
    at.ledgers.add_people(2, tags=["red"])
    assert at.send(**said).status_code == 200
    response = at.send(**again)
    assert response.status_code == status
    if status == 409:
        assert response.headers["Location"] == "/campaigns/1"
    assert at.send({"Idempotency-Key": "one"}, **again).status_code == 200


# Waiting


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ([], 7),
        (["wait=0"], 0),
        (["wait=12"], 12),
        (["Wait = 12"], 12),
        (['wait="12"'], 12),
        (["wait=12; x=y"], 12),
        (["wait=900"], 900),
        (["wait=901"], 900),
        (["wait=12345678"], 900),
        (["respond-async"], 0),
        (["Respond-Async"], 0),
        (["respond-async, wait=12"], 12),
        (["wait=12, respond-async"], 12),
        (["respond-async", "wait=12"], 12),
        (["wait=3, wait=12"], 3),
        (["return=minimal, respond-async"], 0),
        (["wait"], 7),
        (["wait="], 7),
        (["wait=-1"], 7),
        (["wait=1.5"], 7),
        (['wait="12'], 7),
        (["wait=twelve"], 7),
        (["wait=" + "9" * 5000], 7),
        (["x" * 1000], 7),
        ([",,;,="], 7),
    ],
)
def test_how_long_a_client_prefers_to_wait(prefer: list[str], seconds: float) -> None:
    headers = [("Prefer", value) for value in prefer]
    with Flask(__name__).test_request_context(headers=headers):
        assert wait_seconds(7) == seconds


def test_eight_requests_wait_and_the_ninth_is_answered_at_once(at: Office) -> None:
    at.ledgers.add_people(1)
    at.simulator.behave(SENDGRID, Mode.HANG_BEFORE, count=MOST_WAITING)

    def send(n: int) -> TestResponse:
        return at.send(subject=f"Number {n}")

    with ThreadPoolExecutor(MOST_WAITING) as threads:
        waiting = [threads.submit(send, n) for n in range(MOST_WAITING)]
        at.until(lambda: places._value == 0)
        ninth = send(9)
        assert (ninth.status_code, ninth.headers["Location"]) == (202, "/campaigns/9")
        assert not any(answer.done() for answer in waiting)
        at.system.stop_claiming()
        assert {answer.result().status_code for answer in waiting} == {202}
    assert places._value == MOST_WAITING
    at.simulator.stop()  # the hanging calls end


def test_a_fault_of_our_own_answers_those_who_wait_and_refuses_new_ones(
    at: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    at.ledgers.add_people(1)
    at.simulator.behave(SENDGRID, latency_s=0.3)

    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(at.send)
        at.until(lambda: at.simulator.accepted()[SENDGRID] == 1)
        monkeypatch.setattr(campaign_step, "running", broken)
        assert (answer.result().status_code, answer.result().headers["Location"]) == (
            202,
            "/campaigns/1",
        )
    refused, ready = at.send(subject="Another"), at.call("GET", "/readyz", headers={})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
    for response in (refused, ready):
        assert response.status_code == 503
        assert "fault of its own and stopped" in problem(response)["detail"]
    assert at.call("GET", "/healthz", headers={}).status_code == 200
    assert len(at.get("/campaigns")["campaigns"]) == 1


def test_who_sends_takes_campaigns_from_the_first_readyz_that_is_200_on(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_look = threading.Event()
    try_acquire = SenderLock.try_acquire

    def wait_and_try(lock: SenderLock) -> bool:
        assert may_look.wait(60)
        return try_acquire(lock)

    monkeypatch.setattr(SenderLock, "try_acquire", wait_and_try)
    system = a_system(database, clock)
    system.start()
    app = create_app(system=system)
    office = Office(app, system, Description(app.test_client()))
    early = office.call("GET", "/readyz", headers={})
    assert (early.status_code, "begins" in problem(early)["detail"]) == (503, True)
    may_look.set()
    office.until(lambda: office.call("GET", "/readyz", headers={}).status_code == 200)
    assert office.send().status_code == 200
    system.close()


def test_readyz_says_it_while_the_engine_cannot_write(
    at: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which a disk may refuse that still gives a transaction its turn."""

    def full(*_: object) -> None:
        raise OperationalError("INSERT", None, Exception("disk I/O error"))

    def ready() -> int:
        return at.call("GET", "/readyz", headers={}).status_code

    at.ledgers.add_people(1)
    with monkeypatch.context() as failing:
        failing.setattr(campaign_step, "running", full)
        at.send(headers={"Prefer": "wait=0"})
        at.until(lambda: ready() == 503)
    at.until(lambda: ready() == 200)


# Bodies


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\u2028", "\x85"])
@pytest.mark.parametrize("field", ["from_name", "from_email", "reply_to", "name"])
def test_no_line_break_gets_into_a_header(at: Office, field: str, end: str) -> None:
    value = f"a@example.com{end}Bcc: b@example.com"
    said: dict[str, Any] = {field: value}
    response = at.send(**said)
    assert (response.status_code, problem(response)["errors"][0]["pointer"]) == (422, f"/{field}")
    assert at.get("/campaigns") == {"campaigns": [], "next": None}


def test_line_breaks_in_a_subject_become_one_space_in_every_mail(at: Office) -> None:
    at.ledgers.add_people(3, first_name="Ann\r\nBcc: b@example.com")
    for n, esp in enumerate(SIMULATED):
        told = at.send(subject=f"{n}: a\r\n\r\nX-Odd: b {{{{ first_name }}}}", esp=esp.value)
        assert told.get_json()["counts"]["accepted"] == 3
    subjects = {(mail.esp, mail.subject) for mail in at.simulator.mails()}
    assert subjects == {
        (esp, f"{n}: a X-Odd: b Ann Bcc: b@example.com") for n, esp in enumerate(SIMULATED)
    }


@pytest.mark.parametrize("audience", [None, {"emails": []}, {"tags": ["nobody"]}])
def test_an_empty_audience_is_a_campaign_that_is_sent(
    at: Office, audience: dict[str, Any] | None
) -> None:
    response = at.send(**({"audience": audience} if audience else {}))
    told = response.get_json()
    assert (response.status_code, told["status"], told["planned"]) == (200, "sent", 0)


def test_an_esp_without_a_key_is_no_esp_to_ask_for(at: Office) -> None:
    at.system.esps = {SES: at.system.esps[SES]}
    response = at.send(esp="sendgrid")
    assert response.status_code == 422
    assert problem(response)["errors"] == [
        {"pointer": "/esp", "detail": "sendgrid is not configured here; configured: ses"}
    ]


# Pages


def pages(at: Office, path: str, name: str) -> Iterator[list[dict[str, Any]]]:
    told = at.get(path)
    yield told[name]
    while told["next"] is not None:
        told = at.get(f"{path}&after={told['next']}")
        yield told[name]


def walk(at: Office, path: str) -> list[str]:
    """The address of every send, page by page."""
    return [send["email"] for sends in pages(at, path, "sends") for send in sends]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 200])
def test_walking_the_campaigns_meets_each_once_while_new_ones_are_made(
    at: Office, limit: int
) -> None:
    with at.system.database.write() as session:
        for n in range(8):
            new = replace(NEW, subject=f"Number {n}")
            create(session, new, now=NOW, sandbox=True).status = CampaignStatus.CANCELLED
    seen = []
    for number, told in enumerate(pages(at, f"/campaigns?limit={limit}", "campaigns")):
        seen += [campaign["campaign_id"] for campaign in told]
        at.send(subject=f"Made meanwhile, {number}")
    assert seen == [8, 7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize("limit", [1, 3, 5, 1000])
def test_walking_the_sends_of_campaigns_planned_side_by_side_meets_each_once(
    at: Office, limit: int
) -> None:
    at.ledgers.add_people(5)
    ids = [at.ledgers.create(subject=f"Number {n}") for n in range(2)]
    for campaign_id in ids:
        at.until_still(campaign_id)
    for campaign_id in ids:
        path = f"/campaigns/{campaign_id}/sends?limit={limit}"
        everybody = [f"person{n}@example.net" for n in range(5)]
        assert walk(at, path) == everybody
        assert walk(at, f"{path}&status=accepted") == everybody
        assert walk(at, f"{path}&status=rejected") == []


def test_a_send_is_told_whole(at: Office) -> None:
    at.ledgers.add_people(1)
    at.send()
    send = at.get("/campaigns/1/sends")["sends"][0]
    assert send.pop("esp_message_id")
    assert send == {
        "id": 1,
        "email": "person0@example.net",
        "status": "accepted",
        "reason": None,
        "esp": "sendgrid",
        "attempt": 1,
        "delivery": "none",
        "opened": False,
        "clicked": False,
        "unsubscribed": False,
        "settled_at": "2026-11-24T12:00:00+00:00",
    }


def test_a_page_after_the_last_id_that_there_can_be_is_empty(either: Office) -> None:
    either.ledgers.add_people(1)
    either.send()
    last = 2**63 - 1
    assert either.get(f"/campaigns/1/sends?after={last}") == {"sends": [], "next": None}
    assert len(either.get(f"/campaigns?after={last}")["campaigns"]) == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/campaigns?limit=0", 422),
        ("/campaigns?limit=201", 422),
        ("/campaigns?after=0", 422),
        ("/campaigns?after=x", 422),
        ("/campaigns?page=2", 422),
        ("/campaigns/9", 404),
        ("/campaigns/99999999999999999999", 422),
        ("/campaigns/9/sends", 404),
        ("/campaigns/9/sends?status=lost", 422),
        ("/campaigns/9/sends?after=-1", 422),
    ],
)
def test_a_page_that_does_not_exist_is_refused_with_the_parameter(
    at: Office, path: str, status: int
) -> None:
    response = at.call("GET", path)
    assert response.status_code == status
    assert problem(response)["status"] == status


def test_a_page_of_campaigns_does_not_read_their_texts(database: Database) -> None:
    Ledgers(database).create()
    said: list[str] = []
    with database.read() as session:
        event.listen(database.reader, "before_cursor_execute", lambda *told: said.append(told[2]))
        for campaign in [*page(session, after=None, limit=9), find(session, 1)]:
            assert campaign is not None
            report(session, campaign, NOW)
    assert said
    for text in ("campaigns.html", "campaigns.text", "campaigns.audience"):
        assert not any(text in statement for statement in said)


def test_a_report_adds_up_while_the_campaign_moves(postgres: Database) -> None:
    """Readers of PostgreSQL see one moment, as those of SQLite do."""
    ledgers = Ledgers(postgres)
    campaign_id = ledgers.planned(3)
    with postgres.read() as session:
        campaign = session.get_one(Campaign, campaign_id)
        ledgers.suppress("person0@example.net")
        ledgers.claimed(campaign_id)
        told = report(session, campaign, NOW)
    assert (told["planned"], told["counts"]["queued"], told["skipped"]) == (3, 3, {})


def test_a_campaign_that_has_ended_stands_still_whatever_its_counters_say(at: Office) -> None:
    campaign_id = at.ledgers.create()
    at.until_still(campaign_id)
    at.ledgers.tamper(campaign_id, sending=3)
    with at.system.database.write() as session:
        session.execute(
            insert(IdempotencyKey).values(
                key="one", fingerprint="x", campaign_id=campaign_id, created_at=NOW
            )
        )
    assert at.send({"Idempotency-Key": "one"}).status_code == 422  # found, and not "running"


# A second process


def test_a_second_process_reads_refuses_to_send_and_takes_over_when_the_first_ends(
    at: Office, clock: Clock
) -> None:
    at.ledgers.add_people(3)
    assert at.send({"Idempotency-Key": "one"}).status_code == 200
    url = at.system.database.url.render_as_string(hide_password=False)
    second = opened(a_system(Database(url), clock))
    refused = second.send(subject="Another")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
    assert "another one sends from this database" in problem(refused)["detail"]
    assert second.call("GET", "/readyz", headers={}).status_code == 200
    assert second.get("/campaigns") == at.get("/campaigns")
    known = second.send({"Idempotency-Key": "one"})
    warnings = known.get_json()["warnings"]
    assert (known.status_code, known.get_json()) == (
        200,
        {**at.get("/campaigns/1"), "warnings": warnings},
    )
    assert at.system.engine is not None
    at.system.engine.close()
    second.until(lambda: second.send(subject="Another").status_code == 200)
    second.system.close()


def test_what_the_first_process_left_the_second_goes_on_with(at: Office, clock: Clock) -> None:
    at.ledgers.add_people(3)
    for esp in SIMULATED:
        at.simulator.behave(esp, Mode.UNAUTHORIZED)
    assert at.send().status_code == 202
    url = at.system.database.url.render_as_string(hide_password=False)
    second = opened(a_system(Database(url), clock))
    clock.forward(minutes=2)
    assert at.system.engine is not None
    at.system.engine.close()
    assert second.until_still(1)["counts"]["accepted"] == 3
    second.system.close()


# /esp-status


BRAKE = {
    "brakes": False,
    "accepted": 0,
    "complaints": 0,
    "invalid": 0,
    "invalid_limit": 0.05,
    "override": None,
}


def esp_told(esp: EspName, **known: Any) -> dict[str, Any]:
    return {
        "esp": esp.value,
        "configured": True,
        "available": True,
        "unavailable_because": None,
        "priority": SIMULATED.index(esp) + 1,
        "reputation": {"score": 98.0, "accepted_in_7_days": 0, "by_provider": {}},
        "quota": {"per_second": None, "day": DAY, "month": MONTH},
        "breaker": {"state": "closed", "failures": 0, "open_until": None, "throttled_until": None},
        "last_error": None,
        "performance_24h": FIGURES,
        "brake": BRAKE | {"complaint_limit": 0.001 if esp is POSTMARK else 0.003},
        "dns": {},
        "events": {"last_at": None, "unheard": 0, "unheard_since": None},
        "warnings": [],
        **known,
    }


MISSING = {"configured": False, "available": False}
NOT_SIMULATED = [
    {"esp": esp.value, **MISSING, "unavailable_because": "the sandbox does not have it"}
    for esp in EspName
    if esp not in SIMULATED
]

# In a rolling day nothing is free again before an hour has passed whole.
SES_DAY = {**DAY, "resets_at": "2026-11-25T13:00:00+00:00"}


def test_a_fresh_installation_says_that_every_esp_may_get_mail(at: Office) -> None:
    ses = esp_told(SES, quota={"per_second": None, "day": SES_DAY, "month": MONTH})
    assert at.get("/esp-status") == {
        "esps": [esp_told(SENDGRID), ses, esp_told(POSTMARK), *NOT_SIMULATED],
        "sandbox": True,
        "safe_mode": None,
    }


def test_an_esp_without_a_key_says_so(at: Office) -> None:
    at.system.esps = {SENDGRID: at.system.esps[SENDGRID]}
    nothing = {**MISSING, "unavailable_because": "no key is set: see .env.example"}
    without = [{"esp": "ses", **nothing}, {"esp": "postmark", **nothing}]
    assert at.get("/esp-status") == {
        "esps": [esp_told(SENDGRID), *without, *NOT_SIMULATED],
        "sandbox": True,
        "safe_mode": None,
    }


def test_a_used_up_quota_is_told_with_the_time_it_turns(database: Database, clock: Clock) -> None:
    at = opened(a_system(database, clock, SENDGRID_DAILY_LIMIT="2", SENDGRID_MONTHLY_LIMIT="10"))
    at.ledgers.add_people(3)
    at.until(lambda: at.send(audience={"tags": ["x"]}).status_code in (200, 409))
    assert at.send().get_json()["by_esp"] == {"sendgrid": 2, "ses": 1}
    told = {esp["esp"]: esp for esp in at.get("/esp-status")["esps"]}
    at.system.close()
    assert told["sendgrid"] == esp_told(
        SENDGRID,
        available=False,
        unavailable_because="daily limit of 2 used, until 2026-11-25 00:00:00 UTC",
        reputation={"score": 98.2, "accepted_in_7_days": 2, "by_provider": {}},
        quota={
            "per_second": None,
            "day": {**DAY, "used": 2, "limit": 2, "remaining": 0},
            "month": {**MONTH, "used": 2, "limit": 10, "remaining": 8},
        },
        performance_24h={**FIGURES, "calls": 1, "accepted": 2},
        brake=BRAKE | {"accepted": 2, "complaint_limit": 0.003},
        events={"last_at": None, "unheard": 2, "unheard_since": "2026-11-24T12:00:00+00:00"},
    )
    assert told["ses"]["quota"]["day"] == {**SES_DAY, "used": 1}


def test_an_open_breaker_is_told_with_the_error_that_opened_it(at: Office) -> None:
    at.ledgers.add_people(4)
    at.simulator.behave(SENDGRID, Mode.UNAUTHORIZED)
    told = at.send().get_json()
    sendgrid = at.get("/esp-status")["esps"][0]
    error = sendgrid["last_error"]["reason"]
    assert told["failovers"] == [{"from": "sendgrid", "to": "ses", "sends": 4, "reason": error}]
    assert error.startswith("401: ")
    credits = {"used": 0, "limit": 100_000_000, "remaining": 100_000_000}  # of its account
    assert sendgrid == esp_told(
        SENDGRID,
        available=False,
        quota={"per_second": None, "day": {**DAY, **credits}, "month": MONTH},
        unavailable_because=f"rests until 2026-11-24 12:01:00 UTC after: {error}",
        reputation={"score": 93.3, "accepted_in_7_days": 0, "by_provider": {}},
        breaker={
            "state": "open",
            "failures": 1,
            "open_until": "2026-11-24T12:01:00+00:00",
            "throttled_until": None,
        },
        last_error={"reason": error, "at": "2026-11-24T12:00:00+00:00"},
        performance_24h={**FIGURES, "calls": 1, "requeued": 4},
    )


# Whatever is sent

_TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_MAILING = st.fixed_dictionaries(
    {"subject": _TEXT, "html": _TEXT | st.just("{{ first_name | default(1) }}")},
    optional={
        "name": _TEXT | _JSON,
        "text": _TEXT,
        "from_email": _TEXT | st.emails(),
        "from_name": _TEXT,
        "reply_to": _TEXT | st.emails(),
        "audience": st.fixed_dictionaries({"emails": st.lists(_TEXT | st.emails())}) | _JSON,
        "esp": st.sampled_from(EspName) | _TEXT,
        "tags": st.lists(_TEXT, max_size=3),
        "track_opens": st.booleans() | _JSON,
        "dry_run": st.booleans(),
        "allow_duplicate": st.booleans(),
    },
)


_KEYS = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=20)


@pytest.fixture
def reader(database: Database, clock: Clock) -> FlaskClient:
    """A client of a process that sends nothing."""
    return create_app(system=a_system(database, clock)).test_client()


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=_MAILING | _JSON, key=st.none() | _KEYS)
def test_any_mailing_is_told_from_one_that_could_be_sent(
    reader: FlaskClient, body: Any, key: str | None
) -> None:
    """The best answer of this process is a 503, or a forecast."""
    response = call(
        reader,
        "POST",
        "/send-campaign",
        data=json.dumps(body),
        content_type="application/json",
        headers=KEY if key is None else {**KEY, "Idempotency-Key": key},
    )
    assert response.status_code in (200, 400, 422, 503), response.text
    if response.status_code != 200:
        problem(response)
