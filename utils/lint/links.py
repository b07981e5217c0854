"""Where the links of a mail lead, and what filters and readers make of it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from utils.lint.finding import Check, Finding, examples, found
from utils.lint.jinja import FOREIGN, MARK, Hidden
from utils.lint.page import Page

MOST_DOMAINS = 20

# Those of SpamAssassin's list that people use, with Buffer's and Rebrandly's; not those of one
# site (youtu.be, doi.org, wp.me): their links hide nothing.
# https://github.com/apache/spamassassin/blob/trunk/rules/25_url_shortener.cf
SHORTENERS = frozenset(
    {
        *("b.link", "bit.do", "bit.ly", "bitly.com", "bitly.ws", "buff.ly", "clck.ru", "cutt.ly"),
        *("dlvr.it", "goo.gl", "grabify.link", "is.gd", "j.mp", "n9.cl", "ouo.io", "ow.ly"),
        *("owl.li", "qrcd.org", "rb.gy", "rebrand.ly", "s.id", "short.gy", "shorturl.asia"),
        *("shorturl.at", "smarturl.it", "snip.ly", "t.co", "t.ly", "tiny.cc", "tiny.one"),
        *("tiny.pl", "tinyurl.com", "trib.al", "u.to", "url.ie", "v.gd", "x.co"),
    }
)

# Of the types that Gmail takes from nobody, those that run or install something; not .com,
# which ends many a path that is a domain.
# https://support.google.com/mail/answer/6590
RUNNABLE = frozenset(
    {
        *("apk", "appx", "bat", "cab", "chm", "cmd", "cpl", "dll", "dmg", "exe", "hta", "img"),
        *("iso", "jar", "js", "jse", "lnk", "msc", "msi", "msix", "msp", "pif", "ps1", "scr"),
        *("vbe", "vbs", "wsf", "wsh"),
    }
)

_SCHEME = re.compile(r"([a-z][a-z0-9+-]*):", re.IGNORECASE)
_WEB = re.compile(r"https?://([^/?#\\]*)([^?#]*)", re.IGNORECASE)
_RUN = frozenset({"javascript", "vbscript", "data", "blob"})
_IN_TEXT = re.compile(r"https?://[^\s<>\"')\]]+", re.IGNORECASE)
_SAID_URL = re.compile(r"(?:https?://|\bwww\.)[^\s/?#,;:!)]+", re.IGNORECASE)
_SAID_HOST = re.compile(
    r"(?:[a-z0-9-]{1,63}\.){1,4}(?:com|org|net|edu|gov|info|biz|eu|uk|de|fr|es|it|nl|ch|at|pl"
    r"|br|in|au|ca|us|ru)(?:/\S*)?"
)
"""In small letters, since "ASP.NET" and "Booking.com" are names more than addresses."""
_SECOND_LEVEL = frozenset(
    {"ac", "co", "com", "edu", "go", "gob", "gov", "ltd", "me", "mil", "ne", "net", "nom"}
    | {"or", "org", "plc"}
)
_DECIMAL_IP = re.compile(r"\d{8,10}|0x[0-9a-f]{1,8}", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """A link, taken apart."""

    href: str
    said: str
    part: str
    place: int
    hidden: Hidden
    scheme: str
    """In lower case; empty if there is none."""
    has_host: bool
    host: str
    """In lower case; empty if there is none, or if it is filled in."""
    user: str
    """`bank.example` in `https://bank.example@other.example/`, which opens the other."""
    ending: str
    """The file ending of the path in lower case, if it has one."""


def check_links(page: Page | None, text: str | None) -> Iterator[Finding]:
    """What there is to say about the links of both parts."""
    targets = [] if page is None else _in_page(page)
    targets += _in_text(text or "")
    for check, applies, says in _CHECKS:
        if hits := [target for target in targets if applies(target)]:
            yield _finding(check, says, hits)
    domains = dict.fromkeys(_domain(target.host) for target in targets if target.host)
    if len(domains) > MOST_DOMAINS:
        message = f"The links lead to {len(domains)} sites; mails that people want have fewer."
        yield found(Check.LINK_DOMAINS, message, targets[0].part)


def _in_page(page: Page) -> list[_Target]:
    return [_target(link.href, link.said, link.place, "html", page.hidden) for link in page.links]


def _in_text(text: str) -> list[_Target]:
    hidden = Hidden(text)
    return [
        _target(match.group().rstrip(".,;:!?"), "", match.start(), "text", hidden)
        for match in _IN_TEXT.finditer(hidden.text)
    ]


def _target(href: str, said: str, place: int, part: str, hidden: Hidden) -> _Target:
    scheme = _SCHEME.match(href)
    web = _WEB.match(href)
    authority, path = web.groups() if web else ("", "")
    last = path.rpartition("/")[2]
    return _Target(
        href=href,
        said=said,
        part=part,
        place=place,
        hidden=hidden,
        scheme=scheme[1].lower() if scheme else "",
        has_host=bool(authority.strip()),
        host="" if MARK in authority else _host(authority),
        user=authority.rpartition("@")[0],
        ending=last.rpartition(".")[2].lower() if "." in last else "",
    )


def _is_empty(target: _Target) -> bool:
    return target.href in ("", "#")


def _is_incomplete(target: _Target) -> bool:
    """No address that works from a mail: `www.…`, `/path`, `file:`, or this very machine."""
    if not target.href or target.href.startswith(("#", MARK)) or FOREIGN.match(target.href):
        return False
    if target.scheme in ("http", "https"):
        return not target.has_host or target.host == "localhost"
    return target.scheme in ("", "file", "localhost")


def _runs(target: _Target) -> bool:
    return target.scheme in _RUN


def _is_http(target: _Target) -> bool:
    return target.scheme == "http" and target.has_host and target.host != "localhost"


def _is_ip(target: _Target) -> bool:
    if _DECIMAL_IP.fullmatch(target.host):
        return True
    if not (target.host[-1:].isdigit() or ":" in target.host):
        return False
    try:
        ip_address(target.host)
    except ValueError:
        return False
    return True


def _is_shortened(target: _Target) -> bool:
    return target.host.removeprefix("www.") in SHORTENERS or _domain(target.host) == "short.gy"


def _is_disguised(target: _Target) -> bool:
    """It looks like one site and opens another, as in phishing."""
    if not target.host:
        return False
    if target.user:
        return True
    seen = _said_host(target.said)
    return "." in seen and _domain(seen) != _domain(target.host)


def _is_download(target: _Target) -> bool:
    return target.ending in RUNNABLE


def _said_host(said: str) -> str:
    """The host that the text of a link shows, if it shows one and nothing is filled in."""
    if MARK in said:
        return ""
    if match := _SAID_URL.search(said):
        return _host(match.group().partition("//")[2] or match.group())
    return _host(said.partition("/")[0]) if _SAID_HOST.fullmatch(said) else ""


_CHECKS: tuple[tuple[Check, Callable[[_Target], bool], str], ...] = (
    (Check.LINK_EMPTY, _is_empty, "Links that lead nowhere"),
    (Check.LINK_INCOMPLETE, _is_incomplete, "Links that open nothing for the reader"),
    (Check.LINK_SCRIPT, _runs, "Links that hold a script or data, which mail programs block"),
    (Check.LINK_HTTP, _is_http, "Links that are not encrypted (http)"),
    (Check.LINK_IP, _is_ip, "Links to an IP address, as in spam"),
    (Check.SHORTENER, _is_shortened, "Shortened links, which hide from filters where they lead"),
    (Check.LINK_DISGUISED, _is_disguised, "Links that show one site and open another"),
    (Check.LINK_DOWNLOAD, _is_download, "Links straight to a program, as in malware"),
)


def _finding(check: Check, says: str, hits: list[_Target]) -> Finding:
    if check is Check.LINK_EMPTY:
        told = [f'"{hit.hidden.show(hit.said)}"' if hit.said else "(an image)" for hit in hits]
    elif check is Check.LINK_DISGUISED:
        told = [f"{hit.user or hit.said} opens {hit.host}" for hit in hits]
    else:
        told = [hit.hidden.show(hit.href) for hit in hits]
    first = hits[0]
    line = first.hidden.line(first.place)
    return found(check, f"{says}: {examples(told)}.", first.part, line)


def _host(authority: str) -> str:
    """Without user and port, in lower case, in A-labels."""
    host = authority.rpartition("@")[2].strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    host = host.partition(":")[0].rstrip(".")
    if host.isascii() or len(host) > 253:
        return host
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return host


def _domain(host: str) -> str:
    """The domain that somebody registered, near enough: two labels, or three under co.uk."""
    labels = host.split(".")
    short = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVEL
    return ".".join(labels[-3 if short else -2 :])
