"""Amazon SNS as far as a test needs it: a key, its certificate, and signed envelopes.

Written from the documentation and not from our code, so that a mistake there is not made twice.
https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from config.esp_config import SesConfig
from services.amazon_ses_webhooks import SesWebhooks
from services.events import NotGenuine, WebhookCall
from tests.canned_esp import ses_config
from tests.conftest import NOW

TOPIC = "arn:aws:sns:eu-west-1:123456789012:ses-events"
HOST = "https://sns.eu-west-1.amazonaws.com"
CERT_NAME = "SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
CERT_URL = f"{HOST}/{CERT_NAME}"

BOUNCE = {
    "eventType": "Bounce",
    "bounce": {
        "bounceType": "Permanent",
        "bounceSubType": "General",
        "bouncedRecipients": [{"emailAddress": "ann@example.net"}],
        "feedbackId": "0100-f1",
    },
    "mail": {"messageId": "0100-m1", "destination": ["ann@example.net"]},
}
KINDS = ("Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation")

NOTIFICATION_FIELDS = "Message MessageId Subject Timestamp TopicArn Type"
CONFIRMATION_FIELDS = "Message MessageId SubscribeURL Timestamp Token TopicArn Type"


def iso(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03}Z"


@dataclass(frozen=True)
class Signer:
    """A key and its certificate, signed by itself."""

    key: rsa.RSAPrivateKey
    pem: bytes

    @classmethod
    def new(cls, valid_from: datetime = NOW - timedelta(days=30), days: int = 400) -> Self:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(valid_from)
            .not_valid_after(valid_from + timedelta(days=days))
            .sign(key, SHA256())
        )
        return cls(key, certificate.public_bytes(Encoding.PEM))

    def write(self, directory: Path, name: str = CERT_NAME) -> Path:
        """Put the certificate where `SNS_CERT_DIR` may point."""
        (directory / name).write_bytes(self.pem)
        return directory

    def sign(self, envelope: Mapping[str, Any], version: str = "1") -> dict[str, Any]:
        names = NOTIFICATION_FIELDS if envelope["Type"] == "Notification" else CONFIRMATION_FIELDS
        lines = "".join(f"{one}\n{envelope[one]}\n" for one in names.split() if one in envelope)
        algorithm = {"1": SHA1(), "2": SHA256()}[version]
        signature = self.key.sign(lines.encode(), padding.PKCS1v15(), algorithm)
        return {
            **envelope,
            "SignatureVersion": version,
            "Signature": base64.b64encode(signature).decode(),
        }


@cache
def amazon() -> Signer:
    """One for all tests of a process: a key takes 50 ms and more."""
    return Signer.new()


@cache
def stranger() -> Signer:
    """Has a certificate too, and is not Amazon."""
    return Signer.new()


def notification(message: object, **fields: Any) -> dict[str, Any]:
    """Unsigned; `message` is made JSON unless it is a text. A field that is `None` is left out."""
    envelope = {
        "Type": "Notification",
        "MessageId": "22222222-2222-4222-8222-222222222222",
        "TopicArn": TOPIC,
        "Subject": "Amazon SES Email Event Notification",
        "Message": message if isinstance(message, str) else json.dumps(message),
        "Timestamp": iso(NOW),
        "SigningCertURL": CERT_URL,
        "UnsubscribeURL": f"{HOST}/?Action=Unsubscribe&SubscriptionArn={TOPIC}:1",
        **fields,
    }
    return {name: value for name, value in envelope.items() if value is not None}


def confirmation(kind: str = "SubscriptionConfirmation", **fields: Any) -> dict[str, Any]:
    """Unsigned."""
    return {
        "Type": kind,
        "MessageId": "11111111-1111-4111-8111-111111111111",
        "Token": "2336412f37",
        "TopicArn": TOPIC,
        "Message": f"You have chosen to subscribe to the topic {TOPIC}.",
        "SubscribeURL": f"{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37",
        "Timestamp": iso(NOW),
        "SigningCertURL": CERT_URL,
        **fields,
    }


def posted(envelope: Mapping[str, Any], received_at: datetime = NOW, **headers: str) -> WebhookCall:
    """The call that SNS makes of it; `headers` with `_` for `-` are added or replace."""
    kind = str(envelope.get("Type"))
    said = {
        "content-type": "text/plain; charset=UTF-8",
        "x-amz-sns-message-type": kind,
        "x-amz-sns-message-id": str(envelope.get("MessageId")),
        "x-amz-sns-topic-arn": str(envelope.get("TopicArn")),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return WebhookCall(
        headers=said, body=json.dumps(envelope).encode(), received_at=received_at.astimezone(UTC)
    )


def listening(cert_dir: Path | None, *topics: str, url: str | None = None) -> SesConfig:
    """SES as an installation has it that hears of `topics`, or of `TOPIC`."""
    return replace(ses_config(url), sns_topic_arns=topics or (TOPIC,), sns_cert_dir=cert_dir)


class Asked:
    """Plays the network: remembers what was fetched, and has Amazon's certificate."""

    def __init__(self, pem: bytes = b"") -> None:
        self.urls: list[str] = []
        self.pem = pem or amazon().pem

    def __call__(self, url: str) -> bytes:
        self.urls.append(url)
        return self.pem


def unsigned(kind: str = "Notification", **fields: Any) -> dict[str, Any]:
    if kind == "Notification":
        return notification(BOUNCE, **fields)
    return confirmation(kind, **fields)


def signed(kind: str = "Notification", version: str = "1", **fields: Any) -> dict[str, Any]:
    return amazon().sign(unsigned(kind, **fields), version)


def refused(reader: SesWebhooks, call: WebhookCall) -> str:
    with pytest.raises(NotGenuine) as raised:
        reader.receive(call)
    return str(raised.value)
