"""Calls of strangers: whatever their headers and bytes are, they are told no, and nothing else."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.amazon_ses_webhooks import SesWebhooks
from services.base import EspUnavailable
from services.events import NotConfigured, NotGenuine, NotReachable, WebhookCall, WebhookReader
from services.postmark_webhooks import PostmarkWebhooks
from services.sendgrid_webhooks import SendGridWebhooks
from tests.canned_esp import postmark_config, sendgrid_config, ses_config
from tests.conftest import NOW
from tests.signing import (
    SIGNATURE,
    TIMESTAMP,
    SendGridSigner,
    postmark_listening,
    sendgrid_listening,
)
from tests.sns_signing import listening, signed
from tests.webhook_corpus import JSON, TEXTS

NOWHERE = "http://127.0.0.1:9"


def _no_network(*_: Any) -> Any:
    raise EspUnavailable("there is no network here")


LISTENING: list[WebhookReader] = [
    SendGridWebhooks(sendgrid_listening(SendGridSigner())),
    SesWebhooks(listening(None), fetch=_no_network),
    PostmarkWebhooks(postmark_listening()),
]
DEAF: list[WebhookReader] = [
    SendGridWebhooks(sendgrid_config(NOWHERE)),
    SesWebhooks(ses_config(NOWHERE)),
    PostmarkWebhooks(postmark_config(NOWHERE)),
]
_NAMES = st.sampled_from(
    [
        *(SIGNATURE, TIMESTAMP, "authorization", "content-type", "user-agent"),
        *("x-amz-sns-message-type", "x-amz-sns-topic-arn", "x-amz-sns-message-id"),
    ]
)
_VALUES = TEXTS | st.sampled_from(
    [
        *("Basic ", "Basic Og==", "Basic \xff", "Bearer x", "0", "-1", "9" * 400, "1e9", "NaN"),
        *("Notification", "SubscriptionConfirmation", "MEUCIQ==", "=" * 90, "text/plain"),
    ]
)
_DOCUMENTS = JSON | st.dictionaries(st.sampled_from(sorted(signed())), JSON).map(
    lambda changes: signed() | changes | {"Signature": "AAAA"}
)


def call(headers: dict[str, str], body: bytes) -> WebhookCall:
    return WebhookCall(headers=headers, body=body, received_at=NOW)


def as_bytes(document: Any) -> bytes:
    return json.dumps(document).encode()


CALLS = st.builds(
    call,
    st.dictionaries(_NAMES, _VALUES, max_size=5),
    st.binary(max_size=99) | _DOCUMENTS.map(as_bytes),
)


@settings(max_examples=300, deadline=None)
@given(said=CALLS)
def test_a_call_of_a_stranger_is_not_genuine(said: WebhookCall) -> None:
    for reader in LISTENING:
        try:
            received = reader.receive(said)
        except (NotGenuine, NotReachable):
            continue
        raise AssertionError(f"{reader.name} believed it: {received}")


@settings(max_examples=100, deadline=None)
@given(said=CALLS)
def test_who_has_no_secret_believes_nobody(said: WebhookCall) -> None:
    for reader in DEAF:
        try:
            received = reader.receive(said)
        except (NotConfigured, NotGenuine):
            continue
        raise AssertionError(f"{reader.name} believed it: {received}")
