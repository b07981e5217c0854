"""Whether a DMARC record applies to a domain, and whether receivers can read it."""

import asyncio
from collections.abc import Sequence

from utils.dns.dmarc import (
    Level,
    Policy,
    is_record,
    policy_of,
    walk,
    why_none,
)
from utils.dns.dmarc_record_checks import check_record
from utils.dns.findings import Finding, Status
from utils.dns.lookup import Answer, Found, Lookups
from utils.dns.subject import Subject


async def check_dmarc(lookups: Lookups, subject: Subject) -> tuple[list[Finding], Policy]:
    """Walk up from the domain; then look at the record that was found, and at wrong places."""
    domain = subject.domain
    levels, apex = await asyncio.gather(walk(lookups, domain), lookups.ask(domain, "TXT"))
    policy = policy_of(levels, exists=apex.found is not Found.NXDOMAIN)
    misplaced = _misplaced(levels[0], domain, apex)
    if not policy.is_found and policy.is_known:
        misplaced += await _doubled(lookups, domain)
    findings = [_missing(subject, levels, policy), *_several(levels, policy)]
    findings += [*_unread(levels, policy), *misplaced]
    if policy.record is not None:
        findings += await check_record(lookups, domain, policy.record, policy)
    if policy.is_known and not any(finding.id == "dmarc.syntax" for finding in findings):
        findings.append(_finding("dmarc.syntax", Status.PASS, levels[0].host, "no fault", ""))
    return findings, policy


def _finding(name: str, status: Status, host: str, found: str, remedy: str) -> Finding:
    return Finding(
        id=name,
        status=status,
        host=host,
        found=found,
        expected="one record that begins with v=DMARC1;",
        remedy=remedy,
        reference="RFC 9989, 4.7",
    )


def _missing(subject: Subject, levels: Sequence[Level], policy: Policy) -> Finding:
    host = levels[0].host
    reference = "RFC 9989, 4.10.1"
    if not policy.is_known:
        silent = ", ".join(level.host for level in levels if not level.answer.is_known)
        status, found = Status.UNKNOWN, f"DNS did not answer for {silent}"
        remedy = "Nothing to change unless it stays so: the name servers are silent."
    elif policy.is_found and policy.record is not None:
        host = f"_dmarc.{policy.record.domain}"
        status, found, remedy = Status.PASS, policy.record.text, ""
    else:
        wanted = subject.setup.dmarc
        value = (wanted and wanted.value) or "v=DMARC1; p=none; rua=mailto:<a mailbox of yours>"
        where = wanted.fqdn(subject.domain) if wanted else host
        status, found = Status.FAIL, "no record that applies"
        remedy = f"Set TXT {where} to {value}."
    return Finding(
        id="dmarc.missing",
        status=status,
        host=host,
        found=found,
        expected="a DMARC record here or at the organizational domain",
        remedy=remedy,
        reference=reference,
    )


def _below_policy(levels: Sequence[Level], policy: Policy) -> list[Level]:
    """Steps whose faults matter to the domain: none above the record that applies, nor of a
    top-level domain."""
    least = policy.record.domain.count(".") if policy.record else 1
    return [level for level in levels if level.domain.count(".") >= least]


def _several(levels: Sequence[Level], policy: Policy) -> list[Finding]:
    return [
        _finding(
            "dmarc.multiple",
            Status.FAIL,
            level.host,
            " | ".join(level.records),
            f"Leave one TXT record with v=DMARC1 at {level.host}: receivers discard them all.",
        )
        for level in _below_policy(levels, policy)
        if len(level.records) > 1
    ]


def _unread(levels: Sequence[Level], policy: Policy) -> list[Finding]:
    """Records that were meant to be DMARC's, where there is none."""
    return [
        _finding(
            "dmarc.syntax",
            Status.FAIL,
            level.host,
            text,
            f"Correct TXT {level.host}, which receivers pass over: {why_none(text)}.",
        )
        for level in _below_policy(levels, policy)
        if not level.records
        for text in level.answer.records
        if why_none(text)
    ]


def _misplaced(first: Level, domain: str, apex: Answer) -> list[Finding]:
    """A record of the domain itself, where nobody looks for it."""
    if first.records:
        return []
    remedy = f"Move this TXT record from {domain} to {first.host}: receivers look only there."
    return [
        _finding("dmarc.syntax", Status.FAIL, domain, text, remedy)
        for text in apex.records
        if is_record(text) or why_none(text)
    ]


async def _doubled(lookups: Lookups, domain: str) -> list[Finding]:
    """A record under a name to which a panel has appended the domain once more."""
    host = f"_dmarc.{domain}.{domain}"
    remedy = f"Enter the host as _dmarc, without {domain}: the panel appends that by itself."
    return [
        _finding("dmarc.syntax", Status.FAIL, host, text, remedy)
        for text in (await lookups.ask(host, "TXT")).records
        if is_record(text)
    ]
