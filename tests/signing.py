"""Genuine webhook calls of SendGrid and Postmark, for tests that need some.

Amazon's are in `tests.sns_signing`.
"""

import base64
import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from config.esp_config import PostmarkConfig, SendGridConfig
from services.events import NotGenuine, WebhookCall, WebhookReader
from tests.canned_esp import postmark_config, sendgrid_config
from tests.conftest import NOW

SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
USER, PASSWORD = "hook", "a-password-of-tests:with-a-colon"


@dataclass(frozen=True)
class SendGridSigner:
    """A fresh P-256 key, as SendGrid makes one for each webhook."""

    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @property
    def public_key(self) -> str:
        """As SendGrid shows it, and as it stands in SENDGRID_WEBHOOK_PUBLIC_KEY."""
        return public_text(self.key.public_key())

    def headers(self, body: bytes, at: datetime = NOW) -> dict[str, str]:
        """The two headers; SendGrid signs the bytes as they are, with their CRLF at the end."""
        timestamp = str(int(at.timestamp()))
        signature = self.key.sign(timestamp.encode() + body, ec.ECDSA(SHA256()))
        return {SIGNATURE: base64.b64encode(signature).decode(), TIMESTAMP: timestamp}

    def call(self, body: bytes, at: datetime = NOW) -> WebhookCall:
        return WebhookCall(headers=self.headers(body, at), body=body, received_at=at)


def public_text(key: Any) -> str:
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def sendgrid_body(events: object) -> bytes:
    """As SendGrid writes it."""
    return json.dumps(events, separators=(",", ":")).encode() + b"\r\n"


def sendgrid_listening(*signers: SendGridSigner) -> SendGridConfig:
    keys = tuple(signer.public_key for signer in signers)
    return replace(sendgrid_config("http://127.0.0.1:9"), webhook_public_keys=keys)


def basic_header(user: str = USER, password: str = PASSWORD) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def postmark_call(body: bytes, at: datetime = NOW, authorization: str = "") -> WebhookCall:
    headers = {"authorization": authorization or basic_header()}
    return WebhookCall(headers=headers, body=body, received_at=at)


def postmark_listening() -> PostmarkConfig:
    return replace(
        postmark_config("http://127.0.0.1:9"), webhook_user=USER, webhook_password=PASSWORD
    )


def refuses(reader: WebhookReader, call: WebhookCall) -> None:
    """That it is no call of that ESP, and that the log gets no secret to keep."""
    with pytest.raises(NotGenuine) as raised:
        reader.receive(call)
    assert PASSWORD not in str(raised.value)
