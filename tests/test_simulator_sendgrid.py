"""SendGrid's dialect: what mail/send takes, refuses and delivers."""

import time
from typing import Any

import pytest
from python_http_client.exceptions import (
    BadRequestsError,
    ForbiddenError,
    PayloadTooLargeError,
    TooManyRequestsError,
    UnauthorizedError,
)
from sendgrid import SendGridAPIClient

from config.esp_config import EspName
from services.simulator.modes import Mode
from services.simulator.server import Simulator
from tests.simulator_calls import (
    JSON,
    KEYS,
    SENDER,
    call,
    look_up,
    people,
    running,
    send,
    sendgrid_batch,
    sim,
)

__all__ = ["running", "sim"]  # fixtures

SENDGRID = EspName.SENDGRID


@pytest.fixture
def client(sim: Simulator) -> SendGridAPIClient:
    return SendGridAPIClient("SG.any", host=sim.base_urls[SENDGRID])


def test_batch_is_taken_under_one_message_id(sim: Simulator, client: SendGridAPIClient) -> None:
    response = client.send(sendgrid_batch(people(2)))
    assert (response.status_code, response.body) == (202, b"")
    message_id = response.headers["X-Message-Id"]
    assert [(mail.recipient, mail.send_ref, mail.message_id) for mail in sim.mails()] == [
        ("reader1@example.net", "s_reader1@example.net", message_id),
        ("reader0@example.net", "s_reader0@example.net", message_id),
    ]


def test_substitutions_are_replaced_as_plain_text(sim: Simulator) -> None:
    send(
        sim,
        SENDGRID,
        ["ann@example.net"],
        headers={"X-Campaign": "c1"},
        reply_to={"email": "reply@example.com"},
        custom_args={"campaign": "c1"},
        personalizations=[
            {
                "to": [{"email": "ann@example.net", "name": "Ann"}],
                "cc": [{"email": "copy@example.net"}],
                "substitutions": {"-n-": "<Ann>"},
                "headers": {"List-Unsubscribe": "<https://example.com/-n->"},
                "custom_args": {"cx_send_id": "s_1"},
            }
        ],
    )
    copy, mail = sim.mails()
    assert (copy.recipient, mail.recipient) == ("copy@example.net", "ann@example.net")
    assert (mail.sender, mail.reply_to) == (f"News <{SENDER}>", "reply@example.com")
    assert (mail.subject, mail.text, mail.html) == (
        "Hello <Ann>",
        "Dear <Ann>",
        "<p>Dear <Ann></p>",
    )
    assert mail.headers == {
        "X-Campaign": "c1",
        "List-Unsubscribe": "<https://example.com/-n->",
    }
    assert mail.labels == {"campaign": "c1", "cx_send_id": "s_1"}


def test_bad_addresses_are_named_and_nobody_is_taken(
    sim: Simulator, client: SendGridAPIClient
) -> None:
    addresses = [*people(2), "invalid+1@example.net", "reader@localhost", "a b@example.net"]
    with pytest.raises(BadRequestsError) as refused:
        client.send(sendgrid_batch(addresses))
    assert [error["field"] for error in refused.value.to_dict["errors"]] == [
        "personalizations.2.to.0.email",
        "personalizations.3.to.0.email",
        "personalizations.4.to.0.email",
    ]
    assert sim.accepted()[SENDGRID] == 0


def _one(**block: Any) -> dict[str, Any]:
    personalization = {"to": [{"email": "ann@example.net"}], **block}
    return {"personalizations": [personalization]}


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"from": {"email": "néws@example.com"}}, "from.email"),
        ({"from": {}}, "from.email"),
        ({"subject": ""}, "subject"),
        ({"content": []}, "content"),
        ({"content": [{"type": "text/plain", "value": ""}]}, "content.0.value"),
        (
            {
                "content": [
                    {"type": "text/html", "value": "x"},
                    {"type": "text/plain", "value": "x"},
                ]
            },
            "content",
        ),
        ({"content": [{"type": "text/plain", "value": "x"}] * 2}, "content"),
        ({"personalizations": []}, "personalizations"),
        (_one(to=[]), "personalizations.0.to"),
        (_one(cc=[{"email": "ANN@example.net"}]), "personalizations.0.cc"),
        (_one(cc=[{"email": "nobody"}]), "personalizations.0.cc.0.email"),
        (_one(**{"from": {"email": "news@other.example"}}), "personalizations.0.from.email"),
        (_one(headers={"Subject": "x"}), "personalizations.0.headers"),
        (_one(headers={"X-A": "x\r\nBcc: y@example.net"}), "personalizations.0.headers"),
        ({"headers": {"dkim-signature": "x"}}, "headers"),
        ({"custom_args": {"a": "x" * 10_000}}, "custom_args"),
        (_one(custom_args={"a": 1}), None),
        (_one(substitutions={"-n-": 1}), None),
        (_one(substitutions={"-n-": "é" * 4_999}), "personalizations.0.substitutions"),
        ({"categories": [str(number) for number in range(11)]}, "categories"),
        ({"categories": ["a", "a"]}, "categories"),
        ({"categories": ["x" * 256]}, "categories"),
        ({"send_at": 4_102_444_800}, "send_at"),
        ({"template_id": "d-1"}, "template_id"),
        ({"content": "text"}, None),
        ({"personalizations": [1]}, None),
    ],
)
def test_call_is_refused_with_the_place_of_its_error(
    sim: Simulator, more: dict[str, Any], field: str | None
) -> None:
    answer = send(sim, SENDGRID, ["ann@example.net"], **more)
    assert (answer.status, answer.document["errors"][0]["field"]) == (400, field)
    assert sim.accepted()[SENDGRID] == 0


@pytest.mark.parametrize(
    "more",
    [
        _one(substitutions={"-n-": "é" * 4_998}),
        {"custom_args": {"a": "x" * 9_999}},
        {"categories": [str(number) for number in range(10)]},
        {"send_at": int(time.time()) + 71 * 3600},
        {"content": [{"type": "text/html", "value": "x"}]},
    ],
)
def test_call_at_a_limit_is_taken(sim: Simulator, more: dict[str, Any]) -> None:
    assert send(sim, SENDGRID, ["ann@example.net"], **more).status == 202


@pytest.mark.parametrize(
    ("addresses", "more", "status", "violations"),
    [
        (people(1000), {}, 202, {}),
        (people(1001), {}, 400, {"recipients": 1}),
        (people(1), {"padding": "x" * 30_000_000}, 413, {"bytes": 1}),
        (people(1), {"headers": {"To": "x"}}, 400, {"headers": 1}),
        (people(1), _one(substitutions={"-n-": "x" * 10_000}), 400, {"values": 1}),
    ],
)
def test_broken_limit_is_counted(
    sim: Simulator,
    addresses: list[str],
    more: dict[str, Any],
    status: int,
    violations: dict[str, int],
) -> None:
    assert send(sim, SENDGRID, addresses, **more).status == status
    assert sim.limit_violations == ({SENDGRID: violations} if violations else {})


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (JSON, 401),
        (JSON | {"Authorization": "SG.any"}, 401),
        (JSON | {"Authorization": "Bearer "}, 401),
        (KEYS[SENDGRID] | {"Content-Type": "text/plain"}, 415),
        (KEYS[SENDGRID] | {"Content-Type": "application/json; charset=utf-8"}, 202),
    ],
)
def test_key_and_content_type_are_needed(
    sim: Simulator, headers: dict[str, str], status: int
) -> None:
    assert call(sim, SENDGRID, sendgrid_batch(people(1)), headers=headers).status == status


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/v3/mail", 404), ("GET", "/v3/mail/send", 405), ("GET", "/v3/scopes/x", 404)],
)
def test_unknown_call_is_refused(sim: Simulator, method: str, path: str, status: int) -> None:
    assert call(sim, SENDGRID, {}, method=method, path=path).status == status


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_body_that_is_no_object_is_a_bad_request(sim: Simulator, body: bytes) -> None:
    answer = call(sim, SENDGRID, body)
    assert (answer.status, answer.document) == (
        400,
        {"errors": [{"message": "Bad Request", "field": None, "help": None}]},
    )


def test_sandbox_mode_checks_and_takes_nothing(sim: Simulator) -> None:
    sandbox = {"mail_settings": {"sandbox_mode": {"enable": True}}}
    answers = [
        send(sim, SENDGRID, people(1), **sandbox),
        send(sim, SENDGRID, ["invalid@example.net"], **sandbox),
    ]
    assert [answer.status for answer in answers] == [200, 400]
    assert sim.accepted()[SENDGRID] == 0


@pytest.mark.parametrize(
    ("mode", "raised", "text"),
    [
        (Mode.UNAUTHORIZED, UnauthorizedError, b"authorization grant is invalid"),
        (Mode.SUSPENDED, ForbiddenError, b"access forbidden"),
        (Mode.UNVERIFIED, ForbiddenError, b"verified Sender Identity"),
        (Mode.QUOTA, UnauthorizedError, b"Maximum credits exceeded"),
        (Mode.MESSAGE_REJECTED, BadRequestsError, b"content.0.value"),
        (Mode.TOO_LARGE, PayloadTooLargeError, b"Payload too large"),
        (Mode.THROTTLE, TooManyRequestsError, b"too many requests"),
    ],
)
def test_sdk_raises_what_the_mode_says(
    sim: Simulator,
    client: SendGridAPIClient,
    mode: Mode,
    raised: type[Exception],
    text: bytes,
) -> None:
    sim.behave(SENDGRID, mode)
    with pytest.raises(raised) as refused:
        client.send(sendgrid_batch(people(1)))
    assert text in refused.value.body  # type: ignore[attr-defined]
    assert sim.accepted()[SENDGRID] == 0


def test_throttled_call_says_when_to_come_back(sim: Simulator) -> None:
    sim.behave(SENDGRID, Mode.THROTTLE)
    headers = send(sim, SENDGRID, people(1)).headers
    assert headers["X-RateLimit-Remaining"] == "0"
    assert 0 <= int(headers["X-RateLimit-Reset"]) - time.time() <= 2


def test_partial_names_every_third_recipient_and_takes_nobody(sim: Simulator) -> None:
    sim.behave(SENDGRID, Mode.PARTIAL)
    answer = send(sim, SENDGRID, people(7))
    assert [error["field"] for error in answer.document["errors"]] == [
        "personalizations.2.to.0.email",
        "personalizations.5.to.0.email",
    ]
    assert sim.accepted()[SENDGRID] == 0


def test_account_tells_scopes_and_credits(sim: Simulator) -> None:
    sim.limit(SENDGRID, daily_limit=100)
    send(sim, SENDGRID, people(30))
    scopes = look_up(sim, SENDGRID, "/v3/scopes").document["scopes"]
    credits = look_up(sim, SENDGRID).document
    sim.limit(SENDGRID)
    assert "mail.send" in scopes
    assert [credits[name] for name in ("remain", "total", "used", "overage")] == [70, 100, 30, 0]
