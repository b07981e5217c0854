"""SPF is judged as RFC 7208 has it: one zone for each fault, and what is said of it."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.domain_setup import DomainSetup
from config.values import Nameserver
from tests.dns_good import in_strings
from tests.dns_zones import PATIENCE_S, serving
from tests.spf_zones import CASES, Case, hosts, terms
from utils.dns import lookup
from utils.dns.findings import Finding, Status
from utils.dns.lookup import Lookups
from utils.dns.spf import GIVEN_UP_AT, MOST_NAMES, Spf, evaluate
from utils.dns.spf_checks import check_apex
from utils.dns.spf_findings import RULES
from utils.dns.spf_terms import evaluated, expanded, parsed
from utils.dns.subject import Subject

D = "d.example"
NESTED = f'a.example TXT "v=spf1 {terms(10)} -all"\n{hosts(10)}'


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "DEADLINE_S", PATIENCE_S)


def told(spf: Spf) -> str:
    """As a case has it."""
    counts = f" {spf.lookups}/{len(spf.voids)}" if spf.result == "evaluated" else ""
    return f"{spf.result}{counts}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_rule_is_said_to_be_kept_or_broken(case: Case) -> None:
    async def run(nameserver: Nameserver) -> tuple[Spf, list[tuple[str, Status, str]]]:
        lookups = Lookups([nameserver])
        spf = await evaluate(lookups, D)
        found = await check_apex(lookups, Subject(domain=D, setup=DomainSetup(domain=D)))
        return spf, [(one.id, one.status, one.host) for one in found]

    with serving(case.zone) as (nameserver, _):
        spf, found = asyncio.run(run(nameserver))
    ids = [rule.id for rule in RULES] if len(spf.records) == 1 else list(case.said)
    ids = list(dict.fromkeys(["spf.apex.missing", *ids]))
    assert found == [(id_, case.said.get(id_, Status.PASS), D) for id_ in ids]
    assert told(spf) == case.result


WORDS = [
    (
        "spf.apex.missing",
        "",
        "no such name",
        "Publish one TXT at d.example: v=spf1 ~all, with mx or an include before ~all for whoever"
        " else sends mail with it as return path.",
    ),
    (
        "spf.multiple",
        'd.example TXT "v=spf1 -all"\nd.example TXT "v=spf1 ~all"',
        "v=spf1 -all | v=spf1 ~all",
        "Merge the 2 records into one; more than one is a permanent error.",
    ),
    (
        "spf.syntax",
        'd.example TXT "v=spf1 mx ipv4:192.0.2.1 -all"\nd.example MX 0 .',
        "ipv4:192.0.2.1 at character 11: no such mechanism",
        "Correct or remove ipv4:192.0.2.1 (character 11 of the record); until then the whole record"
        " is a permanent error.",
    ),
    (
        "spf.syntax",
        'd.example TXT "v=spf1 include:a.example -all"\na.example TXT "v=spf1 mx/33 -all"',
        "mx/33 at character 8 of a.example: not a prefix length",
        "Remove what includes a.example; its record is a permanent error.",
    ),
    (
        "spf.syntax",
        'd.example TXT "v=spf1 ip4=192.0.2.1 -all"',
        "ip4=192.0.2.1 at character 8 says nothing: a modifier unknown",
        "Write ip4:192.0.2.1.",
    ),
    (
        "spf.lookups",
        f'd.example TXT "v=spf1 a include:a.example -all"\nd.example A 192.0.2.1\n{NESTED}',
        "12: a 1, include:a.example 11",
        "Remove each include that does not send with d.example as its return path; none of"
        " SendGrid, SES and Postmark needs one in the record of the From domain.",
    ),
    (
        "spf.void",
        'd.example TXT "v=spf1 a:gone.example mx -all"',
        "2: gone.example, d.example",
        "Remove or correct what asks for gone.example, d.example, which has no such record.",
    ),
    (
        "spf.include.none",
        'd.example TXT "v=spf1 include:gone.example -all"',
        "no SPF at gone.example",
        "Remove include or redirect of gone.example, which has no SPF record (any more).",
    ),
    (
        "spf.temperror",
        'd.example TXT "v=spf1 include:a.example -all"\na.example SERVFAIL',
        "no answer for a.example",
        "DNS of a.example did not answer; nothing to change unless it persists for 24 hours.",
    ),
    (
        "spf.loop",
        'd.example TXT "v=spf1 include:a.example -all"\na.example TXT "v=spf1 include:d.example"',
        "d.example -> a.example -> d.example",
        "Remove the include of d.example in a.example.",
    ),
    (
        "spf.all.plus",
        'd.example TXT "v=spf1 include:a.example -all"\na.example TXT "v=spf1 +all"',
        "+all at a.example: everybody passes",
        "Remove what includes a.example.",
    ),
    (
        "spf.wide",
        'd.example TXT "v=spf1 ip4:10.0.0.0/8 -all"',
        "ip4:10.0.0.0/8",
        "Replace ip4:10.0.0.0/8 by the addresses that send mail: it lets strangers pass.",
    ),
]


@pytest.mark.parametrize(("id_", "zone", "found", "remedy"), WORDS)
def test_what_is_wrong_is_named(id_: str, zone: str, found: str, remedy: str) -> None:
    async def run(nameserver: Nameserver) -> list[Finding]:
        subject = Subject(domain=D, setup=DomainSetup(domain=D))
        return await check_apex(Lookups([nameserver]), subject)

    with serving(zone) as (nameserver, _):
        findings = asyncio.run(run(nameserver))
    [finding] = [one for one in findings if one.id == id_]
    assert (finding.found, finding.remedy) == (found, remedy)


def test_a_record_that_never_ends_asks_for_little() -> None:
    """Each of forty records includes the next one twice, and names 400 hosts."""
    many = " ".join(f"a:h{number}.a.example" for number in range(400))
    zone = "\n".join(
        f"{name}.example TXT {in_strings(f'v=spf1 include:i{n}.example include:i{n}.example {many}')}"
        for n, name in enumerate(["d", *(f"i{number}" for number in range(40))])
    )

    async def run(nameserver: Nameserver) -> tuple[int, int]:
        lookups = Lookups([nameserver])
        return (await evaluate(lookups, D)).lookups, lookups.count

    with serving(zone) as (nameserver, _):
        assert asyncio.run(run(nameserver)) == (GIVEN_UP_AT, MOST_NAMES + 2)


BAD = """
    ipv4:192.0.2.1 ip4:192.0.2.1/33 ip4:192.0.2.1/ ip4:192.0.02.1 ip4 ip4:2001:db8::1
    ip6:192.0.2.1 ip6:2001:db8::/129 ip6:fe80::1%1 ip6:::1/01 a: a/33 a//129 a/024 a:/24 mx/24/64
    a:localhost a:a.123 a:a.-b a:a.b- a:. ptr/24 ptr: include include: include:a.example/24
    exists exists/24 all: all:a.example all/24 all! -all- redirect:a.example -redirect=a.example
    redirect= redirect=a exp= exp=a -exp=a.example x=% x=%{d exists:%{d0}.a.example
    exists:%{}.a.example exists:%{dd}.a.example exists:%{d!}.a.example exists:%{c}.a.example
    exists:%a.example ++all all,
"""
GOOD = """
    all ALL -all +all ?all ~all a a:a.example A:A.Example. a/0 a//0 a/24//64 a:a.example/24//64
    mx mx/32 mx:a.example//128 ptr ptr:a.example ip4:0.0.0.0/0 ip4:192.0.2.1/24 ip6:::/0
    ip6:2001:db8::1 ip6:::ffff:192.0.2.1 include:_spf.a.example include:a.ex-ample
    exists:%{i}._spf.%{d2} exists:%{Ir}.%{v}.a.example exists:%{lr-.+,/_=}.a.example
    exists:%%%_%-.a.example exists:%{s01r-}.a.example include:%{d} redirect=a.example
    redirect=%{o} exp=%{d}.a.example x= x.y-z_1=%{h} ra=postmaster ip4=192.0.2.1
"""


@pytest.mark.parametrize("term", [*BAD.split(), *GOOD.split()])
def test_a_term_is_of_the_grammar_or_is_not(term: str) -> None:
    [first, second] = parsed(f"v=spf1  {term} a")
    assert (first.text, first.position, bool(first.wrong)) == (term, 9, term in BAD.split())
    assert (second.text, second.position) == ("a", len(term) + 10)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("A.Example.", "a.example"),
        ("%{d}", "b.c.example"),
        ("%{O}", "d.example"),
        ("%{d2}.x.example", "c.example.x.example"),
        ("%{dr}.x.example", "example.c.b.x.example"),
        ("%{d1r}.x.example", "b.x.example"),
        ("%{d099}", "b.c.example"),
        ("%{o-.}", "d.example"),
        ("%%.%_.%-.example", "%. .%20.example"),
        ("%{d}.%{i}.example", None),
        ("%{l}._at.%{o}", None),
    ],
)
def test_a_macro_is_expanded_where_all_mail_has_the_same(spec: str, name: str | None) -> None:
    assert expanded(spec, "b.c.example", "d.example") == name


@given(st.text() | st.text(st.sampled_from("ax:/=%{}d9.-+ ~?lincude4ip6rt\\\x00ü")))
def test_no_text_is_too_odd_to_be_parsed(text: str) -> None:
    for term in evaluated(parsed(f"v=spf1 {text}")):
        assert not term.wrong
        expanded(term.target, D, D)
