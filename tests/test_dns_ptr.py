"""An address that sends for us alone has a name of ours, which leads back to it."""

import asyncio

import pytest

from config.domain_setup import DomainSetup
from tests.dns_zones import PATIENCE_S, serving
from utils.dns import lookup
from utils.dns.findings import Finding
from utils.dns.lookup import Lookups
from utils.dns.ptr_checks import check_ptr, is_generic
from utils.dns.subject import Subject

IP, HOST = "192.0.2.25", "25.2.0.192.in-addr.arpa"
IP6, HOST6 = (
    "2001:db8::25",
    "5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
)
NAMED = f"{HOST} PTR mta.example.com.\n"


def check(zones: str, *ips: str) -> list[Finding]:
    async def run() -> list[Finding]:
        return await check_ptr(Lookups([nameserver]), subject)

    subject = Subject(domain="example.com", setup=DomainSetup(domain="example.com"), own_ips=ips)
    with serving(zones) as (nameserver, _):
        return asyncio.run(run())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "DEADLINE_S", PATIENCE_S)


@pytest.mark.parametrize(
    ("zones", "status", "found", "remedy"),
    [
        (f"{NAMED}mta.example.com A {IP}", "pass", "mta.example.com", ""),
        (f"{NAMED}{HOST} PTR old.example.com.\nmta.example.com A {IP}", "pass", "mta.example.com, old.example.com", ""),
        ("2.0.192.in-addr.arpa TXT x", "fail", "no PTR", f"Have whoever rents {IP} to you set its PTR to a host of yours with that address."),
        (f"{NAMED}mta.example.com A 192.0.2.26", "fail", f"mta.example.com: does not lead back to {IP}", f"Publish mta.example.com A {IP}, or have the PTR of {IP} name another host."),
        (NAMED, "fail", f"mta.example.com: does not lead back to {IP}", f"Publish mta.example.com A {IP}, or have the PTR of {IP} name another host."),
        (f"{HOST} PTR 192-0-2-25.isp.example.\n192-0-2-25.isp.example A {IP}", "fail", "192-0-2-25.isp.example: a name of the provider's", f"Have the PTR of {IP} set to a host of yours: such names look like a home line."),
        (f"{HOST} SERVFAIL", "unknown", "DNS did not answer", f"Nothing to change unless it stays so: DNS did not answer for {HOST}."),
        (f"{NAMED}mta.example.com A TIMEOUT", "unknown", "DNS did not answer", f"Nothing to change unless it stays so: DNS did not answer for {HOST}."),
    ],
)  # fmt: skip
def test_the_name_of_an_address_leads_back_to_it(
    zones: str, status: str, found: str, remedy: str
) -> None:
    [ptr] = check(zones, IP)
    assert (ptr.id, ptr.host, ptr.esp) == (f"ptr.{IP}", HOST, None)
    assert (ptr.status.value, ptr.found, ptr.remedy) == (status, found, remedy)


def test_both_kinds_of_addresses_are_looked_at_and_no_shared_one() -> None:
    zones = (
        f"{NAMED}{HOST6} PTR mta.example.com.\nmta.example.com A {IP}\nmta.example.com AAAA {IP6}"
    )
    found = [(one.id, one.host, one.status.value) for one in check(zones, IP, IP6)]
    assert found == [(f"ptr.{IP}", HOST, "pass"), (f"ptr.{IP6}", HOST6, "pass")]
    assert check(zones) == []


@pytest.mark.parametrize(
    ("name", "ip", "generic"),
    [
        ("mta.example.com", IP, False),
        ("mta25.example.com", IP, False),
        ("o1.ptr192.example.com", IP, False),
        ("liverpool.example.com", IP, False),
        ("mail-2.0.example.com", IP, False),
        ("192-0-2-25.isp.example", IP, True),
        ("ip-25.2.0.192.isp.example", IP, True),
        ("static_192_000_002_025.isp.example", IP, True),
        ("host192000002025.isp.example", IP, True),
        ("c0000219.isp.example", IP, True),
        ("1192-0-2-25.isp.example", IP, False),
        ("customer-dhcp.isp.example", IP, True),
        ("pool3.isp.example", IP, True),
        ("mta.example.com", IP6, False),
        ("2001-0db8-0000-0000-0000-0000-0000-0025.isp.example", IP6, True),
    ],
)  # fmt: skip
def test_a_name_with_the_address_in_it_is_the_providers(name: str, ip: str, generic: bool) -> None:
    assert is_generic(name, ip) is generic
