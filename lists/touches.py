"""Who opened and clicked: a person, or a machine on the way to one.

First each open or click is looked at by itself (`agent_of`, kept with the event), then all
those of one send together (`judge`, again with each new one). What comes out depends on the
set of them only, in whatever order they came in.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address, ip_network

from services.events import EventKind


class Agent(StrEnum):
    """What the evidence of one open or click alone says did it."""

    PERSON = "person"
    """Nothing speaks against a person."""
    PROXY = "proxy"
    """A mailbox provider's image proxy, when a person opened: it hides where and with what."""
    MPP = "mpp"
    """Apple's Mail Privacy Protection, which loads images of whatever lies in an inbox."""
    MACHINE = "machine"
    """A scanner, a library, a preview."""


class Label(StrEnum):
    """What one open or click is taken for, among all those of its send."""

    HUMAN = "human"
    PROXY = "proxy"
    MPP = "mpp"
    SUSPECT = "suspect"
    """May have been a person: worth a little, counted as a machine."""
    BOT = "bot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """One open or click of a send."""

    kind: EventKind
    """`OPENED` or `CLICKED`."""
    at: datetime
    agent: Agent | str
    """An `Agent`, or its value as it is stored."""
    link: int | None = None
    """`link_hash` of what was clicked."""
    crowded: bool = False
    """Its origin (`origin_hash`) touched the mails of five recipients or more within 60 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Which of its campaign's counters a send belongs in."""

    opened: bool = False
    """By a person, perhaps behind a proxy. A click says nothing about it: images may be off."""
    clicked: bool = False
    machine_opened: bool = False
    machine_clicked: bool = False


# An open by one of these is a person's: the provider fetches an image when it is looked at.
_IMAGE_PROXY = re.compile(
    r"googleimageproxy|ggpht\.com|yahoomailproxy|yahoocachesystem|(?:image|e?mail) ?proxy",
    re.IGNORECASE,
)
# Scanners by the names they give themselves (facts 5.2; live-direct-marketing.online's field
# guide), previews, headless browsers. CUBOT makes telephones.
_SCANNER = re.compile(
    r"barracuda|proofpoint|mimecast|ciscosecureemail|ironport|\btmes\b|trend ?micro|safelinks"
    r"|fireeye|forcepoint|fortinet|fortimail|sophos|symantec|messagelabs|virustotal|urlscan"
    r"|bingpreview|facebookexternal|link-?expanding|url preview|headless|phantomjs|puppeteer"
    r"|playwright|selenium|(?<!cu)bot\b|crawler|spider|scanner",
    re.IGNORECASE,
)
# Libraries are known by how their user agent begins.
_LIBRARY = re.compile(
    r"(?:curl|wget|python|aiohttp|httpx|urllib|requests|scrapy|go-http-client|okhttp|java"
    r"|apache-httpclient|jakarta|jetty|reactornetty|libwww|lwp|ruby|faraday|node|axios|undici"
    r"|got|php|guzzle|postmanruntime|insomnia|httpie|powershell|dart|lua-resty)(?![a-z])",
    re.IGNORECASE,
)
_BARE = "Mozilla/5.0"
"""All that Apple's proxy says of itself, and no browser says as little."""

_BOT_POINTS = 4
_SUSPECT_POINTS = 2
_SOON = ((timedelta(seconds=2), 4), (timedelta(seconds=10), 2), (timedelta(seconds=60), 1))
_BURSTS = ((3, timedelta(seconds=2)), (4, timedelta(seconds=10)))
"""So many different links within such a time."""
_SWEEP = timedelta(seconds=10)

# Facts 5.3. What is not here is worth nothing.
_WEIGHTS = {
    (EventKind.CLICKED, Label.HUMAN): 0.8,
    (EventKind.CLICKED, Label.SUSPECT): 0.2,
    (EventKind.OPENED, Label.HUMAN): 0.3,
    (EventKind.OPENED, Label.PROXY): 0.2,
}


def agent_of(kind: EventKind, user_agent: str | None, ip: str | None, is_machine: bool) -> Agent:
    """What one open or click says of itself.

    `ip` decides nothing: we have neither Apple's list of relay addresses nor one of networks.
    """
    name = (user_agent or "").strip()
    if kind == EventKind.OPENED:
        if is_machine or name == _BARE:
            return Agent.MPP
        if _IMAGE_PROXY.search(name):
            return Agent.PROXY
    machine = (
        is_machine
        or name in ("", _BARE)
        or _LIBRARY.match(name)
        or _SCANNER.search(name)
        or _IMAGE_PROXY.search(name)  # which has no business with links
    )
    return Agent.MACHINE if machine else Agent.PERSON


def link_hash(url: str) -> int:
    """A link as a signed number of 64 bits; links of one mail do not meet by chance."""
    return _hash(url)


def origin_hash(user_agent: str | None, ip: str | None) -> int | None:
    """Where an open or click came from: /24 of IPv4 or /48 of IPv6, and the user agent.

    `None` without an address, and for a proxy, where all of a provider's readers are one.
    """
    name = (user_agent or "").strip()
    if name == _BARE or _IMAGE_PROXY.search(name):
        return None
    try:
        address = ip_address((ip or "").strip())
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or IPv6Address(int(address))  # without a scope
    bits = 24 if address.version == 4 else 48
    return _hash(f"{ip_network((address, bits), strict=False)} {name}")


def judge(touches: Sequence[Touch], delivered_at: datetime | None) -> tuple[Label, ...]:
    """A label for each touch of one send, by the points of facts 5.2, in the order given.

    Four points make a bot, two a suspect. What a bot is within ten seconds of becomes one
    too, but nothing because of that: a sweep goes no further. Image proxies are left out of
    all that: scanners do not come through them.

    Rows of the table that cannot apply: networks of data centres (+2; we have no database
    of them), HEAD requests (+2; ESPs do not tell the method), an unsubscribe link fetched
    by GET (+3; it comes to us, not to the ESP, and belongs to no event), activity on the page
    (-5; our pages report none). Of ">= 80 % of >= 4 links" only the four count: how many
    links a mail has is not kept.
    """
    clicks = [touch for touch in touches if touch.kind == EventKind.CLICKED]
    bursts = _burst_times(clicks)
    opened = len(clicks) < len(touches)
    labels = [_label(touch, delivered_at, bursts, opened) for touch in touches]
    judged = list(zip(touches, labels, strict=True))
    bots = sorted(touch.at for touch, label in judged if label is Label.BOT)
    return tuple(
        Label.BOT if label in (Label.HUMAN, Label.SUSPECT) and _is_near(touch.at, bots) else label
        for touch, label in judged
    )


def interest(touches: Sequence[Touch], labels: Sequence[Label]) -> float:
    """What the person did with this mail, 0 (nothing) to 1: its best touch."""
    return max((weight for _, weight in _weighed(touches, labels)), default=0.0)


def last_interest(touches: Sequence[Touch], labels: Sequence[Label]) -> datetime | None:
    """When the person last showed any interest in this mail."""
    return max((touch.at for touch, _ in _weighed(touches, labels)), default=None)


def counts(touches: Sequence[Touch], labels: Sequence[Label]) -> Counts:
    seen = {(touch.kind, label) for touch, label in zip(touches, labels, strict=True)}
    opened = {label for kind, label in seen if kind == EventKind.OPENED}
    clicked = {label for kind, label in seen if kind == EventKind.CLICKED}
    return Counts(
        opened=bool(opened & {Label.HUMAN, Label.PROXY}),
        clicked=Label.HUMAN in clicked,
        machine_opened=bool(opened - {Label.HUMAN, Label.PROXY}),
        machine_clicked=bool(clicked - {Label.HUMAN}),
    )


def _weighed(touches: Sequence[Touch], labels: Sequence[Label]) -> Iterator[tuple[Touch, float]]:
    for touch, label in zip(touches, labels, strict=True):
        if weight := _WEIGHTS.get((touch.kind, label)):
            yield touch, weight


def _hash(text: str) -> int:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _label(
    touch: Touch, delivered_at: datetime | None, bursts: frozenset[datetime], opened: bool
) -> Label:
    if touch.kind == EventKind.OPENED and touch.agent in (Agent.MPP, Agent.PROXY):
        return Label.MPP if touch.agent == Agent.MPP else Label.PROXY
    points = 0 if touch.agent == Agent.PERSON else _BOT_POINTS
    points += 3 * touch.crowded
    if delivered_at is not None:
        points += _haste(touch, touch.at - delivered_at)
    if touch.kind == EventKind.CLICKED:
        points += 4 * (touch.at in bursts) + (not opened)
    if points >= _BOT_POINTS:
        return Label.BOT
    return Label.SUSPECT if points >= _SUSPECT_POINTS else Label.HUMAN


def _haste(touch: Touch, since: timedelta) -> int:
    """Points for a touch so long after (or before) its mail was delivered."""
    if since < timedelta(0):
        return 4
    if touch.kind == EventKind.OPENED:
        return 0
    return next((points for within, points in _SOON if since <= within), 0)


def _is_near(at: datetime, bots: Sequence[datetime]) -> bool:
    """Whether one of these moments, in their order, is within the sweep of this one."""
    first = bisect_left(bots, at - _SWEEP)
    return first < len(bots) and bots[first] <= at + _SWEEP


def _burst_times(clicks: Iterable[Touch]) -> frozenset[datetime]:
    """The moments of clicks that are part of a burst over different links."""
    ordered = sorted((click.at, click.link) for click in clicks if click.link is not None)
    return frozenset(at for links, within in _BURSTS for at in _in_bursts(ordered, links, within))


def _in_bursts(
    clicks: Sequence[tuple[datetime, int]], links: int, within: timedelta
) -> Iterator[datetime]:
    first = told = 0
    seen: Counter[int] = Counter()
    for last, (at, link) in enumerate(clicks):
        seen[link] += 1
        while at - clicks[first][0] > within:
            gone = clicks[first][1]
            seen[gone] -= 1
            if not seen[gone]:
                del seen[gone]
            first += 1
        if len(seen) >= links:
            yield from (clicks[one][0] for one in range(max(first, told), last + 1))
            told = last + 1
