"""What a record may look like: text of a file or of an ESP in, the form that we compare out.

Each function raises `ValueError` with what to write instead ("must be …").
"""

import ipaddress
import re
from collections.abc import Callable, Mapping

TYPES = ("CNAME", "TXT", "MX", "A", "AAAA")
MAX_TEXT = 4_000
"""Characters of a TXT; a DKIM key of 4,096 bits has 740."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_MX = re.compile(r"([0-9]{1,5}) +(\S+)")


def host_of(name: str, domain: str) -> str:
    """`name`, which is absolute, relative to `domain`; raises `ValueError` if it is not below."""
    absolute = name.lower().removesuffix(".")
    if absolute == domain:
        return "@"
    if not absolute.endswith(f".{domain}"):
        raise ValueError(f"must be a name below {domain}")
    return relative_host(absolute.removesuffix(f".{domain}"), domain)


def value_of(kind: str, text: str) -> str:
    """As a resolver shows it: names in lower case, without the dot at the end."""
    return _VALUES[kind](text.strip())


def relative_host(text: str, domain: str) -> str:
    host = text.lower()
    if host == "@":
        return host
    absolute = host.removesuffix(".")
    if absolute == domain:
        raise ValueError(f'must be "@" for {domain} itself')
    if absolute.endswith(f".{domain}"):
        raise ValueError(f"must be relative to {domain}: leave .{domain} off")
    if not _HOST.fullmatch(host) or len(f"{host}.{domain}") > 253:
        raise ValueError(
            f'must be relative to {domain}, like s1._domainkey, or "@" for {domain} itself'
            " (in its xn-- form if not ASCII)"
        )
    return host


def _name(text: str) -> str:
    name = text.lower().removesuffix(".")
    if not _HOST.fullmatch(name) or "." not in name:
        raise ValueError("must be a whole host name, like u1.wl1.sendgrid.net")
    return name


def _mail_exchanger(text: str) -> str:
    found = _MX.fullmatch(text)
    if found is None or int(found[1]) > 65_535:
        raise ValueError("must be a preference and a host name, like 10 mx.example.com")
    # RFC 7505: "0 ." says that no mail is taken.
    name = "." if found[2] == "." else _name(found[2])
    return f"{int(found[1])} {name}"


def _text(text: str) -> str:
    if not re.fullmatch(rf"[ -~]{{1,{MAX_TEXT}}}", text) or text[0] == text[-1] == '"':
        raise ValueError(
            f"must be at most {MAX_TEXT} ASCII characters in one piece, without the zone's quotes"
        )
    return text


def _address(version: int) -> Callable[[str], str]:
    def parse(text: str) -> str:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            address = None
        if address is None or address.version != version:
            raise ValueError(f"must be an IPv{version} address")
        return str(address)

    return parse


_VALUES: Mapping[str, Callable[[str], str]] = {
    "CNAME": _name,
    "TXT": _text,
    "MX": _mail_exchanger,
    "A": _address(4),
    "AAAA": _address(6),
}
