"""What a domain ought to publish is told with its state, and never with an invented value."""

import asyncio
from typing import Any

import dns.zone
import pytest

from config.domain_setup import DomainSetup, EspRecords, Record
from config.esp_config import EspName
from tests.dns_zones import serving
from utils.dns.findings import Status
from utils.dns.instructions import as_text, as_zone, dmarc_ramp
from utils.dns.lookup import Answer, Found, Lookups
from utils.dns.publishing import Advice, advice, is_published, merged_spf, presented
from utils.dns.subject import Subject

SENDGRID, SES, POSTMARK = EspName.SENDGRID, EspName.SES, EspName.POSTMARK
KEY = "k=rsa;p=" + "A" * 392
SETUP = DomainSetup(
    domain="example.com",
    dmarc=Record(
        host="_dmarc", type="TXT", value="v=DMARC1; p=quarantine; rua=mailto:d@example.com"
    ),
    mx=(Record(host="@", type="MX", value="10 mx.example.com"),),
    esps={
        SENDGRID: EspRecords(
            dkim=(
                Record(
                    host="s1._domainkey", type="CNAME", value="s1.domainkey.u7.wl1.sendgrid.net"
                ),
                Record(host="s2._domainkey", type="CNAME", value=None),
            ),
            return_path=(Record(host="em7", type="CNAME", value="u7.wl1.sendgrid.net"),),
            tracking=(Record(host="url7", type="CNAME", value="sendgrid.net"),),
        ),
        POSTMARK: EspRecords(dkim=(Record(host="20260101pm._domainkey", type="TXT", value=KEY),)),
    },
)
ZONES = f"""
example.com                       TXT   "v=spf1 mx ~all"
example.com                       MX    10 other.example.com.
_dmarc.example.com                TXT   "v=DMARC1; p=none"
s1._domainkey.example.com         CNAME S1.domainkey.u7.wl1.sendgrid.net.
s1.domainkey.u7.wl1.sendgrid.net  TXT   "k=rsa; p=AAAA"
s2._domainkey.example.com         CNAME who.knows.example.net.
em7.example.com                   CNAME gone.sendgrid.net.
url7.example.com                  SERVFAIL
20260101pm._domainkey.example.com TXT   "k=rsa; " "p={"A" * 200}" "{"A" * 192}"
bounce.example.com                TXT   "v=spf1 include:amazonses.com ~all"
"""


def advised(subject: Subject, zones: str = ZONES) -> list[Advice]:
    async def asked() -> list[Advice]:
        return await advice(Lookups([nameserver], deadline_s=3), subject)

    with serving(zones) as (nameserver, _):
        return asyncio.run(asked())


def test_each_record_is_told_with_its_state() -> None:
    esps = (SENDGRID, SES, POSTMARK)
    told = advised(Subject(domain="example.com", setup=SETUP, esps=esps, ses_region="eu-west-1"))
    assert [(str(one.esp), one.purpose, one.host, one.type, one.value, one.status.value) for one in told] == [
        ("sendgrid", "dkim", "s1._domainkey", "CNAME", "s1.domainkey.u7.wl1.sendgrid.net", "pass"),
        ("sendgrid", "dkim", "s2._domainkey", "CNAME", None, "info"),
        ("sendgrid", "return_path", "em7", "CNAME", "u7.wl1.sendgrid.net", "fail"),
        ("sendgrid", "tracking", "url7", "CNAME", "sendgrid.net", "unknown"),
        ("ses", "dkim", "<token 1>._domainkey", "CNAME", None, "unknown"),
        ("ses", "dkim", "<token 2>._domainkey", "CNAME", None, "unknown"),
        ("ses", "dkim", "<token 3>._domainkey", "CNAME", None, "unknown"),
        ("ses", "return_path", "bounce", "MX", "10 feedback-smtp.eu-west-1.amazonses.com", "fail"),
        ("ses", "return_path", "bounce", "TXT", "v=spf1 include:amazonses.com ~all", "pass"),
        ("postmark", "dkim", "20260101pm._domainkey", "TXT", KEY, "pass"),
        ("postmark", "return_path", "pm-bounces", "CNAME", "pm.mtasv.net", "fail"),
        ("None", "spf", "@", "TXT", "v=spf1 mx ~all", "pass"),
        ("None", "dmarc", "_dmarc", "TXT", "v=DMARC1; p=quarantine; rua=mailto:d@example.com", "fail"),
        ("None", "mx", "@", "MX", "10 mx.example.com", "fail"),
    ]  # fmt: skip


def test_a_record_is_told_whole() -> None:
    [first, *_] = advised(Subject(domain="example.com", setup=SETUP, esps=(SENDGRID,)))
    assert first.as_dict() == {
        "esp": "sendgrid",
        "purpose": "dkim",
        "host": "s1._domainkey",
        "fqdn": "s1._domainkey.example.com",
        "type": "CNAME",
        "value": "s1.domainkey.u7.wl1.sendgrid.net",
        "ttl": 3600,
        "why": first.why,
        "verify": "dig +short CNAME s1._domainkey.example.com",
        "status": "pass",
    }


def test_an_empty_domain_is_told_what_to_begin_with() -> None:
    told = advised(Subject(domain="new.example", setup=DomainSetup(domain="new.example")), "")
    assert [(one.purpose, one.value, one.status, one.ttl) for one in told] == [
        ("spf", "v=spf1 ~all", Status.FAIL, 300),
        ("dmarc", "v=DMARC1; p=none; rua=mailto:dmarc@new.example", Status.FAIL, 300),
    ]


@pytest.mark.parametrize(
    ("texts", "has_mx", "merged"),
    [
        ([], False, "v=spf1 ~all"),
        (["google-site-verification=x"], True, "v=spf1 mx ~all"),
        (["v=spf1 +all"], True, "v=spf1 +all"),
        (["v=spf1 a ~all", "V=SPF1 ip4:192.0.2.1 a -all"], True, "v=spf1 a ip4:192.0.2.1 ~all"),
        (["v=spf1 a -all", "v=spf1 mx -all"], True, "v=spf1 a mx -all"),
        (["v=spf1 -all", "v=spf1"], False, "v=spf1 -all"),
        (["v=spf10 a", "v=spf1 a"], False, "v=spf1 a"),
    ],
)
def test_several_spf_records_become_one(texts: list[str], has_mx: bool, merged: str) -> None:
    assert merged_spf(texts, has_mx=has_mx) == merged


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        ("CNAME", "u7.sendgrid.net", "u7.sendgrid.net."),
        ("MX", "10 mx.example.com.", "10 mx.example.com."),
        ("A", "192.0.2.1", "192.0.2.1"),
        ("TXT", 'say "no\\"', '"say \\"no\\\\\\""'),
        ("TXT", "", '""'),
        ("TXT", "a\n\x1b[1m\udcff\u2028;", '"a\\010\\027[1m\\255\\226\\128\\168;"'),
        ("TXT", "a" * 255, f'"{"a" * 255}"'),
        ("TXT", "a" * 256, f'"{"a" * 255}" "a"'),
        ("TXT", "a" * 254 + "ü", f'"{"a" * 254}" "ü"'),
    ],
)
def test_values_are_told_as_a_zone_file_has_them(kind: str, value: str, told: str) -> None:
    assert presented(kind, value) == told


@pytest.mark.parametrize(
    ("kind", "value", "records", "published"),
    [
        ("CNAME", "U7.SendGrid.net.", ["u7.sendgrid.net"], True),
        ("CNAME", "u7.sendgrid.net", ["u8.sendgrid.net"], False),
        ("MX", "10  mx.example.com", ["10 mx.example.com", "20 b.example.com"], True),
        ("MX", "20 mx.example.com", ["10 mx.example.com"], False),
        ("TXT", "k=rsa; p=AB", ["other", "k=rsa;p=AB"], True),
        ("TXT", "k=rsa; p=AB", ["k=rsa; p=ab"], False),
        ("TXT", None, ["k=rsa; p=ab"], False),
    ],
)
def test_a_record_is_known_again_in_any_spelling(
    kind: str, value: str | None, records: list[str], published: bool
) -> None:
    answer = Answer(found=Found.OK, records=tuple(records))
    assert is_published(Record(host="x", type=kind, value=value), answer) is published


@pytest.mark.parametrize(
    ("policy", "step"),
    [
        ("", 1),
        ("v=DMARC1; p=none", 1),
        ("v=DMARC1; p=quarantine; t=y; rua=mailto:a@b.example", 2),
        ("v=DMARC1; p=Quarantine", 3),
        ("v=DMARC1;p=reject", 4),
        ("v=DMARC1; p=none; rua=mailto:a@b.example\n\x1b[1m", 1),
    ],
)
def test_the_ramp_says_where_you_are(policy: str, step: int) -> None:
    here = Advice(
        esp=None,
        purpose="dmarc",
        host="_dmarc",
        fqdn="_dmarc.example.com",
        type="TXT",
        value=policy,
        status=Status.PASS,
    )
    lines = dmarc_ramp("example.com", [here]).split("\n")
    assert all(line.isprintable() for line in lines)
    [marked] = [line for line in lines if line.startswith("->")]
    assert marked.startswith(f"-> {step}. v=DMARC1; ")
    assert ("rua=mailto:a@b.example" in marked) == ("a@b" in policy)


def test_a_text_and_a_zone_say_it_for_people_and_for_servers() -> None:
    told = advised(Subject(domain="example.com", setup=SETUP, esps=(SENDGRID, POSTMARK)))
    text, zone = as_text("example.com", told), as_zone("example.com", told)
    assert "value   copy it from SendGrid: Settings > Sender Authentication" in text
    assert f'value   "{KEY[:255]}" "{KEY[255:]}"' in text
    assert "3 of 9 are published as they should be." in text
    lines = zone.splitlines()
    assert lines[0] == "$ORIGIN example.com."
    assert "em7 300 IN CNAME u7.wl1.sendgrid.net." in lines
    assert f'20260101pm._domainkey 3600 IN TXT "{KEY[:255]}" "{KEY[255:]}"' in lines
    assert parsed(zone) == 8


def parsed(zone: str) -> int:
    """Records that dnspython reads from it."""
    read: Any = dns.zone.from_text(
        zone, origin="example.com.", check_origin=False, relativize=False
    )
    return sum(len(rdataset) for _, rdataset in read.iterate_rdatasets())
