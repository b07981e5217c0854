"""DMARC is read as RFC 9989 has receivers read it, and what they pass over is told.

checkdmarc is asked the same; where it says another thing, the case says why.
"""

import asyncio
import time
from dataclasses import dataclass

import pytest
from checkdmarc.dmarc import check_dmarc as their_check
from checkdmarc.utils import DNS_CACHE
from dns.nameserver import Do53Nameserver

from config.domain_setup import DomainSetup, Record
from config.values import Nameserver
from tests.dns_zones import PATIENCE_S, serving
from utils.dns import lookup
from utils.dns.dmarc import (
    Policy,
    is_record,
    mailbox_domain,
    names_up_from,
    organizational_domains,
    why_none,
)
from utils.dns.dmarc_checks import check_dmarc
from utils.dns.findings import Finding
from utils.dns.lookup import Lookups
from utils.dns.subject import Subject

TEXTS = [
    ("v=DMARC1; p=none", True, ""),
    ("v=DMARC1", True, ""),
    ("v=DMARC1;", True, ""),
    ("V = DMARC1 ;p=none", True, ""),
    ("v=DMARC1;p=\nnone", True, ""),
    (" v=DMARC1; p=none", False, "blanks before v=DMARC1"),
    ("v=DMARC1 p=none", False, "no ; after v=DMARC1"),
    ("v=DMARC1, p=none", False, "it must begin with v=DMARC1;"),
    ("v=dmarc1; p=none", False, "it must begin with v=DMARC1;"),
    ("v=DMARC2; p=none", False, "it must begin with v=DMARC1;"),
    ('"v=DMARC1; p=none"', False, "it must begin with v=DMARC1;"),
    ("DMARC1; p=none", False, "it must begin with v=DMARC1;"),
    ("p=none; v=DMARC1", False, ""),
    ("v=spf1 ~all", False, ""),
    ("", False, ""),
]


@pytest.mark.parametrize(("text", "is_one", "why"), TEXTS)
def test_a_text_is_a_record_or_says_why_not(text: str, is_one: bool, why: str) -> None:
    assert (is_record(text), why_none(text)) == (is_one, why)


URIS = [
    ("mailto:a@example.com", "example.com"),
    ("MAILTO:a@Example.com.", "example.com"),
    ("mailto:a@example.com!10m", "example.com"),
    ("mailto:a@example.com?subject=x", "example.com"),
    ("a@example.com", None),
    ("mailto:example.com", None),
    ("https://example.com/", None),
]


@pytest.mark.parametrize(("uri", "domain"), URIS)
def test_reports_go_to_mailboxes(uri: str, domain: str | None) -> None:
    assert mailbox_domain(uri) == domain


NAMES = [
    ("com", ["com"]),
    ("example.com", ["example.com", "com"]),
    ("a.b.c.d.e.f.example.com", [
        *("a.b.c.d.e.f.example.com", "b.c.d.e.f.example.com", "c.d.e.f.example.com"),
        *("d.e.f.example.com", "e.f.example.com", "f.example.com", "example.com", "com"),
    ]),
    ("a.b.c.d.e.f.g.h.i.j.mail.example.com", [
        *("a.b.c.d.e.f.g.h.i.j.mail.example.com", "g.h.i.j.mail.example.com"),
        *("h.i.j.mail.example.com", "i.j.mail.example.com", "j.mail.example.com"),
        *("mail.example.com", "example.com", "com"),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("domain", "names"), NAMES)
def test_the_walk_asks_eight_times_at_most(domain: str, names: list[str]) -> None:
    """The last row is the example of RFC 9989, 4.10."""
    assert list(names_up_from(domain)) == names


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One zone, all that is told of it, and the policy that receivers apply."""

    zones: str
    told: list[str]
    applies: tuple[str | None, str | None, str | None]
    """Effective policy; domain of the record; organizational domain."""
    domain: str = "example.com"
    setup: Record | None = None
    theirs: str = ""
    """Why checkdmarc says another thing; "" where it says the same."""


HERE, UP, NEWS = "_dmarc.example.com", "_dmarc.com", "_dmarc.news.example.com"
RUA = "rua=mailto:r@example.com"
REPORTED = [f"dmarc.rua.missing pass {HERE}", f"dmarc.rua.external pass {HERE}"]
SOUND = f"dmarc.syntax pass {HERE}"
FOUND, MISSING = f"dmarc.missing pass {HERE}", f"dmarc.missing fail {HERE}"
ENFORCED, LENIENT = f"dmarc.p.none pass {HERE}", f"dmarc.p.none info {HERE}"
CLOSED, OPEN = f"dmarc.np.absent pass {HERE}", f"dmarc.np.absent warn {HERE}"
SP_STRONG = f"dmarc.sp.weak pass {HERE}"
NO_RUA = f"dmarc.rua.missing warn {HERE}"
GOOD = [FOUND, ENFORCED, CLOSED, *REPORTED, SOUND]
NOTHING = (None, None, "example.com")
REJECTED = ("reject", "example.com", "example.com")
NONE = ("none", "example.com", "example.com")
STRICT_ORACLE = "checkdmarc takes a value that receivers discard for an error of the whole record"


def record(text: str, host: str = HERE) -> str:
    return f'{host} TXT "{text.replace(chr(34), chr(92) + chr(34))}"\n'


CASES = {
    "reject": Case(zones=record(f"v=DMARC1; p=reject; {RUA}"), told=GOOD, applies=REJECTED),
    "by a CNAME": Case(
        zones=f"{HERE} CNAME d.example.net.\n" + record(f"v=DMARC1;p=reject;{RUA}", "d.example.net"),
        told=GOOD,
        applies=REJECTED,
    ),
    "among other texts": Case(
        zones=record(f"v=DMARC1; p=reject; {RUA}") + record("google-verification=x"),
        told=GOOD,
        applies=REJECTED,
        theirs="strangers at the name are discarded (RFC 9989, 4.10), not an error",
    ),
    "of the house, for a name below": Case(
        domain="news.example.com",
        zones=record(f"v=DMARC1; p=reject; {RUA}") + "news.example.com A 192.0.2.1",
        told=[FOUND, ENFORCED, SP_STRONG, CLOSED, *REPORTED, f"dmarc.syntax pass {NEWS}"],
        applies=REJECTED,
    ),
    "of the name itself, in a house with another": Case(
        domain="news.example.com",
        zones=record("v=DMARC1; p=none")
        + record("v=DMARC1; p=quarantine; sp=none; rua=mailto:r@news.example.com", NEWS),
        told=[
            *(f"dmarc.missing pass {NEWS}", f"dmarc.p.none pass {NEWS}"),
            *(f"dmarc.rua.missing pass {NEWS}", f"dmarc.rua.external pass {NEWS}"),
            f"dmarc.syntax pass {NEWS}",
        ],
        applies=("quarantine", "news.example.com", "example.com"),
    ),
    "a name between is passed by": Case(
        domain="a.news.example.com",
        zones=record(f"v=DMARC1; p=reject; {RUA}") + record("v=DMARC1; p=none", NEWS)
        + "a.news.example.com A 192.0.2.1",
        told=[
            *(FOUND, ENFORCED, SP_STRONG, CLOSED, *REPORTED),
            "dmarc.syntax pass _dmarc.a.news.example.com",
        ],
        applies=REJECTED,
    ),
    "psd=n ends the house": Case(
        domain="a.news.example.com",
        zones=record(f"v=DMARC1; p=reject; {RUA}")
        + record("v=DMARC1; p=reject; psd=n; rua=mailto:r@news.example.com", NEWS)
        + "a.news.example.com A 192.0.2.1",
        told=[
            *(f"dmarc.missing pass {NEWS}", f"dmarc.p.none pass {NEWS}"),
            *(f"dmarc.sp.weak pass {NEWS}", f"dmarc.np.absent pass {NEWS}"),
            *(f"dmarc.rua.missing pass {NEWS}", f"dmarc.rua.external pass {NEWS}"),
            "dmarc.syntax pass _dmarc.a.news.example.com",
        ],
        applies=("reject", "news.example.com", "news.example.com"),
    ),
    "psd=y: the suffix's own record, for who has none": Case(
        zones=record("v=DMARC1; p=reject; sp=quarantine; psd=y; rua=mailto:r@x.com", UP)
        + "example.com A 192.0.2.1\ncom._report._dmarc.x.com TXT \"v=DMARC1\"",
        told=[
            *(f"dmarc.missing pass {UP}", f"dmarc.p.none pass {UP}", f"dmarc.sp.weak pass {UP}"),
            *(f"dmarc.rua.missing pass {UP}", "dmarc.rua.external pass com._report._dmarc.x.com"),
            SOUND,
        ],
        applies=("quarantine", "com", "example.com"),
    ),
    "psd=y: one below is the house": Case(
        domain="news.example.com",
        zones=record("v=DMARC1; p=none; psd=y", UP) + record(f"v=DMARC1; p=reject; {RUA}")
        + "news.example.com A 192.0.2.1",
        told=[FOUND, ENFORCED, SP_STRONG, CLOSED, *REPORTED, f"dmarc.syntax pass {NEWS}"],
        applies=REJECTED,
    ),
    "psd=y of the domain itself": Case(
        zones=record(f"v=DMARC1; p=reject; psd=y; {RUA}"), told=GOOD, applies=REJECTED
    ),
    "faults of the suffix are not ours": Case(
        zones=record("v=DMARC1; p=none", UP) + record("v=DMARC1; p=reject", UP)
        + "example.com A 192.0.2.1",
        told=[MISSING, SOUND],
        applies=NOTHING,
    ),
    "a text that is no record, beside one": Case(
        zones=record(f"v=DMARC1; p=reject; {RUA}") + record(" v=DMARC1; p=none"),
        told=GOOD,
        applies=REJECTED,
        theirs="the one that does not begin with v= is discarded (RFC 9989, 4.10), not an error",
    ),
    "np, for a name that does not exist": Case(
        domain="news.example.com",
        zones=record(f"v=DMARC1; p=none; sp=quarantine; np=reject; {RUA}"),
        told=[FOUND, ENFORCED, SP_STRONG, CLOSED, *REPORTED, f"dmarc.syntax pass {NEWS}"],
        applies=REJECTED,
        theirs="checkdmarc looks no further when the domain does not exist: np is for just that",
    ),
    "dmarc.missing": Case(zones="example.com A 192.0.2.1", told=[MISSING, SOUND], applies=NOTHING),
    "dmarc.missing: the domain is not there": Case(
        zones="", told=[MISSING, SOUND], applies=NOTHING
    ),
    "dmarc.missing: a loop": Case(
        zones=f"{HERE} CNAME d.example.com.\nd.example.com CNAME {HERE}.",
        told=[MISSING, SOUND],
        applies=NOTHING,
    ),
    "dmarc.missing unknown": Case(
        zones=f"{HERE} SERVFAIL", told=[f"dmarc.missing unknown {HERE}"], applies=(None, None, None)
    ),
    "dmarc.missing unknown: above": Case(
        domain="news.example.com",
        zones=f"{HERE} TIMEOUT\nnews.example.com A 192.0.2.1",
        told=[f"dmarc.missing unknown {NEWS}"],
        applies=(None, None, None),
    ),
    "the name is known, the house is not": Case(
        zones=record("v=DMARC1; p=reject; rua=mailto:r@example.com") + f"{UP} SERVFAIL",
        told=[FOUND, ENFORCED, *REPORTED, SOUND],
        applies=("reject", "example.com", None),
    ),
    "dmarc.multiple": Case(
        zones=record("v=DMARC1; p=none") + record("v=DMARC1; p=reject"),
        told=[MISSING, f"dmarc.multiple fail {HERE}", SOUND],
        applies=NOTHING,
    ),
    "dmarc.multiple, and one above": Case(
        domain="news.example.com",
        zones=record("v=DMARC1; p=none", NEWS) + record("v=DMARC1; p=reject", NEWS)
        + record(f"v=DMARC1; p=reject; {RUA}") + "news.example.com A 192.0.2.1",
        told=[
            *(FOUND, f"dmarc.multiple fail {NEWS}", ENFORCED, SP_STRONG, CLOSED, *REPORTED),
            f"dmarc.syntax pass {NEWS}",
        ],
        applies=REJECTED,
        theirs="all are discarded and the walk goes on (RFC 9989, 4.10); checkdmarc stops",
    ),
    "dmarc.syntax: a leading blank": Case(
        zones=record(" v=DMARC1; p=reject"),
        told=[MISSING, f"dmarc.syntax fail {HERE}"],
        applies=NOTHING,
    ),
    "dmarc.syntax: no ;": Case(
        zones=record("v=DMARC1 p=reject"),
        told=[MISSING, f"dmarc.syntax fail {HERE}"],
        applies=NOTHING,
    ),
    "dmarc.syntax: quotes": Case(
        zones=record('"v=DMARC1; p=reject"'),
        told=[MISSING, f"dmarc.syntax fail {HERE}"],
        applies=NOTHING,
    ),
    "dmarc.syntax: at the domain itself": Case(
        zones=record("v=DMARC1; p=reject", "example.com"),
        told=[MISSING, "dmarc.syntax fail example.com"],
        applies=NOTHING,
    ),
    "dmarc.syntax: the domain twice": Case(
        zones=record("v=DMARC1; p=reject", f"{HERE}.example.com"),
        told=[MISSING, f"dmarc.syntax fail {HERE}.example.com"],
        applies=NOTHING,
    ),
    "dmarc.syntax: a tag twice": Case(
        zones=record(f"v=DMARC1; p=reject; p=none; {RUA}"),
        told=[FOUND, f"dmarc.syntax fail {HERE}", ENFORCED, CLOSED, *REPORTED],
        applies=REJECTED,
        theirs="RFC 6376 calls the list invalid, many receivers take the first: told, not missing",
    ),
    "dmarc.syntax: a bad adkim": Case(
        zones=record(f"v=DMARC1; p=reject; adkim=strict; {RUA}"),
        told=[FOUND, f"dmarc.syntax warn {HERE}", ENFORCED, CLOSED, *REPORTED],
        applies=REJECTED,
    ),
    "dmarc.syntax: a bad t": Case(
        zones=record(f"v=DMARC1; p=reject; t=yes; {RUA}"),
        told=[FOUND, f"dmarc.syntax warn {HERE}", ENFORCED, CLOSED, *REPORTED],
        applies=REJECTED,
        theirs=STRICT_ORACLE,
    ),
    "dmarc.syntax: no tag": Case(
        zones=record(f"v=DMARC1; p=reject; hello; {RUA}"),
        told=[FOUND, f"dmarc.syntax warn {HERE}", ENFORCED, CLOSED, *REPORTED],
        applies=REJECTED,
        theirs=STRICT_ORACLE,
    ),
    "dmarc.syntax: an unknown tag": Case(
        zones=record(f"v=DMARC1; p=reject; x=y; {RUA}"),
        told=[FOUND, f"dmarc.syntax info {HERE}", ENFORCED, CLOSED, *REPORTED],
        applies=REJECTED,
    ),
    "dmarc.p.none": Case(
        zones=record(f"v=DMARC1; p=none; np=reject; {RUA}"),
        told=[FOUND, LENIENT, CLOSED, *REPORTED, SOUND],
        applies=NONE,
    ),
    "dmarc.p.bad: taken for none": Case(
        zones=record(f"v=DMARC1; p=foo; np=reject; {RUA}"),
        told=[FOUND, LENIENT, f"dmarc.p.bad warn {HERE}", CLOSED, *REPORTED, SOUND],
        applies=NONE,
        theirs="with a rua it is p=none (RFC 9989, 4.10.1); checkdmarc calls it invalid",
    ),
    "dmarc.p.bad: sp spoils all": Case(
        zones=record(f"v=DMARC1; p=reject; sp=foo; np=reject; {RUA}"),
        told=[FOUND, LENIENT, f"dmarc.p.bad warn {HERE}", CLOSED, *REPORTED, SOUND],
        applies=NONE,
        theirs="with a rua it is p=none (RFC 9989, 4.10.1); checkdmarc calls it invalid",
    ),
    "dmarc.p.bad: no DMARC": Case(
        zones=record("v=DMARC1; p=foo; np=reject"),
        told=[MISSING, f"dmarc.p.bad fail {HERE}", CLOSED, NO_RUA, SOUND],
        applies=(None, "example.com", "example.com"),
    ),
    "dmarc.p.bad: no p": Case(
        zones=record(f"v=DMARC1; np=reject; {RUA}"),
        told=[FOUND, LENIENT, f"dmarc.p.bad warn {HERE}", CLOSED, *REPORTED, SOUND],
        applies=NONE,
    ),
    "dmarc.sp.weak": Case(
        domain="news.example.com",
        zones=record(f"v=DMARC1; p=reject; sp=none; np=reject; {RUA}")
        + "news.example.com A 192.0.2.1",
        told=[
            *(FOUND, LENIENT, f"dmarc.sp.weak warn {HERE}", CLOSED, *REPORTED),
            f"dmarc.syntax pass {NEWS}",
        ],
        applies=NONE,
    ),
    "dmarc.np.absent": Case(
        zones=record(f"v=DMARC1; p=quarantine; {RUA}"),
        told=[FOUND, ENFORCED, OPEN, *REPORTED, SOUND],
        applies=("quarantine", "example.com", "example.com"),
    ),
    "dmarc.t": Case(
        zones=record(f"v=DMARC1; p=reject; t=y; {RUA}"),
        told=[FOUND, ENFORCED, CLOSED, f"dmarc.t info {HERE}", *REPORTED, SOUND],
        applies=("quarantine", "example.com", "example.com"),
    ),
    "dmarc.t of none": Case(
        zones=record(f"v=DMARC1; p=none; np=reject; t=y; {RUA}"),
        told=[FOUND, LENIENT, CLOSED, f"dmarc.t info {HERE}", *REPORTED, SOUND],
        applies=NONE,
    ),
    "dmarc.removed": Case(
        zones=record("v=DMARC1; p=reject; pct=100; ri=3600; rua=mailto:r@example.com!10m"),
        told=[FOUND, ENFORCED, CLOSED, f"dmarc.removed info {HERE}", *REPORTED, SOUND],
        applies=REJECTED,
    ),
    "dmarc.removed: pct that old receivers honour": Case(
        zones=record(f"v=DMARC1; p=reject; pct=20; {RUA}"),
        told=[FOUND, ENFORCED, CLOSED, f"dmarc.removed warn {HERE}", *REPORTED, SOUND],
        applies=REJECTED,
    ),
    "dmarc.rua.missing": Case(
        zones=record("v=DMARC1; p=reject"),
        told=[FOUND, ENFORCED, CLOSED, NO_RUA, SOUND],
        applies=REJECTED,
    ),
    "dmarc.rua.missing: an address without mailto:": Case(
        zones=record("v=DMARC1; p=reject; rua=r@example.com"),
        told=[FOUND, ENFORCED, CLOSED, NO_RUA, SOUND],
        applies=REJECTED,
        theirs=STRICT_ORACLE,
    ),
    "dmarc.rua.external: let in": Case(
        zones=record("v=DMARC1; p=reject; rua=mailto:r@reports.example.net")
        + record("v=DMARC1;", "example.com._report._dmarc.reports.example.net"),
        told=[
            *(FOUND, ENFORCED, CLOSED, REPORTED[0]),
            "dmarc.rua.external pass example.com._report._dmarc.reports.example.net",
            SOUND,
        ],
        applies=REJECTED,
    ),
    "dmarc.rua.external: two, one let in by itself": Case(
        zones=record("v=DMARC1; p=reject; rua=mailto:r@example.net, mailto:r@news.example.com"),
        told=[
            *(FOUND, ENFORCED, CLOSED, REPORTED[0]),
            "dmarc.rua.external warn example.com._report._dmarc.example.net",
            SOUND,
        ],
        applies=REJECTED,
    ),
    "dmarc.rua.external unknown": Case(
        zones=record("v=DMARC1; p=reject; rua=mailto:r@example.net")
        + "example.com._report._dmarc.example.net SERVFAIL",
        told=[
            *(FOUND, ENFORCED, CLOSED, REPORTED[0]),
            "dmarc.rua.external unknown example.com._report._dmarc.example.net",
            SOUND,
        ],
        applies=REJECTED,
    ),
    "dmarc.rua.external unknown: neither house is known": Case(
        zones=record("v=DMARC1; p=reject; rua=mailto:r@other.com") + f"{UP} SERVFAIL",
        told=[
            *(FOUND, ENFORCED, REPORTED[0]),
            "dmarc.rua.external unknown example.com._report._dmarc.other.com",
            SOUND,
        ],
        applies=("reject", "example.com", None),
    ),
    "dmarc.rua.external unknown: perhaps of the house": Case(
        zones=record("v=DMARC1; p=reject; rua=mailto:r@a.example.com") + "_dmarc.a.example.com SERVFAIL",
        told=[
            *(FOUND, ENFORCED, CLOSED, REPORTED[0]),
            "dmarc.rua.external unknown example.com._report._dmarc.a.example.com",
            SOUND,
        ],
        applies=REJECTED,
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "DEADLINE_S", PATIENCE_S)


def checked(case: Case, nameserver: Nameserver) -> tuple[list[Finding], Policy]:
    setup = DomainSetup(domain=case.domain, dmarc=case.setup)

    async def run() -> tuple[list[Finding], Policy]:
        return await check_dmarc(Lookups([nameserver]), Subject(domain=case.domain, setup=setup))

    return asyncio.run(run())


@pytest.mark.parametrize("name", CASES)
def test_each_fault_of_dmarc_is_told_by_its_name(name: str) -> None:
    case = CASES[name]
    with serving(case.zones) as (nameserver, _):
        findings, policy = checked(case, nameserver)
    assert [f"{one.id} {one.status} {one.host}" for one in findings] == case.told
    where = policy.record.domain if policy.record else None
    assert (policy.effective, where, policy.organizational) == case.applies
    # What is wrong says what to do; what is right has nothing to say.
    assert all(one.remedy for one in findings if one.status in ("fail", "warn", "unknown"))
    assert not any(one.remedy for one in findings if one.status == "pass")
    assert not any(one.blocks for one in findings)


ORACLE_TAGS = ("p", "adkim", "aspf", "t")


def ours(policy: Policy) -> dict[str, str | None] | None:
    """What checkdmarc tells, as we see it."""
    if policy.record is None or not policy.is_found:
        return None
    return {
        "location": policy.record.domain,
        "p": policy.record.value("p") or "none",
        "adkim": "s" if policy.dkim_is_strict else "r",
        "aspf": "s" if policy.spf_is_strict else "r",
        "t": "y" if policy.is_testing else "n",
    }


def theirs(domain: str, nameserver: Nameserver) -> dict[str, str | None] | None:
    DNS_CACHE.clear()
    server = Do53Nameserver(nameserver.address, nameserver.port)
    told = their_check(domain, nameservers=[server], timeout=0.5, retries=0)
    if not told["valid"]:
        return None
    tags = {tag: told["tags"][tag]["value"] for tag in ORACLE_TAGS}
    return {"location": told["location"], **tags}


@pytest.mark.parametrize("name", CASES)
def test_checkdmarc_says_the_same_or_the_case_says_why_not(name: str) -> None:
    case = CASES[name]
    with serving(case.zones) as (nameserver, _):
        _, policy = checked(case, nameserver)
        assert (ours(policy) != theirs(case.domain, nameserver)) == bool(case.theirs)


def test_the_remedy_for_no_record_is_the_record_of_the_set_up() -> None:
    wanted = Record(host="_dmarc", type="TXT", value="v=DMARC1; p=none; rua=mailto:d@example.com")
    with serving("") as (nameserver, _):
        known, _ = checked(Case(zones="", told=[], applies=NOTHING, setup=wanted), nameserver)
        unknown, _ = checked(Case(zones="", told=[], applies=NOTHING), nameserver)
    assert known[0].remedy == f"Set TXT {HERE} to {wanted.value}."
    mailbox = "<a mailbox of yours>"
    assert unknown[0].remedy == f"Set TXT {HERE} to v=DMARC1; p=none; rua=mailto:{mailbox}."


def test_organizational_domains_are_told_as_far_as_dns_tells_them() -> None:
    zones = record("v=DMARC1; p=none") + "_dmarc.sick.example.com SERVFAIL"
    names = ["example.com", "a.b.example.com", "sick.example.com", "u7.wl.sendgrid.net"]

    with serving(zones) as (nameserver, _):

        async def run() -> dict[str, str]:
            return await organizational_domains(Lookups([nameserver]), names)

        assert asyncio.run(run()) == {
            "example.com": "example.com",
            "a.b.example.com": "example.com",
            "u7.wl.sendgrid.net": "u7.wl.sendgrid.net",
        }


@pytest.mark.parametrize("text", [" " * 8192, "(" * 8192, "v=" * 4096, "mailto:a@" + "a." * 4000])
def test_no_text_takes_long_to_be_read(text: str) -> None:
    begin = time.monotonic()
    assert not why_none(text)
    mailbox_domain(text)
    assert time.monotonic() - begin < 0.1


def test_a_record_that_names_many_destinations_costs_few_questions() -> None:
    uris = ",".join(f"mailto:r@d{n}.example.net" for n in range(200))
    strings = " ".join(
        f'"{part}"' for part in (f"v=DMARC1; p=none; rua={uris[:200]}", uris[200:400])
    )
    rest = " ".join(f'"{uris[n : n + 250]}"' for n in range(400, len(uris), 250))
    with serving(f"{HERE} TXT {strings} {rest}") as (nameserver, zones):
        checked(Case(zones="", told=[], applies=NONE), nameserver)
        assert len(zones.asked) < 60
