"""Calls that Postmark did not make: refused before a word of them is read."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.events import NotConfigured, WebhookCall
from services.postmark_webhooks import PostmarkWebhooks
from tests.conftest import NOW
from tests.signing import (
    PASSWORD,
    USER,
    SendGridSigner,
    basic_header,
    postmark_call,
    postmark_listening,
    refuses,
)
from tests.webhook_corpus import corpus, short

POSTMARK = PostmarkWebhooks(postmark_listening())
RECORD = json.dumps(corpus("postmark")["delivery"]["payload"]).encode()


def basic(credentials: bytes) -> str:
    return "Basic " + base64.b64encode(credentials).decode()


GENUINE = f"{USER}:{PASSWORD}".encode()


@pytest.mark.parametrize("scheme", ["Basic ", "basic ", "BASIC ", "bAsIc ", "Basic  "])
def test_scheme_is_read_in_any_case(scheme: str) -> None:
    authorization = scheme + basic_header().removeprefix("Basic ")
    received = POSTMARK.receive(postmark_call(RECORD, authorization=authorization))
    assert len(received.events) == 1


UNPADDED = basic_header().rstrip("=")


@pytest.mark.parametrize(
    "authorization",
    [
        basic_header(user="other"),
        basic_header(user=USER.upper()),
        basic_header(user=""),
        basic_header(password="other"),
        basic_header(password=PASSWORD.upper()),
        basic_header(password=PASSWORD[:-1]),
        basic_header(password=PASSWORD + " "),
        basic_header(password=""),
        basic_header(user="", password=""),
        basic_header(user=PASSWORD, password=USER),
        basic(b""),
        basic(b":"),
        basic(GENUINE.replace(b":", b"")),
        basic(GENUINE + b"\0"),
        basic(b"\xff\xfe:\xff"),
        basic(f"{USER}:{PASSWORD}".encode("utf-16")),
        UNPADDED,
        f"{UNPADDED}!",
        f"{UNPADDED}\n",
        basic_header().replace("Basic ", ""),
        basic_header().replace("Basic ", "Basic"),
        basic_header().replace("Basic ", "Basic !"),
        f"{basic_header()}!",
        basic_header().replace("Basic", "Bearer"),
        basic_header().replace("Basic", "Digest"),
        f"Basic {USER}:{PASSWORD}",
        *(
            "Basic",
            "Basic ",
            "Basic ====",
            "Basic ü",
            "Basic \ud800",
            "x",
            "Basic " + "A" * 100_000,
        ),
    ],
    ids=short,
)
def test_other_credentials(authorization: str) -> None:
    assert basic_header() != UNPADDED
    refuses(POSTMARK, postmark_call(RECORD, authorization=authorization))


def test_call_without_credentials() -> None:
    refuses(POSTMARK, WebhookCall(headers={}, body=RECORD, received_at=NOW))


@given(st.binary(max_size=40).filter(lambda one: one != GENUINE))
def test_no_other_credentials_are_believed(credentials: bytes) -> None:
    refuses(POSTMARK, postmark_call(RECORD, authorization=basic(credentials)))


@pytest.mark.parametrize(
    "authorization", [basic_header(), basic_header(user="x"), basic_header(password="x"), "x"]
)
def test_both_parts_are_compared_whichever_is_wrong(
    authorization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[Any] = []

    def compare(given: bytes, ours: bytes) -> bool:
        compared.append(ours)
        return given == ours

    monkeypatch.setattr("services.postmark_webhooks.compare_digest", compare)
    call = postmark_call(RECORD, authorization=authorization)
    if authorization == basic_header():
        POSTMARK.receive(call)
    else:
        refuses(POSTMARK, call)
    assert compared == [USER.encode(), PASSWORD.encode()]


@pytest.mark.parametrize("missing", ["webhook_user", "webhook_password"])
@pytest.mark.parametrize("value", [None, ""])
def test_without_user_or_password_nobody_is_believed(missing: str, value: str | None) -> None:
    changed: dict[str, Any] = {missing: value}
    reader = PostmarkWebhooks(replace(postmark_listening(), **changed))
    for authorization in (basic_header(), basic_header(user=""), basic_header(password="")):
        with pytest.raises(NotConfigured, match="POSTMARK_WEBHOOK_USER"):
            reader.receive(postmark_call(RECORD, authorization=authorization))


SNS = {
    "x-amz-sns-message-type": "Notification",
    "x-amz-sns-topic-arn": "arn:aws:sns:eu-west-1:123456789012:ses-events",
}


@pytest.mark.parametrize("headers", [{}, SNS, SendGridSigner().headers(RECORD)])
def test_postmark_takes_no_other_proof(headers: dict[str, str]) -> None:
    refuses(POSTMARK, WebhookCall(headers=headers, body=RECORD, received_at=NOW))
