"""Whether domains and addresses of ours are on the blocklists that receivers use (RFC 5782).

Only through a resolver that somebody set for it: the lists refuse public ones, and then answer
with an error that looks like a listing. So each list first has to tell its test entries apart,
and what is no known kind of listing is an error. Lists asked by a key of one's own in the name
(Spamhaus DQS) are not known here.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import dns.name
import dns.reversename

from utils.dns.findings import Finding, Status
from utils.dns.lookup import Answer, Found, Lookups
from utils.dns.mx_checks import is_address
from utils.dns.subject import Subject
from utils.dns.zone_checks import with_parents

MOST_NAMES = 50
"""So many names are asked, the domain's first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocklist:
    """One list: where it is asked, and what its answers mean."""

    id: str
    name: str
    zone: str
    prefix: str
    """How an answer that is a listing begins; the number after it is one of `meanings`."""
    meanings: Mapping[int, str]
    is_mask: bool
    """The number is a sum of `meanings`."""
    listed: str
    """The test entry that is always listed, and the one that never is (RFC 5782, 5)."""
    unlisted: str
    lists_addresses: bool = False
    harmless: tuple[int, ...] = ()
    """Kinds of listing by which few receivers refuse mail."""

    def question(self, entry: str) -> str:
        if not self.lists_addresses:
            return f"{entry}.{self.zone}"
        zone = dns.name.from_text(self.zone)
        return dns.reversename.from_address(entry, zone, zone).to_text(omit_final_dot=True)

    def kinds(self, code: str) -> list[int]:
        """What an answer lists; nothing when it is an error, or not of this list."""
        prefix, _, last = code.rpartition(".")
        if prefix != self.prefix or not last.isdigit():
            return []
        number = int(last)
        if self.is_mask:
            return [bit for bit in self.meanings if number & bit and not number & 1]
        return [number] if number in self.meanings else []


# Facts 2.7; the test entries are those that each list publishes. URIBL and SURBL answer 127.0.0.1
# to whom they refuse.
BLOCKLISTS = (
    Blocklist(
        id="blocklist.zen",
        name="Spamhaus ZEN",
        zone="zen.spamhaus.org",
        prefix="127.0.0",
        meanings={2: "SBL", 3: "CSS", 4: "XBL", 9: "DROP", 10: "PBL", 11: "PBL"},
        is_mask=False,
        listed="127.0.0.2",
        unlisted="127.0.0.1",
        lists_addresses=True,
    ),
    Blocklist(
        id="blocklist.dbl",
        name="Spamhaus DBL",
        zone="dbl.spamhaus.org",
        prefix="127.0.1",
        meanings={
            **{2: "low reputation", 4: "phishing", 5: "malware", 6: "botnet controller"},
            **dict.fromkeys(range(102, 107), "abused, though legitimate"),
        },
        is_mask=False,
        listed="dbltest.com",
        unlisted="invalid",
    ),
    Blocklist(
        id="blocklist.surbl",
        name="SURBL",
        zone="multi.surbl.org",
        prefix="127.0.0",
        meanings={8: "phishing", 16: "malware", 64: "spam", 128: "cracked"},
        is_mask=True,
        listed="surbl-org-permanent-test-point.com",
        unlisted="invalid",
    ),
    Blocklist(
        id="blocklist.uribl",
        name="URIBL",
        zone="multi.uribl.com",
        prefix="127.0.0",
        meanings={2: "black", 4: "grey", 8: "red"},
        is_mask=True,
        listed="test.uribl.com",
        unlisted="invalid",
        harmless=(4, 8),
    ),
)


async def check_blocklists(
    lookups: Lookups, subject: Subject, hosts: Iterable[str]
) -> list[Finding]:
    """A finding for each list and each of: the domain, `hosts` (names in links and records, or
    addresses) with their parents, and `Subject.own_ips`.

    `lookups` is one made with the resolver that is set for it (`DNS_BLOCKLIST_NAMESERVERS`).
    """
    given = [subject.domain, *(host.lower().rstrip(".") for host in hosts)]
    names = [parent for host in given if not is_address(host) for parent in with_parents(host)]
    addresses = [*subject.own_ips, *(host for host in given if is_address(host))]
    told = await asyncio.gather(
        *(
            _ask(lookups, subject, one, _each_once(addresses if one.lists_addresses else names))
            for one in BLOCKLISTS
        )
    )
    return [finding for findings in told for finding in findings]


async def _ask(
    lookups: Lookups, subject: Subject, blocklist: Blocklist, entries: Sequence[str]
) -> list[Finding]:
    if not entries:
        return []
    listed, unlisted, *answers = await asyncio.gather(
        *(
            lookups.ask(blocklist.question(one), "A")
            for one in (blocklist.listed, blocklist.unlisted, *entries)
        )
    )
    fault = _fault(blocklist, listed, unlisted)
    return [
        _judged(subject, blocklist, entry, answer, fault)
        for entry, answer in zip(entries, answers, strict=True)
    ]


def _fault(blocklist: Blocklist, listed: Answer, unlisted: Answer) -> str:
    """Why nothing that a list says through this resolver can be believed; "": it can."""
    if not listed.is_known or not unlisted.is_known:
        return "it does not answer"
    if not _kinds(blocklist, listed):
        shown = ", ".join(listed.records) or "nothing"
        return f"it answers {shown} where {blocklist.listed} must be listed"
    if unlisted.records:
        return f"it lists {blocklist.unlisted}, which must not be"
    return ""


def _judged(
    subject: Subject, blocklist: Blocklist, entry: str, answer: Answer, fault: str
) -> Finding:
    good = Finding(
        id=blocklist.id,
        status=Status.PASS,
        host=entry,
        found=f"not on {blocklist.name}",
        expected=f"not on {blocklist.name}",
        reference="RFC 5782, 2",
    )
    if not fault and answer.found is Found.OK and not _kinds(blocklist, answer):
        fault = f"it answers {', '.join(answer.records)}, which is no listing"
    if fault:
        remedy = (
            "Set DNS_BLOCKLIST_NAMESERVERS to a resolver of your own: "
            f"{blocklist.name} serves no public ones, and none that ask too often."
        )
        return good.but(Status.UNKNOWN, f"{blocklist.name}: {fault}", remedy)
    if not answer.is_known:
        return good.unanswered()
    kinds = _kinds(blocklist, answer)
    if not kinds:
        return good
    meanings = ", ".join(dict.fromkeys(blocklist.meanings[kind] for kind in kinds))
    found = f"on {blocklist.name}: {meanings}"
    if blocklist.lists_addresses and entry not in subject.own_ips:
        return good.but(Status.INFO, f"{found}; the address is shared, so it is the ESP's to act")
    is_harmless = set(kinds) <= set(blocklist.harmless)
    remedy = f"Find out at {blocklist.name} why {entry} is listed, end that, then ask for removal."
    return good.but(Status.WARN if is_harmless else Status.FAIL, found, remedy)


def _kinds(blocklist: Blocklist, answer: Answer) -> list[int]:
    """Of all records together; nothing as soon as one is an error."""
    kinds = [blocklist.kinds(code) for code in answer.records]
    return [kind for one in kinds for kind in one] if all(kinds) else []


def _each_once(entries: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(entries))[:MOST_NAMES]
