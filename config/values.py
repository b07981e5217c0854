"""What the value of a setting may look like: text in, value out.

Each function raises `ValueError` with what to write instead ("must be …"). The text
itself is not repeated here: only the caller knows whether it is a secret.
"""

import base64
import ipaddress
import os
import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import SplitResult, urlsplit

T = TypeVar("T")
Choice = TypeVar("Choice", bound=StrEnum)

ROOT = Path(__file__).resolve().parent.parent
"""The folder of the installation; relative paths begin here."""

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)+(?:[a-z]{{2,63}}|xn--[a-z0-9-]{{1,59}})")
_LOCAL_PART = re.compile(
    r"(?=.{1,64}\Z)[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*", re.A
)
_TOPIC_ARN = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}")
_LINE_ENDS = "\x85\u2028\u2029"


class Nameserver(NamedTuple):
    address: str
    port: int = 53


def whole_number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        # Not int() alone: it takes "1_000", "+5" and digits of other scripts.
        if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def rate(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,9})?", text) or float(text) <= 0:
        raise ValueError("must be a number above 0, like 10 or 0.5")
    return float(text)


def choice(members: type[Choice]) -> Callable[[str], Choice]:
    names = list(members)

    def parse(text: str) -> Choice:
        if text.lower() not in names:
            raise ValueError(f"must be {', '.join(names[:-1])} or {names[-1]}")
        return members(text.lower())

    return parse


def one_line(text: str) -> str:
    """Text that may stand in a mail header: no line ends, no control characters."""
    if any(ord(char) < 32 or ord(char) == 127 or char in _LINE_ENDS for char in text):
        raise ValueError("must be one line without control characters")
    return text


def credential(text: str) -> str:
    """A key or password given by somebody else: what an HTTP header can carry."""
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("must be printable ASCII without spaces")
    return text


def own_secret(length: int) -> Callable[[str], str]:
    """A secret that we make ourselves, so we can ask for a good one."""

    def parse(text: str) -> str:
        # Eight different characters refuse "changemechangeme" and its like.
        if len(text) < length or len(set(text)) < 8:
            raise ValueError(f"must be at least {length} random characters")
        return credential(text)

    return parse


def several(parse_one: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    """Comma separated values; a fault of one is told as a fault of each."""

    def parse(text: str) -> tuple[T, ...]:
        try:
            return tuple(parse_one(part.strip()) for part in text.strip(" ,").split(","))
        except ValueError as fault:
            raise ValueError(f"each, separated by commas, {fault}") from fault

    return parse


def domain(text: str) -> str:
    name = text.lower().removesuffix(".")
    if not _DOMAIN.fullmatch(name):
        raise ValueError("must be a domain like example.com (in its xn-- form if not ASCII)")
    return name


def email_address(text: str) -> str:
    local, _, host = text.rpartition("@")
    if not _LOCAL_PART.fullmatch(local) or not _DOMAIN.fullmatch(host.lower()):
        raise ValueError("must be one plain address like news@example.com")
    return f"{local}@{host.lower()}"


def sender(text: str) -> str:
    """An address that mail may be from; `@` and a domain are all of that domain."""
    try:
        return f"@{domain(text[1:])}" if text.startswith("@") else email_address(text)
    except ValueError as fault:
        raise ValueError("must be like news@example.com, or @example.com for all of it") from fault


def listen_address(text: str) -> str:
    """An address, not a name: some shells export HOST, which must not open us to a network."""
    if text != "localhost" and _ip(text) is None:
        raise ValueError("must be an IP address to listen on, like 127.0.0.1 or 0.0.0.0")
    return text


def nameserver(text: str) -> Nameserver:
    with_port = re.fullmatch(r"(?:\[([^]]+)\]|([0-9.]+))(?::([0-9]{1,5}))?", text)
    address, port = text, 53
    if with_port:
        address, port = with_port[1] or with_port[2], int(with_port[3] or 53)
    if _ip(address) is None or not 0 < port < 65536:
        raise ValueError("must be an IP address like 9.9.9.9, 127.0.0.1:5353 or [2620:fe::fe]:53")
    return Nameserver(address, port)


def public_address(text: str) -> str:
    """An IP address that can be reached from outside, in its usual spelling."""
    found = _ip(text)
    if found is None or not found.is_global:
        raise ValueError("must be a public IP address like 9.9.9.9")
    return str(found)


def base_url(text: str) -> str:
    """An https URL, or http to this machine; returned without a slash at its end."""
    parts = _split(text)
    if parts is None or parts.username is not None or parts.query or parts.fragment:
        raise ValueError(
            "must be a URL like https://mail.example.com, without user, query or spaces"
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(text)):
        raise ValueError(
            "must begin with https:// (http:// only for 127.0.0.1, [::1] and localhost)"
        )
    return text.rstrip("/")


def is_loopback(url: str) -> bool:
    parts = _split(url)
    if parts is None or parts.hostname is None:
        return False
    address = _ip(parts.hostname)
    return parts.hostname == "localhost" or (address is not None and address.is_loopback)


def database_url(root: Path) -> Callable[[str], str]:
    """The URL for SQLAlchemy: relative SQLite files are in `root`, PostgreSQL is psycopg 3."""

    def parse(text: str) -> str:
        scheme, _, rest = text.partition("://")
        if scheme == "sqlite" and re.fullmatch(r"/[^?:].*[^/]", rest):
            return f"sqlite:///{root / rest[1:]}"
        if scheme in ("postgresql", "postgres", "postgresql+psycopg") and _is_server(text):
            return f"postgresql+psycopg://{rest}"
        raise ValueError(
            "must be a file like sqlite:///data/email.db"
            " or a server like postgresql://user:password@host:5432/database"
        )

    return parse


def folder(root: Path) -> Callable[[str], Path]:
    """A path relative to `root` that is a folder, or may become one."""

    def parse(text: str) -> Path:
        path = root / Path(text).expanduser()
        if os.path.exists(path) and not os.path.isdir(path):
            raise ValueError("must be a folder")
        return path

    return parse


def can_be_written(folder: Path) -> bool:
    """Whether files can be made in it, once it and what is missing above it is there."""
    # Of `os.path`: a `Path` raises where a folder above may not be looked into.
    there = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
    return os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)


def existing(root: Path, kind: Callable[[Path], bool], what: str) -> Callable[[str], Path]:
    """A path relative to `root`; `kind` is `Path.is_file` or `Path.is_dir`."""

    def parse(text: str) -> Path:
        path = root / Path(text).expanduser()
        if not kind(path):
            raise ValueError(f"must be {what} that exists")
        return path

    return parse


def aws_region(text: str) -> str:
    if not re.fullmatch(r"[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}", text):
        raise ValueError("must be a region like eu-west-1")
    return text


def topic_arn(text: str) -> str:
    if not _TOPIC_ARN.fullmatch(text):
        raise ValueError("must be an SNS topic like arn:aws:sns:eu-west-1:123456789012:ses-events")
    return text


def esp_label(text: str) -> str:
    """The name of an SES configuration set or a Postmark message stream."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        raise ValueError("must be at most 64 letters, digits, - and _")
    return text


def basic_auth_user(text: str) -> str:
    if ":" in credential(text):
        raise ValueError("must not contain a colon")
    return text


def webhook_public_key(text: str) -> str:
    # https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
    # base64 of a DER SubjectPublicKeyInfo, which begins with a SEQUENCE (0x30).
    try:
        der = base64.b64decode(text, validate=True)
    except ValueError:
        der = b""
    if not der.startswith(b"0"):
        raise ValueError("must be the verification key that SendGrid shows, beginning with MFkw")
    return text


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _split(url: str) -> SplitResult | None:
    """The parts of a URL that has a host and, if any, a possible port; else None."""
    if not re.fullmatch(r"[!-~]+", url):
        return None
    try:
        parts = urlsplit(url)
        return parts if parts.hostname and parts.port != 0 else None
    except ValueError:
        return None


def _is_server(url: str) -> bool:
    # No host means the local socket: postgresql:///email.
    parts = _split(url.replace(":///", "://localhost/", 1))
    return parts is not None and len(parts.path) > 1
