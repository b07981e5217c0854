"""Mail is authentic when DKIM or SPF vouches for the domain of From; an ESP is left out only
where both are known not to."""

import pytest

from config.domain_setup import DomainSetup
from config.esp_config import EspName
from utils.dns.alignment import check_alignment, with_blocks
from utils.dns.dmarc import Policy, parse_record
from utils.dns.findings import Finding, Status
from utils.dns.mechanism import Mechanism, Verdict
from utils.dns.subject import Subject

DOMAIN, PATH, OTHER = "example.com", "em7.example.com", "amazonses.com"
HOUSES = {
    **dict.fromkeys((DOMAIN, PATH, "news.example.com"), DOMAIN),
    **{name: name for name in (OTHER, "own.example.com")},
}


def policy(text: str = "v=DMARC1; p=reject", domain: str = DOMAIN) -> Policy:
    return Policy(record=parse_record(domain, text), asked="reject", organizational=DOMAIN)


def works(domain: str | None) -> Mechanism:
    return Mechanism(verdict=Verdict.WORKS, domain=domain)


def broken(domain: str | None) -> Mechanism:
    return Mechanism(verdict=Verdict.BROKEN, domain=domain)


def unknown(domain: str | None = None) -> Mechanism:
    return Mechanism(verdict=Verdict.UNKNOWN, domain=domain)


RELAXED, ABSENT, SILENT = policy(), Policy(organizational=DOMAIN), Policy(is_known=False)
STRICT = policy("v=DMARC1; p=reject; adkim=s; aspf=s")
STRICT_SPF = policy("v=DMARC1; p=reject; aspf=s")
STRICT_DKIM = policy("v=DMARC1; p=reject; adkim=s")

# policy, DKIM, SPF: dkim.align, dmarc.align.<esp>, dmarc.align.one, dmarc.strict; "-" is not told
ALIGNED = [
    ("both", RELAXED, works(DOMAIN), works(PATH), "pass pass pass pass"),
    ("both, exactly", STRICT, works(DOMAIN), works(DOMAIN), "pass pass pass pass"),
    ("DKIM of a name below", RELAXED, works(PATH), works(PATH), "pass pass pass pass"),
    ("DKIM only: SPF is the ESP's own", RELAXED, works(DOMAIN), works(None), "pass pass warn pass"),
    ("DKIM only: SPF is broken", RELAXED, works(DOMAIN), broken(PATH), "pass pass warn pass"),
    ("DKIM, SPF not known", RELAXED, works(DOMAIN), unknown(PATH), "pass pass unknown pass"),
    ("DKIM, no one knows of SPF", RELAXED, works(DOMAIN), unknown(), "pass pass unknown pass"),
    ("SPF only: DKIM is broken", RELAXED, broken(DOMAIN), works(PATH), "pass pass warn pass"),
    ("SPF only: DKIM is of another", RELAXED, works(OTHER), works(PATH), "fail pass warn pass"),
    ("SPF, no one knows of DKIM", RELAXED, unknown(), works(PATH), "- pass unknown pass"),
    ("neither", RELAXED, broken(DOMAIN), broken(PATH), "pass fail - pass"),
    ("neither: both of others", RELAXED, works(OTHER), works(None), "fail fail - pass"),
    ("neither: another's, though not known", RELAXED, unknown(OTHER), broken(PATH),
     "fail fail - pass"),
    ("DKIM not known, no SPF", RELAXED, unknown(DOMAIN), broken(PATH), "pass unknown - pass"),
    ("no one knows of DKIM, no SPF", RELAXED, unknown(), works(None), "- unknown - pass"),
    ("no DKIM, SPF not known", RELAXED, broken(DOMAIN), unknown(PATH), "pass unknown - pass"),
    ("a house that DNS does not tell", RELAXED, works("x.example.net"), broken(PATH),
     "unknown unknown - pass"),
    ("strict SPF, DKIM works", STRICT_SPF, works(DOMAIN), works(PATH), "pass pass warn warn"),
    ("strict SPF, DKIM broken", STRICT_SPF, broken(DOMAIN), works(PATH), "pass fail - fail"),
    ("strict SPF, DKIM not known", STRICT_SPF, unknown(DOMAIN), works(PATH),
     "pass unknown - unknown"),
    ("strict DKIM, SPF works", STRICT_DKIM, works(PATH), works(PATH), "fail pass warn warn"),
    ("strict, both of names below", STRICT, works(PATH), works(PATH), "fail fail - fail"),
    ("strict, of others", STRICT, works(OTHER), works(None), "fail fail - pass"),
    ("a house of its own below", RELAXED, works("own.example.com"), works(None),
     "fail fail - pass"),
    ("record not known, a house of its own below", SILENT, works("own.example.com"), works(None),
     "fail fail - -"),
    ("no record: as it will be with one", ABSENT, works(DOMAIN), works(PATH), "pass pass pass -"),
    ("no record, and of another", ABSENT, works(OTHER), works(None), "fail fail - -"),
    ("record not known, the same domain", SILENT, works(DOMAIN), broken(PATH),
     "pass pass warn -"),
    ("record not known, a name below", SILENT, works(PATH), broken(PATH),
     "unknown unknown - -"),
    ("record not known, of another", SILENT, works(OTHER), works(None), "fail fail - -"),
]  # fmt: skip


def told(findings: list[Finding]) -> str:
    status = {finding.id: finding.status.value for finding in findings}
    ids = ("dkim.align", "dmarc.align.ses", "dmarc.align.one", "dmarc.strict")
    assert set(status) <= set(ids)
    return " ".join(status.get(name, "-") for name in ids)


def aligned(
    applies: Policy, dkim: Mechanism, spf: Mechanism, domain: str = DOMAIN
) -> list[Finding]:
    subject = Subject(domain=domain, setup=DomainSetup(domain=domain), esps=(EspName.SES,))
    return check_alignment(subject, EspName.SES, dkim, spf, applies, HOUSES)


@pytest.mark.parametrize(("name", "applies", "dkim", "spf", "status"), ALIGNED)
def test_one_aligned_mechanism_is_enough_and_two_are_better(
    name: str, applies: Policy, dkim: Mechanism, spf: Mechanism, status: str
) -> None:
    findings = aligned(applies, dkim, spf)
    assert told(findings) == status, name
    assert {(one.esp, one.host, one.blocks) for one in findings} == {(EspName.SES, DOMAIN, False)}
    assert all(bool(one.remedy) == (one.status is not Status.PASS) for one in findings)


@pytest.mark.parametrize(
    ("domain", "vouched", "status"),
    [
        ("news.example.com", "example.com", "pass"),
        ("news.example.com", "em7.example.com", "pass"),
        ("news.example.com", "amazonses.com", "fail"),
    ],
)
def test_a_domain_and_its_sisters_are_of_one_house(domain: str, vouched: str, status: str) -> None:
    [finding, *_] = aligned(RELAXED, works(vouched), works(None), domain)
    assert (finding.id, finding.status) == ("dkim.align", status)


def test_a_remedy_for_strict_names_tag_and_record() -> None:
    *_, strict = aligned(STRICT_SPF, works(DOMAIN), works(PATH))
    assert strict.remedy == (
        "Set aspf=r in TXT _dmarc.example.com: SPF vouches for em7.example.com, which is not "
        "exactly example.com."
    )


def finding(name: str, status: Status, esp: EspName | None = None) -> Finding:
    return Finding(
        id=name, status=status, host=DOMAIN, found="", expected="", reference="", esp=esp
    )


FAIL, WARN, PASS, UNKNOWN = Status.FAIL, Status.WARN, Status.PASS, Status.UNKNOWN
SES, SENDGRID = EspName.SES, EspName.SENDGRID
BLOCKS = [
    # status of dmarc.align.ses, the finding, whether it blocks
    (FAIL, finding("dkim.missing", FAIL, SES), True),
    (FAIL, finding("dkim.align", FAIL, SES), True),
    (FAIL, finding("spf.rp.missing", FAIL, SES), True),
    (FAIL, finding("dkim.bits", WARN, SES), False),
    (FAIL, finding("dkim.missing", UNKNOWN, SES), False),
    (FAIL, finding("dkim.missing", PASS, SES), False),
    (FAIL, finding("rp.mx.ses", FAIL, SES), False),
    (FAIL, finding("dmarc.strict", FAIL, SES), False),
    (FAIL, finding("spf.lookups", FAIL), False),
    (FAIL, finding("dkim.missing", FAIL, SENDGRID), False),
    (FAIL, finding("dmarc.align.sendgrid", UNKNOWN, SENDGRID), False),
    (PASS, finding("dkim.missing", FAIL, SES), False),
    (UNKNOWN, finding("dkim.missing", FAIL, SES), False),
    (UNKNOWN, finding("spf.rp.missing", FAIL, SES), False),
    (PASS, finding("dmarc.missing", FAIL), True),
    (PASS, finding("dmarc.missing", UNKNOWN), False),
    (PASS, finding("dmarc.multiple", FAIL), False),
]


@pytest.mark.parametrize(("of_ses", "one", "blocks"), BLOCKS)
def test_only_what_is_known_to_fail_blocks_and_only_that_esp(
    of_ses: Status, one: Finding, blocks: bool
) -> None:
    alignment = finding("dmarc.align.ses", of_ses, SES)
    told = with_blocks([one, alignment])
    assert [(each.id, each.blocks) for each in told] == [
        (one.id, blocks),
        ("dmarc.align.ses", of_ses is FAIL),
    ]
