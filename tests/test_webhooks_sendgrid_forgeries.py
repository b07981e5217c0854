"""Calls that SendGrid did not make: refused before a word of them is read."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from hypothesis import given
from hypothesis import strategies as st
from sendgrid.helpers.eventwebhook import EventWebhook

from services.events import NotConfigured, Received, WebhookCall
from services.sendgrid_webhooks import SendGridWebhooks
from tests.conftest import NOW
from tests.signing import (
    SIGNATURE,
    TIMESTAMP,
    SendGridSigner,
    basic_header,
    public_text,
    refuses,
    sendgrid_body,
    sendgrid_listening,
)
from tests.webhook_corpus import corpus, short

SIGNER = SendGridSigner()
SENDGRID = SendGridWebhooks(sendgrid_listening(SIGNER))
EVENTS = [case["payload"] for case in corpus("sendgrid").values()][:3]
BODY = sendgrid_body(EVENTS)
CALL = SIGNER.call(BODY)

# The order of the group of P-256 (SEC 2, 2.4.2).
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def with_header(name: str, value: str) -> WebhookCall:
    return replace(CALL, headers={**CALL.headers, name: value})


def with_signature(signature: bytes) -> WebhookCall:
    return with_header(SIGNATURE, base64.b64encode(signature).decode())


def test_what_is_refused_below_is_genuine_when_nobody_touches_it() -> None:
    assert len(SENDGRID.receive(CALL).events) == 3


def test_our_signer_signs_as_sendgrids_own_sdk_checks() -> None:
    sdk = EventWebhook(SIGNER.public_key)
    assert sdk.verify_signature(BODY.decode(), CALL.headers[SIGNATURE], CALL.headers[TIMESTAMP])


@pytest.mark.parametrize("missing", [(SIGNATURE,), (TIMESTAMP,), (SIGNATURE, TIMESTAMP)])
def test_unsigned_call(missing: tuple[str, ...]) -> None:
    headers = {name: value for name, value in CALL.headers.items() if name not in missing}
    refuses(SENDGRID, replace(CALL, headers=headers))


def test_call_signed_with_the_wrong_key() -> None:
    refuses(SENDGRID, SendGridSigner().call(BODY))


@pytest.mark.parametrize("place", [0, 1, 30, len(BODY) // 2, len(BODY) - 3, -2, -1])
@pytest.mark.parametrize("bit", [1, 0x20, 0x80])
def test_changed_byte(place: int, bit: int) -> None:
    body = bytearray(BODY)
    body[place] ^= bit
    refuses(SENDGRID, replace(CALL, body=bytes(body)))


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda body: json.dumps(json.loads(body)).encode(),
        lambda body: json.dumps(json.loads(body), separators=(",", ":")).encode(),
        lambda body: body.strip(),
        lambda body: body.replace(b"\r\n", b"\n"),
        lambda body: body + b" ",
        lambda body: b"\xef\xbb\xbf" + body,
        lambda body: body.decode().encode("utf-16"),
        lambda body: sendgrid_body(EVENTS[:1]),
        lambda body: sendgrid_body(EVENTS[::-1]),
        lambda body: b"",
    ],
)
def test_rewritten_body(rewrite: Callable[[bytes], bytes]) -> None:
    refuses(SENDGRID, replace(CALL, body=rewrite(BODY)))


@pytest.mark.parametrize(
    "timestamp",
    [
        str(int(NOW.timestamp()) + 1),
        f" {CALL.headers[TIMESTAMP]}",
        f"{CALL.headers[TIMESTAMP]}\n",
        f"0{CALL.headers[TIMESTAMP]}",
        CALL.headers[TIMESTAMP].translate({ord("1"): "\N{FULLWIDTH DIGIT ONE}"}),
        *("", "now", "-1", "1.5", "\ud800", "9" * 10_000),
    ],
    ids=short,
)
def test_another_timestamp(timestamp: str) -> None:
    refuses(SENDGRID, with_header(TIMESTAMP, timestamp))


def test_signature_of_one_call_on_another() -> None:
    other = SIGNER.call(sendgrid_body(EVENTS[:1]), NOW + timedelta(seconds=1))
    refuses(SENDGRID, replace(CALL, headers=other.headers))
    refuses(SENDGRID, with_header(TIMESTAMP, other.headers[TIMESTAMP]))
    refuses(SENDGRID, with_header(SIGNATURE, other.headers[SIGNATURE]))


def test_digits_moved_from_timestamp_to_body_say_nothing() -> None:
    """The bytes are those that were signed, and are no list of events any more."""
    timestamp = CALL.headers[TIMESTAMP]
    moved = with_header(TIMESTAMP, timestamp[:-1])
    assert SENDGRID.receive(replace(moved, body=timestamp[-1:].encode() + BODY)) == Received()
    before = SIGNER.call(b"1" + BODY)
    stolen = {**before.headers, TIMESTAMP: before.headers[TIMESTAMP] + "1"}
    assert len(SENDGRID.receive(replace(before, headers=stolen, body=BODY)).events) == 3


@pytest.mark.parametrize(
    "garble",
    [
        lambda signature: signature[:-4],
        lambda signature: f"{signature[:4]} {signature[4:]}",
        lambda signature: f"{signature}\n",
        lambda signature: f"{signature}{signature}",
        lambda signature: signature.swapcase(),
        lambda signature: "A" * 100_000,
        *(lambda _, one=one: one for one in ("", "====", "x", "not base64!", "\ud800", "ünï")),
    ],
)
def test_garbled_signature(garble: Callable[[str], str]) -> None:
    refuses(SENDGRID, with_header(SIGNATURE, garble(CALL.headers[SIGNATURE])))


def der() -> bytes:
    return base64.b64decode(CALL.headers[SIGNATURE])


def sequence(*parts: bytes) -> bytes:
    inner = b"".join(parts)
    return b"\x30" + bytes([len(inner)]) + inner


def integer(value: int, pad: bytes = b"") -> bytes:
    raw = pad + value.to_bytes(value.bit_length() // 8 + 1, "big")
    return b"\x02" + bytes([len(raw)]) + raw


def malleated() -> dict[str, bytes]:
    """The same two numbers written otherwise, and numbers that are none of a signature's."""
    r, s = decode_dss_signature(der())
    assert sequence(integer(r), integer(s)) == der()
    inner = der()[2:]
    return {
        "bytes behind it": der() + b"\0",
        "bytes within it": sequence(integer(r), integer(s), b"\x05\x00"),
        "a long length": b"\x30\x81" + bytes([len(inner)]) + inner,
        "an indefinite length": b"\x30\x80" + inner + b"\0\0",
        "a padded r": sequence(integer(r, b"\0"), integer(s)),
        "a padded s": sequence(integer(r), integer(s, b"\0")),
        "r above the order": sequence(integer(r + ORDER), integer(s)),
        "s above the order": sequence(integer(r), integer(s + ORDER)),
        "zeros": sequence(integer(0), integer(0)),
        "r zero": sequence(integer(0), integer(s)),
        "the order": sequence(integer(ORDER), integer(ORDER)),
        "r and s changed about": sequence(integer(s), integer(r)),
        "raw, not DER": r.to_bytes(32, "big") + s.to_bytes(32, "big"),
        "a set": b"\x31" + der()[1:],
        "cut": der()[:-1],
        "empty": b"",
    }


@pytest.mark.parametrize("name", malleated())
def test_malleated_der(name: str) -> None:
    refuses(SENDGRID, with_signature(malleated()[name]))


def test_twin_of_a_signature_tells_the_same_events() -> None:
    """ECDSA has two signatures of the same bytes, (r, s) and (r, -s): no other bytes get in."""
    r, s = decode_dss_signature(der())
    twin = with_signature(encode_dss_signature(r, ORDER - s))
    assert SENDGRID.receive(twin) == SENDGRID.receive(CALL)
    refuses(SENDGRID, replace(twin, body=BODY + b" "))


@given(st.binary(max_size=80))
def test_no_other_signature_is_believed(signature: bytes) -> None:
    refuses(SENDGRID, with_signature(signature))


def test_any_key_of_several_may_have_signed() -> None:
    old, new = SendGridSigner(), SendGridSigner()
    reader = SendGridWebhooks(sendgrid_listening(old, new))
    assert reader.receive(old.call(BODY)) == reader.receive(new.call(BODY))
    refuses(reader, CALL)


def test_call_of_yesterday_is_genuine() -> None:
    """SendGrid tries for a day; a replay says what is known already."""
    late = replace(CALL, received_at=NOW + timedelta(days=1))
    assert SENDGRID.receive(late) == SENDGRID.receive(CALL)


def keys(*texts: str) -> SendGridWebhooks:
    return SendGridWebhooks(replace(sendgrid_listening(), webhook_public_keys=texts))


OTHER_KEYS = {
    "P-384": public_text(ec.generate_private_key(ec.SECP384R1()).public_key()),
    "Ed25519": public_text(ed25519.Ed25519PrivateKey.generate().public_key()),
    "cut": SIGNER.public_key[:-8],
    "of nothing": "MAA=",
}


@pytest.mark.parametrize("name", OTHER_KEYS)
def test_key_that_is_none_of_sendgrids_is_told_and_the_others_hold(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    reader = keys(OTHER_KEYS[name], SIGNER.public_key)
    assert [record.getMessage() for record in caplog.records] == [
        "SENDGRID_WEBHOOK_PUBLIC_KEY: key 1 is not a P-256 key of SendGrid's"
    ]
    assert len(reader.receive(CALL).events) == 3


@pytest.mark.parametrize("texts", [(), tuple(OTHER_KEYS.values())])
def test_without_a_key_nobody_is_believed(texts: tuple[str, ...]) -> None:
    with pytest.raises(NotConfigured, match="SENDGRID_WEBHOOK_PUBLIC_KEY"):
        keys(*texts).receive(CALL)


SNS = {
    "x-amz-sns-message-type": "Notification",
    "x-amz-sns-topic-arn": "arn:aws:sns:eu-west-1:123456789012:ses-events",
}


@pytest.mark.parametrize("headers", [{}, SNS, {"authorization": basic_header()}])
def test_sendgrid_takes_no_other_proof(headers: dict[str, str]) -> None:
    refuses(SENDGRID, replace(CALL, headers=headers))
