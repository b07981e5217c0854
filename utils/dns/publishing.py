"""The records that a domain ought to publish, each with its reason, and whether it is there."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from config.domain_setup import Record
from config.esp_config import EspName
from utils.dns.findings import Status
from utils.dns.lookup import Answer, Found, Lookups
from utils.dns.senders import REGION, in_region, sender_of
from utils.dns.subject import Subject

SETTING_UP_TTL, SETTLED_TTL = 300, 3600
"""Seconds: short while a value may be wrong, long once it is right (facts 2.4)."""
STRING_BYTES = 255
"""Of one string of a TXT record (RFC 1035, 3.3.14); a longer value is several strings."""

WHY = {
    "dkim": "Signs your mail for your domain; DMARC passes by it, and Gmail, Yahoo and Microsoft ask for it.",
    "return_path": "Bounces go there, and SPF is judged there: with it SPF passes for your domain too.",
    "tracking": "Links that are counted lead through your own name instead of the ESP's.",
    "spf": "Of the domain itself; mail by your ESPs does not hang on it, some receivers and people look here.",
    "dmarc": "Says what becomes of mail that only claims to be yours; Gmail and Yahoo ask for one.",
    "mx": "Replies and complaints must reach you, or receivers take the domain for a throw-away.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One record to be published, and what DNS says of it now."""

    esp: EspName | None
    purpose: str
    host: str
    """Relative to the domain; "@" is the domain itself."""
    fqdn: str
    type: str
    value: str | None
    """`None`: only the ESP knows it."""
    status: Status
    """Pass: published like this. Info: something is published, and nobody told us what ought to be."""

    @property
    def ttl(self) -> int:
        return SETTLED_TTL if self.status is Status.PASS else SETTING_UP_TTL

    @property
    def why(self) -> str:
        return WHY[self.purpose]

    @property
    def verify(self) -> str:
        return f"dig +short {self.type} {self.fqdn}"

    @property
    def told_value(self) -> str:
        """As a zone file has it, or where it is to be copied from."""
        if self.value is not None:
            return presented(self.type, self.value)
        if self.esp is None:
            return "as you like"
        sender = sender_of(self.esp)
        return f"copy it from {sender.name}: {sender.panel or 'where it shows your domain'}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "esp": self.esp.value if self.esp else None,
            "purpose": self.purpose,
            "host": self.host,
            "fqdn": self.fqdn,
            "type": self.type,
            "value": self.value,
            "ttl": self.ttl,
            "why": self.why,
            "verify": self.verify,
            "status": self.status.value,
        }


_Wanted = tuple[EspName | None, str, Record]


async def advice(lookups: Lookups, subject: Subject) -> list[Advice]:
    """All that this domain ought to publish: ESP by ESP, then what is of the domain itself."""
    wanted = [*_of_esps(subject), *await _of_domain(lookups, subject)]
    return list(await asyncio.gather(*(_advice(lookups, subject.domain, *one) for one in wanted)))


def presented(kind: str, value: str) -> str:
    """A value as a zone file has it: names end with a dot, texts are cut into strings."""
    if kind == "TXT":
        return " ".join(f'"{_escaped(part)}"' for part in _strings(value))
    if kind in ("CNAME", "MX"):
        return f"{value.rstrip('.')}."
    return value


def is_published(record: Record, answer: Answer) -> bool:
    """Whether an answer has the record, in whatever spelling."""
    if record.value is None:
        return False
    if record.type == "TXT":
        wanted = "".join(record.value.split())
        return any("".join(one.split()) == wanted for one in answer.records)
    return " ".join(record.value.lower().rstrip(".").split()) in answer.records


def _of_esps(subject: Subject) -> Iterator[_Wanted]:
    for esp in subject.esps:
        known = subject.records(esp)
        for purpose, records in (
            ("dkim", known.dkim or sender_of(esp).dkim),
            ("return_path", known.return_path or _usual_return_path(esp, subject.ses_region)),
            ("tracking", known.tracking),
        ):
            for record in records:
                yield esp, purpose, record


def _usual_return_path(esp: EspName, region: str | None) -> Iterator[Record]:
    """A value of which the region is not known is not known itself."""
    for record in sender_of(esp).return_path:
        value = in_region(record.value or "", region)
        yield replace(record, value=None if not value or REGION in value else value)


async def _of_domain(lookups: Lookups, subject: Subject) -> list[_Wanted]:
    setup, domain = subject.setup, subject.domain
    texts, policies, exchanges = await asyncio.gather(
        lookups.ask(domain, "TXT"),
        lookups.ask(f"_dmarc.{domain}", "TXT"),
        lookups.ask(domain, "MX"),
    )
    spf = Record(
        host="@", type="TXT", value=merged_spf(texts.records, has_mx=bool(exchanges.records))
    )
    published = [one for one in policies.records if one.lower().startswith("v=dmarc1")]
    usual = published[0] if len(published) == 1 else f"v=DMARC1; p=none; rua=mailto:dmarc@{domain}"
    dmarc = Record(host="_dmarc", type="TXT", value=usual)
    wanted: list[_Wanted] = [(None, "spf", setup.spf or spf), (None, "dmarc", setup.dmarc or dmarc)]
    return wanted + [(None, "mx", record) for record in setup.mx]


def merged_spf(texts: Sequence[str], *, has_mx: bool) -> str:
    """One SPF record of all that the domain has: none of the three ESPs needs to be in it."""
    records = [one for one in texts if one.lower().split(" ")[0] == "v=spf1"]
    if len(records) == 1:
        return records[0]
    terms = [term for record in records for term in record.split()[1:]]
    ends = [term.lower() for term in terms if term.lower().lstrip("+-~?") == "all"]
    end = "-all" if ends and set(ends) == {"-all"} else "~all"
    kept = dict.fromkeys(term for term in terms if term.lower() not in ends)
    return " ".join(["v=spf1", *(kept or (["mx"] if has_mx else [])), end])


async def _advice(
    lookups: Lookups, domain: str, esp: EspName | None, purpose: str, record: Record
) -> Advice:
    fqdn = record.fqdn(domain)
    return Advice(
        esp=esp,
        purpose=purpose,
        host=record.host,
        fqdn=fqdn,
        type=record.type,
        value=record.value,
        status=await _status(lookups, record, fqdn),
    )


async def _status(lookups: Lookups, record: Record, fqdn: str) -> Status:
    if "<" in fqdn:
        return Status.UNKNOWN
    answer = await lookups.ask(fqdn, record.type)
    if not answer.is_known:
        return Status.UNKNOWN
    if is_published(record, answer):
        return Status.PASS
    is_there = answer.found is Found.OK
    return Status.INFO if is_there and record.value is None else Status.FAIL


def _strings(value: str) -> Iterator[str]:
    """Parts of at most 255 bytes; a character is never cut in two."""
    part, size = "", 0
    for char in value:
        bytes_of = len(char.encode("utf-8", "surrogateescape"))
        if size + bytes_of > STRING_BYTES:
            yield part
            part, size = "", 0
        part, size = part + char, size + bytes_of
    yield part


def _escaped(text: str) -> str:
    """RFC 1035, 5.1. A text may be anybody's: nothing of it ends a line or steers a terminal."""
    return "".join(_escaped_char(char) for char in text)


def _escaped_char(char: str) -> str:
    if char in '\\"':
        return f"\\{char}"
    if char.isprintable():
        return char
    return "".join(f"\\{byte:03d}" for byte in char.encode("utf-8", "surrogateescape"))
