"""Postmark: what each of its records means, and that junk harms nobody."""

import json
from datetime import UTC, datetime
from time import tzset
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.events import Event, EventKind, SuppressionReason
from services.postmark_webhooks import PostmarkWebhooks
from services.postmark_words import BOUNCES, RECORDS, SUPPRESSIONS
from services.webhook_fields import RECEIVED_KEY
from tests.conftest import NOW
from tests.signing import postmark_call, postmark_listening
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

PAYLOADS = corpus("postmark")
READER = PostmarkWebhooks(postmark_listening())

BOUNCE: dict[str, Any] = PAYLOADS["bounce_soft_bounce"]["payload"]
CLICK: dict[str, Any] = PAYLOADS["click"]["payload"]


def heard_bytes(body: bytes) -> tuple[Event, ...]:
    received = READER.receive(postmark_call(body))
    assert received.subscription is None
    return received.events


def heard(record: Any) -> Event:
    (event,) = heard_bytes(json.dumps(record).encode())
    return event


# what each record means


@pytest.mark.parametrize("name", PAYLOADS)
def test_record_is_translated(name: str) -> None:
    payload, source = PAYLOADS[name]["payload"], PAYLOADS[name]["source"]
    event = heard(payload)
    assert plain(event) == expected(PAYLOADS[name]["expect"])
    is_timeless = event.occurred_at == NOW
    assert event.payload == payload | ({RECEIVED_KEY: NOW.isoformat()} if is_timeless else {})
    assert source.startswith(("https://", "facts/", "made up: "))


@pytest.mark.parametrize("name", PAYLOADS)
def test_stored_payload_gives_the_same_event_again(name: str) -> None:
    event = heard(PAYLOADS[name]["payload"])
    assert replayed(READER, event) == (event,)


def told(record: str, field: str) -> set[Any]:
    payloads = [case["payload"] for case in PAYLOADS.values()]
    return {one[field] for one in payloads if one["RecordType"] == record}


def test_corpus_covers_every_row_of_the_tables() -> None:
    records = {case["payload"]["RecordType"] for case in PAYLOADS.values()}
    assert {*RECORDS, "Bounce", "SubscriptionChange"} - records == set()
    assert set(BOUNCES) - told("Bounce", "Type") == set()
    assert {*SUPPRESSIONS, None} - told("SubscriptionChange", "SuppressionReason") == set()


@pytest.mark.parametrize("kind", BOUNCES)
@pytest.mark.parametrize("inactive", [True, False, None, 1, "true"])
def test_whom_postmark_holds_inactive_is_not_written_to(kind: str, inactive: Any) -> None:
    own = BOUNCES[kind].suppress
    held = SuppressionReason.ESP_INACTIVE if inactive is True else None
    assert heard(BOUNCE | {"Type": kind, "Inactive": inactive}).suppress == (own or held)


# keys


def test_bounce_is_known_by_its_id_and_its_record_type() -> None:
    assert heard(BOUNCE | {"ID": 2**63 - 1}).key == f"Bounce:{2**63 - 1}"
    assert heard(BOUNCE | {"RecordType": "SpamComplaint"}).key == "SpamComplaint:42"
    for none in (None, 0, -1, True, 2**63, 42.0, "42", [42]):
        key = heard(BOUNCE | {"ID": none}).key
        told = [BOUNCE["MessageID"], None, BOUNCE["BouncedAt"], None, None, None]
        assert key == key_of(["Bounce", "ann@example.net", *told])


def test_other_records_are_known_by_what_they_say() -> None:
    first = heard(CLICK | {"ID": 42})
    assert heard(CLICK | {"Platform": "Mobile"}).key == first.key
    others = [
        heard(CLICK | {field: value}).key
        for field, value in [
            ("RecordType", "Open"),
            ("MessageID", "m2"),
            ("Recipient", "ben@example.net"),
            ("ReceivedAt", "2026-01-01T00:00:02Z"),
            ("OriginalLink", "https://example.com/b"),
        ]
    ]
    assert len({first.key, *others}) == 6


# what is not as it should be


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"[]", b'[{"RecordType":"Open"}]', b'"x"', b"{", b"a=b"),
        *(b'{"a":' * 100_000, b'{"a":' * 100 + b"1" + b"}" * 100),
        b'{"ID":' + b"9" * 5000 + b"}",
    ],
    ids=short,
)
def test_authentic_body_that_is_no_record_says_nothing(body: bytes) -> None:
    assert heard_bytes(body) == ()


@pytest.mark.parametrize(
    ("time", "occurred_at"),
    [
        ("2026-01-01T00:00:01Z", datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)),
        ("2026-01-01T00:00:01", datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)),
        ("2026-01-01T02:00:01+02:00", datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)),
        *(
            (f"2026-01-01T00:00:01.{'1234567'[:digits]}Z", microseconds)
            for digits, microseconds in enumerate(
                [100_000, 120_000, 123_000, 123_400, 123_450, 123_456, 123_456], 1
            )
        ),
        *((wrong, NOW) for wrong in ("", "yesterday", "0001-01-01T00:00:00+14:00", "9" * 5000)),
        *((wrong, NOW) for wrong in ("9999-12-31T23:59:59-12:00", "2009-12-31T00:00:00Z")),
        *((wrong, NOW) for wrong in ("2026-11-26T00:00:00Z", None, 1764000000, ["2026-01-01"])),
    ],
    ids=short,
)
def test_times(time: Any, occurred_at: Any) -> None:
    if isinstance(occurred_at, int):
        occurred_at = datetime(2026, 1, 1, 0, 0, 1, occurred_at, UTC)
    event = heard(BOUNCE | {"BouncedAt": time})
    assert (event.occurred_at, event.occurred_at.tzinfo) == (occurred_at, UTC)
    assert replayed(READER, event) == (event,)


def test_time_without_a_zone_is_utc_wherever_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    tzset()
    try:
        event = heard(BOUNCE | {"BouncedAt": "2026-01-01T00:00:01"})
    finally:
        monkeypatch.undo()
        tzset()
    assert event.occurred_at == datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)


def test_our_own_mark_cannot_come_from_outside() -> None:
    assert heard(CLICK | {RECEIVED_KEY: "2020-01-01T00:00:00+00:00"}).payload == CLICK
    event = heard(CLICK | {RECEIVED_KEY: "2020-01-01T00:00:00+00:00", "ReceivedAt": None})
    assert event.occurred_at == NOW


@pytest.mark.parametrize("name", sorted({*BOUNCE, *CLICK}))
@pytest.mark.parametrize("value", WRONG_KINDS, ids=short)
def test_field_of_a_wrong_type_harms_nobody(name: str, value: Any) -> None:
    check([heard(BOUNCE | {name: value}), heard(CLICK | {name: value})])


@pytest.mark.parametrize("number", EVIL_NUMBERS, ids=short)
def test_number_that_cannot_be_harms_nobody(number: str) -> None:
    body = b'{"RecordType":"Bounce","Type":"HardBounce","ID":%s}' % number.encode()
    (event,) = heard_bytes(body)
    check([event])
    assert replayed(READER, event) == (event,)


def test_texts_can_be_stored_and_are_cut() -> None:
    body = rb'{"RecordType":"Bounce","Type":"Bl\u0000","Details":"5\ud800"}'
    (event,) = heard_bytes(body)
    assert (event.code, event.detail) == ("Bl\ufffd", "5?")
    check([event])
    long = heard(BOUNCE | {"Type": "t" * 99, "Details": "d" * 999})
    assert (long.code, len(long.detail or "")) == ("t" * 64, 500)


def test_last_of_two_equal_names_counts() -> None:
    (event,) = heard_bytes(b'{"RecordType":"Open","RecordType":"Click"}')
    assert event.kind is EventKind.CLICKED


FIELDS = st.dictionaries(
    st.sampled_from([*BOUNCE, *CLICK, "SuppressSending", "SuppressionReason"]),
    JSON | st.sampled_from([*RECORDS, *BOUNCES, *SUPPRESSIONS, "Bounce", "SubscriptionChange"]),
)


@given(JSON | FIELDS | st.dictionaries(TEXTS, JSON))
def test_whatever_is_authentic_is_read(document: Any) -> None:
    events = heard_bytes(json.dumps(document).encode())
    assert len(events) == isinstance(document, dict)
    check(events)
    for event in events:
        assert replayed(READER, event) == (event,)
        json.dumps(event.payload, allow_nan=False)


@given(st.binary(max_size=200))
def test_whatever_bytes_are_authentic_nothing_breaks(body: bytes) -> None:
    check(heard_bytes(body))
