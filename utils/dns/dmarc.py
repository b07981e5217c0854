"""DMARC (RFC 9989): a record taken apart, and the walk up the tree to the one that applies."""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from utils.dns.lookup import Answer, Lookups
from utils.dns.tags import Tags, tag_list

MOST_LABELS = 7
"""That the walk goes up from, after the domain itself: eight questions at most (4.10)."""
POLICIES = ("none", "quarantine", "reject")
"""From weak to strong."""

_RECORD = re.compile(r"[vV][ \t]*=[ \t]*DMARC1[ \t]*(;.*)?", re.DOTALL)
_MEANT = re.compile(r"\W{0,9}(v\s{0,9}=\s{0,9})?\W{0,9}dmarc", re.IGNORECASE)
_MAILTO = re.compile(
    r"mailto:[^@\s!?]+@([^@\s!?]+?)\.?(?P<size>!\d+[kmgt]?)?(\?\S*)?", re.IGNORECASE
)
_OTHER_URI = re.compile(r"(?!mailto:)[a-z][a-z0-9+.-]*:\S+", re.IGNORECASE)


def is_record(text: str) -> bool:
    """Whether receivers take a TXT for a DMARC record; all others they pass over."""
    return _RECORD.fullmatch(text) is not None


def why_none(text: str) -> str:
    """Of a TXT that was meant to be a DMARC record and is none: why; "" of any other."""
    if is_record(text) or not _MEANT.match(text):
        return ""
    if is_record(text.strip()):
        return "blanks before v=DMARC1"
    if re.match(r"[vV]\s*=\s*DMARC1\s+\w", text):
        return "no ; after v=DMARC1"
    return "it must begin with v=DMARC1;"


@dataclass(frozen=True, slots=True)
class DmarcRecord:
    """A record, and the domain that it is published for."""

    domain: str
    text: str
    tags: Tags

    def value(self, name: str) -> str | None:
        """Of a tag, in lower case (neither names nor values have a case)."""
        found = next((value for one, value in self.tags.pairs if one.lower() == name), None)
        return None if found is None else found.lower()

    @property
    def rua(self) -> tuple[str, ...]:
        """Where reports are to go, in lower case."""
        return tuple(filter(None, (uri.strip() for uri in (self.value("rua") or "").split(","))))

    @property
    def takes_reports(self) -> bool:
        """Whether a receiver could send a report anywhere."""
        return any(mailbox_domain(uri) or _OTHER_URI.fullmatch(uri) for uri in self.rua)


def mailbox_domain(uri: str) -> str | None:
    """Of an address for reports, `mailto:` only; `None` when it is none."""
    found = _MAILTO.fullmatch(uri)
    return found[1].lower() if found else None


def parse_record(domain: str, text: str) -> DmarcRecord:
    return DmarcRecord(domain, text, tag_list(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What one step of the walk found."""

    domain: str
    answer: Answer

    @property
    def host(self) -> str:
        return f"_dmarc.{self.domain}"

    @property
    def records(self) -> tuple[str, ...]:
        return tuple(text for text in self.answer.records if is_record(text))

    @property
    def record(self) -> DmarcRecord | None:
        """The one that is valid here: several are all discarded."""
        texts = self.records
        return parse_record(self.domain, texts[0]) if len(texts) == 1 else None

    @property
    def psd(self) -> str | None:
        return self.record.value("psd") if self.record else None


def names_up_from(domain: str) -> tuple[str, ...]:
    """The domains that the walk asks about, the nearest first."""
    labels = domain.split(".")
    starts = (0, *range(max(1, len(labels) - MOST_LABELS), len(labels)))
    return tuple(".".join(labels[start:]) for start in starts)


async def walk(lookups: Lookups, domain: str) -> tuple[Level, ...]:
    """The walk from a domain up to where it ends. All steps are asked at once."""
    names = names_up_from(domain)
    answers = await asyncio.gather(*(lookups.ask(f"_dmarc.{name}", "TXT") for name in names))
    levels = [Level(domain=name, answer=found) for name, found in zip(names, answers, strict=True)]
    ends = (n for n, level in enumerate(levels, start=1) if level.psd in ("y", "n"))
    return tuple(levels[: next(ends, len(levels))])


def organizational_domain(levels: Sequence[Level]) -> str | None:
    """Of the domain where a walk began (4.10.2); `None`: a step was not answered."""
    if not all(level.answer.is_known for level in levels):
        return None
    start = levels[0].domain
    found = [level for level in levels if level.record]
    if not found:
        return start
    last = found[-1]
    if last.psd == "y":
        labels = last.domain.count(".") + 1
        return ".".join(start.split(".")[-labels - 1 :])
    return last.domain


async def organizational_domains(lookups: Lookups, domains: Iterable[str]) -> dict[str, str]:
    """Of each domain; those that DNS does not tell are left out."""
    names = list(dict.fromkeys(domains))
    walks = await asyncio.gather(*(walk(lookups, name) for name in names))
    found = {name: organizational_domain(levels) for name, levels in zip(names, walks, strict=True)}
    return {name: domain for name, domain in found.items() if domain}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What receivers do with mail of a domain that fails."""

    is_known: bool = True
    """Whether DNS answered."""
    record: DmarcRecord | None = None
    """That applies."""
    asked: str | None = None
    """For this domain, before `t=y`; `None`: receivers do nothing about DMARC."""
    tag: str = "p"
    """That it is taken from."""
    organizational: str | None = None
    """Domain of the domain; `None`: DNS did not answer."""

    @property
    def is_found(self) -> bool:
        return self.asked is not None

    @property
    def is_testing(self) -> bool:
        return self.record is not None and self.record.value("t") == "y"

    @property
    def effective(self) -> str | None:
        """As receivers apply it: one step weaker while it is tested."""
        if self.asked is None or not self.is_testing:
            return self.asked
        return POLICIES[max(0, POLICIES.index(self.asked) - 1)]

    @property
    def dkim_is_strict(self) -> bool:
        return self.record is not None and self.record.value("adkim") == "s"

    @property
    def spf_is_strict(self) -> bool:
        return self.record is not None and self.record.value("aspf") == "s"


def policy_of(levels: Sequence[Level], *, exists: bool) -> Policy:
    """The policy for the domain where a walk began (4.10.1), and whether that domain exists
    at all (RFC 8020): `np` is for those that do not."""
    organizational = organizational_domain(levels)
    record = levels[0].record
    if not levels[0].answer.is_known or (record is None and organizational is None):
        return Policy(is_known=False)
    if record is None:
        by_domain: Mapping[str, DmarcRecord | None] = {one.domain: one.record for one in levels}
        of_suffix = levels[-1].record if levels[-1].psd == "y" else None
        record = by_domain.get(organizational or "") or of_suffix
    if record is None:
        return Policy(organizational=organizational)
    tag = _tag(record, levels[0].domain, exists=exists)
    return Policy(record=record, asked=_asked(record, tag), tag=tag, organizational=organizational)


def _tag(record: DmarcRecord, domain: str, *, exists: bool) -> str:
    if record.domain == domain:
        return "p"
    wanted = ("sp",) if exists else ("np", "sp")
    return next((tag for tag in wanted if record.value(tag) is not None), "p")


def _asked(record: DmarcRecord, tag: str) -> str | None:
    """One bad policy spoils all: it is none where reports can be sent, else no DMARC (4.10.1)."""
    if bad_policies(record):
        return "none" if record.takes_reports else None
    return record.value(tag) or "none"


def bad_policies(record: DmarcRecord) -> tuple[str, ...]:
    """Tags for a policy whose value is none."""
    values = {tag: record.value(tag) for tag in ("p", "sp", "np")}
    return tuple(tag for tag, value in values.items() if value not in (None, *POLICIES))
