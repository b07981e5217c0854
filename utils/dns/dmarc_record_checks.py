"""What a DMARC record asks for, and what of it is weak, without effect or will not work."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from utils.dns.dmarc import (
    POLICIES,
    DmarcRecord,
    Policy,
    bad_policies,
    is_record,
    mailbox_domain,
    organizational_domains,
)
from utils.dns.findings import Finding, Status, shown
from utils.dns.lookup import Lookups

MOST_DESTINATIONS = 10
"""For reports; the first are looked at."""
VALUES: Mapping[str, tuple[str, ...]] = {
    "adkim": ("r", "s"),
    "aspf": ("r", "s"),
    "psd": ("y", "n", "u"),
    "t": ("y", "n"),
}
REMOVED = ("pct", "rf", "ri")
"""Of RFC 7489, and no more in RFC 9989."""
KNOWN = ("v", "p", "sp", "np", "rua", "ruf", "fo", *VALUES, *REMOVED)


async def check_record(
    lookups: Lookups, domain: str, record: DmarcRecord, policy: Policy
) -> list[Finding]:
    """The record that applies to a domain."""
    findings = [*_syntax(record), *_policy(domain, record, policy), *_bad_policy(record)]
    findings += [*_subdomains(domain, record, policy), *_testing(record, policy)]
    return [*findings, *_removed(record), *await _reports(lookups, record)]


def _finding(name: str, record: DmarcRecord, status: Status = Status.PASS) -> Finding:
    return Finding(
        id=name,
        status=status,
        host=f"_dmarc.{record.domain}",
        found=record.text,
        expected="",
        reference="RFC 9989, 4.7",
    )


def _syntax(record: DmarcRecord) -> list[Finding]:
    host = f"_dmarc.{record.domain}"
    if record.tags.doubled:
        said = _finding("dmarc.syntax", record, Status.FAIL)
        name = shown(record.tags.doubled[0])
        remedy = f"Leave one {name}= in TXT {host}: with two the whole record may be discarded."
        return [replace(said, expected="each tag once", remedy=remedy)]
    bad = [f"{tag}={record.value(tag)}" for tag in VALUES if not _is_allowed(record, tag)]
    unknown = [f"{name}=" for name, _ in record.tags.pairs if name.lower() not in KNOWN]
    ignored = [*record.tags.strays, *bad, *unknown]
    if not ignored:
        return []
    status = Status.WARN if record.tags.strays or bad else Status.INFO
    remedy = (
        f"Correct or delete in TXT {host}, which receivers ignore: {shown(', '.join(ignored))}."
    )
    said = _finding("dmarc.syntax", record, status)
    return [replace(said, expected="tags of RFC 9989", remedy=remedy)]


def _is_allowed(record: DmarcRecord, tag: str) -> bool:
    value = record.value(tag)
    return value is None or value in VALUES[tag]


def _policy(domain: str, record: DmarcRecord, policy: Policy) -> list[Finding]:
    """The effective policy of the actual domain; nothing when there is none."""
    if policy.asked is None:
        return []
    found = f"{policy.effective} for {domain} ({policy.tag}= of {record.domain})"
    said = replace(
        _finding("dmarc.p.none", record),
        found=found,
        expected="quarantine or reject, after 30 days of none",
    )
    if policy.asked == "none":
        remedy = (
            "Stay at p=none for the first 30 days while you read the reports; after that go on to "
            "p=quarantine; t=y, then quarantine, then reject."
        )
        return [replace(said, status=Status.INFO, remedy=remedy)]
    return [said]


def _bad_policy(record: DmarcRecord) -> list[Finding]:
    host = f"_dmarc.{record.domain}"
    bad = bad_policies(record)
    said = replace(_finding("dmarc.p.bad", record), expected=f"one of {', '.join(POLICIES)}")
    if bad:
        status = Status.WARN if record.takes_reports else Status.FAIL
        made = "take it for p=none" if record.takes_reports else "do nothing about DMARC"
        remedy = f"Set {bad[0]}= in TXT {host} to none, quarantine or reject: receivers {made}."
        found = ", ".join(f"{tag}={record.value(tag)}" for tag in bad)
        return [replace(said, status=status, found=found, remedy=remedy)]
    if record.value("p") is None:
        remedy = f"Add p=none to TXT {host}: older receivers need it."
        return [replace(said, status=Status.WARN, found="no p=", remedy=remedy)]
    return []


def _subdomains(domain: str, record: DmarcRecord, policy: Policy) -> list[Finding]:
    host = f"_dmarc.{record.domain}"
    findings = []
    if record.domain != domain:
        is_weak = policy.asked == "none" and record.value("p") in POLICIES[1:]
        weak = replace(
            _finding("dmarc.sp.weak", record, Status.WARN if is_weak else Status.PASS),
            found=f"{policy.asked} for {domain}, p={record.value('p')}",
            expected="as strong a policy as for the domain above",
            remedy=f"Raise {policy.tag}= in TXT {host} to what p= says." if is_weak else "",
        )
        findings.append(weak)
    if record.domain == policy.organizational:
        values = (record.value(tag) for tag in ("np", "sp", "p"))
        unborn = next((value for value in values if value), "none")
        is_strong = unborn == "reject"
        absent = replace(
            _finding("dmarc.np.absent", record, Status.PASS if is_strong else Status.WARN),
            found=f"{unborn} for names that do not exist",
            expected="np=reject",
            remedy=""
            if is_strong
            else f"Add np=reject to TXT {host}: nobody mails from names that do not exist.",
        )
        findings.append(absent)
    return findings


def _testing(record: DmarcRecord, policy: Policy) -> list[Finding]:
    if not policy.is_testing:
        return []
    said = _finding("dmarc.t", record, Status.INFO)
    found = f"t=y: {policy.effective or 'nothing'} instead of {policy.asked or 'nothing'}"
    return [replace(said, found=found, expected="no t=y once the reports are clean")]


def _removed(record: DmarcRecord) -> list[Finding]:
    tags = [f"{tag}={record.value(tag)}" for tag in REMOVED if record.value(tag) is not None]
    lists = f"{record.value('rua') or ''},{record.value('ruf') or ''}".split(",")
    sizes = [uri.strip() for uri in lists if "!" in uri]
    if not tags and not sizes:
        return []
    is_partial = record.value("pct") not in (None, "100")
    said = _finding("dmarc.removed", record, Status.WARN if is_partial else Status.INFO)
    found = ", ".join([*tags, *sizes])
    remedy = f"Delete from TXT _dmarc.{record.domain}, which new receivers ignore: {shown(found)}."
    return [replace(said, found=found, expected="none of pct, rf, ri, !size", remedy=remedy)]


async def _reports(lookups: Lookups, record: DmarcRecord) -> list[Finding]:
    """Whether reports have somewhere to go, and are let in there."""
    host = f"_dmarc.{record.domain}"
    domains = list(dict.fromkeys(filter(None, (mailbox_domain(uri) for uri in record.rua))))
    said = replace(
        _finding("dmarc.rua.missing", record),
        found=", ".join(record.rua) or "no rua",
        expected="rua=mailto: and a mailbox",
    )
    if not domains:
        remedy = f"Add rua=mailto:<a mailbox of yours> to TXT {host}."
        return [replace(said, status=Status.WARN, remedy=remedy)]
    domains = domains[:MOST_DESTINATIONS]
    organizations = await organizational_domains(lookups, [record.domain, *domains])
    own = organizations.get(record.domain)
    outside = [name for name in domains if own is None or organizations.get(name) != own]
    outside = [name for name in outside if name != record.domain]
    if not outside:
        inside = replace(said, id="dmarc.rua.external", expected="no domain outside, or let in")
        return [said, replace(inside, reference="RFC 9990, 4")]
    known = {name: None not in (own, organizations.get(name)) for name in outside}
    checks = (_let_in(lookups, record, name, is_outside=known[name]) for name in outside)
    return [said, *await asyncio.gather(*checks)]


async def _let_in(
    lookups: Lookups, record: DmarcRecord, domain: str, *, is_outside: bool
) -> Finding:
    """Whether a domain takes reports about another (RFC 9990, 4)."""
    host = f"{record.domain}._report._dmarc.{domain}"
    answer = await lookups.ask(host, "TXT")
    said = Finding(
        id="dmarc.rua.external",
        status=Status.PASS,
        host=host,
        found=" | ".join(answer.records) or answer.found.value,
        expected="TXT v=DMARC1",
        reference="RFC 9990, 4",
    )
    if any(is_record(text) for text in answer.records):
        return said
    if answer.is_known and is_outside:
        remedy = f"Have TXT {shown(host)} set to v=DMARC1, or take reports at {record.domain}."
        return replace(said, status=Status.WARN, remedy=remedy)
    remedy = "Nothing to change unless it stays so: DNS did not answer."
    return replace(said, status=Status.UNKNOWN, remedy=remedy)
