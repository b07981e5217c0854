"""What the simulated ESPs sign their webhooks with, and what shows them to be genuine."""

import base64
import secrets
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from config.esp_config import EspName

TOPIC = "arn:aws:sns:us-east-1:000000000000:simulated-events"
CERTIFICATE = "SimpleNotificationService-5107a7ed.pem"
CERTIFICATE_URL = f"https://sns.us-east-1.amazonaws.com/{CERTIFICATE}"


class WebhookSecrets:
    """New ones for each simulator, so that nothing outside can pass for it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="simulated-sns-")
        self._sendgrid = ec.generate_private_key(ec.SECP256R1())
        self.user, self.password = "simulator", secrets.token_urlsafe(24)

    @property
    def settings(self) -> dict[EspName, Mapping[str, Any]]:
        """The fields of each ESP's configuration that tell its webhooks from forged ones."""
        public = self._sendgrid.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        return {
            EspName.SENDGRID: {"webhook_public_keys": (base64.b64encode(public).decode(),)},
            EspName.SES: {"sns_topic_arns": (TOPIC,), "sns_cert_dir": Path(self._folder.name)},
            EspName.POSTMARK: {"webhook_user": self.user, "webhook_password": self.password},
        }

    def sign_sendgrid(self, signed: bytes) -> str:
        return base64.b64encode(self._sendgrid.sign(signed, ec.ECDSA(SHA256()))).decode()

    def sign_sns(self, signed: bytes) -> str:
        """With signature version 2; puts the certificate where the reader looks for it."""
        return base64.b64encode(self._sns.sign(signed, padding.PKCS1v15(), SHA256())).decode()

    @property
    def basic(self) -> str:
        """The value of Postmark's Authorization header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def close(self) -> None:
        self._folder.cleanup()

    @cached_property
    def _sns(self) -> rsa.RSAPrivateKey:
        """Made when the first message is signed: it takes a good part of a second."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=3650))
            .not_valid_after(now + timedelta(days=3650))
            .sign(key, SHA256())
        )
        pem = certificate.public_bytes(Encoding.PEM)
        (Path(self._folder.name) / CERTIFICATE).write_bytes(pem)
        return key
