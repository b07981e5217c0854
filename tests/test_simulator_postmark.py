"""Postmark's dialect: one result per message, whatever became of each."""

from collections.abc import Iterator
from typing import Any

import pytest
from postmarker.core import PostmarkClient
from postmarker.exceptions import ClientError

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
    postmark_batch,
    postmark_message,
    results,
    running,
    send,
    sim,
)

__all__ = ["running", "sim"]  # fixtures

POSTMARK = EspName.POSTMARK


@pytest.fixture
def client(sim: Simulator) -> Iterator[PostmarkClient]:
    client = PostmarkClient(server_token="any", root_api_url=sim.base_urls[POSTMARK] + "/")
    yield client
    client.session.close()


def test_batch_has_one_result_per_message(sim: Simulator, client: PostmarkClient) -> None:
    batch = postmark_batch(["ann@example.net", "inactive@example.net", "invalid@example.net"])
    taken, inactive, invalid = client.call("POST", "/email/batch", data=batch)
    (mail,) = sim.mails()
    assert {**taken, "SubmittedAt": ""} == {
        "To": "ann@example.net",
        "SubmittedAt": "",
        "MessageID": mail.message_id,
        "ErrorCode": 0,
        "Message": "OK",
    }
    assert inactive["ErrorCode"] == 406
    assert "Found inactive addresses: inactive@example.net. Inactive" in inactive["Message"]
    assert invalid == {
        "ErrorCode": 300,
        "Message": "Invalid 'To' address: 'invalid@example.net'.",
    }


def test_message_is_delivered_as_it_came(sim: Simulator) -> None:
    message = postmark_message(
        "Ann <ann@example.net>",
        Cc="copy@example.net",
        ReplyTo="reply@example.com",
        Headers=[{"Name": "X-A", "Value": "a"}],
        Metadata={"cx_send_id": "s_1"},
    )
    assert call(sim, POSTMARK, [message]).status == 200
    copy, mail = sim.mails()
    assert (copy.recipient, mail.recipient) == ("copy@example.net", "ann@example.net")
    assert (mail.sender, mail.reply_to, mail.send_ref) == (
        f"News <{SENDER}>",
        "reply@example.com",
        "s_1",
    )
    assert (mail.subject, mail.text, mail.html) == ("Hello N", "Dear N", "<p>Dear N</p>")
    assert (mail.headers, mail.labels) == ({"X-A": "a"}, {"cx_send_id": "s_1"})


@pytest.mark.parametrize(
    ("more", "code", "text"),
    [
        ({"From": "nobody"}, "300", "Invalid 'From' address: 'nobody'."),
        ({"To": ""}, "300", "Zero recipients specified"),
        ({"To": "nobody"}, "300", "Invalid 'To' address: 'nobody'."),
        ({"Cc": "nobody"}, "300", "Invalid 'Cc' address: 'nobody'."),
        ({"To": ", ".join(people(51))}, "300", "Recipient limit of 50 exceeded."),
        (
            {"TextBody": "", "HtmlBody": None},
            "300",
            "Provide either email TextBody or HtmlBody or both.",
        ),
        ({"HtmlBody": "x" * 5_000_001}, "300", "A body is limited to 5 MB."),
        ({"Headers": [{"Name": "X-A", "Value": "x\r\ny"}]}, "300", "Invalid header."),
        ({"Tag": "x" * 1001}, "300", "A tag is limited to 1000 characters."),
        (
            {"MessageStream": "nowhere"},
            "1235",
            "The message stream for the provided 'ID' was not found.",
        ),
        (
            {"MessageStream": "inbound"},
            "1236",
            "The message stream for the provided 'ID' cannot be used for sending.",
        ),
    ],
)
def test_message_is_refused_in_its_own_result(
    sim: Simulator, more: dict[str, Any], code: str, text: str
) -> None:
    batch = [postmark_message("ann@example.net", **more), postmark_message("bob@example.net")]
    answer = call(sim, POSTMARK, batch)
    assert (answer.status, results(POSTMARK, answer)) == (200, [code, "0"])
    assert answer.document[0]["Message"] == text
    assert sim.accepted()[POSTMARK] == 1


@pytest.mark.parametrize(
    ("metadata", "code", "violations"),
    [
        ({f"k{number}": "x" for number in range(10)}, "0", {}),
        ({f"k{number}": "x" for number in range(11)}, "300", {"labels": 1}),
        ({"k" * 20: "x" * 80}, "0", {}),
        ({"k" * 21: "x"}, "300", {"labels": 1}),
        ({"k": "x" * 81}, "300", {"labels": 1}),
        ({"k": "x", "K": "y"}, "300", {"labels": 1}),
    ],
)
def test_metadata_has_limits(
    sim: Simulator, metadata: dict[str, str], code: str, violations: dict[str, int]
) -> None:
    answer = call(sim, POSTMARK, [postmark_message("ann@example.net", Metadata=metadata)])
    assert results(POSTMARK, answer) == [code]
    assert sim.limit_violations == ({POSTMARK: violations} if violations else {})


@pytest.mark.parametrize(
    ("payload", "status", "code", "violations"),
    [
        (postmark_batch(people(500)), 200, None, {}),
        (postmark_batch(people(501)), 422, 410, {"recipients": 1}),
        (b"[" + b" " * 50_000_000 + b"]", 413, None, {"bytes": 1}),
        (b"[]", 200, None, {}),
        (b"{", 422, 402, {}),
        (b"[1]", 422, 402, {}),
        ([postmark_message("ann@example.net", Headers={"X-A": "a"})], 422, 402, {}),
    ],
)
def test_call_is_taken_or_refused_as_a_whole(
    sim: Simulator, payload: Any, status: int, code: int | None, violations: dict[str, int]
) -> None:
    answer = call(sim, POSTMARK, payload)
    assert answer.status == status
    assert status == 200 or answer.document.get("ErrorCode") == code
    assert sim.limit_violations == ({POSTMARK: violations} if violations else {})


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        (JSON, 401, 10),
        (JSON | {"X-Postmark-Server-Token": ""}, 401, 10),
        (KEYS[POSTMARK] | {"Content-Type": "text/plain"}, 415, None),
    ],
)
def test_token_and_content_type_are_needed(
    sim: Simulator, headers: dict[str, str], status: int, code: int | None
) -> None:
    answer = call(sim, POSTMARK, postmark_batch(people(1)), headers=headers)
    assert (answer.status, answer.document.get("ErrorCode")) == (status, code)


def test_test_token_is_answered_and_takes_nothing(sim: Simulator) -> None:
    headers = JSON | {"X-Postmark-Server-Token": "POSTMARK_API_TEST"}
    answer = call(sim, POSTMARK, postmark_batch(people(2)), headers=headers)
    assert results(POSTMARK, answer) == ["0", "0"]
    assert sim.accepted()[POSTMARK] == 0


def test_single_message_is_answered_by_status(sim: Simulator, client: PostmarkClient) -> None:
    taken = client.call("POST", "/email", data=postmark_message("ann@example.net"))
    with pytest.raises(ClientError) as refused:
        client.call("POST", "/email", data=postmark_message("inactive@example.net"))
    assert (taken["ErrorCode"], refused.value.error_code) == (0, 406)
    assert [mail.recipient for mail in sim.mails()] == ["ann@example.net"]


@pytest.mark.parametrize(
    ("mode", "how", "status", "code"),
    [
        (Mode.UNAUTHORIZED, {}, 401, 10),
        (Mode.THROTTLE, {}, 429, 429),
        (Mode.QUOTA, {"per_message": False}, 422, 405),
        (Mode.SUSPENDED, {"per_message": False}, 422, 413),
        (Mode.SUSPENDED, {"per_message": False, "codes": ["412"]}, 422, 412),
        (Mode.UNVERIFIED, {"per_message": False}, 422, 400),
        (Mode.MESSAGE_REJECTED, {"per_message": False}, 422, 300),
        (Mode.MAINTENANCE, {}, 503, 100),
        (Mode.TOO_LARGE, {}, 413, None),
        (Mode.ERROR_500, {}, 500, None),
        (Mode.ERROR_503, {}, 503, None),
    ],
)
def test_mode_refuses_the_whole_call(
    sim: Simulator, mode: Mode, how: dict[str, Any], status: int, code: int | None
) -> None:
    sim.behave(POSTMARK, mode, **how)
    answer = send(sim, POSTMARK, people(1))
    assert (answer.status, answer.document.get("ErrorCode")) == (status, code)
    assert sim.accepted()[POSTMARK] == 0


@pytest.mark.parametrize(
    ("mode", "how", "codes"),
    [
        (Mode.QUOTA, {}, ["405"] * 3),
        (Mode.SUSPENDED, {}, ["413"] * 3),
        (Mode.UNVERIFIED, {}, ["400"] * 3),
        (Mode.MESSAGE_REJECTED, {}, ["300"] * 3),
        (Mode.THROTTLE, {"per_message": True}, ["429"] * 3),
        (Mode.PARTIAL, {}, ["0", "0", "406"]),
        (Mode.PARTIAL, {"every": 1}, ["406", "300", "429"]),
        (Mode.PARTIAL, {"every": 2, "codes": ["1101"]}, ["0", "1101", "0"]),
        (Mode.SHORT_RESULTS, {}, ["0", "0"]),
    ],
)
def test_mode_speaks_through_the_results(
    sim: Simulator, mode: Mode, how: dict[str, Any], codes: list[str]
) -> None:
    sim.behave(POSTMARK, mode, **how)
    assert results(POSTMARK, send(sim, POSTMARK, people(3))) == codes


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        (Mode.PARTIAL, "Invalid 'To' address: 'reader1@example.net'."),
        (Mode.MESSAGE_REJECTED, "Invalid 'From' address: 'sender'."),
    ],
)
def test_code_300_tells_recipient_and_sender_apart_by_its_text(
    sim: Simulator, mode: Mode, text: str
) -> None:
    sim.behave(POSTMARK, mode, every=1)
    answer = send(sim, POSTMARK, people(2))
    assert answer.document[1] == {"ErrorCode": 300, "Message": text}


def test_server_and_streams_are_told(sim: Simulator) -> None:
    server = look_up(sim, POSTMARK).document
    stream = look_up(sim, POSTMARK, "/message-streams/broadcast").document
    unknown = look_up(sim, POSTMARK, "/message-streams/nowhere")
    assert (server["DeliveryType"], stream["ID"], stream["MessageStreamType"]) == (
        "Live",
        "broadcast",
        "Broadcasts",
    )
    assert (unknown.status, unknown.document["ErrorCode"]) == (422, 1226)
    assert look_up(sim, POSTMARK, "/message-streams/").status == 404
