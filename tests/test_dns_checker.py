"""A domain is looked at as a whole: what is right passes, one fault is told as one fault."""

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from config.domain_setup import DomainSetup
from config.esp_config import EspName
from config.settings import ROOT, load_settings
from config.values import Nameserver
from tests.dns_good import DOMAIN, EXAMPLE, GOOD_SETUP, GOOD_ZONES, KEY, REGION
from tests.dns_zones import PATIENCE_S, serving, silent
from tests.environment import API_KEY, SECRET_KEY
from utils.dns import lookup
from utils.dns.findings import SHOWN_CHARS, Finding, Status, status_of
from utils.dns.full_check import full_check
from utils.dns.subject import Subject
from utils.dns_checker import DNSChecker

SUBJECT = Subject(domain=DOMAIN, setup=GOOD_SETUP, esps=tuple(EspName), ses_region=REGION)
FINE = (Status.PASS, Status.INFO)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "DEADLINE_S", PATIENCE_S)
    monkeypatch.setattr(lookup, "RUN_DEADLINE_S", 3.0)


def checked(zones: str, subject: Subject = SUBJECT) -> list[Finding]:
    with serving(zones) as (nameserver, _):
        return asyncio.run(full_check(subject, [nameserver]))


def told(findings: list[Finding]) -> list[str]:
    """What is not as it should be; `!` marks what blocks."""
    return sorted(
        f"{one.id}{f' {one.esp}' if one.esp else ''} {one.status}{'!' if one.blocks else ''}"
        for one in findings
        if one.status not in FINE
    )


def changed(old: str, new: str) -> str:
    """The good zones with one line replaced; `new` may be several lines, or none."""
    lines = GOOD_ZONES.splitlines()
    [place] = [i for i, line in enumerate(lines) if " ".join(line.split()).startswith(old)]
    return "\n".join([*lines[:place], *new.splitlines(), *lines[place + 1 :]])


def test_a_good_domain_passes_every_check() -> None:
    findings = checked(GOOD_ZONES)
    assert told(findings) == []
    assert status_of(findings) is Status.PASS
    assert len(findings) >= 30
    assert {one.esp for one in findings} == {None, *EspName}
    assert all(one.host and one.reference and one.expected for one in findings)
    places = [(one.id, one.esp, one.host) for one in findings]
    assert sorted(set(places), key=str) == sorted(places, key=str)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("example.com TXT", "", ["spf.apex.missing warn"]),
        ("example.com TXT", 'example.com TXT "v=spf1 +all"', ["spf.all.plus fail"]),
        ("_dmarc.example.com TXT", "", ["dmarc.missing fail!"]),
        (
            "_dmarc.example.com TXT",
            "_dmarc.example.com TXT SERVFAIL",
            [
                *(f"dmarc.align.one {esp} unknown" for esp in ("postmark", "sendgrid", "ses")),
                "dmarc.missing unknown",
            ],
        ),
        (
            "s2._domainkey.example.com CNAME",
            "",
            ["dkim.count sendgrid warn", "dkim.missing sendgrid fail"],
        ),
        ("example.com MX", "example.com MX 0 .", ["from.mx fail"]),
        (
            "bounce.example.com MX",
            "bounce.example.com MX 10 feedback-smtp.us-east-1.amazonses.com.",
            ["rp.mx.ses ses fail"],
        ),
        ("sendgrid.net A", "", ["track.resolves sendgrid warn"] * 2),
    ],
)
def test_one_fault_is_told_as_one_fault(old: str, new: str, expected: list[str]) -> None:
    assert told(checked(changed(old, new))) == expected


def test_an_esp_without_dkim_and_without_a_return_path_is_blocked() -> None:
    zones = changed("20260101pm._domainkey.example.com TXT", "")
    findings = checked("\n".join(line for line in zones.splitlines() if "pm-bounces" not in line))
    blocked = {one.esp for one in findings if one.blocks}
    assert blocked == {EspName.POSTMARK}
    assert "dmarc.align.postmark postmark fail!" in told(findings)


def test_where_nobody_answers_all_is_unknown_and_nothing_blocks() -> None:
    nameserver, taker = silent()
    with taker:
        findings = asyncio.run(full_check(SUBJECT, [nameserver], [nameserver]))
    assert status_of(findings) is Status.UNKNOWN
    assert {one.status for one in findings} == {Status.UNKNOWN}
    assert not any(one.blocks for one in findings)


def test_a_name_server_that_knows_no_top_level_domain_is_not_believed() -> None:
    """As in networks without a way out: every name is NXDOMAIN, and nothing is known."""
    findings = checked("localhost A 127.0.0.1")
    assert {one.status for one in findings} == {Status.UNKNOWN}
    assert {one.remedy for one in findings} == {
        "Set DNS_NAMESERVERS: the name server says that there is no .com at all."
    }
    assert not any(one.blocks for one in findings)


HOSTILE = [
    ("example.com TXT", f"example.com TXT {' '.join([chr(34) + 'v=spf1 ' + 'a:x ' * 60 + chr(34)] * 250)}"),
    ("example.com TXT", 'example.com TXT "v=spf1 <script>alert(1)</script> ~all"'),
    ("example.com TXT", 'example.com TXT "v=spf1 include:\\195\\188\\000\\255.example ~all"'),
    ("example.com MX", "\n".join(f"example.com MX {n} m{n}.example.com." for n in range(500))),
    ("_dmarc.example.com TXT", f'_dmarc.example.com TXT {" ".join(["chr"] * 1)}'.replace("chr", '"v=DMARC1; p=' + "x" * 200 + '"')),
    ("s1._domainkey.example.com CNAME", f's1._domainkey.example.com TXT "p={"A" * 200}" {" ".join([chr(34) + "A" * 255 + chr(34)] * 200)}'),
    ("em1234.example.com CNAME", "em1234.example.com CNAME em1234.example.com."),
    ("u7.wl001.sendgrid.net TXT", 'u7.wl001.sendgrid.net TXT "v=spf1 include:u7.wl001.sendgrid.net -all"'),
    ("track.example.com CNAME", "track.example.com GARBAGE"),
    ("track.example.com CNAME", "track.example.com BOMB"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), HOSTILE)
def test_hostile_answers_are_cut_and_harmless(old: str, new: str) -> None:
    for one in checked(changed(old, new)):
        shown = one.as_dict()
        assert len(shown["found"]) <= 4 * SHOWN_CHARS
        told = (shown["host"], shown["found"], shown["expected"], shown["remedy"])
        assert all(text.isprintable() for text in told)


def settings(nameserver: Nameserver, **environ: str) -> Mapping[str, str]:
    return {
        "API_KEY": API_KEY,
        "SECRET_KEY": SECRET_KEY,
        "SENDING_DOMAIN": DOMAIN,
        "DNS_NAMESERVERS": f"{nameserver.address}:{nameserver.port}",
        **environ,
    }


def test_a_checker_looks_at_the_sending_domain_and_its_setup() -> None:
    with serving(GOOD_ZONES) as (nameserver, _):
        known = replace(
            load_settings(settings(nameserver), None), domain_setups={DOMAIN: GOOD_SETUP}
        )
        result = DNSChecker(settings=known).run_full_dns_check()
        other = DNSChecker("other.example.", settings=known).run_full_dns_check()
        text = DNSChecker(settings=known).generate_dns_setup_instructions()
    assert (result["domain"], result["status"]) == (DOMAIN, "pass")
    assert {one["esp"] for one in result["checks"]} == {None, *EspName}
    assert (other["domain"], other["status"]) == ("other.example", "fail")
    assert text.startswith("DNS records for example.com\n")
    assert "15 of 15 are published" in text


def test_of_a_domain_nobody_knows_all_esps_are_told_what_they_want() -> None:
    with serving(EXAMPLE) as (nameserver, _):
        known = load_settings(settings(nameserver, SENDING_DOMAIN="new.example"), None)
        records = DNSChecker(settings=known, setup=DomainSetup(domain="new.example")).records()
    assert {one.esp for one in records} == {None, *EspName}


@pytest.mark.parametrize(
    ("line", "begins"),
    [
        ("print(DNSChecker().run_full_dns_check())", "{'domain': 'example.com', 'status': "),
        ("print(DNSChecker().generate_dns_setup_instructions())", "DNS records for example.com\n"),
    ],
)
def test_the_two_lines_of_the_readme_work_as_they_stand(
    line: str, begins: str, tmp_path: Path
) -> None:
    with serving(GOOD_ZONES) as (nameserver, _):
        run = subprocess.run(
            [sys.executable, "-c", f"from utils.dns_checker import DNSChecker; {line}"],
            cwd=ROOT,
            env={**settings(nameserver), "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith(begins)


def test_the_key_of_the_good_domain_is_two_strings() -> None:
    """So that joining them is part of every check above."""
    assert len(KEY) > 255
