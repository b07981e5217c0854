"""Postmark: what is sent, and what each answer means."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import responses

from config.esp_config import EspName
from services.base import (
    Account,
    Batch,
    EspError,
    EspUnavailable,
    Message,
    MessageRejected,
    Outcome,
    OutcomeUnknown,
    Recipient,
    SendResult,
    Skeleton,
    Throttled,
)
from services.postmark import CODE_OUTCOMES, MAX_CALL_BYTES, MAX_MESSAGES, STATUS_OUTCOMES
from tests.canned_esp import KEYS, MESSAGE, Act, CannedEsp, answer, batch, cut, people, postmark

ANSWERS = Path(__file__).parent / "payloads/postmark/answers"

TAKEN = {"ErrorCode": 0, "Message": "OK", "MessageID": "b7bc2f4a", "To": "ann@example.net"}
ACCEPTED = SendResult(outcome=Outcome.ACCEPTED, message_id="b7bc2f4a")


@pytest.fixture
def esp() -> Iterator[CannedEsp]:
    with CannedEsp() as server:
        server.act = answer(200, [TAKEN])
        yield server


def load(name: str) -> Any:
    return json.loads((ANSWERS / f"{name}.json").read_text())


def refusal(esp: CannedEsp, count: int = 2) -> EspError:
    with pytest.raises(EspError) as raised:
        postmark(esp.url).send(batch(count))
    assert len(esp.requests) == 1
    return raised.value


# what is sent


@pytest.mark.parametrize(("transactional", "stream"), [(False, "broadcast"), (True, "outbound")])
def test_what_a_person_asked_for_goes_by_the_other_stream(
    esp: CannedEsp, transactional: bool, stream: str
) -> None:
    asked = batch(1)
    postmark(esp.url).send(
        replace(asked, message=replace(asked.message, transactional=transactional))
    )
    assert esp.requests[0].json[0]["MessageStream"] == stream


def test_the_whole_request(esp: CannedEsp) -> None:
    message = Message(
        from_email="news@example.com",
        from_name="Müller, Söhne",
        reply_to="reply@example.com",
        subject=Skeleton(("Hi ", "")),
        html=Skeleton(("<p>", " <a href='", "'>x</a></p>")),
        text=Skeleton(("Hi ", "!")),
        headers={"List-Unsubscribe-Post": "List-Unsubscribe=One-Click", "X-Empty": ""},
        tags=("spring", "c42"),
        track_opens=True,
        track_clicks=True,
    )
    ann = Recipient(
        send_ref="s_1",
        address="ann@example.net",
        subject=("Änn 😀",),
        html=("Ann {{&amp;}} Co", "https://u.example.com"),
        text=("Ann & Co",),
        headers={"List-Unsubscribe": "<https://u.example.com/1>"},
    )
    answered = postmark(esp.url).send(Batch(message=message, recipients=(ann,)))
    assert answered.results == (ACCEPTED,)
    (request,) = esp.requests
    assert (request.method, request.path) == ("POST", "/email/batch")
    assert request.headers["x-postmark-server-token"] == KEYS[EspName.POSTMARK]
    assert request.headers["content-type"] == "application/json"
    assert request.json == [
        {
            "From": "=?utf-8?b?TcO8bGxlciwgU8O2aG5l?= <news@example.com>",
            "To": "ann@example.net",
            "ReplyTo": "reply@example.com",
            "Subject": "Hi Änn 😀",
            "HtmlBody": "<p>Ann {{&amp;}} Co <a href='https://u.example.com'>x</a></p>",
            "TextBody": "Hi Ann & Co!",
            "MessageStream": "broadcast",
            "Tag": "spring",
            "TrackOpens": True,
            "TrackLinks": "HtmlAndText",
            "Metadata": {"cx_send_id": "s_1"},
            "Headers": [
                {"Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click"},
                {"Name": "List-Unsubscribe", "Value": "<https://u.example.com/1>"},
            ],
        }
    ]


def test_a_message_with_the_least(esp: CannedEsp) -> None:
    message = Message(
        from_email="news@example.com", subject=Skeleton(("Hi",)), html=Skeleton(("Hi",))
    )
    one = Recipient(send_ref="s_1", address="ann@example.net")
    postmark(esp.url + "/a/path/").send(Batch(message=message, recipients=(one,)))
    assert esp.requests[0].path == "/a/path/email/batch"
    assert esp.requests[0].json == [
        {
            "From": "news@example.com",
            "To": "ann@example.net",
            "Subject": "Hi",
            "HtmlBody": "Hi",
            "MessageStream": "broadcast",
            "TrackOpens": False,
            "TrackLinks": "None",
            "Metadata": {"cx_send_id": "s_1"},
            "Headers": [],
        }
    ]


def test_a_call_carries_500_at_most() -> None:
    adapter = postmark("http://127.0.0.1:9")
    assert adapter.fit(batch(MAX_MESSAGES + 5)) == MAX_MESSAGES
    assert adapter.fit(batch(7)) == 7


@pytest.mark.parametrize("character", ["x", '"', "\x01", "ж", "😀"])
def test_a_call_has_45_megabytes_at_most(esp: CannedEsp, character: str) -> None:
    encoded = len(json.dumps(character)) - 2
    one = people(1)[0]._replace(html=(character * (300_000 // encoded),))
    message = replace(MESSAGE, text=Skeleton(("x" * 200_000, "")))
    big = Batch(message=message, recipients=(one,) * 500)
    adapter = postmark(esp.url, read_timeout_s=30.0)
    count = adapter.fit(big)
    assert 1 < count < 500
    esp.act = answer(200, [TAKEN] * count)
    adapter.send(replace(big, recipients=big.recipients[:count]))
    assert MAX_CALL_BYTES - 600_000 < len(esp.requests[0].body) <= MAX_CALL_BYTES


def test_one_recipient_always_fits() -> None:
    huge = replace(MESSAGE, html=Skeleton(("x" * 46_000_000, "")))
    assert postmark("http://127.0.0.1:9").fit(batch(3, huge)) == 1


# what the answers mean: one message

EXPECTED_CODES: dict[int, Outcome] = {
    0: Outcome.UNKNOWN,
    10: Outcome.ESP_UNAVAILABLE,
    11: Outcome.UNKNOWN,
    100: Outcome.ESP_UNAVAILABLE,
    300: Outcome.MESSAGE_REJECTED,
    400: Outcome.ESP_UNAVAILABLE,
    401: Outcome.ESP_UNAVAILABLE,
    402: Outcome.MESSAGE_REJECTED,
    403: Outcome.MESSAGE_REJECTED,
    405: Outcome.ESP_UNAVAILABLE,
    406: Outcome.RECIPIENT_REJECTED,
    409: Outcome.MESSAGE_REJECTED,
    410: Outcome.MESSAGE_REJECTED,
    411: Outcome.MESSAGE_REJECTED,
    412: Outcome.ESP_UNAVAILABLE,
    413: Outcome.ESP_UNAVAILABLE,
    429: Outcome.THROTTLED,
    500: Outcome.UNKNOWN,
    1101: Outcome.MESSAGE_REJECTED,
    1226: Outcome.ESP_UNAVAILABLE,
    1235: Outcome.ESP_UNAVAILABLE,
    1236: Outcome.ESP_UNAVAILABLE,
    9999: Outcome.UNKNOWN,
}


@pytest.mark.parametrize("code", EXPECTED_CODES)
def test_a_code_beside_one_that_was_accepted(esp: CannedEsp, code: int) -> None:
    esp.act = answer(200, [{"ErrorCode": code, "Message": "In its\n words"}, TAKEN])
    reason = {405: "quota: 405: In its words"}.get(code, f"{code}: In its words")
    expected = SendResult(outcome=EXPECTED_CODES[code], reason=reason, suppress=code == 406)
    assert postmark(esp.url).send(batch(2)).results == (expected, ACCEPTED)


def test_every_code_of_the_table_is_tested() -> None:
    assert set(CODE_OUTCOMES) <= set(EXPECTED_CODES)


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        ("Invalid 'To' address: 'reader@'.", Outcome.RECIPIENT_REJECTED),
        ("Error parsing 'To': Illegal email domain 'x' in address", Outcome.RECIPIENT_REJECTED),
        ("Error  parsing 'Cc': no", Outcome.RECIPIENT_REJECTED),
        ("invalid 'Bcc' address", Outcome.RECIPIENT_REJECTED),
        ("Invalid 'From' address: 'news@'.", Outcome.MESSAGE_REJECTED),
        ("Invalid 'From' value; it is not like Invalid 'To' address", Outcome.MESSAGE_REJECTED),
        ("Error parsing 'Reply-To'", Outcome.MESSAGE_REJECTED),
        ("Invalid metadata: the value is over 80 characters.", Outcome.MESSAGE_REJECTED),
        ("", Outcome.MESSAGE_REJECTED),
    ],
)
def test_300_is_about_whom_its_text_names(esp: CannedEsp, words: str, outcome: Outcome) -> None:
    esp.act = answer(200, [{"ErrorCode": 300, "Message": words}])
    (result,) = postmark(esp.url).send(batch(1)).results
    assert (result.outcome, result.suppress) == (outcome, False)


@pytest.mark.parametrize(
    ("codes", "outcome"),
    [
        ([406], Outcome.RECIPIENT_REJECTED),
        ([406, 405], Outcome.ESP_UNAVAILABLE),
        ([405, 429], Outcome.ESP_UNAVAILABLE),
        ([406, 429], Outcome.THROTTLED),
        ([406, 300, 405], Outcome.MESSAGE_REJECTED),
        ([406, 9999, 300], Outcome.UNKNOWN),
        ([11], Outcome.UNKNOWN),
        ([], Outcome.UNKNOWN),
    ],
)
def test_of_several_errors_the_gravest_counts(
    esp: CannedEsp, codes: list[int], outcome: Outcome
) -> None:
    errors = [{"ErrorCode": code, "Message": "no"} for code in codes]
    esp.act = answer(200, [{"ErrorCode": 11, "Message": "Several", "Errors": errors}])
    (result,) = postmark(esp.url).send(batch(1)).results
    assert result.outcome is outcome
    assert result.suppress is (codes == [406])


@pytest.mark.parametrize("errors", [None, "no", ["no"], [[]], {"ErrorCode": 406}])
def test_errors_of_another_shape_are_unknown(esp: CannedEsp, errors: object) -> None:
    esp.act = answer(200, [{"ErrorCode": 11, "Message": "Several", "Errors": errors}])
    (result,) = postmark(esp.url).send(batch(1)).results
    assert result == SendResult(outcome=Outcome.UNKNOWN, reason="11: Several")


@pytest.mark.parametrize(
    "item",
    [
        {"MessageID": "b7bc2f4a"},
        {"MessageID": "b7bc2f4a", "ErrorCode": 406, "Message": "will not deliver to these"},
        {"MessageID": "b7bc2f4a", "Message": "Message accepted, but delivery may be delayed."},
    ],
)
def test_an_id_means_accepted_whatever_else_is_said(
    esp: CannedEsp, item: dict[str, object]
) -> None:
    esp.act = answer(200, [item])
    assert postmark(esp.url).send(batch(1)).results == (ACCEPTED,)


@pytest.mark.parametrize(
    "item",
    [
        None,
        7,
        "OK",
        [],
        {},
        {"ErrorCode": "406"},
        {"ErrorCode": [406]},
        {"ErrorCode": None},
        {"MessageID": 7, "ErrorCode": 0},
        {"MessageID": "", "ErrorCode": 0},
    ],
)
def test_an_item_that_says_nothing_is_unknown(esp: CannedEsp, item: object) -> None:
    esp.act = answer(200, [TAKEN, item])
    results = postmark(esp.url).send(batch(2)).results
    assert [result.outcome for result in results] == [Outcome.ACCEPTED, Outcome.UNKNOWN]


# what the answers mean: the whole call


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"7",
        b'"OK"',
        b"{}",
        b'{"ErrorCode": 0, "MessageID": "1"}',
        b"[]",
        b'[{"MessageID": "1"}]',
        b'[{"MessageID": "1"}, {"MessageID": "2"}, {"MessageID": "3"}]',
        b"[" * 500_000,
        b"9" * 10_000,
        b"\xff\xfe",
    ],
    ids=lambda body: str(body[:40]),
)
def test_a_200_without_a_result_for_each_message_is_unknown(esp: CannedEsp, body: bytes) -> None:
    esp.act = answer(200, body)
    assert type(refusal(esp)) is OutcomeUnknown


@pytest.mark.parametrize("status", [200, 401, 422, 429, 500])
def test_a_cut_answer_is_unknown(esp: CannedEsp, status: int) -> None:
    esp.act = cut(status)
    assert isinstance(refusal(esp), OutcomeUnknown)


EXPECTED_STATUSES: dict[int, type[EspError]] = {
    201: OutcomeUnknown,
    204: OutcomeUnknown,
    301: EspUnavailable,
    307: EspUnavailable,
    400: OutcomeUnknown,
    401: EspUnavailable,
    403: EspUnavailable,
    404: EspUnavailable,
    408: OutcomeUnknown,
    413: MessageRejected,
    415: MessageRejected,
    422: OutcomeUnknown,
    429: Throttled,
    500: OutcomeUnknown,
    502: OutcomeUnknown,
    503: OutcomeUnknown,
    504: OutcomeUnknown,
}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>no</html>",
        b"{}",
        b'[{"ErrorCode": 406}]',
        b'{"Message": "no"}',
        b'{"ErrorCode": 0, "Message": "no", "MessageID": "b7bc2f4a"}',
        b'{"ErrorCode": [10], "Message": "no"}',
    ],
)
@pytest.mark.parametrize("status", EXPECTED_STATUSES)
def test_a_status_without_a_code_of_postmarks(esp: CannedEsp, status: int, body: bytes) -> None:
    esp.act = answer(status, b"" if status == 204 else body, {"Location": "/elsewhere"})
    error = refusal(esp)
    assert (type(error), error.http_status) == (EXPECTED_STATUSES[status], status)
    assert error.reason.startswith(str(status))


def test_every_status_of_the_table_is_tested() -> None:
    assert set(STATUS_OUTCOMES) <= set(EXPECTED_STATUSES)


ERRORS = {
    Outcome.ESP_UNAVAILABLE: EspUnavailable,
    Outcome.MESSAGE_REJECTED: MessageRejected,
    Outcome.THROTTLED: Throttled,
    Outcome.UNKNOWN: OutcomeUnknown,
    # Of several recipients it does not tell which one.
    Outcome.RECIPIENT_REJECTED: OutcomeUnknown,
}


@pytest.mark.parametrize("status", [401, 422, 429, 500, 503])
@pytest.mark.parametrize("code", EXPECTED_CODES)
def test_a_code_for_the_whole_call(status: int, code: int) -> None:
    with responses.RequestsMock(target="services.postmark_client._Pooled.send") as mock:
        mock.post(
            "https://api.postmarkapp.com/email/batch",
            status=status,
            json={"ErrorCode": code, "Message": "In its words"},
        )
        with pytest.raises(EspError) as raised:
            postmark("https://api.postmarkapp.com").send(batch(2))
        assert len(mock.calls) == 1
    expected = ERRORS[EXPECTED_CODES[code]]
    if status == 500 or (status == 503 and code != 100):
        expected = OutcomeUnknown  # whatever the code
    elif code not in CODE_OUTCOMES and code != 11:
        expected = EXPECTED_STATUSES[status]
    assert type(raised.value) is expected
    assert raised.value.http_status == status
    assert "In its words" in raised.value.reason


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("bad_token", EspUnavailable, "10: No Account or Server API tokens were supplied"),
        ("maintenance", EspUnavailable, "100: The Postmark API is offline for maintenance."),
        ("no_credits", EspUnavailable, "quota: 405: Not allowed to send: you have run out"),
        ("rate_limit", Throttled, "429: Rate limit exceeded."),
        ("unconfirmed_sender", EspUnavailable, "400: The 'From' address you supplied"),
        ("invalid_json", MessageRejected, "402: Received invalid JSON input."),
        ("server_error", OutcomeUnknown, "500: Internal server error."),
    ],
)
def test_an_answer_of_postmark(
    esp: CannedEsp, name: str, kind: type[EspError], reason: str
) -> None:
    document = load(name)
    esp.act = answer(document["status"], document["body"])
    error = refusal(esp)
    assert type(error) is kind
    assert error.reason.startswith(reason)


def test_a_real_mixed_answer(esp: CannedEsp) -> None:
    esp.act = answer(200, load("batch_mixed")["body"])
    results = postmark(esp.url).send(batch(4)).results
    assert [(result.outcome, result.suppress) for result in results] == [
        (Outcome.ACCEPTED, False),
        (Outcome.RECIPIENT_REJECTED, True),
        (Outcome.RECIPIENT_REJECTED, False),
        (Outcome.ESP_UNAVAILABLE, False),
    ]


def test_every_answer_is_used() -> None:
    source = Path(__file__).read_text()
    unused = [path.stem for path in ANSWERS.glob("*.json") if f'"{path.stem}"' not in source]
    assert unused == []


def test_a_call_of_one_refused_for_its_recipient_is_about_the_recipient(
    esp: CannedEsp,
) -> None:
    esp.act = answer(422, {"ErrorCode": 406, "Message": "inactive"})
    answered = postmark(esp.url).send(batch(1))
    assert answered.http_status == 422
    assert answered.results == (
        SendResult(outcome=Outcome.RECIPIENT_REJECTED, reason="406: inactive", suppress=True),
    )


# the account


def test_the_account_has_no_quota_and_says_who_handles_unsubscribes(esp: CannedEsp) -> None:
    stream = {
        "ID": "broadcast",
        "MessageStreamType": "Broadcasts",
        "SubscriptionManagementConfiguration": {"UnsubscribeHandlingType": "Postmark"},
    }
    esp.act = answer(200, {"DeliveryType": "Live", **stream})
    told = "delivery type Live; stream broadcast (Broadcasts), unsubscribes handled by Postmark"
    assert postmark(esp.url).account() == Account(detail=told)


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (answer(401, {"ErrorCode": 10, "Message": "no"}), EspUnavailable),
        (answer(429), Throttled),
        (answer(500), OutcomeUnknown),
        (answer(200, b"<html>"), OutcomeUnknown),
        (cut(200), OutcomeUnknown),
    ],
)
def test_a_failed_look_up_is_an_esp_error(esp: CannedEsp, act: Act, kind: type[EspError]) -> None:
    esp.act = act
    with pytest.raises(EspError) as raised:
        postmark(esp.url).account()
    assert isinstance(raised.value, kind)
