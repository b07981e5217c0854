"""The checks of SPF: of the domain itself, and where each ESP's mail is judged by it."""

import asyncio
from collections.abc import Sequence

from config.domain_setup import Record
from config.esp_config import EspName
from utils.dns.findings import Finding, Status
from utils.dns.lookup import Answer, Found, Lookups
from utils.dns.mechanism import Mechanism, Verdict
from utils.dns.senders import Sender, sender_of
from utils.dns.spf import Result, Spf, evaluate
from utils.dns.spf_findings import findings
from utils.dns.spf_terms import evaluated, parsed
from utils.dns.subject import Subject

_REFERENCES = {
    "spf.rp.missing": "RFC 7208, 2.4: SPF is judged at the return path",
    "spf.rp.include": "RFC 7208, 5.2; the ESP's page on its return path",
}

_Told = tuple[Status, str, str]
"""Status, what was found, what to do."""


async def check_apex(lookups: Lookups, subject: Subject) -> list[Finding]:
    """Of the domain of the From: no ESP's mail hangs on it, but people and receivers look."""
    spf = await evaluate(lookups, subject.domain)
    wanted = subject.setup.spf.value if subject.setup.spf else None
    status, found, remedy = Status.PASS, " | ".join(spf.records), ""
    if not spf.answer.is_known:
        status, found = Status.UNKNOWN, "no answer"
    elif not spf.records:
        status, found = Status.WARN, _nothing(spf)
        remedy = (
            f"Publish {subject.domain} TXT {wanted}." if wanted else _own_record(subject.domain)
        )
    apex = Finding(
        id="spf.apex.missing",
        status=status,
        host=spf.domain,
        found=found,
        expected=wanted or "one TXT that begins with v=spf1",
        remedy=remedy,
        reference="RFC 7208, 3.1; Microsoft's rules for senders",
    )
    return [apex, *findings(spf)]


async def check_return_path(
    lookups: Lookups, subject: Subject, esp: EspName
) -> tuple[list[Finding], Mechanism]:
    """Of the host that SPF is judged at for mail sent by `esp`, and what that comes to."""
    records = subject.records(esp).return_path
    if not records:
        return [_unnamed(subject.domain, esp)], Mechanism(verdict=Verdict.BROKEN)
    host = records[0].fqdn(subject.domain)
    spf, cname = await asyncio.gather(evaluate(lookups, host), lookups.ask(host, "CNAME"))
    return _judged(esp, records, spf, cname)


def _judged(
    esp: EspName, records: Sequence[Record], spf: Spf, cname: Answer
) -> tuple[list[Finding], Mechanism]:
    """Of a return path with these records in the set-up, whose host has this SPF and CNAME."""
    sender = sender_of(esp)
    alias = next((one for one in records if one.type == "CNAME"), None)
    text = next((one.value for one in records if one.type == "TXT"), None) or sender.spf
    chain = spf.answer.chain or cname.records
    if alias is not None:
        zone = sender.return_path_zone
        anywhere = f"under {zone}" if zone else sender.as_shown
        expected = f"CNAME {alias.value or sender.alias or anywhere}"
        told = _by_alias(sender, alias, spf, cname, chain)
    else:
        expected = f"TXT {text or sender.as_shown}"
        told = _by_text(expected, spf)
    included = _includes(sender, text, spf, is_theirs=alias is not None and bool(chain))
    said = [
        _finding("spf.rp.missing", esp, spf.domain, expected, told),
        *([_finding("spf.rp.include", esp, spf.domain, *included)] if included else []),
        *findings(spf, esp),
    ]
    if told[0] is Status.FAIL:
        said = said[:1]
    verdict = _verdict(told[0], included[1][0] if included else Status.PASS, spf.result)
    return said, Mechanism(verdict=verdict, domain=spf.domain)


def _by_alias(
    sender: Sender, alias: Record, spf: Spf, cname: Answer, chain: Sequence[str]
) -> _Told:
    value = (alias.value or sender.alias or "").lower().rstrip(".")
    publish = f"{spf.domain} CNAME {value or sender.as_shown}"
    if spf.answer.is_loop:
        return Status.FAIL, "its CNAMEs lead in a circle", f"Publish {publish}."
    if not chain:
        if not (spf.answer.is_known and cname.is_known):
            return Status.UNKNOWN, "no answer", ""
        if sender.spf_include in spf.passing:
            remedy = f"Replace it by {publish}: it then follows what {sender.name} changes."
            return Status.WARN, spf.records[0], remedy
        return Status.FAIL, " | ".join(spf.records) or _nothing(spf), f"Publish {publish}."
    path = " -> ".join(chain)
    zone = sender.return_path_zone
    is_right = value in chain if value else not zone or chain[-1].endswith(f".{zone}")
    if not is_right:
        remedy = f"Change the CNAME of {spf.domain} from {chain[0]} to {value or publish}."
        return Status.FAIL, f"CNAME {path}", remedy
    if not spf.answer.is_known:
        return Status.UNKNOWN, f"CNAME {path}, and no answer for its SPF", ""
    if not spf.records:
        remedy = f"Set the domain up again at {sender.name}: it has no SPF at {chain[-1]} any more."
        return Status.FAIL, f"CNAME {path}, {_nothing(spf)} there", remedy
    return Status.PASS, f"CNAME {path}", ""


def _by_text(expected: str, spf: Spf) -> _Told:
    if not spf.answer.is_known:
        return Status.UNKNOWN, "no answer", ""
    if spf.records:
        return Status.PASS, " | ".join(spf.records), ""
    remedy = f"Publish {spf.domain} {expected}, or SPF cannot align and DMARC hangs on DKIM alone."
    return Status.FAIL, _nothing(spf), remedy


def _includes(sender: Sender, text: str, spf: Spf, *, is_theirs: bool) -> tuple[str, _Told] | None:
    """What is expected and what is said of it; `None` where there is no one record to look at, or
    nothing that has to be in it."""
    if len(spf.records) != 1:
        return None
    if is_theirs:
        return f"{sender.name}'s own record", (Status.PASS, "by CNAME", "")
    targets = _targets(text)
    if not targets:
        return None
    lacking = [name for name in targets if name not in spf.passing]
    expected = " ".join(f"include:{name}" for name in targets)
    if not lacking:
        return expected, (Status.PASS, spf.records[0], "")
    if spf.unread:
        return expected, (Status.UNKNOWN, spf.records[0], "")
    remedy = f"Set TXT {spf.domain} to {text}."
    return expected, (Status.FAIL, spf.records[0], remedy)


def _targets(text: str) -> list[str]:
    """The includes of a record that is to be published."""
    terms = evaluated(parsed(text))
    return [term.target.lower().rstrip(".") for term in terms if term.name == "include"]


def _verdict(missing: Status, included: Status, result: Result) -> Verdict:
    if Status.FAIL in (missing, included) or result is Result.PERMERROR:
        return Verdict.BROKEN
    if Status.UNKNOWN in (missing, included) or result is not Result.EVALUATED:
        return Verdict.UNKNOWN
    return Verdict.WORKS


def _finding(id_: str, esp: EspName, host: str, expected: str, told: _Told) -> Finding:
    status, found, remedy = told
    return Finding(
        id=id_,
        status=status,
        host=host,
        found=found,
        expected=expected,
        remedy=remedy,
        reference=_REFERENCES[id_],
        esp=esp,
    )


def _unnamed(domain: str, esp: EspName) -> Finding:
    sender = sender_of(esp)
    theirs = sender.own_domain or f"a domain of {sender.name}"
    found = f"the set-up names none: SPF passes for {theirs}, and says nothing of yours"
    remedy = (
        f"At {sender.name}, {sender.return_path_how}; then name it in the set-up of the domain."
    )
    told = Status.WARN, found, remedy
    return _finding("spf.rp.missing", esp, domain, f"a return path under {domain}", told)


def _own_record(domain: str) -> str:
    return (
        f"Publish one TXT at {domain}: v=spf1 ~all, with mx or an include before ~all for whoever"
        " else sends mail with it as return path."
    )


def _nothing(spf: Spf) -> str:
    if spf.answer.is_loop:
        return "its CNAMEs lead in a circle"
    return "no such name" if spf.answer.found is Found.NXDOMAIN else "no SPF"
