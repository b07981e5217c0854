"""Email addresses as people type them: valid or not and why, who it is, who runs the mailbox.

Two paths with one verdict: a strict ASCII pattern for what nearly everybody has, and
email-validator (six times slower) for all the rest. A test holds them against each other.
Nothing here asks the DNS.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from email_validator import EmailNotValidError, validate_email

MAX_LENGTH = 254
MAX_LOCAL_LENGTH = 64
_REASON_CHARS = 300


class MailboxProvider(StrEnum):
    """Who runs the recipient's mailbox, and so whose rules a mail meets."""

    GMAIL = "gmail"
    MICROSOFT = "microsoft"
    YAHOO = "yahoo"
    APPLE = "apple"
    OTHER = "other"


class Address(NamedTuple):
    """An address that can be written to, as far as its form goes."""

    email: str
    """As given, the domain as lower-case A-label: mail goes here."""
    key: str
    """Lower case throughout: who it is."""

    @property
    def domain(self) -> str:
        return self.key.rpartition("@")[2]

    @property
    def mailbox_provider(self) -> MailboxProvider:
        return mailbox_provider(self.domain)

    @property
    def suggestion(self) -> str | None:
        """What was probably meant, if the domain looks like a slip; never applied by us."""
        local, _, domain = self.email.rpartition("@")
        meant = likely_domain(domain)
        return f"{local}@{meant}" if meant else None


class InvalidAddress(ValueError):
    """Nobody can be written to at this address; `reason` is for a person to read."""

    def __init__(self, reason: str, suggestion: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.suggestion = suggestion


# A subset of what email-validator accepts. Left to the slow path: "=" and "?" in the local
# part (encoded words), labels with "--" in places 3 and 4, and special-use top-level names.
_LABEL = r"(?![a-zA-Z0-9-]{2}--)[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_ATOM = r"[a-zA-Z0-9_!#$%&'*+\-/^`{|}~]+"
_PLAIN_LOCAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_PLAIN_DOMAIN = re.compile(
    rf"(?:{_LABEL}\.)+(?!(?:arpa|invalid|local|localhost|onion|test)\Z)[a-zA-Z]{{2,63}}",
    re.ASCII | re.IGNORECASE,
)
_ENCODED_WORD = re.compile(r"=\?.*\?=")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def normalise(address: str) -> Address:
    """The address in the form we store; raises `InvalidAddress` with a reason for a person.

    Refused besides what email-validator (strict) refuses: local parts that are not ASCII,
    quoted, or an RFC 2047 encoded word; mail software reads the latter two as something else.
    """
    given = address.strip(" \t\r\n\xa0")
    if found := _plain(given):
        return found
    try:
        return _odd(given)
    except InvalidAddress as refused:
        refused.suggestion = _repaired(given)
        raise


def _plain(given: str) -> Address | None:
    if len(given) > MAX_LENGTH:
        return None
    local, _, domain = given.partition("@")
    if len(local) > MAX_LOCAL_LENGTH or not _PLAIN_LOCAL.fullmatch(local):
        return None
    return _address(local, lower) if (lower := _plain_domain(domain)) else None


@lru_cache(maxsize=4096)
def _plain_domain(domain: str) -> str | None:
    """In lower case; `None` when it is for email-validator to judge."""
    return domain.lower() if _PLAIN_DOMAIN.fullmatch(domain) else None


def _address(local: str, domain: str) -> Address:
    return Address(f"{local}@{domain}", f"{local.lower()}@{domain}")


def _odd(given: str) -> Address:
    local = given.rpartition("@")[0]
    if not given:
        raise InvalidAddress("the address is empty")
    if len(given) > MAX_LENGTH:
        raise InvalidAddress(f"the address is longer than {MAX_LENGTH} characters")
    if _CONTROL.search(given):
        raise InvalidAddress("the address contains a control character")
    if not local.isascii():
        raise InvalidAddress(
            "the part before the @ is not plain ASCII: none of the ESPs delivers to such addresses"
        )
    if _ENCODED_WORD.search(local):
        raise InvalidAddress("the part before the @ is an encoded word, not a name")
    try:
        checked = validate_email(
            given, check_deliverability=False, strict=True, allow_smtputf8=False
        )
    except EmailNotValidError as error:
        raise InvalidAddress(str(error)[:_REASON_CHARS].rstrip(".")) from error
    found = _address(local, checked.ascii_domain.lower())
    if len(found.email) > MAX_LENGTH:
        raise InvalidAddress(f"the address is longer than {MAX_LENGTH} characters")
    return found


_NAMED_PROVIDERS: dict[str, MailboxProvider] = {
    **dict.fromkeys(("gmail.com", "googlemail.com"), MailboxProvider.GMAIL),
    **dict.fromkeys(("msn.com", "passport.com", "windowslive.com"), MailboxProvider.MICROSOFT),
    **dict.fromkeys(("icloud.com", "me.com", "mac.com"), MailboxProvider.APPLE),
    # Yahoo also runs the mail of several American and British access providers.
    **dict.fromkeys(
        (
            *(
                "ymail.com",
                "rocketmail.com",
                "myyahoo.com",
                "aim.com",
                "netscape.net",
                "verizon.net",
            ),
            *("att.net", "sbcglobal.net", "bellsouth.net", "pacbell.net", "ameritech.net"),
            *("flash.net", "nvbell.net", "prodigy.net", "snet.net", "swbell.net", "wans.net"),
            *("rogers.com", "sky.com", "frontier.com", "frontiernet.net", "cox.net"),
        ),
        MailboxProvider.YAHOO,
    ),
    # A company of its own, with its own servers.
    "yahoo.co.jp": MailboxProvider.OTHER,
}
_BRANDS: dict[str, MailboxProvider] = {
    **dict.fromkeys(("hotmail", "outlook", "live"), MailboxProvider.MICROSOFT),
    **dict.fromkeys(("yahoo", "aol"), MailboxProvider.YAHOO),
}
"""Names with a variant per country: hotmail.fr, yahoo.co.uk, outlook.com.br."""
_COUNTRY = re.compile(r"com|[a-z]{2}|com?\.[a-z]{2}")


@lru_cache(maxsize=4096)
def mailbox_provider(domain: str) -> MailboxProvider:
    """Who runs the mailboxes of `domain` (lower case). Own domains hosted there are `other`."""
    if domain in _NAMED_PROVIDERS:
        return _NAMED_PROVIDERS[domain]
    brand, _, suffix = domain.partition(".")
    if brand in _BRANDS and _COUNTRY.fullmatch(suffix):
        return _BRANDS[brand]
    return MailboxProvider.OTHER


_BIG_DOMAINS = (
    *("gmail.com", "googlemail.com", "yahoo.com", "yahoo.co.uk", "yahoo.fr", "yahoo.de"),
    *("yahoo.co.in", "yahoo.com.br", "hotmail.com", "hotmail.co.uk", "hotmail.fr", "hotmail.de"),
    *("hotmail.it", "hotmail.es", "outlook.com", "outlook.fr", "outlook.de", "live.com"),
    *("live.co.uk", "live.nl", "msn.com", "icloud.com", "me.com", "mac.com", "aol.com"),
    *("comcast.net", "verizon.net", "att.net", "sbcglobal.net", "bellsouth.net", "cox.net"),
    *("btinternet.com", "virginmedia.com", "orange.fr", "wanadoo.fr", "laposte.net", "free.fr"),
    *("t-online.de", "freenet.de", "gmx.de", "gmx.net", "web.de", "libero.it", "protonmail.com"),
    *("yandex.ru", "mail.ru", "qq.com", "163.com"),
)
_REAL_NEIGHBOURS = frozenset(
    (
        *("mail.com", "email.com", "ymail.com", "hmail.com", "fmail.com", "gmx.com", "gmail.de"),
        *("yahoo.es", "yahoo.it", "yahoo.se", "yahoo.ca", "yahoo.gr", "yahoo.ie", "yahoo.dk"),
        *("yahoo.no", "yahoo.in", "yahoo.com.ar", "yahoo.com.au", "yahoo.com.mx", "yahoo.co.id"),
        *("yahoo.co.jp", "yahoo.co.kr", "yahoo.co.nz", "yahoo.co.za", "yahoo.co.th"),
        *("hotmail.be", "hotmail.nl", "hotmail.se", "hotmail.ch", "hotmail.dk", "hotmail.gr"),
        *("hotmail.no", "hotmail.fi", "hotmail.ca", "hotmail.co.jp", "hotmail.com.br"),
        *("outlook.es", "outlook.it", "outlook.be", "outlook.ie", "outlook.at", "outlook.dk"),
        *("outlook.pt", "outlook.in", "outlook.jp", "outlook.cl", "outlook.com.br"),
        *("proton.me", "pm.me", "yandex.com", "yandex.ua", "yandex.by", "yandex.kz", "tiscali.it"),
        *("rocketmail.com", "fastmail.com", "hushmail.com", "mailbox.org", "inbox.com"),
    )
)
"""Real providers that are a slip away from a big one: nobody is told to change them."""
_COM_SLIPS = ("con", "cmo", "ocm", "vom", "xom", "cpm", "comm", "coom", "cim", "c0m", "om", "cm")
_BY_NAME = {domain.partition(".")[0]: domain for domain in reversed(_BIG_DOMAINS)}


@lru_cache(maxsize=4096)
def likely_domain(domain: str) -> str | None:
    """The big domain that `domain` is a slip of, or `None`.

    One slip (a letter more, less, other, or two swapped), two in a name of 11 or more;
    short names have too many real neighbours, so only their ending is looked at.
    """
    if domain in _BIG_DOMAINS or domain in _REAL_NEIGHBOURS:
        return None
    name, _, ending = domain.partition(".")
    if ending in ("", *_COM_SLIPS) and name in _BY_NAME:
        return f"{name}.com" if ending and f"{name}.com" in _BIG_DOMAINS else _BY_NAME[name]
    best = min(_BIG_DOMAINS, key=lambda big: _slips(domain, big))
    allowed = 2 if len(best) >= 11 else 1 if len(best) >= 9 else 0
    return best if _slips(domain, best) <= allowed else None


def _slips(given: str, meant: str) -> int:
    """Edit distance with swaps of neighbours; 9 when the lengths alone say "far"."""
    if abs(len(given) - len(meant)) > 2:
        return 9
    before: list[int] = []
    row = list(range(len(meant) + 1))
    for i, a in enumerate(given, 1):
        before, last, row = row, before, [i]
        for j, b in enumerate(meant, 1):
            cost = min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == meant[j - 2] and given[i - 2] == b:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]


def _repaired(given: str) -> str | None:
    """A valid address that an invalid one is a slip of, or `None`."""
    if len(given) > MAX_LENGTH or _CONTROL.search(given):
        return None
    for text in _repairs(given):
        if text != given and (found := _plain(text)):
            return found.suggestion or found.email
    return None


def _repairs(given: str) -> Iterator[str]:
    tidy = re.sub(r"\.{2,}", ".", re.sub(r"\s", "", given).strip("<>\"'.,;:()").replace(",", "."))
    tidy = tidy.replace(".@", "@").replace("@.", "@")
    yield tidy
    local, _, domain = tidy.rpartition("@")
    meant = likely_domain(domain.lower())
    if meant:
        yield f"{local}@{meant}"
