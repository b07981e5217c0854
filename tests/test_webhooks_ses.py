"""Amazon SES: what each of its events means, however it comes, and that junk harms nobody."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.amazon_ses_events import _READERS, KEY_ID_CHARS
from services.amazon_ses_webhooks import SesWebhooks
from services.amazon_ses_words import BOUNCES, COMPLAINTS
from services.events import KEY_CHARS, Event, EventKind, Received, SubscriptionRequest
from tests.conftest import NOW
from tests.sns_signing import TOPIC, amazon, confirmation, iso, listening, notification, posted
from tests.webhook_corpus import replayed

CORPUS = Path(__file__).parent / "payloads/ses/events"
PAYLOADS = {path.stem: json.loads(path.read_text()) for path in sorted(CORPUS.iterdir())}
MESSAGE_ID = "22222222-2222-4222-8222-222222222222"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> SesWebhooks:
    return SesWebhooks(listening(amazon().write(tmp_path_factory.mktemp("certificates"))))


def heard(reader: SesWebhooks, message: object, **fields: Any) -> tuple[Event, ...]:
    received = reader.receive(posted(amazon().sign(notification(message, **fields))))
    assert received.subscription is None
    return received.events


def plain(event: Event) -> dict[str, Any]:
    """All that an event says beside its payload, as the corpus writes it."""
    said = asdict(event) | {"occurred_at": event.occurred_at.isoformat()}
    del said["payload"]
    return {name: value for name, value in said.items() if value not in (None, False)}


def expected(event: dict[str, Any]) -> dict[str, Any]:
    """In the corpus `<address>` stands for its hash."""
    begin, _, address = event["key"].rstrip(">").partition("<")
    hashed = sha256(address.encode()).hexdigest()[:16] if address else ""
    return event | {"key": begin + hashed}


# what each event means


@pytest.mark.parametrize("name", PAYLOADS)
def test_event_is_translated(reader: SesWebhooks, name: str) -> None:
    payload, source = PAYLOADS[name]["payload"], PAYLOADS[name]["source"]
    events = heard(reader, payload)
    assert [plain(event) for event in events] == [expected(one) for one in PAYLOADS[name]["expect"]]
    stored = {
        "MessageId": MESSAGE_ID,
        "TopicArn": TOPIC,
        "Timestamp": iso(NOW),
        "Message": payload,
    }
    assert [event.payload for event in events] == [stored] * len(events)
    assert source.startswith(("https://", "made up: "))


@pytest.mark.parametrize("name", PAYLOADS)
def test_stored_payload_gives_the_same_events_again(reader: SesWebhooks, name: str) -> None:
    events = heard(reader, PAYLOADS[name]["payload"])
    for event in events:
        assert replayed(reader, event) == events


def told_of(name: str, *path: str) -> Iterator[Any]:
    """What the corpus has at a path within the events of a name."""
    for one in PAYLOADS.values():
        value = one["payload"]
        if isinstance(value, dict) and name in (
            value.get("eventType"),
            value.get("notificationType"),
        ):
            for step in path:
                value = value.get(step, {})
            yield value


def test_corpus_covers_every_row_of_the_tables() -> None:
    assert {name for name in _READERS if not list(told_of(name))} == set()
    bounces = {(one["bounceType"], one["bounceSubType"]) for one in told_of("Bounce", "bounce")}
    assert set(BOUNCES) - bounces == set()
    complaints = {one.get("complaintFeedbackType") for one in told_of("Complaint", "complaint")}
    assert {*COMPLAINTS, None} - complaints == set()


def test_bounce_told_in_both_ways_is_one_event(reader: SesWebhooks) -> None:
    for name, published in (
        ("bounce", "bounce_permanent_general"),
        ("complaint", "complaint_abuse"),
    ):
        (first,) = heard(reader, PAYLOADS[published]["payload"])
        told = json.dumps(PAYLOADS[f"feedback_{name}"]["payload"]).replace("ann@", "Ann@")
        (second,) = heard(reader, told, MessageId="another")
        assert first.key == second.key


def test_other_events_are_told_apart_by_the_id_of_sns(reader: SesWebhooks) -> None:
    payload = PAYLOADS["open"]["payload"]
    (first,), (again,), (second,) = (
        heard(reader, payload, MessageId=one) for one in ("a", "a", "b")
    )
    assert first.key == again.key != second.key


def test_mail_without_subject_of_sns_is_read(reader: SesWebhooks) -> None:
    assert heard(reader, PAYLOADS["send"]["payload"], Subject=None)[0].kind is EventKind.PROCESSED


def test_headers_may_be_truncated_in_either_spelling(reader: SesWebhooks) -> None:
    mail = PAYLOADS["send"]["payload"]["mail"] | {"headersTruncated": "true"}
    assert len(heard(reader, {"eventType": "Send", "send": {}, "mail": mail})) == 1


# subscriptions


@pytest.mark.parametrize("version", ["1", "2"])
def test_confirmation_of_our_topic_is_handed_on(reader: SesWebhooks, version: str) -> None:
    envelope = amazon().sign(confirmation(), version)
    assert reader.receive(posted(envelope)) == Received(
        subscription=SubscriptionRequest(
            key="11111111-1111-4111-8111-111111111111",
            topic_arn=TOPIC,
            token="2336412f37",
            payload={
                "Type": "SubscriptionConfirmation",
                "MessageId": "11111111-1111-4111-8111-111111111111",
                "TopicArn": TOPIC,
                "Timestamp": iso(NOW),
                "Message": f"You have chosen to subscribe to the topic {TOPIC}.",
            },
        )
    )


def test_end_of_a_subscription_is_noted_and_told(
    reader: SesWebhooks, caplog: pytest.LogCaptureFixture
) -> None:
    envelope = amazon().sign(confirmation("UnsubscribeConfirmation"))
    (event,) = reader.receive(posted(envelope)).events
    assert plain(event) == {
        "key": "11111111-1111-4111-8111-111111111111",
        "kind": "other",
        "occurred_at": NOW.isoformat(),
        "code": "UnsubscribeConfirmation",
        "detail": f"You have chosen to subscribe to the topic {TOPIC}.",
    }
    assert reader.read(event.payload) == (event,)
    assert caplog.messages == [f"SNS no longer tells us of {TOPIC}: subscribe it again"]


@pytest.mark.parametrize("kind", ["SubscriptionConfirmation", "UnsubscribeConfirmation"])
def test_longest_id_leaves_room_in_a_key(reader: SesWebhooks, kind: str) -> None:
    received = reader.receive(posted(amazon().sign(confirmation(kind, MessageId="m" * 1000))))
    (key,) = [one.key for one in (*received.events, received.subscription) if one]
    assert key == "m" * KEY_ID_CHARS


# junk in a genuine message


NAMES = [*_READERS, "eventType", "notificationType", "mail", "tags", "cx_send_id", "destination"]
BODIES = ["bounce", "complaint", "delivery", "deliveryDelay", "subscription", "open", "click"]
FIELDS = [
    *("bounceType", "bounceSubType", "bouncedRecipients", "complainedRecipients", "recipients"),
    *("delayedRecipients", "emailAddress", "status", "diagnosticCode", "feedbackId", "timestamp"),
    *("complaintFeedbackType", "complaintSubType", "newTopicPreferences", "messageId", "link"),
    *("oldTopicPreferences", "topicSubscriptionStatus", "unsubscribeAll", "userAgent", "source"),
]
TIMES = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-24", "T", "2026-W01"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from([*_READERS, *TIMES, "Permanent", "General", "\0", "\ud800", "a" * 3000]),
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([*NAMES, *BODIES, *FIELDS]), inner, max_size=5),
    ),
    max_leaves=20,
)
EVENT_LIKE = st.fixed_dictionaries(
    {"eventType": st.sampled_from(list(_READERS))},
    optional={
        name: st.one_of(JUNK, st.dictionaries(st.sampled_from(FIELDS), JUNK))
        for name in ("mail", *BODIES)
    },
)


@given(message=st.one_of(JUNK, EVENT_LIKE))
def test_junk_never_raises_and_can_be_stored(reader: SesWebhooks, message: Any) -> None:
    for event in heard(reader, json.dumps(message)):
        assert 0 < len(event.key) <= KEY_CHARS
        assert event.occurred_at.utcoffset() is not None
        stored = json.dumps(asdict(event) | {"occurred_at": 0}, ensure_ascii=False, allow_nan=False)
        assert "\\u0000" not in stored
        stored.encode()
        assert event in replayed(reader, event)


@pytest.mark.parametrize(
    "message",
    [
        *(
            "",
            "null",
            "[]",
            '"text"',
            "7",
            "{",
            "[" * 100_000,
            "9" * 5000,
            '{"a":' * 70 + "1" + "}" * 70,
        ),
        *("NaN", '{"eventType": "Send"} {}', "{'eventType': 'Send'}"),
    ],
    ids=range(12),
)
def test_message_that_is_no_object_says_nothing(reader: SesWebhooks, message: str) -> None:
    assert heard(reader, message) == ()


def test_what_databases_refuse_is_made_storable(reader: SesWebhooks) -> None:
    message = (
        '{"eventType": "Click", "click": {"link": "a\\u0000b\\ud800c", "n": [NaN, -Infinity, 1e999]},'
        ' "\\u0000": 7}'
    )
    (event,) = heard(reader, message, MessageId="m\0")
    assert (event.key, event.url) == ("m\N{REPLACEMENT CHARACTER}", "a\N{REPLACEMENT CHARACTER}b?c")
    assert event.payload == {
        "MessageId": "m\N{REPLACEMENT CHARACTER}",
        "TopicArn": TOPIC,
        "Timestamp": iso(NOW),
        "Message": {
            "eventType": "Click",
            "click": {"link": "a\N{REPLACEMENT CHARACTER}b?c", "n": [None, None, None]},
            "\N{REPLACEMENT CHARACTER}": 7,
        },
    }


@pytest.mark.parametrize(
    ("said", "understood"),
    [
        ("2026-11-24T10:00:00.000Z", "2026-11-24T10:00:00+00:00"),
        ("2026-11-24T10:00:00+02:00", "2026-11-24T08:00:00+00:00"),
        ("2026-11-24T10:00:00", "2026-11-24T10:00:00+00:00"),
        # Then the time of the mail counts.
        ("0001-01-01T00:00:00+14:00", "2026-11-24T11:59:00+00:00"),
        ("9999-12-31T23:59:59-14:00", "2026-11-24T11:59:00+00:00"),
        ("yesterday", "2026-11-24T11:59:00+00:00"),
        (1764000000, "2026-11-24T11:59:00+00:00"),
        (None, "2026-11-24T11:59:00+00:00"),
    ],
)
def test_times_are_read_or_left_out(reader: SesWebhooks, said: object, understood: str) -> None:
    payload = json.loads(json.dumps(PAYLOADS["open"]["payload"]))
    payload["open"]["timestamp"] = said
    assert heard(reader, payload)[0].occurred_at.isoformat() == understood


def test_recipient_who_is_named_twice_is_one(reader: SesWebhooks) -> None:
    payload = json.loads(json.dumps(PAYLOADS["bounce_permanent_general"]["payload"]))
    payload["bounce"]["bouncedRecipients"] *= 2
    assert len(heard(reader, payload)) == 1


def test_bounce_that_names_nobody_is_about_whom_the_mail_went_to(reader: SesWebhooks) -> None:
    payload = json.loads(json.dumps(PAYLOADS["bounce_permanent_general"]["payload"]))
    payload["bounce"]["bouncedRecipients"] = [None, {}, {"emailAddress": 7}]
    (event,) = heard(reader, payload)
    assert (event.address, event.bounce_class) == ("ann@example.net", "hard")


def test_keys_keep_their_length_and_stay_apart(reader: SesWebhooks) -> None:
    keys = set()
    for end in ("1", "2"):
        payload = json.loads(json.dumps(PAYLOADS["bounce_permanent_general"]["payload"]))
        payload["bounce"]["feedbackId"] = "f" * 1000 + end
        keys.add(heard(reader, payload)[0].key)
    assert len(keys) == 2
    assert max(map(len, keys)) <= KEY_CHARS
