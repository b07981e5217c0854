"""A DKIM key record (RFC 6376, 3.6.1): the key that it holds, or why it holds none."""

import base64
import binascii
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from utils.dns.tags import Tags, tag_list

ED25519_BYTES = 32
MAIL = ("*", "email")
"""Services (`s=`) of a key that may sign mail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What a record says; defaults are those of the RFC."""

    fault: str = ""
    """Why no receiver can use it, "" when they can or `is_revoked`."""
    type: str = "rsa"
    bits: int | None = None
    """`None` of a key that is revoked or at fault."""
    data: str = ""
    """The key itself in base64, without blanks: two records with the same are one key."""
    hashes: tuple[str, ...] = ()
    """The only ones allowed; empty: all."""
    is_revoked: bool = False
    is_testing: bool = False
    is_exact: bool = False
    """`t=s`: the domain of i= must be that of d=, none below it."""

    @property
    def takes_sha256(self) -> bool:
        return not self.hashes or "sha256" in self.hashes

    @property
    def summary(self) -> str:
        """In words: "RSA, 2048 bits"."""
        return f"{self.type.upper()}, {self.bits} bits" if self.bits else self.fault or "revoked"


def parse_key(text: str) -> Key:
    """Take a record apart; never raises, whatever it holds."""
    tags = tag_list(text)
    if fault := _list_fault(tags):
        return Key(fault=fault)
    kind = tags.first("k") or "rsa"
    data = "".join((tags.first("p") or "").split())
    bits, fault = _bits(kind, data) if data else (None, "")
    flags = _words(tags.first("t"))
    return Key(
        fault=fault,
        type=kind,
        bits=bits,
        data=data,
        hashes=_words(tags.first("h")),
        is_revoked=not data,
        is_testing="y" in flags,
        is_exact="s" in flags,
    )


def _list_fault(tags: Tags) -> str:
    if tags.doubled:
        return f"the tag {tags.doubled[0]}= is there twice"
    if tags.strays:
        return f"not a tag: {tags.strays[0]}"
    version = tags.first("v")
    if version is not None and (version != "DKIM1" or tags.pairs[0][0] != "v"):
        return "v= must come first and be DKIM1"
    if tags.first("p") is None:
        return "no p= (the key)"
    services = _words(tags.first("s"))
    if services and not set(services) & set(MAIL):
        return f"s={':'.join(services)} forbids the key for mail"
    return ""


def _bits(kind: str, data: str) -> tuple[int | None, str]:
    """Of a key, or what is wrong with it."""
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None, "p= is not base64"
    if kind == "ed25519":
        is_key = len(raw) == ED25519_BYTES
        return (256, "") if is_key else (None, f"p= has {len(raw)} bytes, an Ed25519 key 32")
    if kind != "rsa":
        return None, f"k={kind} is no type of key"
    try:
        key = load_der_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        return None, "p= holds no RSA key"
    return (key.key_size, "") if isinstance(key, RSAPublicKey) else (None, "p= holds no RSA key")


def _words(value: str | None) -> tuple[str, ...]:
    return tuple(filter(None, (word.strip() for word in (value or "").split(":"))))
