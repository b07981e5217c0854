"""SendGrid: what is sent, and what each answer means."""

import json
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

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
from services.sendgrid import MAX_CALL_BYTES, MAX_PERSONALIZATIONS, STATUS_ERRORS
from services.sendgrid_merge import MAX_SUBSTITUTION_BYTES, TAG_BYTES
from tests.canned_esp import MESSAGE, CannedEsp, answer, batch, cut, people, sendgrid

ANSWERS = Path(__file__).parent / "payloads/sendgrid/answers"
NOW = 1_764_000_000.0

ACCEPTED = SendResult(outcome=Outcome.ACCEPTED, message_id="m1")
NOT_TAKEN = SendResult(outcome=Outcome.NOT_TAKEN, reason="400: others in the call were bad")


@pytest.fixture
def esp() -> Iterator[CannedEsp]:
    with CannedEsp() as server:
        server.act = answer(202, b"", {"X-Message-Id": "m1"})
        yield server


def refusal(esp: CannedEsp, count: int = 3) -> EspError:
    with pytest.raises(EspError) as raised:
        sendgrid(esp.url, clock=lambda: NOW).send(batch(count))
    assert len(esp.requests) == 1
    return raised.value


def canned(name: str) -> Any:
    document = json.loads((ANSWERS / f"{name}.json").read_text())
    return answer(document["status"], document["body"], document.get("headers"))


# what is sent


def test_the_whole_request(esp: CannedEsp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _: "abcdef01")
    message = Message(
        from_email="news@example.com",
        from_name="Müller, Söhne; Co",
        reply_to="reply@example.com",
        subject=Skeleton(("Hi ", "")),
        html=Skeleton(("<p>", " <a href='", "'>x</a></p>")),
        text=Skeleton(("Hi ", "!")),
        headers={"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"},
        tags=("spring", "c42", "spring"),
        track_clicks=True,
    )
    ann = Recipient(
        send_ref="s_1",
        address="ann@example.net",
        subject=("Änn 😀",),
        html=("Ann &amp; Co", "https://u.example.com"),
        text=("Ann & Co",),
        headers={"List-Unsubscribe": "<https://u.example.com/1>"},
    )
    ben = ann._replace(send_ref="s_2", address="ben@example.net", headers={})
    answered = sendgrid(esp.url).send(Batch(message=message, recipients=(ann, ben)))
    assert answered.results == (ACCEPTED, ACCEPTED)
    assert answered.http_status == 202
    (request,) = esp.requests
    assert (request.method, request.path) == ("POST", "/v3/mail/send")
    assert request.headers["content-type"] == "application/json"
    substitutions = {
        "-abcdef01s0-": "Änn 😀",
        "-abcdef01h0-": "Ann &amp; Co",
        "-abcdef01h1-": "https://u.example.com",
        "-abcdef01t0-": "Ann & Co",
    }
    assert request.json == {
        "from": {"email": "news@example.com", "name": "Müller, Söhne; Co"},
        "reply_to": {"email": "reply@example.com"},
        "subject": "Hi -abcdef01s0-",
        "content": [
            {"type": "text/plain", "value": "Hi -abcdef01t0-!"},
            {
                "type": "text/html",
                "value": "<p>-abcdef01h0- <a href='-abcdef01h1-'>x</a></p>",
            },
        ],
        "headers": {"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"},
        "categories": ["spring", "c42"],
        "tracking_settings": {
            "click_tracking": {"enable": True, "enable_text": True},
            "open_tracking": {"enable": False},
            "subscription_tracking": {"enable": False},
        },
        "personalizations": [
            {
                "to": [{"email": "ann@example.net"}],
                "custom_args": {"cx_send_id": "s_1"},
                "headers": {
                    "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
                    "List-Unsubscribe": "<https://u.example.com/1>",
                },
                "substitutions": substitutions,
            },
            {
                "to": [{"email": "ben@example.net"}],
                "custom_args": {"cx_send_id": "s_2"},
                "substitutions": substitutions,
            },
        ],
    }


def test_a_message_with_the_least(esp: CannedEsp) -> None:
    message = Message(
        from_email="news@example.com", subject=Skeleton(("Hi",)), text=Skeleton(("Hi",))
    )
    one = Recipient(send_ref="s_1", address="ann@example.net")
    sendgrid(esp.url + "/").send(Batch(message=message, recipients=(one,)))
    assert esp.requests[0].path == "/v3/mail/send"
    assert esp.requests[0].json == {
        "from": {"email": "news@example.com"},
        "subject": "Hi",
        "content": [{"type": "text/plain", "value": "Hi"}],
        "tracking_settings": {
            "click_tracking": {"enable": False, "enable_text": False},
            "open_tracking": {"enable": False},
            "subscription_tracking": {"enable": False},
        },
        "personalizations": [
            {"to": [{"email": "ann@example.net"}], "custom_args": {"cx_send_id": "s_1"}}
        ],
    }


def test_the_nonce_is_drawn_again_while_a_text_contains_it(
    esp: CannedEsp, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = iter(["aaaaaaaa", "bbbbbbbb", "cccccccc"])
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(draws))
    message = replace(MESSAGE, text=Skeleton(("bbbbbbbb ", "")))
    value = people(1)[0]._replace(html=("-aaaaaaaah0-",))
    sendgrid(esp.url).send(Batch(message=message, recipients=(value,)))
    assert set(esp.requests[0].json["personalizations"][0]["substitutions"]) == {
        "-ccccccccs0-",
        "-cccccccch0-",
        "-cccccccct0-",
    }


def test_no_tag_is_found_in_another(esp: CannedEsp) -> None:
    message = replace(MESSAGE, html=Skeleton(("",) * 13))
    one = people(1)[0]._replace(html=tuple(f"<{n}>" for n in range(12)))
    sendgrid(esp.url).send(Batch(message=message, recipients=(one,)))
    body = esp.requests[0].json
    text = body["content"][1]["value"]
    for tag, value in body["personalizations"][0]["substitutions"].items():
        text = text.replace(tag, value)
    assert text == "".join(one.html)


# fit, and mails that go complete

LONGEST = MAX_SUBSTITUTION_BYTES - 3 * TAG_BYTES


@pytest.mark.parametrize(
    ("value", "whole"),
    [
        ("x" * LONGEST, False),
        ("x" * (LONGEST + 1), True),
        ("ж" * (LONGEST // 2), False),
        ("ж" * (LONGEST // 2 + 1), True),
        ("😀" * (LONGEST // 4 + 1), True),
        ("\ud800" * (LONGEST // 3 + 1), True),
    ],
    ids=["10,000 bytes", "more", "2 bytes each", "more of them", "4 bytes each", "surrogates"],
)
def test_a_mail_over_the_substitution_limit_goes_complete_and_alone(
    esp: CannedEsp, value: str, whole: bool
) -> None:
    adapter = sendgrid(esp.url)
    long = people(1)[0]._replace(subject=("",), html=(value,), text=("",))
    short = people(3)
    assert adapter.fit(Batch(message=MESSAGE, recipients=(*short, long))) == (3 if whole else 4)
    alone = Batch(message=MESSAGE, recipients=(long, *short))
    assert adapter.fit(alone) == (1 if whole else 4)
    adapter.send(Batch(message=MESSAGE, recipients=(long,)))
    body = esp.requests[0].json
    assert ("substitutions" in body["personalizations"][0]) is not whole
    if whole:
        assert body["subject"] == "Hi "
        assert body["content"] == [
            {"type": "text/plain", "value": "Hi "},
            {"type": "text/html", "value": f"<p>Hi {value}</p>"},
        ]
        assert body["personalizations"] == [
            {"to": [{"email": "reader0@example.net"}], "custom_args": {"cx_send_id": "s_0"}}
        ]
        with pytest.raises(ValueError, match="does not fit"):
            adapter.send(alone)


def test_an_empty_part_of_a_complete_mail_is_left_out(esp: CannedEsp) -> None:
    message = replace(MESSAGE, text=Skeleton(("", "")))
    one = people(1)[0]._replace(html=("x" * 10_000,), text=("",))
    sendgrid(esp.url).send(Batch(message=message, recipients=(one,)))
    assert [part["type"] for part in esp.requests[0].json["content"]] == ["text/html"]


def test_a_call_carries_1000_at_most() -> None:
    adapter = sendgrid("http://127.0.0.1:9")
    assert adapter.fit(batch(MAX_PERSONALIZATIONS + 5)) == MAX_PERSONALIZATIONS
    assert adapter.fit(batch(7)) == 7


@pytest.mark.parametrize("character", ["x", "\x01", "😀"])
def test_a_call_has_25_megabytes_at_most(esp: CannedEsp, character: str) -> None:
    size = 9_000 // len(character.encode())
    one = people(1)[0]._replace(html=(character * size,))
    skeleton = replace(MESSAGE, html=Skeleton(("x" * 20_000_000, "")))
    big = Batch(message=skeleton, recipients=(one,) * 1000)
    adapter = sendgrid(esp.url, read_timeout_s=30.0)
    count = adapter.fit(big)
    assert 1 < count < 1000
    adapter.send(replace(big, recipients=big.recipients[:count]))
    sent = len(esp.requests[0].body)
    assert MAX_CALL_BYTES - 120_000 < sent <= MAX_CALL_BYTES


def test_one_recipient_always_fits() -> None:
    huge = replace(MESSAGE, html=Skeleton(("x" * 26_000_000, "")))
    assert sendgrid("http://127.0.0.1:9").fit(batch(3, huge)) == 1


# what the answers mean

EXPECTED_STATUSES: dict[int, type[EspError]] = {
    200: OutcomeUnknown,
    201: OutcomeUnknown,
    204: OutcomeUnknown,
    301: EspUnavailable,
    302: EspUnavailable,
    307: EspUnavailable,
    400: OutcomeUnknown,
    401: EspUnavailable,
    402: OutcomeUnknown,
    403: EspUnavailable,
    404: EspUnavailable,
    405: EspUnavailable,
    406: MessageRejected,
    408: OutcomeUnknown,
    413: MessageRejected,
    415: MessageRejected,
    418: OutcomeUnknown,
    429: Throttled,
    451: EspUnavailable,
    500: OutcomeUnknown,
    502: OutcomeUnknown,
    503: OutcomeUnknown,
    504: OutcomeUnknown,
    599: OutcomeUnknown,
}


@pytest.mark.parametrize("body", [b"", b"<html>no</html>", b"[]", b'{"errors": []}'])
@pytest.mark.parametrize("status", EXPECTED_STATUSES)
def test_a_status_alone_decides(esp: CannedEsp, status: int, body: bytes) -> None:
    esp.act = answer(status, b"" if status == 204 else body, {"Location": "/elsewhere"})
    error = refusal(esp)
    assert type(error) is EXPECTED_STATUSES[status]
    assert error.http_status == status
    assert error.reason.startswith(str(status))


def test_every_status_of_the_table_is_tested() -> None:
    assert set(STATUS_ERRORS) <= set(EXPECTED_STATUSES)


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("bad_content", MessageRejected, "400: content.0.value: The content value must be"),
        ("bad_substitutions", MessageRejected, "400: personalizations.1.substitutions: "),
        ("bad_recipient_and_content", MessageRejected, "400: from.email: "),
        ("no_field", MessageRejected, "400: None: Bad Request"),
        ("bad_key", EspUnavailable, "401: The provided authorization grant is invalid"),
        ("credits_exceeded", EspUnavailable, "quota: 401: Maximum credits exceeded"),
        ("sender_not_verified", EspUnavailable, "403: The from address does not match"),
        ("too_many_requests", Throttled, "429: too many requests"),
    ],
)
def test_an_answer_of_sendgrid(
    esp: CannedEsp, name: str, kind: type[EspError], reason: str
) -> None:
    esp.act = canned(name)
    error = refusal(esp)
    assert type(error) is kind
    assert error.reason.startswith(reason)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("bad_recipient", {1: "personalizations.1.to.0.email: Does not contain a valid address."}),
        (
            "bad_recipients",
            {
                0: "personalizations.0.to.0.email: Does not contain a valid address.",
                2: "personalizations.2.to: Each email address should be unique.",
            },
        ),
    ],
)
def test_a_400_that_names_recipients_blames_only_them(
    esp: CannedEsp, name: str, bad: dict[int, str]
) -> None:
    esp.act = canned(name)
    answered = sendgrid(esp.url).send(batch(3))
    assert answered.http_status == 400
    assert answered.results == tuple(
        SendResult(outcome=Outcome.RECIPIENT_REJECTED, reason=f"400: {bad[n]}")
        if n in bad
        else NOT_TAKEN
        for n in range(3)
    )


@pytest.mark.parametrize(
    "field",
    [
        "personalizations.3.to.0.email",
        "personalizations.99999.to.0.email",
        "personalizations.0.too",
        "personalizations.0.headers",
        "personalizations.-1.to",
        "personalizations",
        "to",
        None,
        7,
    ],
)
def test_a_400_that_names_no_recipient_of_the_batch_is_about_the_message(
    esp: CannedEsp, field: object
) -> None:
    esp.act = answer(400, {"errors": [{"message": "no", "field": field}]})
    assert type(refusal(esp)) is MessageRejected


def test_every_answer_is_used() -> None:
    source = Path(__file__).read_text()
    unused = [path.stem for path in ANSWERS.glob("*.json") if f'"{path.stem}"' not in source]
    assert unused == []


def test_a_202_without_its_id_proves_nothing(esp: CannedEsp) -> None:
    esp.act = answer(202)
    error = refusal(esp)
    assert type(error) is OutcomeUnknown
    assert error.reason == "202: not SendGrid's 202 with an X-Message-Id"


def test_a_cut_body_of_a_202_with_its_id_is_accepted(esp: CannedEsp) -> None:
    esp.act = cut(202, {"X-Message-Id": "m1"})
    answered = sendgrid(esp.url).send(batch(2))
    assert answered.results == (ACCEPTED, ACCEPTED)


@pytest.mark.parametrize("status", [200, 202, 400, 401, 429])
def test_any_other_cut_body_is_unknown(esp: CannedEsp, status: int) -> None:
    esp.act = cut(status)
    assert isinstance(refusal(esp), OutcomeUnknown)


@pytest.mark.parametrize(
    ("reset", "wait"),
    [
        (str(int(NOW) + 12), 12.0),
        (str(int(NOW) - 12), 0.0),
        (str(int(NOW) + 90_000), 3600.0),
        ("soon", None),
        ("-5", None),
        ("9" * 400, None),
        (None, None),
    ],
)
def test_a_429_says_how_long_to_wait(esp: CannedEsp, reset: str | None, wait: float | None) -> None:
    headers = {} if reset is None else {"X-RateLimit-Reset": reset}
    esp.act = answer(429, {"errors": [{"message": "too many requests"}]}, headers)
    assert refusal(esp).retry_after_s == wait


@pytest.mark.parametrize("body", [b"[" * 500_000, b"9" * 10_000, b'{"errors": [1]}', b"\xff"])
def test_hostile_json_does_no_harm(esp: CannedEsp, body: bytes) -> None:
    esp.act = answer(400, body)
    assert type(refusal(esp)) is OutcomeUnknown


# the account


@pytest.mark.parametrize(
    ("credits", "account"),
    [
        (
            {"remain": 150, "total": 200, "reset_frequency": "monthly"},
            Account(
                monthly_limit=200, monthly_used=50, detail="credits: 150 of 200, reset monthly"
            ),
        ),
        (
            {"remain": 0, "total": 100, "reset_frequency": "daily"},
            Account(daily_limit=100, daily_used=100, detail="credits: 0 of 100, reset daily"),
        ),
        (
            {"remain": 1, "total": 2, "reset_frequency": "weekly"},
            Account(detail="credits: 1 of 2, reset weekly"),
        ),
        ({"remain": None}, Account(detail="no credit limit told")),
    ],
)
def test_credits_are_a_quota(esp: CannedEsp, credits: dict[str, object], account: Account) -> None:
    esp.act = answer(200, credits)
    assert sendgrid(esp.url).account() == account
    (request,) = esp.requests
    assert (request.method, request.path, request.body) == ("GET", "/v3/user/credits", b"")


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (answer(401, {"errors": [{"message": "bad"}]}), EspUnavailable),
        (answer(403, b""), EspUnavailable),
        (answer(500, b""), OutcomeUnknown),
        (answer(200, b"<html>"), OutcomeUnknown),
        (cut(200), OutcomeUnknown),
    ],
)
def test_a_failed_look_up_is_an_esp_error(esp: CannedEsp, act: Any, kind: type[EspError]) -> None:
    esp.act = act
    with pytest.raises(kind):
        sendgrid(esp.url).account()
