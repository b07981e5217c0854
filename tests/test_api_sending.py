"""POST /send-campaign and what a person orders about a campaign, through the real app."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.waiting import MOST_WAITING, places
from app import create_app
from config.esp_config import EspName
from database.models import CampaignStatus
from services import campaigns
from services.simulator.modes import Mode
from services.simulator.server import SIMULATED, Simulator
from services.system import System
from tests.web import KEY, call, problem, system

__all__ = ["system"]

MAILING = {"subject": "Hello {{ first_name }}", "html": "<p>Hello {{ first_name }}</p>"}
NOTHING = {
    "queued": 0,
    "sending": 0,
    "accepted": 0,
    "rejected": 0,
    "unknown": 0,
    "cancelled": 0,
}

FIGURES = dict.fromkeys(
    (
        *("accepted", "delivered", "deferred", "hard_bounced", "soft_bounced", "blocked"),
        *("dropped", "complained", "opened", "clicked", "unsubscribed"),
        *("machine_opened", "machine_clicked"),
    ),
    0,
)
RATES = {
    "delivered": 0.0,
    "bounced": 0.0,
    "complained": None,
    "opened": None,
    "clicked": None,
    "unsubscribed": None,
}


@pytest.fixture
def simulator(system: System) -> Simulator:
    """The ESPs, before anything is sent to them."""
    return system.start_simulator()


@pytest.fixture
def client(system: System, simulator: Simulator) -> Iterator[FlaskClient]:
    system.start()
    wait_until_sending(system)
    yield create_app(system=system).test_client()
    system.close()


def wait_until_sending(system: System) -> None:
    assert system.engine is not None
    for _ in range(600):
        if system.engine.adapters:
            return
        system.engine.wait_for_stand(0.05)
    raise AssertionError("the engine did not take over")


def when_it_stands(client: FlaskClient, system: System, campaign: int) -> dict[str, Any]:
    assert system.engine is not None
    for _ in range(600):
        told: dict[str, Any] = call(client, "GET", f"/campaigns/{campaign}").get_json()
        if told["status"] in ("sent", "needs_review", "paused", "cancelled"):
            return told
        system.engine.wait_for_stand(0.05)
    raise AssertionError(f"still {told}")


def add_people(client: FlaskClient, n: int, **more: Any) -> None:
    for number in range(n):
        person = {"email": f"person{number}@example.com", "first_name": "Ann", **more}
        assert call(client, "POST", "/add-subscriber", json=person).status_code == 201


def send(client: FlaskClient, headers: dict[str, str] | None = None, **said: Any) -> TestResponse:
    return call(
        client,
        "POST",
        "/send-campaign",
        json={**MAILING, **said},
        headers={**KEY, **(headers or {})},
    )


def order(client: FlaskClient, campaign: int, what: str, **body: Any) -> TestResponse:
    return call(client, "POST", f"/campaigns/{campaign}/{what}", **({"json": body} if body else {}))


def test_the_answer_comes_when_all_is_sent(client: FlaskClient) -> None:
    add_people(client, 3)
    response = send(client, name="First")
    body = response.get_json()
    timed = {name: body.pop(name) for name in ("duration_seconds", "created_at")}
    assert [one["id"] for one in body.pop("warnings")] == ["msg.unsubscribe_missing"]
    assert response.status_code == 200
    assert timed == {"duration_seconds": 0.0, "created_at": "2026-11-24T12:00:00+00:00"}
    assert body == {
        "campaign_id": 1,
        "name": "First",
        "subject": "Hello {{ first_name }}",
        "status": "sent",
        "reason": None,
        "planned": 3,
        "counts": {**NOTHING, "accepted": 3},
        "skipped": {},
        "by_esp": {"sendgrid": 3},
        "delivery": {
            "delivered": 0,
            "bounced": 0,
            "complained": 0,
            "opened": 0,
            "clicked": 0,
            "unsubscribed": 0,
        },
        "rates": RATES,
        "delivery_by_esp": {"sendgrid": {**FIGURES, "accepted": 3, "rates": RATES}},
        "delivery_by_provider": {"other": {**FIGURES, "accepted": 3, "rates": RATES}},
        "failovers": [],
        "sandbox": True,
        "resume_at": None,
    }
    assert call(client, "GET", "/campaigns/1").get_json() == {**body, **timed}


def test_one_key_makes_one_campaign_however_often_and_at_once_it_is_sent(
    client: FlaskClient, system: System
) -> None:
    add_people(client, 5)

    def post(_: int) -> TestResponse:
        with client.application.test_client() as another:
            return send(another, {"Idempotency-Key": "one"})

    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(post, range(12)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    for answer in answers:
        if answer.status_code == 409:
            assert problem(answer)["type"] == "/problems/in-progress"
            assert answer.headers["Location"] == "/campaigns/1"
            assert answer.headers["Retry-After"] == "2"
    again = send(client, {"Idempotency-Key": "one"})
    assert (again.status_code, again.get_json()["campaign_id"]) == (200, 1)
    assert len(call(client, "GET", "/campaigns").get_json()["campaigns"]) == 1


def test_a_key_with_another_request_is_refused(client: FlaskClient) -> None:
    send(client, {"Idempotency-Key": "one"})
    response = send(client, {"Idempotency-Key": "one"}, name="Another")
    assert response.status_code == 422
    assert problem(response)["type"] == "/problems/key-reused"


@pytest.mark.parametrize("key", ["", " ", "a b", "é", "x" * 256])
def test_a_malformed_key_is_a_400(client: FlaskClient, key: str) -> None:
    response = send(client, {"Idempotency-Key": key})
    assert (response.status_code, problem(response)["type"]) == (400, "/problems/bad-request")


def test_the_same_mailing_within_a_day_has_to_be_asked_for(client: FlaskClient, clock: Any) -> None:
    assert send(client).get_json()["planned"] == 0
    add_people(client, 1)
    assert send(client).status_code == 200  # the first reached nobody
    response = send(client)
    assert (response.status_code, response.headers["Location"]) == (409, "/campaigns/2")
    assert problem(response)["type"] == "/problems/possible-duplicate"
    assert send(client, allow_duplicate=True).get_json()["campaign_id"] == 3
    assert send(client, subject="Another").status_code == 200
    clock.forward(hours=25)
    assert send(client).status_code == 200


@pytest.mark.parametrize("prefer", ["respond-async", "wait=0", 'WAIT="0"', "x, wait=0"])
def test_a_client_that_does_not_wait_gets_a_202_and_the_campaign_goes_on(
    client: FlaskClient, system: System, simulator: Simulator, prefer: str
) -> None:
    simulator.behave(EspName.SENDGRID, Mode.OK, latency_s=0.2)
    add_people(client, 2)
    response = send(client, {"Prefer": prefer})
    assert (response.status_code, response.headers["Location"]) == (202, "/campaigns/1")
    done = send(client, {"Prefer": "wait=20"}, allow_duplicate=True)
    assert (done.status_code, done.get_json()["status"]) == (200, "sent")
    assert when_it_stands(client, system, 1)["status"] == "sent"


def test_a_request_beyond_those_that_may_wait_gets_its_202_at_once(
    client: FlaskClient, simulator: Simulator
) -> None:
    simulator.behave(EspName.SENDGRID, Mode.OK, latency_s=0.3)
    add_people(client, 1)
    taken = [places.acquire(blocking=False) for _ in range(MOST_WAITING)]
    try:
        assert send(client).status_code == 202
    finally:
        for _ in taken:
            places.release()


def test_when_every_esp_waits_the_answer_is_a_202_with_the_reason(
    client: FlaskClient, simulator: Simulator
) -> None:
    for esp in SIMULATED:
        simulator.behave(esp, Mode.UNAUTHORIZED)
    add_people(client, 1)
    response = send(client)
    body = response.get_json()
    assert (response.status_code, body["status"]) == (202, "waiting")
    assert body["resume_at"] == "2026-11-24T12:01:00+00:00"
    assert body["reason"].count("rests until") == 3


# Each says what is wrong, and where; and nothing is stored.
REFUSED = [
    ({"subject": None}, "/subject"),
    ({"subject": ""}, "/subject"),
    ({"html": None}, ""),
    ({"html": ""}, "/html"),
    ({"html": "{{ nobody }}"}, "/html"),
    ({"subject": "{% if %}"}, "/subject"),
    ({"text": "{{ first_name.__class__ }}"}, "/text"),
    ({"unknown": 1}, "/unknown"),
    ({"from_email": "no address"}, "/from_email"),
    ({"from_email": "a@example.com\r\nBcc: b@example.com"}, "/from_email"),
    ({"from_name": "A\r\nBcc: b@example.com"}, "/from_name"),
    ({"reply_to": "jörg@example.com"}, "/reply_to"),
    ({"audience": {}}, "/audience"),
    ({"audience": {"tags": []}}, "/audience/tags"),
    ({"audience": {"tags": ["a"], "emails": ["a@example.com"]}}, "/audience"),
    ({"audience": {"everyone": True}}, "/audience/everyone"),
    ({"esp": "mailgun"}, "/esp"),
    ({"tags": ["a;b"]}, "/tags/0"),
    ({"track_opens": "yes"}, "/track_opens"),
    ({"test_to": ["no address"]}, "/test_to/0"),
    ({"test_to": ["a@example.com"], "dry_run": True}, ""),
]


@pytest.mark.parametrize(("said", "pointer"), REFUSED, ids=[str(row[0])[:40] for row in REFUSED])
def test_a_bad_request_says_where_and_stores_nothing(
    client: FlaskClient, said: dict[str, Any], pointer: str
) -> None:
    response = send(client, **said)
    body = problem(response)
    assert response.status_code == 422
    assert body["errors"][0]["pointer"] == pointer
    assert call(client, "GET", "/campaigns").get_json() == {"campaigns": [], "next": None}


def test_a_dry_run_tells_what_would_happen_and_stores_nothing(
    client: FlaskClient, simulator: Simulator
) -> None:
    add_people(client, 4, tags=["reader"])
    told = send(client, dry_run=True, audience={"tags": ["reader"]}).get_json()
    assert [one["id"] for one in told.pop("warnings")] == ["msg.unsubscribe_missing"]
    assert told == {
        "campaign_id": None,
        "name": "Hello {{ first_name }}",
        "subject": "Hello {{ first_name }}",
        "dry_run": True,
        "planned": 4,
        "counts": {**NOTHING, "queued": 4},
        "skipped": {},
        "by_esp": {"sendgrid": 4},
        "delivery": dict.fromkeys(
            ("delivered", "bounced", "complained", "opened", "clicked", "unsubscribed"), 0
        ),
        "ends_at": "2026-11-24T12:00:00+00:00",
        "sandbox": True,
    }
    assert call(client, "GET", "/campaigns").get_json()["campaigns"] == []
    assert simulator.accepted() == dict.fromkeys(SIMULATED, 0)


def test_a_dry_run_counts_who_would_be_left_out_as_the_campaign_does(client: FlaskClient) -> None:
    add_people(client, 2)
    emails = ["person0@example.com", "person0@example.com", "no address", "stranger@example.com"]
    audience = {"emails": emails}
    dry = send(client, dry_run=True, audience=audience).get_json()
    sent = send(client, audience=audience).get_json()
    assert (
        dry["skipped"]
        == sent["skipped"]
        == {
            "duplicate": 1,
            "invalid": 1,
            "unknown_subscriber": 1,
        }
    )
    assert dry["planned"] == sent["planned"] == 4


def test_a_test_mail_goes_out_and_makes_no_campaign(
    client: FlaskClient, simulator: Simulator
) -> None:
    add_people(client, 1)
    simulator.behave(EspName.SENDGRID, Mode.UNAUTHORIZED)
    response = send(client, test_to=["me@example.org", "person0@example.com"])
    assert response.get_json()["tests"] == [
        {"email": "me@example.org", "esp": "ses", "outcome": "accepted", "reason": None},
        {"email": "person0@example.com", "esp": "ses", "outcome": "accepted", "reason": None},
    ]
    mails = simulator.mails()
    assert {mail.subject for mail in mails} == {"[Test] Hello Ann"}
    assert call(client, "GET", "/campaigns").get_json()["campaigns"] == []
    link = (mails[0].headers or {})["List-Unsubscribe"].strip("<>")
    path = link[link.index("/unsubscribe") :]
    assert call(client, "POST", path, headers={}).status_code == 200
    person = call(client, "GET", "/subscribers/person0@example.com").get_json()["subscriber"]
    assert person["status"] == "active"


def test_a_preview_is_the_mail_of_one_person(client: FlaskClient) -> None:
    add_people(client, 1, first_name="Zoë <b>")
    mailing = {**MAILING, "email": "person0@example.com"}
    body = call(client, "POST", "/preview", json=mailing).get_json()
    assert body["subject"] == "Hello Zoë <b>"
    assert body["html"].startswith("<p>Hello Zoë &lt;b&gt;</p>")
    assert body["text"].startswith("Hello Zoë <b>\n")
    assert sorted(body["headers"]) == ["List-Id", "List-Unsubscribe", "List-Unsubscribe-Post"]
    stranger = call(client, "POST", "/preview", json={**MAILING, "email": "x@example.com"})
    assert problem(stranger)["errors"][0]["pointer"] == "/email"


SHORTENED: dict[str, Any] = {
    "html": "<p>Hello <a href='https://bit.ly/x'>read on</a> {{ unsubscribe_url }}</p>"
}


def test_what_may_cost_the_inbox_is_a_warning_with_its_remedy(client: FlaskClient) -> None:
    response = send(client, **SHORTENED)
    warnings = response.get_json()["warnings"]
    assert (response.status_code, [one["id"] for one in warnings]) == (200, ["msg.shortener"])
    assert all(one["severity"] == "warn" and one["remedy"] for one in warnings)


def test_with_strict_a_warning_is_a_422_and_nothing_is_sent(client: FlaskClient) -> None:
    response = send(client, strict=True, **SHORTENED)
    body = problem(response)
    assert response.status_code == 422
    assert [one["pointer"] for one in body["errors"]] == ["/html"]
    assert body["errors"][0]["detail"].startswith("msg.shortener: ")
    assert send(client, strict=True).status_code == 200  # an info is no warning
    assert len(call(client, "GET", "/campaigns").get_json()["campaigns"]) == 1


def waiting_campaign(client: FlaskClient, simulator: Simulator, people: int = 3) -> int:
    """A campaign that cannot go on: every ESP refuses."""
    for esp in SIMULATED:
        simulator.behave(esp, Mode.UNAUTHORIZED)
    add_people(client, people)
    campaign: int = send(client).get_json()["campaign_id"]
    return campaign


def test_pause_and_resume_may_be_ordered_twice(
    client: FlaskClient, system: System, simulator: Simulator, clock: Any
) -> None:
    campaign = waiting_campaign(client, simulator)
    for _ in range(2):
        paused = order(client, campaign, "pause").get_json()
        assert (paused["status"], paused["reason"]) == ("paused", "paused by request")
    for esp in SIMULATED:
        simulator.behave(esp)
    clock.forward(minutes=2)
    for _ in range(2):
        assert order(client, campaign, "resume").status_code in (200, 409)
    assert when_it_stands(client, system, campaign)["counts"] == {**NOTHING, "accepted": 3}


@pytest.mark.parametrize(("what", "status"), [("pause", "paused"), ("cancel", "cancelled")])
def test_an_order_while_calls_are_under_way_lets_them_end_and_starts_no_more(
    client: FlaskClient, system: System, simulator: Simulator, what: str, status: str
) -> None:
    simulator.behave(EspName.SENDGRID, Mode.OK, latency_s=0.4)
    add_people(client, 100)
    send(client, {"Prefer": "respond-async"}, esp="sendgrid")
    assert system.engine is not None
    for _ in range(600):
        if call(client, "GET", "/campaigns/1").get_json()["counts"]["sending"]:
            break
        system.engine.wait_for_stand(0.01)
    assert order(client, 1, what).get_json()["status"] == status
    for _ in range(600):
        told = call(client, "GET", "/campaigns/1").get_json()
        if not told["counts"]["sending"]:
            break
        system.engine.wait_for_stand(0.05)
    assert told["counts"]["accepted"] == simulator.accepted()[EspName.SENDGRID] > 0
    left = "queued" if what == "pause" else "cancelled"
    assert told["counts"]["accepted"] + told["counts"][left] == 100
    assert told["counts"]["unknown"] == 0


def test_cancel_is_for_good(client: FlaskClient, simulator: Simulator) -> None:
    campaign = waiting_campaign(client, simulator)
    for _ in range(2):
        told = order(client, campaign, "cancel").get_json()
        assert (told["status"], told["counts"]) == ("cancelled", {**NOTHING, "cancelled": 3})
    for what in ("pause", "resume"):
        assert problem(order(client, campaign, what))["type"] == "/problems/conflict"


@pytest.mark.parametrize(
    ("action", "taken"),
    [("accept", 0), ("requeue", 2)],
)
def test_unknowns_are_settled_by_a_person_who_knows_how_many_there_are(
    client: FlaskClient, system: System, simulator: Simulator, action: str, taken: int
) -> None:
    add_people(client, 2)
    simulator.behave(EspName.SENDGRID, Mode.RESET_BEFORE, count=1)
    told = send(client, esp="sendgrid").get_json()
    assert (told["status"], told["counts"]["unknown"]) == ("needs_review", 2)
    wrong = order(client, 1, "resolve", action=action, expect=3)
    assert "has 2 sends" in problem(wrong)["detail"]
    assert order(client, 1, "resolve", action=action, expect=2).status_code == 200
    settled = when_it_stands(client, system, 1)
    assert (settled["status"], settled["counts"]) == ("sent", {**NOTHING, "accepted": 2})
    assert simulator.accepted()[EspName.SENDGRID] == taken


def test_orders_about_nothing_are_404(client: FlaskClient) -> None:
    for what in ("pause", "resume", "cancel"):
        assert problem(order(client, 9, what))["status"] == 404


def test_all_campaigns_and_sends_are_reached_page_by_page(client: FlaskClient) -> None:
    add_people(client, 5)
    for number in range(5):
        send(client, subject=f"Number {number}")
    seen, after = [], ""
    while True:
        page = call(client, "GET", f"/campaigns?limit=2{after}").get_json()
        seen += [told["campaign_id"] for told in page["campaigns"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert seen == [5, 4, 3, 2, 1]
    sends, place = [], 0
    while place is not None:
        page = call(client, "GET", f"/campaigns/3/sends?limit=2&after={place}").get_json()
        sends += [told["email"] for told in page["sends"]]
        place = page["next"]
    assert sends == [f"person{number}@example.com" for number in range(5)]
    none = call(client, "GET", "/campaigns/3/sends?status=unknown").get_json()
    assert none == {"sends": [], "next": None}


def test_a_second_process_reads_and_says_that_it_cannot_send(
    client: FlaskClient, system: System
) -> None:
    second = replace(system, engine=None, simulator=None)
    second.start()
    try:
        with create_app(system=second).test_client() as another:
            response = send(another)
            assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
            assert call(another, "GET", "/campaigns").status_code == 200
    finally:
        assert second.engine is not None
        second.engine.close()
        assert second.simulator is not None
        second.simulator.stop()


def test_a_stop_answers_those_who_wait(
    client: FlaskClient, system: System, simulator: Simulator
) -> None:
    simulator.behave(EspName.SENDGRID, Mode.OK, latency_s=0.5)
    add_people(client, 1)
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(send, client)
        assert system.engine is not None
        for _ in range(200):
            system.engine.wait_for_stand(0.02)
            with system.database.read() as session:
                from_start = campaigns.page(session, after=None, limit=1)
                if from_start and from_start[0].status is CampaignStatus.SENDING:
                    break
        system.stop_claiming()
        assert answer.result(timeout=10).status_code in (200, 202)
