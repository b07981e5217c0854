"""What protects mail on its way: told, never a failure, and never more than DNS can say."""

import asyncio

import pytest

from config.domain_setup import DomainSetup
from tests.dns_zones import PATIENCE_S, serving
from utils.dns import lookup
from utils.dns.findings import Finding
from utils.dns.lookup import Lookups
from utils.dns.subject import Subject
from utils.dns.transport_checks import check_transport

SOA = "ns1.example.net. dns.example.net. 1 3600 600 86400 300"
BARE = f"""
example.com       SOA   {SOA}
example.com       MX    10 mail.example.com.
mail.example.com  A     192.0.2.1
"""
KEYS = "3 1 1 " + "ab" * 32
ALL = f"""
{BARE}
_mta-sts.example.com            TXT   "v=STSv1; id=20260101T000000;"
_mta-sts.example.com            TXT   "a stranger"
mta-sts.example.com             A     192.0.2.2
_smtp._tls.example.com          TXT   "v=TLSRPTv1;rua=mailto:tls@example.com,https://example.com/tls"
default._bimi.example.com       TXT   "v=BIMI1; l=https://example.com/logo.svg; a="
_25._tcp.mail.example.com       TLSA  {KEYS}
_25._tcp.mail.example.com       VALIDATED
example.com                     DS    1 8 2 {"ab" * 32}
example.com                     CAA   0 issue "letsencrypt.org"
"""

Told = dict[str, tuple[str, str]]
"""By id: the status, and what was found."""

NONE: Told = {
    "transport.mta_sts": ("info", "none"),
    "transport.tls_rpt": ("info", "none"),
    "transport.dane": ("info", "none"),
    "transport.dnssec": ("info", "not signed"),
    "transport.caa": ("info", "none: any authority may issue certificates"),
    "brand.bimi": ("info", "none"),
}
GOOD: Told = {
    "transport.mta_sts": (
        "pass",
        "v=STSv1; id=20260101T000000;; the policy itself was not looked at",
    ),
    "transport.tls_rpt": (
        "pass",
        "v=TLSRPTv1;rua=mailto:tls@example.com,https://example.com/tls",
    ),
    "transport.dane": ("pass", "TLSA for mail.example.com; their certificates were not looked at"),
    "transport.dnssec": ("pass", "1 DS"),
    "transport.caa": ("pass", 'example.com: 0 issue "letsencrypt.org"'),
    "brand.bimi": (
        "pass",
        "v=BIMI1; l=https://example.com/logo.svg; a=; its image and certificate were not looked at",
    ),
}
SILENT = ("unknown", "DNS did not answer")


def check(zones: str, domain: str = "example.com") -> list[Finding]:
    async def run() -> list[Finding]:
        return await check_transport(Lookups([nameserver]), subject)

    subject = Subject(domain=domain, setup=DomainSetup(domain=domain))
    with serving(zones) as (nameserver, _):
        return asyncio.run(run())


def told(findings: list[Finding]) -> Told:
    return {one.id: (one.status.value, one.found) for one in findings}


def without(start: str, more: str = "") -> str:
    lines = (line for line in ALL.splitlines() if not line.startswith(start))
    return "\n".join([*lines, more])


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "DEADLINE_S", PATIENCE_S)


def test_a_domain_without_any_of_it_is_not_wrong() -> None:
    assert told(check(BARE)) == NONE


def test_what_is_there_is_told_with_what_was_not_looked_at() -> None:
    assert told(check(ALL)) == GOOD


@pytest.mark.parametrize(
    ("zones", "check_id", "status", "found"),
    [
        (without("_mta-sts", '_mta-sts.example.com TXT "v=STSv1; id=a-b"'), "transport.mta_sts", "warn", "v=STSv1; id=a-b"),
        (without("_mta-sts", '_mta-sts.example.com TXT "v=STSv1"'), "transport.mta_sts", "warn", "v=STSv1"),
        (without("_mta-sts", '_mta-sts.example.com TXT "v=STSv2; id=1"'), "transport.mta_sts", "info", "none"),
        (ALL + '_mta-sts.example.com TXT "v=STSv1; id=2"', "transport.mta_sts", "warn", "v=STSv1; id=2 | v=STSv1; id=20260101T000000;"),
        (without("mta-sts"), "transport.mta_sts", "warn", "mta-sts.example.com has no address"),
        (without("mta-sts", "mta-sts.example.com SERVFAIL"), "transport.mta_sts", *SILENT),
        (without("_smtp", '_smtp._tls.example.com TXT "v=TLSRPTv1; rua=tls@example.com"'), "transport.tls_rpt", "warn", "v=TLSRPTv1; rua=tls@example.com"),
        (without("_smtp", '_smtp._tls.example.com TXT "v=TLSRPTv1"'), "transport.tls_rpt", "warn", "v=TLSRPTv1"),
        (without("default", 'default._bimi.example.com TXT "v=BIMI1; l=http://example.com/logo.svg"'), "brand.bimi", "warn", "v=BIMI1; l=http://example.com/logo.svg"),
        (without("default", 'default._bimi.example.com TXT "v=BIMI1"'), "brand.bimi", "warn", "v=BIMI1"),
        (without("_25._tcp.mail.example.com       VALIDATED"), "transport.dane", "info", "TLSA for mail.example.com; this resolver does not vouch for signatures"),
        (ALL + "example.com MX 20 mx.example.com.", "transport.dane", "info", "TLSA for mail.example.com; none for mx.example.com"),
        (without("_25", "_25._tcp.mail.example.com TIMEOUT"), "transport.dane", *SILENT),
        (ALL + "example.com DS SERVFAIL", "transport.dnssec", *SILENT),
        (ALL + "example.com CAA SERVFAIL", "transport.caa", *SILENT),
    ],
)  # fmt: skip
def test_each_fault_is_told_and_nothing_else(
    zones: str, check_id: str, status: str, found: str
) -> None:
    assert told(check(zones)) == GOOD | {check_id: (status, found)}


def test_a_subdomain_has_the_zone_and_the_certificates_of_its_parent() -> None:
    found = told(check(ALL + "news.example.com A 192.0.2.3", "news.example.com"))
    assert found == NONE | {name: GOOD[name] for name in ("transport.caa", "transport.dnssec")}


def test_what_did_not_answer_is_unknown() -> None:
    hosts = ("", "_mta-sts.", "mta-sts.", "_smtp._tls.", "default._bimi.")
    zones = "\n".join(f"{host}example.com SERVFAIL" for host in hosts)
    assert told(check(zones)) == dict.fromkeys(GOOD, SILENT)


def test_a_remedy_says_where_and_what() -> None:
    zones = BARE + '_smtp._tls.example.com TXT "v=TLSRPTv1; rua=x"'
    remedies = {one.id: one.remedy for one in check(zones)}
    assert remedies["transport.tls_rpt"] == (
        "Correct the TXT _smtp._tls.example.com: rua= must be mailto: or https: addresses, "
        "separated by commas."
    )
    assert remedies["brand.bimi"] == (
        "If you want it, publish at default._bimi.example.com one TXT v=BIMI1; l=https://…; "
        "a=https://…, with DMARC at quarantine or reject."
    )
