"""Of the zone and the MX of a sending domain: each fault is told as what it is, and nothing else."""

import asyncio

import pytest

from config.domain_setup import DomainSetup, EspRecords, Record
from config.esp_config import EspName
from tests.dns_zones import PATIENCE_S, serving
from utils.dns import lookup
from utils.dns.findings import Finding
from utils.dns.lookup import Lookups
from utils.dns.subject import Subject
from utils.dns.zone_checks import check_zone

SOA = "ns1.example.net. dns.example.net. 1 3600 600 86400 300"
NAMESERVERS = """
ns1.example.net  A     192.0.2.53
ns2.example.net  AAAA  2001:db8::53
"""
GOOD = f"""
example.com         SOA    {SOA}
example.com         NS     ns1.example.net.
example.com         NS     ns2.example.net.
example.com         MX     10 mail.example.com.
example.com         TXT    "v=spf1 mx ~all"
mail.example.com    A      192.0.2.1
bounce.example.com  MX     10 feedback-smtp.eu-west-1.amazonses.com.
{NAMESERVERS}
"""
SETUP = DomainSetup(
    domain="example.com",
    mx=(Record(host="@", type="MX", value="10 mail.example.com."),),
    esps={
        EspName.SES: EspRecords(
            return_path=(
                Record(host="bounce", type="MX", value="10 feedback-smtp.eu-west-1.amazonses.com"),
            )
        )
    },
)
SUBJECT = Subject(domain="example.com", setup=SETUP, esps=(EspName.SES,))

Told = dict[tuple[str, str], tuple[str, str]]
"""By id and host: the status, and what was found."""

ALL_GOOD: Told = {
    ("from.mx", "example.com"): ("pass", "10 mail.example.com"),
    ("mx.cname", "example.com"): ("pass", "mail.example.com"),
    ("mx.ip", "example.com"): ("pass", "mail.example.com"),
    ("mx.noaddr", "example.com"): ("pass", "mail.example.com"),
    ("mx.private", "example.com"): ("pass", "mail.example.com"),
    ("mx.dup", "example.com"): ("pass", "mail.example.com"),
    ("from.soa", "example.com"): ("pass", "SOA of example.com"),
    ("from.soa", "bounce.example.com"): ("pass", "SOA of example.com"),
    ("ns.count", "example.com"): ("pass", "ns1.example.net, ns2.example.net"),
    ("ns.lame", "example.com"): (
        "pass",
        "all have an address; whether each answers for the zone was not looked at",
    ),
    ("ttl.low", "example.com"): ("pass", "300 to 300 s"),
    ("ttl.high", "example.com"): ("pass", "300 to 300 s"),
    ("cname.apex", "example.com"): ("pass", "no CNAME"),
    ("dnssec.bogus", "example.com"): ("pass", "not signed"),
}
MX_RULES = ("mx.cname", "mx.ip", "mx.noaddr", "mx.private", "mx.dup")
SILENT = ("unknown", "DNS did not answer")


def told(findings: list[Finding]) -> Told:
    return {(one.id, one.host): (one.status.value, one.found) for one in findings}


def check(zones: str, subject: Subject = SUBJECT) -> list[Finding]:
    async def run() -> list[Finding]:
        return await check_zone(Lookups([nameserver]), subject)

    with serving(zones) as (nameserver, _):
        return asyncio.run(run())


def without(*starts: str) -> str:
    """The good zone without the lines that begin so."""
    lines = [" ".join(line.split()) for line in GOOD.splitlines()]
    return "\n".join(line for line in lines if not line.startswith(starts))


def hosts(found: str, **others: tuple[str, str]) -> Told:
    """What is told of MX hosts: `found` passes in every rule but `others` (`mx_cname=…`)."""
    by_id = {name.replace("_", "."): told for name, told in others.items()}
    return {(rule, "example.com"): by_id.get(rule, ("pass", found)) for rule in MX_RULES}


def of(name: str, status: str, found: str) -> Told:
    return {(name, "example.com"): (status, found)}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "DEADLINE_S", PATIENCE_S)


@pytest.mark.parametrize(
    ("zones", "changes"),
    [
        pytest.param(GOOD, {}, id="good"),
        pytest.param(
            without("example.com MX") + "\nexample.com MX 10 other.example.com."
            "\nother.example.com A 192.0.2.2",
            of("from.mx", "warn", "10 other.example.com") | hosts("other.example.com"),
            id="not the MX of the set-up",
        ),
        pytest.param(
            GOOD + "example.com MX 20 192.0.2.1.",
            of("from.mx", "pass", "10 mail.example.com, 20 192.0.2.1")
            | hosts(
                "mail.example.com, 192.0.2.1",
                mx_ip=("warn", "192.0.2.1: an address"),
            ),
            id="an address for a host",
        ),
        pytest.param(
            GOOD + "example.com MX 20 mx.example.com.\nmx.example.com CNAME mail.example.com.",
            of("from.mx", "pass", "10 mail.example.com, 20 mx.example.com")
            | hosts(
                "mail.example.com, mx.example.com",
                mx_cname=("warn", "mx.example.com: CNAME mail.example.com"),
            ),
            id="an alias for a host",
        ),
        pytest.param(
            GOOD + "example.com MX 5 gone.example.com.",
            of("from.mx", "pass", "10 mail.example.com, 5 gone.example.com")
            | hosts(
                "gone.example.com, mail.example.com",
                mx_noaddr=("warn", "gone.example.com: no address"),
            ),
            id="one host without address",
        ),
        pytest.param(
            without("mail.example.com A"),
            of("from.mx", "fail", "no host with an address: 10 mail.example.com")
            | of("mx.noaddr", "warn", "mail.example.com: no address"),
            id="no host with an address",
        ),
        pytest.param(
            GOOD + "mail.example.com A 10.1.2.3\nmail.example.com AAAA fe80::1",
            of("mx.private", "warn", "mail.example.com: 10.1.2.3, fe80::1"),
            id="private addresses",
        ),
        pytest.param(
            GOOD + "example.com MX 20 mail.example.com.",
            of("from.mx", "pass", "10 mail.example.com, 20 mail.example.com")
            | of("mx.dup", "warn", "mail.example.com: 2 times"),
            id="a host twice",
        ),
        pytest.param(
            GOOD + "example.com MX 0 .",
            of("from.mx", "fail", "a null MX beside others: 0 ., 10 mail.example.com"),
            id="null MX beside others",
        ),
        pytest.param(
            without("mail.example.com A") + "\nmail.example.com A TIMEOUT",
            {("from.mx", "example.com"): SILENT}
            | {(rule, "example.com"): SILENT for rule in ("mx.cname", "mx.noaddr", "mx.private")},
            id="a host that does not answer",
        ),
        pytest.param(
            GOOD + "example.com MX SERVFAIL",
            {(rule, "example.com"): SILENT for rule in ("from.mx", *MX_RULES)},
            id="MX not answered",
        ),
        pytest.param(
            without("bounce"),
            {("from.soa", "bounce.example.com"): ("fail", "no such name")},
            id="no return path",
        ),
        pytest.param(
            without("bounce") + "\nbounce.example.com CNAME gone.example.net.",
            {("from.soa", "bounce.example.com"): ("fail", "no such name")},
            id="return path leads nowhere",
        ),
        pytest.param(
            without("bounce") + f"\nbounce.example.com CNAME example.net.\nexample.net SOA {SOA}",
            {},
            id="return path in a zone of the ESP's",
        ),
        pytest.param(
            without("example.com NS ns2"),
            of("ns.count", "warn", "ns1.example.net"),
            id="one name server",
        ),
        pytest.param(
            without("ns2.example.net"),
            of("ns.lame", "warn", "no address: ns2.example.net"),
            id="a name server without address",
        ),
        pytest.param(
            without("ns2.example.net") + "\nns2.example.net TIMEOUT",
            {("ns.lame", "example.com"): SILENT},
            id="a name server of which nothing is told",
        ),
        pytest.param(
            GOOD + "_dmarc.example.com 60 TXT v=DMARC1",
            of("ttl.low", "info", "in the resolver's memory for TXT _dmarc.example.com: 60 s")
            | of("ttl.high", "pass", "60 to 300 s"),
            id="low TTL",
        ),
        pytest.param(
            GOOD + "_dmarc.example.com 172800 TXT v=DMARC1",
            of("ttl.low", "pass", "300 to 172800 s")
            | of("ttl.high", "warn", "TXT _dmarc.example.com: 172800 s"),
            id="high TTL",
        ),
        pytest.param(
            GOOD + "_dmarc.example.com CNAME dmarc.example.net.\ndmarc.example.net 9 TXT x",
            {},
            id="TTL of somebody else",
        ),
        pytest.param(
            GOOD + "example.com DS 1 8 2 " + "ab" * 32,
            of("dnssec.bogus", "info", "signed; this resolver checks no signatures"),
            id="signed, not checked",
        ),
        pytest.param(
            GOOD + "example.com VALIDATED",
            of("dnssec.bogus", "pass", "signed, and the signatures hold"),
            id="signed and checked",
        ),
        pytest.param(
            GOOD + "example.com SOA BOGUS",
            of("dnssec.bogus", "fail", "SERVFAIL, but an answer when signatures are not checked")
            | {(rule, "example.com"): SILENT for rule in ("from.soa", "ns.count", "ns.lame")}
            | {("from.soa", "bounce.example.com"): SILENT},
            id="broken signature",
        ),
        pytest.param(
            GOOD + "example.com SOA SERVFAIL",
            {
                (rule, "example.com"): SILENT
                for rule in ("from.soa", "ns.count", "ns.lame", "dnssec.bogus")
            }
            | {("from.soa", "bounce.example.com"): SILENT},
            id="a server that is down",
        ),
        pytest.param(
            "\n".join(
                f"{name} SERVFAIL"
                for name in ("example.com", "_dmarc.example.com", "bounce.example.com")
            ),
            dict.fromkeys(ALL_GOOD, SILENT),
            id="nothing answers",
        ),
    ],
)
def test_each_fault_is_told_and_nothing_else(zones: str, changes: Told) -> None:
    assert told(check(zones)) == ALL_GOOD | changes


BARE = Subject(domain="example.com", setup=DomainSetup(domain="example.com"))
ZONE = without("example.com MX", "bounce")


@pytest.mark.parametrize(
    ("zones", "status", "found", "remedy"),
    [
        (
            f"{ZONE}\nexample.com A 192.0.2.7",
            "info",
            "no MX, but an address: 192.0.2.7",
            "Publish at example.com MX 10 <your mail host>, so that replies and bounces arrive.",
        ),
        (
            ZONE,
            "fail",
            "neither MX nor address",
            "Publish at example.com MX 10 <your mail host>, so that replies and bounces arrive.",
        ),
        (
            f"{ZONE}\nexample.com MX 0 .",
            "fail",
            "a null MX: the domain takes no mail",
            "Publish at example.com MX 10 <your mail host>, so that replies and bounces arrive.",
        ),
        (
            f"{ZONE}\nexample.com A TIMEOUT",
            "unknown",
            "DNS did not answer",
            "Nothing to change unless it stays so: DNS did not answer for example.com.",
        ),
    ],
    ids=["address", "nothing", "null MX", "no answer"],
)
def test_without_a_host_there_is_nothing_more_to_tell_of_the_mx(
    zones: str, status: str, found: str, remedy: str
) -> None:
    findings = [one for one in check(zones, BARE) if one.id.startswith(("from.mx", "mx."))]
    assert [(one.id, one.status.value, one.found, one.remedy) for one in findings] == [
        ("from.mx", status, found, remedy)
    ]


def news(zones: str) -> Told:
    domain = "news.example.com"
    return told(check(zones, Subject(domain=domain, setup=DomainSetup(domain=domain))))


def test_a_subdomain_is_in_the_zone_above_it() -> None:
    found = news(GOOD + "news.example.com MX 10 mail.example.com.")
    assert found[("from.soa", "news.example.com")] == ("pass", "SOA of example.com")
    assert found[("ns.count", "example.com")][0] == "pass"


def test_a_domain_that_is_an_alias_is_warned_of() -> None:
    found = news(GOOD + "news.example.com CNAME mail.example.com.")
    assert found[("cname.apex", "news.example.com")] == ("warn", "CNAME mail.example.com")


@pytest.mark.parametrize(
    ("zones", "found"),
    [
        ("com SOA a. b. 1 1 1 1 1\nexample.net A 192.0.2.1", "no such name"),
        ("com SOA a. b. 1 1 1 1 1\nexample.com A 192.0.2.1", "no SOA"),
    ],
    ids=["nobody has registered it", "not a zone"],
)
def test_the_zone_of_the_registry_is_not_that_of_the_domain(zones: str, found: str) -> None:
    assert told(check(zones, BARE))[("from.soa", "example.com")] == ("fail", found)


def test_a_hostile_number_of_hosts_costs_a_few_questions() -> None:
    async def run() -> int:
        lookups = Lookups([nameserver])
        await check_zone(lookups, BARE)
        return lookups.count

    many = "\n".join(f"example.com MX {n} {n}.example.com." for n in range(300))
    with serving(f"{ZONE}\n{many}") as (nameserver, _):
        assert asyncio.run(run()) < 60
