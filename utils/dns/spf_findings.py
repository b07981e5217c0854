"""What is to be said of an SPF record: one finding for each rule, kept or broken."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from config.esp_config import EspName
from utils.dns.findings import Finding, Status
from utils.dns.lookup import MAX_CHARS
from utils.dns.spf import GIVEN_UP_AT, MOST_LOOKUPS, MOST_MX, MOST_VOIDS, Spf
from utils.dns.spf_terms import Term, evaluated, expanded

NEAR_MOST_LOOKUPS = 8
MOST_BYTES = 450
"""Of a record, so that its answer fits into 512 bytes (RFC 7208, 3.4)."""
WIDEST_IP4, WIDEST_IP6 = 16, 32
"""Prefix lengths; what is wider belongs to more than one sender."""
NAMES_SHOWN = 5

_Told = tuple[Status, str, str]
"""Status, what was found, what to do."""
_END = "End the record with ~all, or with -all once DMARC is at p=reject."


@dataclass(frozen=True, slots=True)
class _Rule:
    id: str
    expected: str
    reference: str
    judge: Callable[[Spf], _Told]


def findings(spf: Spf, esp: EspName | None = None) -> list[Finding]:
    """Of a domain that has SPF or whose DNS did not answer; none where there is no record."""
    rules = RULES if len(spf.records) == 1 else [one for one in RULES if one.id == "spf.multiple"]
    if not spf.records:
        rules = [] if spf.answer.is_known else [one for one in RULES if one.id == "spf.temperror"]
    return [_finding(rule, spf, esp) for rule in rules]


def _finding(rule: _Rule, spf: Spf, esp: EspName | None) -> Finding:
    status, found, remedy = rule.judge(spf)
    return Finding(
        id=rule.id,
        status=status,
        host=spf.domain,
        found=found,
        expected=rule.expected,
        remedy=remedy,
        reference=rule.reference,
        esp=esp,
    )


def _multiple(spf: Spf) -> _Told:
    if (count := len(spf.records)) > 1:
        remedy = f"Merge the {count} records into one; more than one is a permanent error."
        return Status.FAIL, " | ".join(spf.records), remedy
    if spf.multiple:
        names = _names(spf.multiple)
        return Status.FAIL, f"several at {names}", f"Remove what includes {names}."
    return Status.PASS, "one record", ""


def _syntax(spf: Spf) -> _Told:
    if spf.wrong:
        of_others = {wrong.domain for wrong in spf.wrong} - {spf.domain}
        said = [
            f"{wrong.term.text} at character {wrong.term.position}"
            f"{f' of {wrong.domain}' if wrong.domain in of_others else ''}: {wrong.term.wrong}"
            for wrong in spf.wrong
        ]
        first = spf.wrong[0]
        at = f"{first.term.text} (character {first.term.position} of the record)"
        mine = f"Correct or remove {at}; until then the whole record is a permanent error."
        theirs = f"Remove what includes {first.domain}; its record is a permanent error."
        return Status.FAIL, "; ".join(said), theirs if first.domain in of_others else mine
    if (strange := _meant_as_mechanism(spf.terms)) is not None:
        found = f"{strange.text} at character {strange.position} says nothing: a modifier unknown"
        return Status.WARN, found, f"Write {strange.text.replace('=', ':', 1)}."
    return Status.PASS, f"{len(spf.terms)} terms", ""


def _meant_as_mechanism(terms: Iterable[Term]) -> Term | None:
    names = {"ip4", "ip6", "include", "a", "mx", "exists", "ptr", "all"}
    return next((one for one in terms if not one.qualifier and one.name in names), None)


def _lookups(spf: Spf) -> _Told:
    count = f"more than {GIVEN_UP_AT}" if spf.lookups >= GIVEN_UP_AT else f"{spf.lookups}"
    costs = ", ".join(f"{term} {cost}" for term, cost in spf.costs)
    found = f"{count}: {costs}" if costs else count
    remedy = (
        f"Remove each include that does not send with {spf.domain} as its return path; none of"
        " SendGrid, SES and Postmark needs one in the record of the From domain."
    )
    if spf.lookups > MOST_LOOKUPS:
        return Status.FAIL, found, remedy
    if spf.unread:
        return Status.UNKNOWN, f"{found}, and what {_names(spf.unread)} costs", ""
    if spf.lookups >= NEAR_MOST_LOOKUPS:
        return Status.WARN, found, remedy
    return Status.PASS, found, ""


def _void(spf: Spf) -> _Told:
    names = _names(spf.voids)
    remedy = f"Remove or correct what asks for {names}, which has no such record."
    if len(spf.voids) > MOST_VOIDS:
        return Status.FAIL, f"{len(spf.voids)}: {names}", remedy
    if spf.unread or spf.unanswered:
        silent = _names((*spf.unread, *spf.unanswered))
        return Status.UNKNOWN, f"{len(spf.voids)}, and no answer for {silent}", ""
    if spf.voids:
        return Status.WARN, f"{len(spf.voids)}: {names}", remedy
    return Status.PASS, "0", ""


def _mx10(spf: Spf) -> _Told:
    if spf.many_mx:
        names = _names(spf.many_mx)
        found = f"more than {MOST_MX} at {names}"
        return Status.FAIL, found, f"Replace the mx of {names} by the addresses that send mail."
    if spf.unread or spf.unanswered:
        return Status.UNKNOWN, f"no answer for {_names((*spf.unread, *spf.unanswered))}", ""
    return Status.PASS, "none", ""


def _include_none(spf: Spf) -> _Told:
    if spf.without:
        names = _names(spf.without)
        remedy = f"Remove include or redirect of {names}, which has no SPF record (any more)."
        return Status.FAIL, f"no SPF at {names}", remedy
    if spf.unread:
        return Status.UNKNOWN, f"no answer for {_names(spf.unread)}", ""
    return Status.PASS, f"{len(set(spf.includes))} targets have SPF", ""


def _temperror(spf: Spf) -> _Told:
    silent = (*spf.unread, *spf.unanswered) if spf.answer.is_known else (spf.domain,)
    if not silent:
        return Status.PASS, "every answer", ""
    names = _names(silent)
    remedy = f"DNS of {names} did not answer; nothing to change unless it persists for 24 hours."
    return Status.UNKNOWN, f"no answer for {names}", remedy


def _loop(spf: Spf) -> _Told:
    if spf.loop:
        path = " -> ".join(spf.loop)
        return Status.FAIL, path, f"Remove the include of {spf.loop[-1]} in {spf.loop[-2]}."
    if spf.unread:
        return Status.UNKNOWN, f"no answer for {_names(spf.unread)}", ""
    return Status.PASS, "none", ""


def _all_plus(spf: Spf) -> _Told:
    if spf.domain in spf.open_at:
        return Status.FAIL, "+all: everybody passes", _END
    if spf.open_at:
        names = _names(spf.open_at)
        return Status.FAIL, f"+all at {names}: everybody passes", f"Remove what includes {names}."
    return _ends(spf)


def _all_neutral(spf: Spf) -> _Told:
    return (Status.WARN, "?all", _END) if spf.ends == "?" else _ends(spf)


def _all_absent(spf: Spf) -> _Told:
    return (Status.WARN, "no all and no redirect", _END) if spf.ends == "" else _ends(spf)


def _ends(spf: Spf) -> _Told:
    if spf.ends is not None:
        return Status.PASS, f"{spf.ends}all" if spf.ends else "no all", ""
    if spf.unread:
        return Status.UNKNOWN, f"no answer for {_names(spf.unread)}", ""
    if len(spf.records[0]) >= MAX_CHARS:
        return Status.UNKNOWN, "the record is too long to be read to its end", ""
    return Status.PASS, "a redirect", ""


def _after_all(spf: Spf) -> _Told:
    used = evaluated(spf.terms)
    dead = [
        term.text
        for term in spf.terms
        if term not in used and (term.qualifier or term.name == "redirect")
    ]
    if dead:
        return Status.WARN, " ".join(dead), f"Move {dead[0]} before all, or remove it."
    return Status.PASS, "none", ""


def _ptr(spf: Spf) -> _Told:
    if any(term.name == "ptr" and term.qualifier for term in spf.terms):
        return Status.WARN, "ptr", "Replace ptr by the addresses that send mail (ip4:, ip6:)."
    return Status.PASS, "none", ""


def _type99(spf: Spf) -> _Told:
    if spf.type99.records:
        remedy = f"Remove the record of type SPF at {spf.domain}; only the TXT is read."
        return Status.WARN, " | ".join(spf.type99.records), remedy
    if not spf.type99.is_known:
        return Status.UNKNOWN, "no answer", ""
    return Status.PASS, "none", ""


def _dup(spf: Spf) -> _Told:
    """A name that is met twice, where it is the domain's own record that could leave it out."""
    own = {
        expanded(term.target, spf.domain, spf.domain)
        for term in evaluated(spf.terms)
        if term.name in ("include", "redirect")
    }
    times = Counter(spf.includes)
    twice = [name for name, count in times.items() if count > 1 and name in own]
    if twice:
        names = _names(twice)
        return Status.WARN, f"{names} more than once", f"Leave one include of {names}."
    return Status.PASS, "none", ""


def _size(spf: Spf) -> _Told:
    size = len(spf.records[0].encode())
    found = f"{size} bytes{' or more' if size >= MAX_CHARS else ''}"
    if size > MOST_BYTES:
        remedy = "Shorten the record: leave out what does not send mail, or include it elsewhere."
        return Status.WARN, found, remedy
    return Status.PASS, found, ""


def _wide(spf: Spf) -> _Told:
    wide = [term.text for term in evaluated(spf.terms) if term.qualifier == "+" and _is_wide(term)]
    if wide:
        remedy = f"Replace {wide[0]} by the addresses that send mail: it lets strangers pass."
        return Status.WARN, " ".join(wide), remedy
    return Status.PASS, "none", ""


def _is_wide(term: Term) -> bool:
    four, six = term.prefixes
    if term.network is not None:
        length = term.network.prefixlen
        four, six = (length, None) if term.network.version == 4 else (None, length)
    return (four is not None and four < WIDEST_IP4) or (six is not None and six < WIDEST_IP6)


def _names(names: Iterable[str]) -> str:
    once = list(dict.fromkeys(names))
    more = len(once) - NAMES_SHOWN
    return ", ".join(once[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


RULES = [
    _Rule("spf.multiple", "one record", "RFC 7208, 4.5", _multiple),
    _Rule("spf.syntax", "terms of SPF", "RFC 7208, 4.6 and 12", _syntax),
    _Rule("spf.lookups", "10 at most, 7 to be safe", "RFC 7208, 4.6.4", _lookups),
    _Rule("spf.void", "0; more than 2 is an error", "RFC 7208, 4.6.4", _void),
    _Rule("spf.mx10", "10 hosts at most for one mx", "RFC 7208, 4.6.4", _mx10),
    _Rule("spf.include.none", "each target has SPF", "RFC 7208, 5.2 and 6.1", _include_none),
    _Rule("spf.temperror", "every answer", "RFC 7208, 2.6.6", _temperror),
    _Rule("spf.loop", "none", "RFC 7208, 4.6.4", _loop),
    _Rule("spf.all.plus", "~all or -all", "RFC 7208, 5.1", _all_plus),
    _Rule("spf.all.neutral", "~all or -all", "RFC 7208, 8.2", _all_neutral),
    _Rule("spf.all.absent", "~all or -all", "RFC 7208, 4.7", _all_absent),
    _Rule("spf.after_all", "nothing after all", "RFC 7208, 5.1 and 6.1", _after_all),
    _Rule("spf.ptr", "no ptr", "RFC 7208, 5.5", _ptr),
    _Rule("spf.type99", "no record of type SPF", "RFC 7208, 3.1", _type99),
    _Rule("spf.dup", "each include once", "RFC 7208, 4.6.4", _dup),
    _Rule("spf.size", f"{MOST_BYTES} bytes at most", "RFC 7208, 3.4", _size),
    _Rule("spf.wide", "ip4 of /16 and ip6 of /32 at most", "RFC 7208, 11.4", _wide),
]
