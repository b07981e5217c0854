"""A blocklist is believed once it tells its test entries apart, and an error is no listing."""

import asyncio

import pytest

from config.domain_setup import DomainSetup
from tests.dns_zones import PATIENCE_S, serving
from utils.dns import lookup
from utils.dns.blocklists import check_blocklists
from utils.dns.findings import Finding
from utils.dns.lookup import Lookups
from utils.dns.subject import Subject

TESTS = """
2.0.0.127.zen.spamhaus.org      A  127.0.0.2
2.0.0.127.zen.spamhaus.org      A  127.0.0.4
2.0.0.127.zen.spamhaus.org      A  127.0.0.10
dbltest.com.dbl.spamhaus.org    A  127.0.1.2
surbl-org-permanent-test-point.com.multi.surbl.org  A  127.0.0.254
test.uribl.com.multi.uribl.com  A  127.0.0.14
"""
DOMAIN, OWN, SHARED = "example.com", "192.0.2.25", "192.0.2.26"
SUBJECT = Subject(domain=DOMAIN, setup=DomainSetup(domain=DOMAIN), own_ips=(OWN,))
NAMES = {
    "blocklist.dbl": "Spamhaus DBL",
    "blocklist.surbl": "SURBL",
    "blocklist.uribl": "URIBL",
}

Told = dict[tuple[str, str], tuple[str, str]]
"""By id and host: the status, and what was found."""

NOT_LISTED: Told = {
    ("blocklist.zen", OWN): ("pass", "not on Spamhaus ZEN"),
    ("blocklist.zen", SHARED): ("pass", "not on Spamhaus ZEN"),
    **{
        (name, host): ("pass", f"not on {shown}")
        for name, shown in NAMES.items()
        for host in (DOMAIN, "link.example.com", "example.net")
    },
}


def check(zones: str, *hosts: str, subject: Subject = SUBJECT) -> list[Finding]:
    async def run() -> list[Finding]:
        return await check_blocklists(Lookups([nameserver]), subject, hosts)

    with serving(zones) as (nameserver, _):
        return asyncio.run(run())


def told(zones: str) -> Told:
    findings = check(zones, "link.example.com", "Example.net.", SHARED)
    return {(one.id, one.host): (one.status.value, one.found) for one in findings}


def of(name: str, status: str, found: str) -> Told:
    """The same of every entry of a list."""
    return {key: (status, found) for key in NOT_LISTED if key[0] == f"blocklist.{name}"}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "DEADLINE_S", PATIENCE_S)


@pytest.mark.parametrize(
    ("zones", "key", "status", "found"),
    [
        ("25.2.0.192.zen.spamhaus.org A 127.0.0.4", ("zen", OWN), "fail", "on Spamhaus ZEN: XBL"),
        ("26.2.0.192.zen.spamhaus.org A 127.0.0.2\n26.2.0.192.zen.spamhaus.org A 127.0.0.9", ("zen", SHARED), "info", "on Spamhaus ZEN: SBL, DROP; the address is shared, so it is the ESP's to act"),
        ("example.com.dbl.spamhaus.org A 127.0.1.4", ("dbl", DOMAIN), "fail", "on Spamhaus DBL: phishing"),
        ("link.example.com.dbl.spamhaus.org A 127.0.1.104", ("dbl", "link.example.com"), "fail", "on Spamhaus DBL: abused, though legitimate"),
        ("example.net.multi.surbl.org A 127.0.0.80", ("surbl", "example.net"), "fail", "on SURBL: malware, spam"),
        ("example.net.multi.uribl.com A 127.0.0.2", ("uribl", "example.net"), "fail", "on URIBL: black"),
        ("example.net.multi.uribl.com A 127.0.0.4", ("uribl", "example.net"), "warn", "on URIBL: grey"),
        ("example.net.multi.uribl.com A 127.0.0.10", ("uribl", "example.net"), "fail", "on URIBL: black, red"),
        ("example.com.dbl.spamhaus.org A 127.255.255.254", ("dbl", DOMAIN), "unknown", "Spamhaus DBL: it answers 127.255.255.254, which is no listing"),
        ("example.com.dbl.spamhaus.org A 127.0.1.255", ("dbl", DOMAIN), "unknown", "Spamhaus DBL: it answers 127.0.1.255, which is no listing"),
        ("example.com.multi.uribl.com A 127.0.0.1", ("uribl", DOMAIN), "unknown", "URIBL: it answers 127.0.0.1, which is no listing"),
        ("example.com.multi.surbl.org A 192.0.2.80", ("surbl", DOMAIN), "unknown", "SURBL: it answers 192.0.2.80, which is no listing"),
        ("example.com.multi.surbl.org SERVFAIL", ("surbl", DOMAIN), "unknown", "DNS did not answer"),
    ],
)  # fmt: skip
def test_a_listing_is_told_of_what_is_listed_and_nothing_else(
    zones: str, key: tuple[str, str], status: str, found: str
) -> None:
    name, host = key
    assert told(TESTS + zones) == NOT_LISTED | {(f"blocklist.{name}", host): (status, found)}


def test_what_is_on_no_list_passes() -> None:
    assert told(TESTS) == NOT_LISTED


LISTING = "\nexample.com.dbl.spamhaus.org A 127.0.1.2\nexample.com.multi.uribl.com A 127.0.0.2"


@pytest.mark.parametrize(
    ("zones", "name", "found"),
    [
        (TESTS.replace("A  127.0.1.2", "A  127.255.255.254"), "dbl", "Spamhaus DBL: it answers 127.255.255.254 where dbltest.com must be listed"),
        (TESTS.replace("dbltest.com", "x"), "dbl", "Spamhaus DBL: it answers nothing where dbltest.com must be listed"),
        (TESTS + "invalid.dbl.spamhaus.org A 127.0.1.2", "dbl", "Spamhaus DBL: it lists invalid, which must not be"),
        (TESTS + "dbltest.com.dbl.spamhaus.org TIMEOUT", "dbl", "Spamhaus DBL: it does not answer"),
        (TESTS + "invalid.dbl.spamhaus.org REFUSED", "dbl", "Spamhaus DBL: it does not answer"),
        (TESTS + "1.0.0.127.zen.spamhaus.org A 127.0.0.2", "zen", "Spamhaus ZEN: it lists 127.0.0.1, which must not be"),
        (TESTS.replace("127.0.0.14", "127.0.0.1"), "uribl", "URIBL: it answers 127.0.0.1 where test.uribl.com must be listed"),
    ],
)  # fmt: skip
def test_a_list_that_fails_its_test_is_not_believed(zones: str, name: str, found: str) -> None:
    listing = {
        ("blocklist.dbl", DOMAIN): ("fail", "on Spamhaus DBL: low reputation"),
        ("blocklist.uribl", DOMAIN): ("fail", "on URIBL: black"),
    }
    assert told(zones + LISTING) == NOT_LISTED | listing | of(name, "unknown", found)


def test_addresses_of_both_kinds_are_asked_backwards_and_never_of_a_list_of_domains() -> None:
    ip = "2001:db8::25"
    asked = "5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.zen.spamhaus.org"
    subject = Subject(domain=DOMAIN, setup=SUBJECT.setup, own_ips=(ip,))
    found = check(f"{TESTS}\n{asked} A 127.0.0.3", "192.0.2.26", subject=subject)
    assert [(one.id, one.host, one.status.value) for one in found] == [
        ("blocklist.zen", ip, "fail"),
        ("blocklist.zen", SHARED, "pass"),
        *((name, DOMAIN, "pass") for name in NAMES),
    ]


def test_a_list_of_addresses_is_not_asked_when_there_are_none() -> None:
    async def run() -> list[Finding]:
        return await check_blocklists(Lookups([nameserver]), subject, [])

    subject = Subject(domain=DOMAIN, setup=SUBJECT.setup)
    with serving(TESTS) as (nameserver, zones):
        assert {one.id for one in asyncio.run(run())} == NAMES.keys()
    assert not [name for name, _ in zones.asked if name.endswith("zen.spamhaus.org")]
