"""Counted links lead where the ESP counts them, and to nobody who could take them over."""

import asyncio

import pytest

from config.domain_setup import DomainSetup, EspRecords, Record
from config.esp_config import EspName
from tests.dns_zones import PATIENCE_S, serving
from utils.dns import lookup
from utils.dns.findings import Finding
from utils.dns.lookup import Lookups
from utils.dns.subject import Subject
from utils.dns.tracking_checks import check_tracking

SENDGRID, SES, POSTMARK = EspName.SENDGRID, EspName.SES, EspName.POSTMARK
THERE = """
sendgrid.net                  A     192.0.2.1
r.eu-west-1.awstrack.me       AAAA  2001:db8::1
r.us-east-1.awstrack.me       A     192.0.2.2
d1.cloudfront.net             A     192.0.2.3
"""


def check(zones: str, esp: EspName, *records: Record) -> list[Finding]:
    async def run() -> list[Finding]:
        return await check_tracking(Lookups([nameserver]), subject, esp)

    setup = DomainSetup(domain="example.com", esps={esp: EspRecords(tracking=records)})
    subject = Subject(domain="example.com", setup=setup, esps=(esp,), ses_region="eu-west-1")
    with serving(THERE + zones) as (nameserver, _):
        return asyncio.run(run())


def link(value: str | None, kind: str = "CNAME") -> Record:
    return Record(host="link", type=kind, value=value)


def to(target: str) -> str:
    return f"link.example.com CNAME {target}."


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "DEADLINE_S", PATIENCE_S)


SILENT = ("unknown", "DNS did not answer")
SENDGRID_AT = ("pass", "CNAME sendgrid.net"), ("pass", "192.0.2.1")


@pytest.mark.parametrize(
    ("zones", "esp", "record", "cname", "resolves"),
    [
        (to("sendgrid.net"), SENDGRID, link("Sendgrid.net."), *SENDGRID_AT),
        (to("sendgrid.net"), SENDGRID, link(None), *SENDGRID_AT),
        (to("r.eu-west-1.awstrack.me"), SES, link(None), ("pass", "CNAME r.eu-west-1.awstrack.me"), ("pass", "2001:db8::1")),
        (to("d1.cloudfront.net"), SES, link("d1.cloudfront.net"), ("pass", "CNAME d1.cloudfront.net"), ("pass", "192.0.2.3")),
        (to("d1.cloudfront.net"), SES, link(None), ("warn", "CNAME d1.cloudfront.net"), ("pass", "192.0.2.3")),
        (to("d1.cloudfront.net"), POSTMARK, link(None), ("pass", "CNAME d1.cloudfront.net"), ("pass", "192.0.2.3")),
        (to("x.example.com") + "\nx.example.com CNAME sendgrid.net.", SENDGRID, link("sendgrid.net"), ("pass", "CNAME x.example.com"), ("pass", "192.0.2.1")),
        (to("notsendgrid.net") + "\nnotsendgrid.net A 192.0.2.9", SENDGRID, link(None), ("warn", "CNAME notsendgrid.net"), ("pass", "192.0.2.9")),
        ("link.example.com A 192.0.2.9", SENDGRID, link("sendgrid.net"), ("info", "addresses in place of the CNAME: 192.0.2.9"), ("pass", "192.0.2.9")),
        ("link.example.com A 192.0.2.9", SENDGRID, link("192.0.2.9", "A"), ("pass", "A 192.0.2.9"), ("pass", "192.0.2.9")),
        ("link.example.com A 192.0.2.9", SENDGRID, link("192.0.2.8", "A"), ("warn", "A 192.0.2.9"), ("pass", "192.0.2.9")),
        ("example.com A 192.0.2.9", SENDGRID, link("sendgrid.net"), ("warn", "nxdomain"), ("warn", "no address")),
        ("link.example.com TXT x", SENDGRID, link("sendgrid.net"), ("warn", "nodata"), ("warn", "no address")),
        (to("u1.sendgrid.net"), SENDGRID, link(None), ("pass", "CNAME u1.sendgrid.net"), ("fail", "CNAME u1.sendgrid.net, which does not exist")),
        (to("u1.sendgrid.net") + "\nu1.sendgrid.net TXT x", SENDGRID, link(None), ("pass", "CNAME u1.sendgrid.net"), ("warn", "CNAME u1.sendgrid.net, which has no address")),
        (to("link.example.com"), SENDGRID, link("sendgrid.net"), ("warn", "CNAME link.example.com"), ("fail", "CNAMEs that lead back to themselves")),
        (to("u1.sendgrid.net") + "\nlink.example.com AAAA TIMEOUT", SENDGRID, link(None), ("pass", "CNAME u1.sendgrid.net"), SILENT),
        (to("sendgrid.net") + "\nlink.example.com AAAA TIMEOUT", SENDGRID, link(None), *SENDGRID_AT),
        ("link.example.com SERVFAIL", SENDGRID, link("sendgrid.net"), SILENT, SILENT),
    ],
)  # fmt: skip
def test_a_tracking_host_leads_to_its_esp_and_resolves(
    zones: str, esp: EspName, record: Record, cname: tuple[str, str], resolves: tuple[str, str]
) -> None:
    same_org = SILENT if cname == resolves == SILENT else ("pass", "link.example.com")
    found = [
        (one.id, one.esp, one.host, one.status.value, one.found)
        for one in check(zones, esp, record)
    ]
    assert found == [
        ("track.same_org", esp, "example.com", *same_org),
        ("track.cname", esp, "link.example.com", *cname),
        ("track.resolves", esp, "link.example.com", *resolves),
    ]


def test_what_is_to_be_published_is_told() -> None:
    _, cname, resolves = check(to("u1.sendgrid.net"), SES, link(None))
    assert (cname.expected, cname.remedy) == (
        "CNAME r.eu-west-1.awstrack.me",
        "Set link.example.com to CNAME r.eu-west-1.awstrack.me.",
    )
    assert resolves.remedy == (
        "Take the CNAME of link.example.com away or set up the tracking domain at Amazon SES "
        "again: whoever gets hold of u1.sendgrid.net takes over your links."
    )


def test_without_a_host_of_ours_links_are_the_esps() -> None:
    assert check("", POSTMARK) == []
    [same_org] = check("", SENDGRID)
    assert (same_org.id, same_org.status.value, same_org.found) == (
        "track.same_org",
        "info",
        "none: counted links lead through a name of SendGrid",
    )
