"""The records at a return path: bounces reach the ESP, and no record excludes another."""

import asyncio

import pytest

from config.domain_setup import DomainSetup, EspRecords, Record
from config.esp_config import EspName
from tests.dns_zones import PATIENCE_S, serving
from utils.dns import lookup
from utils.dns.findings import Finding
from utils.dns.lookup import Lookups
from utils.dns.return_path_checks import check_return_path_records
from utils.dns.subject import Subject

SENDGRID, SES, POSTMARK = EspName.SENDGRID, EspName.SES, EspName.POSTMARK
OF_SES = "feedback-smtp.eu-west-1.amazonses.com"
SILENT = (
    "unknown",
    "DNS did not answer",
    "Nothing to change unless it stays so: DNS did not answer for rp.example.com.",
)
BOTH = """
rp.example.com  MX   10 feedback-smtp.eu-west-1.amazonses.com.
rp.example.com  TXT  "v=spf1 include:amazonses.com ~all"
"""
ALIAS = """
rp.example.com  CNAME  pm.mtasv.net.
pm.mtasv.net    TXT    "v=spf1 ~all"
pm.mtasv.net    MX     10 inbound.mtasv.net.
"""


def check(
    zones: str, esp: EspName, records: dict[str, str | None], region: str | None = None
) -> list[Finding]:
    """`records` by type, all at rp.example.com."""

    async def run() -> list[Finding]:
        return await check_return_path_records(Lookups([nameserver]), subject, esp)

    wanted = tuple(Record(host="rp", type=kind, value=value) for kind, value in records.items())
    setup = DomainSetup(domain="example.com", esps={esp: EspRecords(return_path=wanted)})
    subject = Subject(domain="example.com", setup=setup, esps=(esp,), ses_region=region)
    with serving(zones) as (nameserver, _):
        return asyncio.run(run())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "DEADLINE_S", PATIENCE_S)


MX_OF_SES = {"MX": f"10 {OF_SES}", "TXT": "v=spf1 include:amazonses.com ~all"}
MANUAL = {"MX": "10 mx.sendgrid.net", "TXT": "v=spf1 include:sendgrid.net ~all"}


@pytest.mark.parametrize(
    ("zones", "esp", "records", "region", "status", "found", "remedy"),
    [
        (BOTH, SES, MX_OF_SES, "eu-west-1", "pass", f"10 {OF_SES}", ""),
        (BOTH, SES, MX_OF_SES, None, "pass", f"10 {OF_SES}", ""),
        (BOTH, SES, {"TXT": None}, None, "pass", f"10 {OF_SES}", ""),
        (BOTH, SES, {"MX": "10 bounces.example.org"}, "eu-west-1", "fail", f"10 {OF_SES}", "Replace the MX of rp.example.com by 10 bounces.example.org."),
        (BOTH, SES, MX_OF_SES, "us-east-1", "fail", f"10 {OF_SES}", "Replace the MX of rp.example.com by 10 feedback-smtp.us-east-1.amazonses.com."),
        (BOTH + "rp.example.com MX 20 mail.example.com.", SES, MX_OF_SES, "eu-west-1", "fail", f"10 {OF_SES}, 20 mail.example.com", f"Leave at rp.example.com one MX alone: 10 {OF_SES}."),
        ("rp.example.com MX 10 mail.example.com.", SES, {"TXT": None}, None, "fail", "10 mail.example.com", "Replace the MX of rp.example.com by 10 feedback-smtp.<region>.amazonses.com."),
        ("rp.example.com TXT x", SES, MX_OF_SES, None, "fail", "nodata", f"Publish at rp.example.com MX 10 {OF_SES}."),
        ("example.com TXT x", SES, MX_OF_SES, None, "fail", "nxdomain", f"Publish at rp.example.com MX 10 {OF_SES}."),
        ("rp.example.com CNAME rp.example.com.", SES, MX_OF_SES, None, "fail", "CNAMEs that lead back to themselves", f"Publish at rp.example.com MX 10 {OF_SES}."),
        ("rp.example.com MX TIMEOUT", SES, MX_OF_SES, None, *SILENT),
        ("rp.example.com MX 10 mx.sendgrid.net.", SENDGRID, MANUAL, None, "pass", "10 mx.sendgrid.net", ""),
        ("rp.example.com MX 10 mx.sendgrid.net.", SENDGRID, {"MX": None}, None, "pass", "10 mx.sendgrid.net", ""),
        (BOTH, SENDGRID, MANUAL, None, "fail", f"10 {OF_SES}", "Replace the MX of rp.example.com by 10 mx.sendgrid.net."),
    ],
)  # fmt: skip
def test_bounces_reach_the_esp_by_the_one_mx_of_its_return_path(
    zones: str,
    esp: EspName,
    records: dict[str, str | None],
    region: str | None,
    status: str,
    found: str,
    remedy: str,
) -> None:
    _, exchange = check(zones, esp, records, region)
    assert (exchange.id, exchange.host, exchange.esp) == (f"rp.mx.{esp}", "rp.example.com", esp)
    assert (exchange.status.value, exchange.found, exchange.remedy) == (status, found, remedy)


ONLY = "Leave at rp.example.com nothing but CNAME pm.mtasv.net."


@pytest.mark.parametrize(
    ("zones", "status", "found", "remedy"),
    [
        (ALIAS, "pass", "CNAME pm.mtasv.net alone", ""),
        ("rp.example.com TXT x", "pass", "no CNAME", ""),
        ("example.com A 192.0.2.1", "pass", "no CNAME", ""),
        (ALIAS + "rp.example.com TXT x\nrp.example.com A 192.0.2.1", "fail", "CNAME pm.mtasv.net beside TXT, A", ONLY),
        ("rp.example.com CNAME SERVFAIL", *SILENT),
        (ALIAS + "rp.example.com AAAA SERVFAIL", *SILENT),
    ],
)  # fmt: skip
def test_a_cname_of_a_return_path_stands_alone(
    zones: str, status: str, found: str, remedy: str
) -> None:
    [conflict] = check(zones, POSTMARK, {"CNAME": "pm.mtasv.net"})
    assert (conflict.id, conflict.host, conflict.esp) == ("rp.conflict", "rp.example.com", POSTMARK)
    assert (conflict.status.value, conflict.found, conflict.remedy) == (status, found, remedy)


def test_nothing_is_told_of_a_return_path_that_nobody_knows() -> None:
    assert check(BOTH, SES, {}) == []
