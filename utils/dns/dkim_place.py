"""Where a DKIM key ought to be: whether the record is there, and leads to where it should."""

import asyncio
from dataclasses import dataclass, replace

from config.domain_setup import Record
from config.esp_config import EspName
from utils.dns.dkim import parse_key
from utils.dns.findings import Finding, Status
from utils.dns.lookup import Answer, Found, Lookups
from utils.dns.mechanism import Verdict
from utils.dns.senders import Sender, sender_of

NOBODY = "no-such-selector"
"""A selector that nobody has: what answers there answers everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is at the host of one key record."""

    record: Record
    """That ought to be there."""
    host: str
    """In full."""
    esp: EspName
    txt: Answer
    alias: Answer
    """The CNAME of the host itself."""
    findings: tuple[Finding, ...] = ()
    verdict: Verdict = Verdict.WORKS
    """Of the place alone; the key may still be bad."""
    key_text: str | None = None
    """The record to be read as a key; `None`: there is none, or not one."""

    @property
    def sender(self) -> Sender:
        return sender_of(self.esp)

    @property
    def is_known(self) -> bool:
        return self.txt.is_known

    @property
    def chain(self) -> tuple[str, ...]:
        return self.txt.chain or self.alias.records

    @property
    def leads_to(self) -> frozenset[str]:
        """Every target of its CNAMEs and every zone above one."""
        labels = [target.split(".") for target in self.chain]
        return frozenset(".".join(one[n:]) for one in labels for n in range(len(one)))

    @property
    def found(self) -> str:
        """In words."""
        if not self.is_known:
            return "DNS did not answer"
        if self.txt.is_loop:
            return "CNAMEs that lead back to themselves"
        via = "".join(f"CNAME {target} → " for target in self.chain)
        if self.txt.found is Found.OK:
            return via + " | ".join(self.txt.records)
        return via + self.txt.found.value

    @property
    def expected(self) -> str:
        return f"{self.record.type} {self.record.value or self.sender.as_shown}"

    def about(self, name: str, status: Status = Status.PASS, remedy: str = "") -> Finding:
        """A finding of this place."""
        return Finding(
            id=name,
            status=status,
            host=self.host,
            found=self.found,
            expected=self.expected,
            remedy=remedy,
            reference="RFC 6376, 3.6.2",
            esp=self.esp,
        )

    def broken(self, finding: Finding) -> "Place":
        return replace(self, findings=(finding,), verdict=Verdict.BROKEN)


async def look(lookups: Lookups, domain: str, record: Record, esp: EspName) -> Place:
    """Look at the host of one record."""
    host = record.fqdn(domain)
    txt, alias = await asyncio.gather(lookups.ask(host, "TXT"), lookups.ask(host, "CNAME"))
    place = Place(record=record, host=host, esp=esp, txt=txt, alias=alias)
    if not place.is_known:
        return _unknown(place)
    if txt.is_loop or place.chain or (txt.found is Found.OK and alias.found is Found.OK):
        return _aliased(place, domain)
    if txt.found is not Found.OK:
        return place.broken(await _absent(lookups, place, domain))
    if record.type == "CNAME" and record.value:
        return await _copied(lookups, place)
    return _published(place)


def _unknown(place: Place) -> Place:
    remedy = f"Nothing to change unless it stays so: the name servers of {place.host} are silent."
    finding = place.about("dkim.missing", Status.UNKNOWN, remedy)
    return replace(place, findings=(finding,), verdict=Verdict.UNKNOWN)


def _aliased(place: Place, domain: str) -> Place:
    """A host with a CNAME."""
    if place.txt.found is Found.OK and not place.txt.chain:
        remedy = f"Leave one of them at {place.host}: {place.expected}."
        both = place.about("dkim.cname_and_txt", Status.FAIL, remedy)
        return place.broken(replace(both, found=f"CNAME and TXT: {place.found}"))
    target = (place.record.value or "").lower().rstrip(".") if _is_alias(place) else ""
    remedy = f"Set {place.host} to {place.expected}."
    if target and f"{target}.{domain}" in place.chain:
        remedy = f"Enter the target of {place.host} with a dot at its end: {target}."
    wrong = place.about("dkim.cname.wrong", Status.FAIL, remedy)
    if place.txt.is_loop or (target and target not in place.chain):
        return place.broken(wrong)
    if place.txt.found is not Found.OK:
        remedy = (
            f"Create the identity or key at {place.sender.name} again and publish what its panel then "
            f"shows: {place.chain[-1]} is not there."
        )
        return place.broken(place.about("dkim.cname.dangling", Status.FAIL, remedy))
    published = _published(place)
    if not _is_alias(place):
        return published
    zone = place.sender.dkim_zone
    is_ours = bool(target) or not zone or zone in place.leads_to
    right = place.about("dkim.cname.wrong") if is_ours else replace(wrong, status=Status.WARN)
    return replace(published, findings=(right, *published.findings))


def _is_alias(place: Place) -> bool:
    return place.record.type == "CNAME"


async def _copied(lookups: Lookups, place: Place) -> Place:
    """A key where a CNAME should be: good as long as it is the one at the CNAME's target."""
    target = (place.record.value or "").lower().rstrip(".")
    there = await lookups.ask(target, "TXT")
    remedy = f"Replace the TXT record {place.host} by CNAME {target}: a copy misses the next key."
    wrong = place.about("dkim.cname.wrong", Status.FAIL, remedy)
    published = _published(place)
    if not there.is_known:
        return replace(
            place, findings=(replace(wrong, status=Status.UNKNOWN),), verdict=Verdict.UNKNOWN
        )
    if _keys(there) & _keys(place.txt):
        finding = replace(wrong, status=Status.WARN)
        return replace(published, findings=(finding, *published.findings))
    return place.broken(wrong)


def _published(place: Place) -> Place:
    """A host with TXT records of its own or through CNAMEs."""
    if len(place.txt.records) > 1:
        remedy = f"Leave one TXT record at {place.host}: {place.expected}."
        several = place.about("dkim.multi_txt", Status.FAIL, remedy)
        return place.broken(replace(several, reference="RFC 6376, 3.6.2.2"))
    [text] = place.txt.records
    wanted = parse_key(place.record.value or "") if place.record.type == "TXT" else None
    if wanted and wanted.data and parse_key(text).data not in ("", wanted.data):
        remedy = f"Set TXT {place.host} to {place.record.value}."
        wrong = place.about("dkim.key.wrong", Status.FAIL, remedy)
        return replace(place.broken(wrong), key_text=text)
    return replace(place, findings=(place.about("dkim.missing"),), key_text=text)


def _keys(answer: Answer) -> set[str]:
    return {parse_key(text).data for text in answer.records} - {""}


async def _absent(lookups: Lookups, place: Place, domain: str) -> Finding:
    """Why nothing is there, as far as other names tell."""
    doubled = f"{place.host}.{domain}"
    nobody = f"{NOBODY}._domainkey.{domain}"
    twice, *addresses = await asyncio.gather(
        lookups.ask(doubled, "TXT"),
        *(lookups.ask(host, kind) for host in (place.host, nobody) for kind in ("A", "AAAA")),
    )
    if twice.chain or _keys(twice):
        relative = place.host.removesuffix(f".{domain}")
        remedy = f"Enter the host without the domain: {relative}, {place.expected}."
        found = f"{doubled}: {' '.join(twice.chain or twice.records)}"
        return replace(place.about("dkim.double_suffix", Status.FAIL, remedy), found=found)
    here, wild = addresses[:2], addresses[2:]
    if any(
        one.records and other.is_known and one.records != other.records
        for one, other in zip(here, wild, strict=True)
    ):
        remedy = f"Switch {place.host} to DNS only (no proxy): {place.expected}."
        found = "only addresses: " + ", ".join(address for one in here for address in one.records)
        return replace(place.about("dkim.cname.proxied", Status.FAIL, remedy), found=found)
    remedy = f"Add the record {place.host} {place.expected}."
    return place.about("dkim.missing", Status.FAIL, remedy)
