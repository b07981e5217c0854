"""Persons and machines: the rules for one open or click, and for all of one send."""

import random
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from lists.touches import (
    Agent,
    Counts,
    Label,
    Touch,
    agent_of,
    counts,
    interest,
    judge,
    last_interest,
    link_hash,
    origin_hash,
)
from services.events import EventKind

DELIVERED = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)

IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15"
    " (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
)
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36"
    " (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
)
OUTLOOK = (
    "Mozilla/4.0 (compatible; ms-office; MSOffice 16)"  # the desktop program, as it loads images
)
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
YAHOO = "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html"
CUBOT = "Mozilla/5.0 (Linux; Android 11; CUBOT NOTE 20) AppleWebKit/537.36 Mobile Safari/537.36"


@pytest.mark.parametrize(
    ("user_agent", "open_by", "click_by"),
    [
        (IPHONE, Agent.PERSON, Agent.PERSON),
        (CHROME, Agent.PERSON, Agent.PERSON),
        (OUTLOOK, Agent.PERSON, Agent.PERSON),
        (CUBOT, Agent.PERSON, Agent.PERSON),
        ("Thunderbird/115.0", Agent.PERSON, Agent.PERSON),
        ("Mozilla/5.0", Agent.MPP, Agent.MACHINE),
        (" Mozilla/5.0 ", Agent.MPP, Agent.MACHINE),
        (GMAIL, Agent.PROXY, Agent.MACHINE),
        (YAHOO, Agent.PROXY, Agent.MACHINE),
        ("YahooCacheSystem", Agent.PROXY, Agent.MACHINE),
        ("SeznamEmailProxy/3.0.73", Agent.PROXY, Agent.MACHINE),
        (None, Agent.MACHINE, Agent.MACHINE),
        ("", Agent.MACHINE, Agent.MACHINE),
        ("  ", Agent.MACHINE, Agent.MACHINE),
        ("curl/8.5.0", Agent.MACHINE, Agent.MACHINE),
        ("Wget/1.21", Agent.MACHINE, Agent.MACHINE),
        ("python-requests/2.31.0", Agent.MACHINE, Agent.MACHINE),
        ("Python/3.11 aiohttp/3.9.5", Agent.MACHINE, Agent.MACHINE),
        ("Go-http-client/2.0", Agent.MACHINE, Agent.MACHINE),
        ("okhttp/4.12.0", Agent.MACHINE, Agent.MACHINE),
        ("Java/17.0.2", Agent.MACHINE, Agent.MACHINE),
        ("Apache-HttpClient/4.5.13 (Java/11.0.20)", Agent.MACHINE, Agent.MACHINE),
        ("node", Agent.MACHINE, Agent.MACHINE),
        ("BarracudaLinkProtect/1.0", Agent.MACHINE, Agent.MACHINE),
        ("Mozilla/5.0 (compatible; Proofpoint URL Defense)", Agent.MACHINE, Agent.MACHINE),
        ("Mimecast-URL-Protect/2.0", Agent.MACHINE, Agent.MACHINE),
        ("CiscoSecureEmail", Agent.MACHINE, Agent.MACHINE),
        ("TMES/1.0", Agent.MACHINE, Agent.MACHINE),
        ("Mozilla/5.0 (Trend Micro WTP)", Agent.MACHINE, Agent.MACHINE),
        (CHROME.replace("Chrome/", "HeadlessChrome/"), Agent.MACHINE, Agent.MACHINE),
        (f"{CHROME} BingPreview/1.0b", Agent.MACHINE, Agent.MACHINE),
        ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", *2 * [Agent.MACHINE]),
        ("Mozilla/5.0 (compatible; Googlebot/2.1)", Agent.MACHINE, Agent.MACHINE),
    ],
)
def test_what_one_open_or_click_says_of_itself(
    user_agent: str | None, open_by: Agent, click_by: Agent
) -> None:
    assert (
        agent_of(EventKind.OPENED, user_agent, "192.0.2.1", False),
        agent_of(EventKind.CLICKED, user_agent, "192.0.2.1", False),
    ) == (open_by, click_by)


def test_the_esp_knows_its_machines() -> None:
    assert agent_of(EventKind.OPENED, IPHONE, None, True) is Agent.MPP
    assert agent_of(EventKind.CLICKED, IPHONE, None, True) is Agent.MACHINE


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.254", True),
        ("192.0.2.1", "192.0.3.1", False),
        ("192.0.2.1", "::ffff:192.0.2.9", True),
        ("2001:db8:1::1", "2001:db8:1:ffff::2", True),
        ("2001:db8:1::1", "2001:db8:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)
def test_an_origin_is_a_network_and_a_program(one: str, other: str, same: bool) -> None:
    origin = origin_hash(CHROME, one)
    assert (origin == origin_hash(CHROME, other)) is same
    assert origin != origin_hash(IPHONE, one)
    assert origin is not None
    assert -(2**63) <= origin < 2**63


@pytest.mark.parametrize(
    ("user_agent", "ip"),
    [
        (CHROME, None),
        (CHROME, ""),
        (CHROME, "not an ip"),
        (GMAIL, "192.0.2.1"),
        (YAHOO, "2001:db8::1"),
        ("Mozilla/5.0", "192.0.2.1"),
    ],
)
def test_what_comes_through_a_proxy_or_from_nowhere_has_no_origin(
    user_agent: str, ip: str | None
) -> None:
    assert origin_hash(user_agent, ip) is None


def test_hashes_stay_as_they_are_stored() -> None:
    assert link_hash("https://example.com/a") == -987803534012979804
    assert link_hash("\ud800") != link_hash("https://example.com/a")
    assert origin_hash(CHROME, "192.0.2.1") == origin_hash(f" {CHROME} ", " 192.0.2.1 ")


def opened(seconds: float, agent: Agent = Agent.PERSON, *, crowded: bool = False) -> Touch:
    at = DELIVERED + timedelta(seconds=seconds)
    return Touch(kind=EventKind.OPENED, at=at, agent=agent, crowded=crowded)


def clicked(
    seconds: float, link: int | None = 1, agent: Agent = Agent.PERSON, *, crowded: bool = False
) -> Touch:
    at = DELIVERED + timedelta(seconds=seconds)
    return Touch(kind=EventKind.CLICKED, at=at, agent=agent, link=link, crowded=crowded)


HOUR = 3600
H, P, M, S, B = Label.HUMAN, Label.PROXY, Label.MPP, Label.SUSPECT, Label.BOT

JUDGED = {
    "a person opens and clicks": ([opened(HOUR), clicked(HOUR + 9)], [H, H]),
    "a person opens at once": ([opened(1)], [H]),
    "behind a proxy": ([opened(1, Agent.PROXY), clicked(HOUR)], [P, H]),
    "Apple loads, then a person clicks": ([opened(-3, Agent.MPP), clicked(HOUR)], [M, H]),
    "a click, images off": ([clicked(HOUR)], [H]),
    "a proxy before the delivery is told": ([opened(-1, Agent.PROXY)], [P]),
    "an open before the delivery": ([opened(-1)], [B]),
    "a scanner's name": ([opened(HOUR, Agent.MACHINE)], [B]),
    "a click before the delivery": ([opened(HOUR), clicked(-1)], [H, B]),
    "a click within 2 s": ([opened(HOUR), clicked(2)], [H, B]),
    "a click within 10 s": ([opened(HOUR), clicked(10)], [H, S]),
    "a click within 60 s": ([opened(HOUR), clicked(60)], [H, H]),
    "a click within 60 s, no open": ([clicked(60)], [S]),
    "a click after 61 s, no open": ([clicked(61)], [H]),
    "a crowd's click": ([opened(HOUR), clicked(2 * HOUR, crowded=True)], [H, S]),
    "a crowd's click, no open": ([clicked(HOUR, crowded=True)], [B]),
    "a crowd's open": ([opened(HOUR, crowded=True)], [S]),
    "three links in 2 s": ([clicked(HOUR + n, n) for n in range(3)], [B, B, B]),
    "three links in 3 s": (
        [opened(HOUR)] + [clicked(2 * HOUR + 1.5 * n, n) for n in range(3)],
        4 * [H],
    ),
    "one link thrice in 2 s": (
        [opened(HOUR)] + [clicked(2 * HOUR + n, 7) for n in range(3)],
        4 * [H],
    ),
    "four links in 10 s": (
        [opened(HOUR)] + [clicked(2 * HOUR + 3 * n, n) for n in range(4)],
        [H, B, B, B, B],
    ),
    "four links in 12 s": (
        [opened(HOUR)] + [clicked(2 * HOUR + 4 * n, n) for n in range(4)],
        5 * [H],
    ),
    "links that are not known make no burst": (
        [opened(HOUR)] + [clicked(2 * HOUR, None) for _ in range(4)],
        5 * [H],
    ),
    "what a bot is near of": (
        [opened(HOUR), opened(HOUR + 11), clicked(HOUR + 5, agent=Agent.MACHINE)],
        [B, B, B],
    ),
    "the sweep goes 10 s far and not on": (
        [clicked(HOUR, agent=Agent.MACHINE), opened(HOUR + 10), opened(HOUR + 11)],
        [B, B, H],
    ),
    "the sweep leaves proxies": (
        [
            clicked(HOUR, agent=Agent.MACHINE),
            opened(HOUR + 1, Agent.PROXY),
            opened(HOUR, Agent.MPP),
        ],
        [B, P, M],
    ),
    "a scanner first, a person hours later": (
        [
            clicked(1, 1),
            clicked(1.5, 2),
            clicked(2, 3),
            opened(5 * HOUR),
            clicked(5 * HOUR + 20, 1),
        ],
        [B, B, B, H, H],
    ),
}


@pytest.mark.parametrize(("touches", "labels"), JUDGED.values(), ids=JUDGED)
def test_a_send_is_judged_by_all_its_touches(touches: list[Touch], labels: list[Label]) -> None:
    assert list(judge(touches, DELIVERED)) == labels


def test_without_a_delivery_nothing_is_hasty() -> None:
    assert judge([opened(-5), clicked(1)], None) == (H, H)


def test_the_agent_may_be_told_as_it_is_stored() -> None:
    touch = Touch(kind=EventKind.OPENED, at=DELIVERED, agent="proxy")
    assert judge([touch], DELIVERED) == (P,)


@pytest.mark.parametrize(("touches", "labels"), JUDGED.values(), ids=JUDGED)
def test_the_verdict_does_not_depend_on_order(touches: list[Touch], labels: list[Label]) -> None:
    for order in permutations(range(len(touches))):
        found = judge([touches[one] for one in order], DELIVERED)
        assert list(found) == [labels[one] for one in order]


def test_the_verdict_does_not_depend_on_order_with_equal_times() -> None:
    dice = random.Random(7)
    for _ in range(500):
        touches = [
            Touch(
                kind=dice.choice([EventKind.OPENED, EventKind.CLICKED]),
                at=DELIVERED + timedelta(seconds=dice.randrange(-1, 30)),
                agent=dice.choice([Agent.PERSON, Agent.PERSON, *Agent]),
                link=dice.randrange(4),
                crowded=dice.random() < 0.1,
            )
            for _ in range(dice.randrange(1, 12))
        ]
        order = list(range(len(touches)))
        dice.shuffle(order)
        expected = judge(touches, DELIVERED)
        assert judge([touches[one] for one in order], DELIVERED) == tuple(
            expected[one] for one in order
        )


def test_ten_thousand_clicks_of_a_scanner_are_judged_in_one_pass() -> None:
    clicks = [clicked(HOUR + n / 1000, n % 50) for n in range(10_000)]
    assert set(judge(clicks, DELIVERED)) == {B}


@pytest.mark.parametrize(
    ("touches", "labels", "worth", "last", "counted"),
    [
        ([], [], 0.0, None, Counts()),
        ([opened(5)], [M], 0.0, None, Counts(machine_opened=True)),
        ([opened(5)], [P], 0.2, 5, Counts(opened=True)),
        ([opened(5)], [H], 0.3, 5, Counts(opened=True)),
        ([opened(5)], [S], 0.0, None, Counts(machine_opened=True)),
        ([opened(5)], [B], 0.0, None, Counts(machine_opened=True)),
        ([clicked(5)], [H], 0.8, 5, Counts(clicked=True)),
        ([clicked(5)], [S], 0.2, 5, Counts(machine_clicked=True)),
        ([clicked(5)], [B], 0.0, None, Counts(machine_clicked=True)),
        (
            [clicked(5), opened(7), opened(6), clicked(9)],
            [H, P, M, B],
            0.8,
            7,
            Counts(opened=True, clicked=True, machine_opened=True, machine_clicked=True),
        ),
    ],
)
def test_what_a_person_did_with_a_mail(
    touches: list[Touch], labels: list[Label], worth: float, last: float | None, counted: Counts
) -> None:
    last_at = None if last is None else DELIVERED + timedelta(seconds=last)
    assert (
        interest(touches, labels),
        last_interest(touches, labels),
        counts(touches, labels),
    ) == (worth, last_at, counted)
