"""Webhooks over HTTP: what is genuine is recorded and answered 2xx, the rest changes nothing."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from threading import Event as Flag
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from werkzeug.test import TestResponse

from config.esp_config import EspName, SesConfig
from database.models import Campaign, Suppression, WebhookEvent
from services import webhooks
from services.base import EspUnavailable, MessageRejected
from services.event_recorder import joint
from services.system import System
from services.webhooks import Webhooks
from tests.canned_esp import postmark_config, sendgrid_config, ses_config
from tests.conftest import NOW
from tests.ledgers import HASH_KEY, Ledgers
from tests.signing import (
    SendGridSigner,
    basic_header,
    postmark_listening,
    sendgrid_body,
    sendgrid_listening,
)
from tests.sns_signing import amazon, confirmation, listening, notification, posted
from tests.unwritable import UNWRITABLE, hurry
from tests.web import client, problem, system
from utils.tokens import send_ref

__all__ = ["client", "system"]  # fixtures

PATHS = ["/bounce-webhook", "/complaint-webhook", "/engagement-webhook"]
SIGNER = SendGridSigner()
SENDGRID_EVENT = {
    "email": "ann@example.net",
    "timestamp": int(NOW.timestamp()),
    "event": "delivered",
    "sg_event_id": "e3",
}
HARD_BOUNCE = {
    "event": "bounce",
    "type": "bounce",
    "bounce_classification": "Invalid Address",
    "status": "5.1.1",
    "reason": "550 5.1.1 no such user",
}
DELIVERY = {
    "eventType": "Delivery",
    "delivery": {"timestamp": "2026-11-24T12:00:00.000Z", "recipients": ["ann@example.net"]},
    "mail": {"messageId": "0100-m1", "destination": ["ann@example.net"]},
}
POSTMARK_EVENT = {
    "RecordType": "Delivery",
    "MessageID": "b7bc2f4a-e38e-4336-af7d-e6c392c2f817",
    "Recipient": "ann@example.net",
    "DeliveredAt": "2026-11-24T12:00:00Z",
    "Metadata": {},
}
Call = tuple[dict[str, str], bytes]


def sendgrid_call(*events: dict[str, Any]) -> Call:
    body = sendgrid_body(list(events) or [SENDGRID_EVENT])
    return SIGNER.headers(body), body


def ses_call(envelope: dict[str, Any] | None = None) -> Call:
    call = posted(amazon().sign(envelope or notification(DELIVERY)))
    return dict(call.headers), call.body


def postmark_call() -> Call:
    return {"authorization": basic_header()}, json.dumps(POSTMARK_EVENT).encode()


CALLS: dict[str, Callable[[], Call]] = {
    "sendgrid": sendgrid_call,
    "ses": ses_call,
    "postmark": postmark_call,
}


@pytest.fixture(autouse=True)
def listens(system: System, tmp_path: Path) -> None:
    system.esps = {
        EspName.SENDGRID: sendgrid_listening(SIGNER),
        EspName.SES: listening(amazon().write(tmp_path)),
        EspName.POSTMARK: postmark_listening(),
    }


def post(client: FlaskClient, path: str, call: Call) -> TestResponse:
    return client.post(path, headers=call[0], data=call[1])


def rows(system: System) -> int:
    with system.database.read() as session:
        return session.scalar(select(func.count()).select_from(WebhookEvent)) or 0


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("esp", CALLS)
@pytest.mark.parametrize("names_esp", [True, False])
def test_every_address_takes_every_event_of_an_esp_without_the_api_key(
    client: FlaskClient, system: System, path: str, esp: str, names_esp: bool
) -> None:
    address = f"{path}/{esp}" if names_esp else path
    first, again = (post(client, address, CALLS[esp]()) for _ in range(2))
    told = {"received": 1, "new": 1, "duplicates": 0, "ignored": 1}
    assert (first.status_code, first.get_json()) == (200, told)
    assert (again.status_code, again.get_json()) == (
        200,
        {"received": 1, "new": 0, "duplicates": 1, "ignored": 0},
    )
    assert rows(system) == 1


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("claimed", CALLS)
@pytest.mark.parametrize("made_by", [*CALLS, "nobody"])
def test_the_checks_of_one_esp_are_no_good_at_another(
    client: FlaskClient, system: System, path: str, claimed: str, made_by: str
) -> None:
    """T71: nobody is taken for the ESP with the weaker check."""
    if claimed == made_by:
        return
    headers, body = CALLS[made_by]() if made_by in CALLS else ({}, CALLS[claimed]()[1])
    answer = post(client, f"{path}/{claimed}", (headers, body))
    assert answer.status_code == 401
    assert problem(answer)["type"] == "/problems/not-genuine"
    assert rows(system) == 0


@pytest.mark.parametrize(
    ("call", "esp"),
    [
        (({}, b"[]"), None),
        (({"authorization": "Bearer x"}, b"{}"), None),
        ((SIGNER.headers(b"[]"), b"[ ]"), "sendgrid"),
        ((SendGridSigner().headers(b"[]"), b"[]"), "sendgrid"),
        (({"authorization": basic_header("hook", "wrong")}, b"{}"), "postmark"),
        (ses_call(notification(DELIVERY, TopicArn="arn:aws:sns:eu-west-1:999999999999:x")), "ses"),
    ],
)
def test_what_is_not_genuine_is_answered_401_and_changes_nothing(
    client: FlaskClient, system: System, call: Call, esp: str | None
) -> None:
    for path in (PATHS[0], f"{PATHS[0]}/{esp}") if esp else PATHS:
        answer = post(client, path, call)
        assert answer.status_code == 401
        assert "WWW-Authenticate" in answer.headers
        assert "signature" not in problem(answer)["detail"]
    assert rows(system) == 0


@pytest.mark.parametrize("esp", CALLS)
@pytest.mark.parametrize("has_key", [True, False])
def test_an_esp_that_is_not_set_up_is_asked_to_try_again(
    client: FlaskClient, system: System, esp: str, has_key: bool
) -> None:
    url = "http://127.0.0.1:9"
    bare = {
        EspName.SENDGRID: sendgrid_config(url),
        EspName.SES: ses_config(url),
        EspName.POSTMARK: postmark_config(url),
    }
    system.esps = bare if has_key else {}
    answer = post(client, f"/bounce-webhook/{esp}", CALLS[esp]())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
    assert problem(answer)["type"] == "/problems/unavailable"


@pytest.mark.parametrize(
    "path", [f"{path}/{name}" for path in PATHS for name in ("mailgun", "SES")]
)
def test_an_esp_that_we_do_not_know_is_not_there(client: FlaskClient, path: str) -> None:
    answer = post(client, path, sendgrid_call())
    told = problem(answer)
    assert (answer.status_code, told["type"]) == (404, "/problems/not-found")
    assert told["detail"] == "No such ESP; there are sendgrid, ses, postmark."


@pytest.mark.parametrize(
    "fault",
    [OperationalError("INSERT", {}, Exception("database is locked")), RuntimeError("a fault")],
)
def test_what_cannot_be_stored_is_asked_for_again(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def cannot(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr(joint, "record_calls", cannot)
    answer = post(client, "/engagement-webhook/sendgrid", sendgrid_call())
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "fault" not in answer.get_data(as_text=True)


@pytest.mark.parametrize("trouble", UNWRITABLE)
def test_what_comes_while_the_database_cannot_be_written_is_counted_once_when_sent_again(
    client: FlaskClient, system: System, trouble: str
) -> None:
    """No spool of ours: the ESP keeps what it is told to send again."""
    at = Ledgers(system.database)
    campaign_id = at.planned(2)
    first, second = at.claimed(campaign_id, 2).sends
    bounce, delivery = (
        {
            **SENDGRID_EVENT,
            **{"email": send.email, "sg_event_id": f"e{send.send_id}", **said},
            "cx_send_id": send_ref(
                HASH_KEY, campaign_id=campaign_id, send_id=send.send_id, attempt=1
            ),
        }
        for send, said in ((first, HARD_BOUNCE), (second, {}))
    )
    calls = [sendgrid_call(bounce, delivery), sendgrid_call(delivery), ses_call(), postmark_call()]
    paths = [f"/engagement-webhook/{esp}" for esp in ("sendgrid", "sendgrid", "ses", "postmark")]
    hurry(system.database)
    with UNWRITABLE[trouble](system.database):
        answers = [post(client, path, call) for path, call in zip(paths, calls, strict=True)]
        assert [answer.status_code for answer in answers] == [503] * 4
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
        assert rows(system) == 0
    for told in ([2, 0, 1, 1], [0, 0, 0, 0]):
        answers = [post(client, path, call) for path, call in zip(paths, calls, strict=True)]
        assert [answer.get_json()["new"] for answer in answers] == told
    assert rows(system) == 4
    with system.database.read() as session:
        campaign = session.get_one(Campaign, campaign_id)
        assert (campaign.bounced, campaign.delivered, campaign.complained) == (1, 1, 0)
        assert session.scalars(select(Suppression.email_hash)).all() == [first.email_hash]


def test_a_bounce_suppresses_who_it_names(client: FlaskClient, system: System) -> None:
    at = Ledgers(system.database)
    campaign_id = at.planned(2)
    send = at.claimed(campaign_id, 2).sends[0]
    event = {
        **SENDGRID_EVENT,
        **HARD_BOUNCE,
        "email": send.email,
        "sg_event_id": "e4",
        "cx_send_id": send_ref(HASH_KEY, campaign_id=campaign_id, send_id=send.send_id, attempt=1),
    }
    answer = post(client, "/bounce-webhook/sendgrid", sendgrid_call(event))
    assert answer.get_json() == {"received": 1, "new": 1, "duplicates": 0, "ignored": 0}
    with system.database.read() as session:
        found = session.scalars(select(Suppression)).one()
        assert (found.reason.value, found.source, found.email_hash) == (
            *("hard_bounce", "sendgrid"),
            send.email_hash,
        )
        assert found.evidence == (
            f"send {send.send_id}, bounced at 2026-11-24 12:00:00 UTC: "
            "5.1.1 Invalid Address: 550 5.1.1 no such user"
        )


class Confirmer:
    """Plays SNS's API: refuses as often as told."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.asked: list[tuple[str, str]] = []
        self.settled = Flag()

    def __call__(self, config: SesConfig, topic: str, token: str) -> str:
        self.asked.append((topic, token))
        if self.faults:
            raise self.faults.pop(0)
        return f"{topic}:1"


@pytest.fixture
def confirming(system: System, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Confirmer]:
    monkeypatch.setattr(webhooks, "PAUSES_S", (0.0, 0.0))

    def begin(*faults: Exception) -> Confirmer:
        confirmer = Confirmer(*faults)
        system._webhooks = Webhooks(
            system.database,
            system.esps,
            hash_key=system.hash_key,
            clock=system.clock,
            confirm=confirmer,
        )
        return confirmer

    return begin


def wait_for_threads() -> None:
    for thread in threading.enumerate():
        if thread.name == "sns-confirm":
            thread.join(10)


@pytest.mark.parametrize(
    ("faults", "asked", "left"),
    [
        ([], 1, 0),
        ([EspUnavailable("later")], 2, 0),
        ([MessageRejected("token is too old")], 1, 0),
        ([EspUnavailable("later")] * 2, 2, 1),
    ],
)
def test_a_topic_of_ours_is_confirmed_in_the_background(
    client: FlaskClient,
    system: System,
    confirming: Callable[..., Confirmer],
    faults: list[Exception],
    asked: int,
    left: int,
) -> None:
    confirmer = confirming(*faults)
    envelope = confirmation()
    answer = post(client, "/bounce-webhook/ses", ses_call(envelope))
    wait_for_threads()
    assert answer.status_code == 202
    assert confirmer.asked == [(envelope["TopicArn"], envelope["Token"])] * asked
    assert rows(system) == left


def test_a_restart_confirms_what_was_asked_for_before(
    client: FlaskClient, system: System, confirming: Callable[..., Confirmer]
) -> None:
    confirming(EspUnavailable("later"), EspUnavailable("later"))
    post(client, "/bounce-webhook/ses", ses_call(confirmation()))
    wait_for_threads()
    confirmer = confirming()
    system.webhooks.resume()
    wait_for_threads()
    assert (len(confirmer.asked), rows(system)) == (1, 0)
