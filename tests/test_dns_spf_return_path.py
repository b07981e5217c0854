"""Where each ESP's mail is judged by SPF: at its return path, by CNAME or by a record of ours."""

import asyncio
from dataclasses import dataclass, field

import pytest

from config.domain_setup import DomainSetup, EspRecords, Record
from config.esp_config import EspName
from config.values import Nameserver
from tests.dns_zones import PATIENCE_S, serving
from tests.spf_zones import UNREAD
from utils.dns import lookup
from utils.dns.findings import Finding, Status
from utils.dns.lookup import Lookups
from utils.dns.mechanism import Mechanism, Verdict
from utils.dns.spf_checks import check_return_path
from utils.dns.spf_findings import RULES
from utils.dns.subject import Subject

PASS, WARN, FAIL, UNKNOWN = Status.PASS, Status.WARN, Status.FAIL, Status.UNKNOWN
SENDGRID, SES, POSTMARK = EspName
D = "d.example"
TARGET = "u7.wl001.sendgrid.net"
EM = (Record(host="em1", type="CNAME", value=TARGET),)
EM_UNTOLD = (Record(host="em1", type="CNAME", value=None),)
EM_BY_HAND = (
    Record(host="em1", type="MX", value="10 mx.sendgrid.net"),
    Record(host="em1", type="TXT", value="v=spf1 include:u7.sendgrid.net ~all"),
)
BOUNCE = (
    Record(host="bounce", type="MX", value="10 feedback-smtp.eu-west-1.amazonses.com"),
    Record(host="bounce", type="TXT", value=None),
)
PM = (Record(host="pm-bounces", type="CNAME", value=None),)
THEIRS = """
    u7.wl001.sendgrid.net TXT "v=spf1 ip4:192.0.2.7 -all"
    u7.sendgrid.net       TXT "v=spf1 ip4:192.0.2.7 -all"
    sendgrid.net          TXT "v=spf1 ip4:192.0.2.0/24 ~all"
    amazonses.com         TXT "v=spf1 ip4:198.51.100.0/24 -all"
    pm.mtasv.net          TXT "v=spf1 include:spf.mtasv.net ~all"
    spf.mtasv.net         TXT "v=spf1 ip4:203.0.113.0/24 ~all"
"""
MISSING, INCLUDE = "spf.rp.missing", "spf.rp.include"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    name: str
    esp: EspName
    records: tuple[Record, ...]
    zone: str = ""
    said: dict[str, Status] = field(default_factory=dict)
    """What does not pass; all that is said where no record can be looked at."""
    verdict: Verdict = Verdict.WORKS


CASES = [
    Case(name="SendGrid", esp=SENDGRID, records=EM, zone=f"em1.d.example CNAME {TARGET}."),
    Case(
        name="SendGrid, by way of another name",
        esp=SENDGRID,
        records=EM,
        zone=f"em1.d.example CNAME em.e.example.\nem.e.example CNAME {TARGET.upper()}.",
    ),
    Case(
        name="SendGrid, target untold",
        esp=SENDGRID,
        records=EM_UNTOLD,
        zone=f"em1.d.example CNAME {TARGET}.",
    ),
    Case(
        name="SendGrid, target untold and another's",
        esp=SENDGRID,
        records=EM_UNTOLD,
        zone='em1.d.example CNAME notsendgrid.net.\nnotsendgrid.net TXT "v=spf1 -all"',
        said={MISSING: FAIL},
        verdict=Verdict.BROKEN,
    ),
    Case(
        name="SendGrid, wrong target",
        esp=SENDGRID,
        records=EM,
        zone='em1.d.example CNAME u8.wl001.sendgrid.net.\nu8.wl001.sendgrid.net TXT "v=spf1 -all"',
        said={MISSING: FAIL},
        verdict=Verdict.BROKEN,
    ),
    Case(
        name="SendGrid, dangling",
        esp=SENDGRID,
        records=(Record(host="em1", type="CNAME", value="u9.wl001.sendgrid.net"),),
        zone="em1.d.example CNAME u9.wl001.sendgrid.net.",
        said={MISSING: FAIL},
        verdict=Verdict.BROKEN,
    ),
    Case(
        name="SendGrid, nothing there",
        esp=SENDGRID,
        records=EM,
        said={MISSING: FAIL},
        verdict=Verdict.BROKEN,
    ),
    Case(
        name="SendGrid, CNAME loop",
        esp=SENDGRID,
        records=EM,
        zone="em1.d.example CNAME em2.d.example.\nem2.d.example CNAME em1.d.example.",
        said={MISSING: FAIL},
        verdict=Verdict.BROKEN,
    ),
    Case(
        name="SendGrid, SERVFAIL",
        esp=SENDGRID,
        records=EM,
        zone="em1.d.example SERVFAIL",
        said={MISSING: UNKNOWN, "spf.temperror": UNKNOWN},
        verdict=Verdict.UNKNOWN,
    ),
    Case(
        name="SendGrid, target does not answer",
        esp=SENDGRID,
        records=EM,
        zone=f"em1.d.example CNAME {TARGET}.\nem1.d.example TXT SERVFAIL",
        said={MISSING: UNKNOWN, "spf.temperror": UNKNOWN},
        verdict=Verdict.UNKNOWN,
    ),
    Case(
        name="SendGrid, wrong target that does not answer",
        esp=SENDGRID,
        records=EM,
        zone="em1.d.example CNAME e.example.\nem1.d.example TXT SERVFAIL",
        said={MISSING: FAIL},
        verdict=Verdict.BROKEN,
    ),
    Case(
        name="SendGrid, a record of ours instead",
        esp=SENDGRID,
        records=EM,
        zone='em1.d.example TXT "v=spf1 include:sendgrid.net ~all"',
        said={MISSING: WARN},
    ),
    Case(
        name="SendGrid by hand",
        esp=SENDGRID,
        records=EM_BY_HAND,
        zone='em1.d.example TXT "v=spf1 include:U7.sendgrid.net ~all"',
    ),
    Case(
        name="SendGrid by hand, include of another account",
        esp=SENDGRID,
        records=EM_BY_HAND,
        zone='em1.d.example TXT "v=spf1 include:sendgrid.net ~all"',
        said={INCLUDE: FAIL},
        verdict=Verdict.BROKEN,
    ),
    Case(
        name="SES",
        esp=SES,
        records=BOUNCE,
        zone='bounce.d.example TXT "v=spf1 include:amazonses.com ~all"',
    ),
    Case(
        name="SES, redirect",
        esp=SES,
        records=BOUNCE,
        zone='bounce.d.example TXT "v=spf1 redirect=amazonses.com"',
    ),
    Case(
        name="SES, no record",
        esp=SES,
        records=BOUNCE,
        zone="bounce.d.example MX 10 feedback-smtp.eu-west-1.amazonses.com.",
        said={MISSING: FAIL},
        verdict=Verdict.BROKEN,
    ),
    Case(
        name="SES, no include",
        esp=SES,
        records=BOUNCE,
        zone='bounce.d.example TXT "v=spf1 include:sendgrid.net ~all"',
        said={INCLUDE: FAIL},
        verdict=Verdict.BROKEN,
    ),
    Case(
        name="SES, include that is not a pass",
        esp=SES,
        records=BOUNCE,
        zone='bounce.d.example TXT "v=spf1 ?include:amazonses.com ~all"',
        said={INCLUDE: FAIL},
        verdict=Verdict.BROKEN,
    ),
    Case(
        name="SES, include after all",
        esp=SES,
        records=BOUNCE,
        zone='bounce.d.example TXT "v=spf1 -all include:amazonses.com"',
        said={INCLUDE: FAIL, "spf.after_all": WARN},
        verdict=Verdict.BROKEN,
    ),
    Case(
        name="SES, an error in the record",
        esp=SES,
        records=BOUNCE,
        zone='bounce.d.example TXT "v=spf1 include:amazonses.com ip4:1.2.3 ~all"',
        said={"spf.syntax": FAIL},
        verdict=Verdict.BROKEN,
    ),
    Case(
        name="SES, include behind a silent one",
        esp=SES,
        records=BOUNCE,
        zone='bounce.d.example TXT "v=spf1 include:e.example ~all"\ne.example SERVFAIL',
        said={INCLUDE: UNKNOWN, **UNREAD},
        verdict=Verdict.UNKNOWN,
    ),
    Case(
        name="SES, its own record is not told",
        esp=SES,
        records=BOUNCE,
        zone='bounce.d.example TXT "v=spf1 include:amazonses.com ~all"\namazonses.com SERVFAIL',
        said=UNREAD,
        verdict=Verdict.UNKNOWN,
    ),
    Case(
        name="SES, a warning is no reason",
        esp=SES,
        records=BOUNCE,
        zone='bounce.d.example TXT "v=spf1 include:amazonses.com a ?all"',
        said={"spf.void": WARN, "spf.all.neutral": WARN},
    ),
    Case(
        name="Postmark, target untold",
        esp=POSTMARK,
        records=PM,
        zone="pm-bounces.d.example CNAME pm.mtasv.net.",
    ),
    Case(
        name="Postmark, wrong target",
        esp=POSTMARK,
        records=PM,
        zone="pm-bounces.d.example CNAME spf.mtasv.net.",
        said={MISSING: FAIL},
        verdict=Verdict.BROKEN,
    ),
]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "DEADLINE_S", PATIENCE_S)


def checked(
    zone: str, esp: EspName, records: tuple[Record, ...]
) -> tuple[list[Finding], Mechanism]:
    setup = DomainSetup(domain=D, esps={esp: EspRecords(return_path=records)})

    async def run(nameserver: Nameserver) -> tuple[list[Finding], Mechanism]:
        return await check_return_path(
            Lookups([nameserver]), Subject(domain=D, setup=setup, esps=(esp,)), esp
        )

    with serving(zone) as (nameserver, _):
        return asyncio.run(run(nameserver))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_return_path_is_judged(case: Case) -> None:
    findings, mechanism = checked(f"{THEIRS}\n{case.zone}", case.esp, case.records)
    host = f"{case.records[0].host}.{D}"
    ids = [MISSING, INCLUDE, *(rule.id for rule in RULES)]
    if case.said.get(MISSING) in (FAIL, UNKNOWN):
        ids = list(case.said)
    told = [(one.id, one.status, one.host, one.esp) for one in findings]
    assert told == [(id_, case.said.get(id_, PASS), host, case.esp) for id_ in ids]
    assert mechanism == Mechanism(verdict=case.verdict, domain=host)


@pytest.mark.parametrize(
    ("esp", "theirs", "remedy"),
    [
        (
            SENDGRID,
            "sendgrid.net",
            "At SendGrid, publish the em… CNAME that Settings > Sender Authentication shows; then name"
            " it in the set-up of the domain.",
        ),
        (
            SES,
            "amazonses.com",
            "At Amazon SES, set a custom MAIL FROM domain, with its MX and TXT v=spf1"
            " include:amazonses.com ~all; then name it in the set-up of the domain.",
        ),
        (
            POSTMARK,
            "pm.mtasv.net",
            "At Postmark, publish pm-bounces CNAME pm.mtasv.net and set it as the custom Return-Path;"
            " then name it in the set-up of the domain.",
        ),
    ],
)
def test_without_a_return_path_an_esp_vouches_for_itself_alone(
    esp: EspName, theirs: str, remedy: str
) -> None:
    found = f"the set-up names none: SPF passes for {theirs}, and says nothing of yours"
    assert checked("", esp, ()) == (
        [
            Finding(
                id=MISSING,
                status=WARN,
                host=D,
                found=found,
                expected=f"a return path under {D}",
                remedy=remedy,
                reference="RFC 7208, 2.4: SPF is judged at the return path",
                esp=esp,
            )
        ],
        Mechanism(verdict=Verdict.BROKEN),
    )


WORDS = [
    (
        SENDGRID,
        EM,
        "em1.d.example CNAME u8.wl001.sendgrid.net.",
        (
            f"CNAME {TARGET}",
            "CNAME u8.wl001.sendgrid.net",
            f"Change the CNAME of em1.d.example from u8.wl001.sendgrid.net to {TARGET}.",
        ),
    ),
    (
        SENDGRID,
        EM_UNTOLD,
        "",
        (
            "CNAME under sendgrid.net",
            "no such name",
            "Publish em1.d.example CNAME as the SendGrid panel shows.",
        ),
    ),
    (
        SES,
        BOUNCE,
        "",
        (
            "TXT v=spf1 include:amazonses.com ~all",
            "no such name",
            "Publish bounce.d.example TXT v=spf1 include:amazonses.com ~all, or SPF cannot align and"
            " DMARC hangs on DKIM alone.",
        ),
    ),
    (
        POSTMARK,
        PM,
        "pm-bounces.d.example A 192.0.2.1",
        ("CNAME pm.mtasv.net", "no SPF", "Publish pm-bounces.d.example CNAME pm.mtasv.net."),
    ),
]


@pytest.mark.parametrize(("esp", "records", "zone", "words"), WORDS)
def test_what_is_to_be_published_is_said_exactly(
    esp: EspName, records: tuple[Record, ...], zone: str, words: tuple[str, str, str]
) -> None:
    [finding], _ = checked(f"{THEIRS}\n{zone}", esp, records)
    assert (finding.expected, finding.found, finding.remedy) == words
