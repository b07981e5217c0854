"""SendGrid: what each of its events means, and that junk harms nobody."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.events import Event, EventKind, Received
from services.sendgrid_webhooks import SendGridWebhooks
from services.sendgrid_words import CLASSIFICATIONS, DROPS, EVENTS, STATUSES, TYPES, by_status
from services.webhook_fields import RECEIVED_KEY
from tests.conftest import NOW
from tests.signing import SendGridSigner, sendgrid_body, sendgrid_listening
from tests.webhook_corpus import (
    EVIL_NUMBERS,
    JSON,
    TEXTS,
    WRONG_KINDS,
    check,
    corpus,
    expected,
    key_of,
    plain,
    replayed,
    short,
)

PAYLOADS = corpus("sendgrid")
SIGNER = SendGridSigner()
READER = SendGridWebhooks(sendgrid_listening(SIGNER))

DELIVERED: dict[str, Any] = PAYLOADS["delivered"]["payload"]


def heard(*events: Any) -> tuple[Event, ...]:
    return heard_bytes(sendgrid_body(events))


def heard_bytes(body: bytes) -> tuple[Event, ...]:
    received = READER.receive(SIGNER.call(body))
    assert received == Received(events=received.events)
    return received.events


def one(**changes: Any) -> Event:
    (event,) = heard(DELIVERED | changes)
    return event


# what each event means


@pytest.mark.parametrize("name", PAYLOADS)
def test_event_is_translated(name: str) -> None:
    payload, source = PAYLOADS[name]["payload"], PAYLOADS[name]["source"]
    (event,) = heard(payload)
    assert plain(event) == expected(PAYLOADS[name]["expect"])
    assert event.payload == payload
    assert source.startswith(("https://", "facts/", "made up: "))


def test_one_call_tells_all_of_them_in_their_order() -> None:
    events = heard(*(case["payload"] for case in PAYLOADS.values()))
    assert [plain(event) for event in events] == [
        expected(case["expect"]) for case in PAYLOADS.values()
    ]


@pytest.mark.parametrize("name", PAYLOADS)
def test_stored_payload_gives_the_same_event_again(name: str) -> None:
    events = heard(PAYLOADS[name]["payload"])
    assert replayed(READER, events[0]) == events


def told(name: str, field: str) -> set[str]:
    """What the corpus has in a field of events of a name."""
    payloads = [case["payload"] for case in PAYLOADS.values()]
    return {one[field] for one in payloads if one["event"] == name and field in one}


def test_corpus_covers_every_row_of_the_tables() -> None:
    assert set(EVENTS) - {case["payload"]["event"] for case in PAYLOADS.values()} == set()
    reasons = [reason.lower() for reason in told("dropped", "reason")]
    assert [row for row in DROPS if not any(one.startswith(row) for one in reasons)] == []
    classes = [one.lower() for one in told("bounce", "bounce_classification")]
    assert [row for row in CLASSIFICATIONS if not any(one.startswith(row) for one in classes)] == []
    assert set(TYPES) - told("bounce", "type") == set()
    means = [meaning for _, meaning in STATUSES]
    assert [one for one in means if one not in map(by_status, told("bounce", "status"))] == []


@pytest.mark.parametrize(
    ("name", "spellings"),
    [
        # The pages of SendGrid, each as it spells them.
        (
            "bounce_classification",
            "Invalid Address|Technical Failure|Technical|Content|Reputation|Mailbox Unavailable"
            "|Frequency or Volume Too High|Frequency/Volume|Unclassified|invalid",
        ),
        ("type", "bounce|blocked|expired"),
    ],
)
def test_corpus_has_each_spelling(name: str, spellings: str) -> None:
    assert set(spellings.split("|")) - told("bounce", name) == set()


# keys


def test_event_id_is_the_key_only_if_it_looks_like_one() -> None:
    assert one(sg_event_id="a" * 100).key == "a" * 100
    for strange in ("a" * 101, "ann@example.net", "a b", "\0", "h:1", "ü"):
        event = one(sg_event_id=strange)
        assert event.key.startswith("h:")
        assert len(event.key) == 66
        assert one(sg_event_id=strange, email="changed").key == event.key
    assert one(sg_event_id="an odd id 1").key != one(sg_event_id="an odd id 2").key


def test_event_without_id_is_known_by_what_it_says() -> None:
    first = one(sg_event_id=None)
    sg_id, ref = DELIVERED["sg_message_id"], DELIVERED["cx_send_id"]
    assert first.key == key_of([sg_id, ref, "delivered", 1764000000, "ann@example.net", None])
    assert one(sg_event_id="", response="tls 1").key == first.key
    others = [
        one(sg_event_id=None, **{field: value}).key
        for field, value in [
            ("sg_message_id", "m2"),
            ("cx_send_id", "s_0002"),
            ("event", "open"),
            ("timestamp", 1764000001),
            ("email", "ben@example.net"),
            ("url", "https://example.com"),
        ]
    ]
    assert len({first.key, *others}) == 7


# what is not as it should be


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"\r\n", b"null", b"{}", b'"x"', b"1", b"[", b"event=open", b"\xff\xfe"),
        *(b"[" * 100_000, b"[" + b"9" * 5000 + b"]"),
    ],
    ids=short,
)
def test_authentic_body_that_is_no_list_says_nothing(body: bytes) -> None:
    assert heard_bytes(body) == ()


def test_what_is_no_event_is_left_out_and_the_rest_is_read() -> None:
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    events = heard(1, None, "open", [DELIVERED], DELIVERED | {"sg_event_id": "a"}, {"deep": deep})
    assert [event.key for event in events] == ["a"]


def test_empty_event_is_other_and_happened_when_it_came() -> None:
    (event,) = heard({})
    assert (event.kind, event.occurred_at) == (EventKind.OTHER, NOW)
    assert event.payload == {RECEIVED_KEY: NOW.isoformat()}
    assert READER.read(event.payload) == (event,)


@pytest.mark.parametrize("name", sorted(DELIVERED))
@pytest.mark.parametrize("value", WRONG_KINDS, ids=short)
def test_field_of_a_wrong_type_harms_nobody(name: str, value: Any) -> None:
    check(heard(DELIVERED | {name: value}, DELIVERED | {"event": "bounce", name: value}))


@pytest.mark.parametrize("number", EVIL_NUMBERS, ids=short)
def test_time_that_cannot_be_is_when_it_came(number: str) -> None:
    body = b'[{"event":"open","sg_event_id":"a","timestamp":%s}]' % number.encode()
    (event,) = heard_bytes(body)
    check([event])
    assert event.occurred_at == NOW
    assert replayed(READER, event) == (event,)


@pytest.mark.parametrize(
    ("offset", "is_believed"),
    [
        (timedelta(days=-400), True),
        (timedelta(seconds=-1), True),
        (timedelta(days=1), True),
        (timedelta(days=1, seconds=1), False),
        (timedelta(days=-365 * 20), False),
    ],
)
def test_time_is_believed_within_reason(offset: timedelta, is_believed: bool) -> None:
    event = one(timestamp=int((NOW + offset).timestamp()))
    assert event.occurred_at == (NOW + offset if is_believed else NOW)


def test_our_own_mark_cannot_come_from_outside() -> None:
    assert one(**{RECEIVED_KEY: "2020-01-01T00:00:00+00:00"}).payload == DELIVERED
    event = one(**{RECEIVED_KEY: "2020-01-01T00:00:00+00:00", "timestamp": None})
    assert event.occurred_at == NOW


def test_texts_can_be_stored_and_are_cut() -> None:
    body = (
        rb'[{"event":"deferred","response":"4\u00000\ud800","emai\u0000l":1,"ip":"\ud83d\ude00"}]'
    )
    (event,) = heard_bytes(body)
    assert event.detail == "4\ufffd0?"
    assert event.payload["ip"] == "\N{GRINNING FACE}"
    check([event])
    long = one(event="bounce", status="5" * 99, reason="r" * 999, type="t" * 99)
    assert (long.code, long.detail) == ("5" * 64, "r" * 500)


def test_nothing_but_true_says_that_a_machine_opened() -> None:
    for value in (1, "true", "false", [True], None):
        assert one(event="open", sg_machine_open=value).is_machine is False


def test_empty_texts_are_none() -> None:
    event = one(email="", sg_message_id="", cx_send_id="", response="", url="")
    told = (event.address, event.message_id, event.send_ref, event.detail, event.url)
    assert told == (None,) * 5


def test_last_of_two_equal_names_counts() -> None:
    (event,) = heard_bytes(b'[{"event":"open","event":"click","sg_event_id":"a"}]')
    assert event.kind is EventKind.CLICKED


def test_bytes_that_are_no_utf_8_lose_no_event() -> None:
    (event,) = heard_bytes(b'\xef\xbb\xbf[{"event":"open","useragent":"M\xfcller"}]')
    assert event.user_agent == "M\ufffdller"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**400, True])
def test_payload_that_was_not_cleaned_can_be_read_too(number: float) -> None:
    (event,) = READER.read({"timestamp": number, "email": number})
    assert (event.kind, event.address) == (EventKind.OTHER, None)
    assert READER.read({"timestamp": number, "email": number})[0].key == event.key


FIELDS = st.dictionaries(
    st.sampled_from([*DELIVERED, "type", "reason", "bounce_classification", "status", "url"]),
    JSON | st.sampled_from([*EVENTS, *DROPS, *CLASSIFICATIONS, *TYPES, "bounce", "dropped"]),
)


@given(JSON | st.lists(JSON | FIELDS | st.dictionaries(TEXTS, JSON)))
def test_whatever_is_signed_is_read(document: Any) -> None:
    events = heard_bytes(sendgrid_body(document))
    objects = [one for one in document if isinstance(one, dict)] if type(document) is list else []
    assert len(events) == len(objects)
    check(events)
    for event in events:
        assert replayed(READER, event) == (event,)
        json.dumps(event.payload, allow_nan=False)


@given(st.binary(max_size=200))
def test_whatever_bytes_are_signed_nothing_breaks(body: bytes) -> None:
    check(heard_bytes(body))
