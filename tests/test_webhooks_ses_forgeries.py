"""Amazon SES: what Amazon has not signed for a topic of ours says nothing, and makes us ask nobody.

`facts/reliability_security.md` 4, T1 to T4, T8, T9 and T71.
"""

import base64
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.amazon_ses_webhooks import MAX_AGE, MAX_AHEAD, MAX_CALL_BYTES, SesWebhooks
from services.events import NotConfigured, NotReachable
from tests.conftest import NOW
from tests.sns_signing import (
    BOUNCE,
    HOST,
    KINDS,
    TOPIC,
    Asked,
    amazon,
    iso,
    listening,
    notification,
    posted,
    refused,
    signed,
    stranger,
    unsigned,
)

PAIRS = [(kind, version) for kind in KINDS for version in ("1", "2")]


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def reader(asked: Asked) -> SesWebhooks:
    """Has no certificate yet, so that each check comes before a fetch or after it."""
    return SesWebhooks(listening(None), fetch=asked)


@pytest.fixture(scope="module")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> SesWebhooks:
    return SesWebhooks(
        listening(amazon().write(tmp_path_factory.mktemp("certificates"))), fetch=Asked()
    )


# the signature


@pytest.mark.parametrize(("kind", "version"), PAIRS)
def test_what_amazon_signed_is_believed(pinned: SesWebhooks, kind: str, version: str) -> None:
    received = pinned.receive(posted(signed(kind, version)))
    assert bool(received.subscription) == (kind == "SubscriptionConfirmation")
    assert len(received.events) == (kind != "SubscriptionConfirmation")


@pytest.mark.parametrize(("kind", "version"), PAIRS)
def test_key_of_another_is_refused(pinned: SesWebhooks, kind: str, version: str) -> None:
    assert refused(pinned, posted(stranger().sign(unsigned(kind), version))) == (
        "the signature does not fit"
    )


@pytest.mark.parametrize("signature", [None, "", "AAAA", "not base64!", 7, [], {}, "é"])
def test_no_signature_is_refused(pinned: SesWebhooks, signature: object) -> None:
    assert "signature" in refused(pinned, posted(signed() | {"Signature": signature}))


def test_signature_without_its_field_is_refused(reader: SesWebhooks, asked: Asked) -> None:
    envelope = signed()
    del envelope["Signature"]
    refused(reader, posted(envelope))


@pytest.mark.parametrize(("kind", "version"), PAIRS)
def test_changed_character_in_any_signed_field_is_refused(
    pinned: SesWebhooks, kind: str, version: str
) -> None:
    envelope = signed(kind, version)
    names = [*envelope.keys() - {"UnsubscribeURL", "SigningCertURL", "SignatureVersion"}]
    assert len(names) == (7 if kind == "Notification" else 8)
    for name in names:
        for at in (0, len(envelope[name]) // 2, len(envelope[name]) - 1):
            text = envelope[name]
            changed = text[:at] + ("1" if text[at] != "1" else "2") + text[at + 1 :]
            refused(pinned, posted(envelope | {name: changed}))
        refused(pinned, posted(envelope | {name: envelope[name] + " "}))


@pytest.mark.parametrize(("kind", "version"), PAIRS)
def test_signature_of_one_version_is_none_of_the_other(
    pinned: SesWebhooks, kind: str, version: str
) -> None:
    other = {"1": "2", "2": "1"}[version]
    envelope = signed(kind, version) | {"SignatureVersion": other}
    assert refused(pinned, posted(envelope)) == "the signature does not fit"


@pytest.mark.parametrize(
    "version",
    ["3", "0", "", "1.0", " 1", "01", "\N{FULLWIDTH DIGIT ONE}", 1, 2, None, [], {}, True],
)
def test_other_versions_are_refused_without_a_fetch(
    reader: SesWebhooks, asked: Asked, version: object
) -> None:
    refused(reader, posted(signed() | {"SignatureVersion": version}))
    assert asked.urls == []


def test_signed_bytes_cannot_be_told_as_other_fields(pinned: SesWebhooks) -> None:
    """What was signed as a text of several lines is not an id, a subject and a text."""
    ids = "\nMessageId\nm\nSubject\ns"
    whole = signed(Message=f"{json.dumps(BOUNCE)}{ids}", MessageId="x", Subject="y")
    split = whole | {
        "Message": json.dumps(BOUNCE),
        "MessageId": "m\nSubject\ns\nMessageId\nx",
    }
    assert refused(pinned, posted(split)) == "a line break in MessageId"


@pytest.mark.parametrize("kind", KINDS)
def test_notification_cannot_be_told_as_a_confirmation(pinned: SesWebhooks, kind: str) -> None:
    for other in set(KINDS) - {kind}:
        fields = {"Token": "t", "SubscribeURL": HOST}
        refused(pinned, posted(signed(kind) | fields | {"Type": other}))


# missing and wrong fields


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("Notification", name) for name in ("Message", "MessageId", "Timestamp", "TopicArn")),
        *(("Notification", name) for name in ("Type", "SignatureVersion", "SigningCertURL")),
        *(("SubscriptionConfirmation", name) for name in ("SubscribeURL", "Token", "Message")),
    ],
)
@pytest.mark.parametrize("value", [..., None, 7, [], {}])
def test_field_that_is_missing_or_no_text_is_refused_without_a_fetch(
    reader: SesWebhooks, asked: Asked, kind: str, name: str, value: object
) -> None:
    envelope = signed(kind) | {name: value}
    if value is ...:
        del envelope[name]
    refused(reader, posted(envelope, x_amz_sns_message_type=kind))
    assert asked.urls == []


@pytest.mark.parametrize("kind", ["", "notification", "Bounce", "Notification ", "None"])
def test_type_that_is_none_of_three_is_refused(
    reader: SesWebhooks, asked: Asked, kind: str
) -> None:
    refused(reader, posted(signed() | {"Type": kind}))
    assert asked.urls == []


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"7", b'"text"', b"[]", b"{}", b"{", b"\xff\xfe", b"[" * 100_000),
        json.dumps(BOUNCE).encode(),
        b"Type=Notification&Message=x",
        b" " * (MAX_CALL_BYTES + 1),
    ],
    ids=range(12),
)
def test_body_that_is_no_envelope_is_refused(
    reader: SesWebhooks, asked: Asked, body: bytes
) -> None:
    refused(reader, replace(posted(signed()), body=body))
    assert asked.urls == []


def test_body_larger_than_any_of_sns_is_not_even_parsed(pinned: SesWebhooks) -> None:
    call = posted(signed() | {"UnsubscribeURL": "x" * MAX_CALL_BYTES})
    assert refused(pinned, call) == f"{len(call.body)} bytes"


def test_largest_message_of_sns_is_read(pinned: SesWebhooks) -> None:
    message = json.dumps(BOUNCE | {"more": "é" * 120_000}, ensure_ascii=False)
    call = posted(amazon().sign(notification(message)))
    assert 500_000 < len(call.body) < MAX_CALL_BYTES
    assert len(pinned.receive(call).events) == 1


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(), inner)),
    max_leaves=5,
)


@given(changes=st.dictionaries(st.sampled_from(sorted(signed())), ANYTHING, min_size=1, max_size=3))
def test_whatever_the_fields_are_the_answer_is_one_of_ours(
    pinned: SesWebhooks, changes: dict[str, Any]
) -> None:
    changes.pop("UnsubscribeURL", None)
    envelope = signed()
    if any(envelope[name] != value for name, value in changes.items()):
        refused(pinned, posted(envelope | changes, x_amz_sns_message_type="Notification"))


# the topic


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "topic",
    [
        "arn:aws:sns:eu-west-1:999999999999:ses-events",
        "arn:aws:sns:us-east-1:123456789012:ses-events",
        "arn:aws:sns:eu-west-1:123456789012:ses-events-2",
        "arn:aws:sns:eu-west-1:123456789012:SES-EVENTS",
        TOPIC + " ",
        TOPIC + "\n",
        "",
    ],
)
def test_foreign_topic_is_refused_however_well_it_is_signed(
    reader: SesWebhooks, asked: Asked, kind: str, topic: str
) -> None:
    assert refused(reader, posted(signed(kind, TopicArn=topic))) == "not one of our topics"
    assert asked.urls == []


def test_without_a_topic_of_ours_nothing_is_believed(asked: Asked) -> None:
    reader = SesWebhooks(replace(listening(None), sns_topic_arns=()), fetch=asked)
    with pytest.raises(NotConfigured, match="SES_SNS_TOPIC_ARNS"):
        reader.receive(posted(signed()))
    assert asked.urls == []


# headers


def test_raw_delivery_is_refused(pinned: SesWebhooks) -> None:
    for body in (json.dumps(signed()), json.dumps(BOUNCE)):
        call = posted(signed(), x_amz_sns_rawdelivery="true")
        assert "raw delivery" in refused(pinned, replace(call, body=body.encode()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("said", [*KINDS, "", "notification", "Bounce"])
def test_header_of_another_type_is_refused(pinned: SesWebhooks, kind: str, said: str) -> None:
    if said != kind:
        refused(pinned, posted(signed(kind), x_amz_sns_message_type=said))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Basic " + base64.b64encode(b"user:password").decode()},
        {
            "x-twilio-email-event-webhook-signature": "MEUCIQ",
            "x-twilio-email-event-webhook-timestamp": "1700000000",
        },
    ],
    ids=["none", "postmark", "sendgrid"],
)
def test_headers_of_another_esp_are_refused(pinned: SesWebhooks, headers: dict[str, str]) -> None:
    refused(pinned, replace(posted(signed()), headers=headers))


# time


@pytest.mark.parametrize(
    ("age", "is_believed"),
    [
        (timedelta(0), True),
        (timedelta(hours=1, minutes=5), True),
        (MAX_AGE - timedelta(seconds=1), True),
        (MAX_AGE + timedelta(seconds=1), False),
        (timedelta(days=300), False),
        (-MAX_AHEAD, True),
    ],
)
def test_old_calls_are_replays(pinned: SesWebhooks, age: timedelta, is_believed: bool) -> None:
    call = posted(signed(Timestamp=iso(NOW)), received_at=NOW + age)
    if is_believed:
        assert len(pinned.receive(call).events) == 1
    else:
        assert refused(pinned, call) == "too old, or without a time"


def test_time_ahead_of_ours_is_put_off_when_amazon_says_so(pinned: SesWebhooks) -> None:
    earlier = NOW - MAX_AHEAD - timedelta(seconds=1)
    with pytest.raises(NotReachable, match="our clock is behind"):
        pinned.receive(posted(signed(), received_at=earlier))
    refused(pinned, posted(stranger().sign(unsigned()), received_at=earlier))


@pytest.mark.parametrize("said", ["", "now", "1700000000", "2026-13-01T00:00:00Z", "0001-01-01"])
def test_time_that_is_none_is_refused(reader: SesWebhooks, asked: Asked, said: str) -> None:
    refused(reader, posted(signed(Timestamp=said)))
    assert asked.urls == []


def test_call_played_again_says_the_same(pinned: SesWebhooks) -> None:
    call = posted(signed())
    assert pinned.receive(call) == pinned.receive(call)
