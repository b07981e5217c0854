"""Whether Amazon SNS has signed a message: the string to sign, where a certificate may lie,
and the check itself. Pure: the certificate and the time come in.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm

HASHES: dict[str, HashAlgorithm] = {"1": SHA1(), "2": SHA256()}
"""By `SignatureVersion`. SHA-1 is what SNS uses unless the topic says 2."""

_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
SIGNED_FIELDS: dict[str, tuple[str, ...]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}
"""By `Type`, in the order in which they are signed."""
OPTIONAL_FIELD = "Subject"

# https://docs.aws.amazon.com/general/latest/gr/sns.html
DOMAINS = {
    "aws": "amazonaws.com",
    "aws-us-gov": "amazonaws.com",
    "aws-cn": "amazonaws.com.cn",
    "aws-eusc": "amazonaws.eu",
}
"""By the partition in an ARN. The secret ones are left out."""
_CERT_PATH = r"/SimpleNotificationService-[A-Za-z0-9]{1,64}\.pem"


class BadSignature(Exception):
    """The message is not what SNS signed; says why."""


@dataclass(frozen=True, slots=True)
class SigningCertificate:
    """What is needed of a certificate, ready for use: parsing costs more than a check.

    Its name is none of that: Amazon has another one in many a region, so the proof is where
    the certificate comes from.
    """

    key: RSAPublicKey
    valid_from: datetime
    valid_until: datetime

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Raises a `ValueError` for anything but a certificate with an RSA key."""
        found = x509.load_pem_x509_certificate(pem)
        key = found.public_key()
        if not isinstance(key, RSAPublicKey):
            raise ValueError("not an RSA key")
        return cls(key, found.not_valid_before_utc, found.not_valid_after_utc)


def certificate_name(url: object, topic_arn: str) -> str:
    """The file name of the certificate at `url`, which must be of the topic's own region.

    Raises `BadSignature` for any other address: the check of a signature is worth as much as
    the place its certificate comes from. The whole spelling is pinned, twice: parsers differ
    in what they make of odd ones, and ours need not be the one that fetches. A host that
    merely ends in amazonaws.com may be somebody's bucket, and another path of the right host
    may answer with what the asker told it.
    """
    _, partition, _, region, *_ = topic_arn.split(":")
    host = f"sns.{region}.{DOMAINS.get(partition, 'invalid')}"
    if not isinstance(url, str) or not re.fullmatch(
        f"https://{re.escape(host)}{_CERT_PATH}", url, re.ASCII
    ):
        raise BadSignature("the certificate is not at Amazon's address for the topic")
    parts = urlsplit(url)
    if (parts.scheme, parts.netloc, parts.query, parts.fragment) != ("https", host, "", ""):
        raise BadSignature("the certificate's address can be read in two ways")
    return parts.path.removeprefix("/")


def string_to_sign(envelope: Mapping[str, object]) -> bytes:
    """`name LF value LF` of each signed field.

    Raises `BadSignature` when one is missing, or has a line break where SNS allows none: with
    it, what was signed as one field could be told as two.
    """
    lines = []
    for name in SIGNED_FIELDS[str(envelope["Type"])]:
        value = envelope.get(name)
        if value is None and name == OPTIONAL_FIELD:
            continue
        if not isinstance(value, str):
            raise BadSignature(f"no {name}")
        if "\n" in value and name != "Message":
            raise BadSignature(f"a line break in {name}")
        lines.append(f"{name}\n{value}\n")
    try:
        return "".join(lines).encode()
    except UnicodeEncodeError as error:
        raise BadSignature("a lone surrogate") from error


def signature_of(envelope: Mapping[str, object]) -> bytes:
    """Raises `BadSignature` when there is none."""
    try:
        return base64.b64decode(str(envelope.get("Signature", "")), validate=True)
    except ValueError as error:
        raise BadSignature("no signature") from error


def check_signature(
    signed: bytes,
    signature: bytes,
    *,
    version: str,
    certificate: SigningCertificate,
    signed_at: datetime,
) -> None:
    """Raise `BadSignature` unless the certificate's key signed it while it was valid.

    `version` is one of `HASHES`.
    """
    if not certificate.valid_from <= signed_at <= certificate.valid_until:
        raise BadSignature("the certificate was not valid then")
    try:
        certificate.key.verify(signature, signed, PKCS1v15(), HASHES[version])
    except InvalidSignature as error:
        raise BadSignature("the signature does not fit") from error
