"""SPF of a domain as a receiver evaluates it (RFC 7208), for the mail that costs it most:
every term is looked at, as if none before it had matched, and every limit is counted."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from utils.dns.lookup import MAX_CHARS, Answer, Found, Lookups
from utils.dns.spf_terms import LOOKUP_TERMS, Term, evaluated, expanded, is_spf, parsed

MOST_LOOKUPS, MOST_VOIDS, MOST_MX = 10, 2, 10
"""4.6.4: more is a permanent error."""
GIVEN_UP_AT = 100
"""Lookups after which a record is not read any further."""
MOST_NAMES = 120
"""Names asked for one record; within the limits it is 111 at most (ten `mx` of ten hosts)."""


class Result(StrEnum):
    """What a receiver makes of it before it looks for the address of the sender."""

    NONE = "none"
    """There is no record."""
    PERMERROR = "permerror"
    TEMPERROR = "temperror"
    EVALUATED = "evaluated"
    """It comes to pass, fail, softfail or neutral, by the address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """A term that makes a record a permanent error."""

    domain: str
    term: Term


@dataclass(frozen=True, slots=True, kw_only=True)
class Spf:
    """The record of `domain` and of all that it includes. Names are in lower case."""

    domain: str
    answer: Answer
    """To the question for its TXT."""
    type99: Answer
    """To the question for its records of the type SPF, which is no more (3.1)."""
    records: tuple[str, ...] = ()
    """Its records of SPF; more than one is a permanent error."""
    terms: tuple[Term, ...] = ()
    """Of its only record."""
    lookups: int = 0
    costs: tuple[tuple[str, int], ...] = ()
    """Of each of its own terms that costs lookups: how many, with what lies below."""
    voids: tuple[str, ...] = ()
    """Hosts that a term asked for in vain, each as often as it was asked for."""
    includes: tuple[str, ...] = ()
    """Targets of include and redirect at any depth, in order, each as often as it is met."""
    passing: frozenset[str] = frozenset()
    """Of these, those whose pass is a pass of the domain."""
    open_at: tuple[str, ...] = ()
    """Domains whose `+all` lets everybody pass for this one."""
    ends: str | None = ""
    """The qualifier of its `all`, or of its redirect's; "": none; `None`: not known."""
    loop: tuple[str, ...] = ()
    """The path of the first loop, from the domain to the name that is met again."""
    without: tuple[str, ...] = ()
    """Targets that have no SPF."""
    multiple: tuple[str, ...] = ()
    """Targets that have more than one record."""
    many_mx: tuple[str, ...] = ()
    """Domains of an `mx` that have more than ten."""
    wrong: tuple[Wrong, ...] = ()
    unread: tuple[str, ...] = ()
    """Targets whose record DNS did not tell."""
    unanswered: tuple[str, ...] = ()
    """Hosts of other terms that DNS did not tell."""

    @property
    def is_permerror(self) -> bool:
        return bool(
            len(self.records) > 1
            or self.lookups > MOST_LOOKUPS
            or len(self.voids) > MOST_VOIDS
            or (self.loop or self.without or self.multiple or self.many_mx or self.wrong)
        )

    @property
    def result(self) -> Result:
        """A record that is wrong for good is so, whatever else was not answered."""
        if not self.answer.is_known:
            return Result.TEMPERROR
        if not self.records:
            return Result.NONE
        if self.is_permerror:
            return Result.PERMERROR
        return Result.TEMPERROR if self.unread or self.unanswered else Result.EVALUATED


async def evaluate(lookups: Lookups, domain: str) -> Spf:
    """The SPF of a domain; what is the same for all mail is asked for, side by side."""
    domain = domain.lower().rstrip(".")
    known: dict[tuple[str, str], Answer] = {}
    type99, _ = await asyncio.gather(
        lookups.ask(domain, "SPF"), _learn(lookups, known, domain, domain)
    )
    return judged(known, domain, type99)


def judged(known: Mapping[tuple[str, str], Answer], domain: str, type99: Answer) -> Spf:
    """The SPF of a domain from the answers to (name, type)."""
    answer = known[domain, "TXT"]
    records = _records(answer)
    if len(records) != 1:
        return Spf(domain=domain, answer=answer, type99=type99, records=records)
    terms = _terms(records[0])
    walk = _Walk(known, domain)
    ends = walk.follow(domain, terms, (domain,), passes=True)
    return Spf(
        domain=domain,
        answer=answer,
        type99=type99,
        records=records,
        terms=terms,
        lookups=walk.lookups,
        costs=tuple(walk.costs),
        voids=tuple(walk.voids),
        includes=tuple(walk.includes),
        passing=frozenset(walk.passing),
        open_at=tuple(dict.fromkeys(walk.open_at)),
        ends=ends or (None if _is_cut(records[0]) else ends),
        loop=walk.loop,
        without=tuple(dict.fromkeys(walk.without)),
        multiple=tuple(dict.fromkeys(walk.multiple)),
        many_mx=tuple(dict.fromkeys(walk.many_mx)),
        wrong=tuple(dict.fromkeys(walk.wrong)),
        unread=tuple(dict.fromkeys(walk.unread)),
        unanswered=tuple(dict.fromkeys(walk.unanswered)),
    )


def _records(answer: Answer) -> tuple[str, ...]:
    return tuple(filter(is_spf, answer.records))


def _terms(record: str) -> tuple[Term, ...]:
    """Without the last word where the record was cut: it may be half a word."""
    return parsed(record.rpartition(" ")[0] if _is_cut(record) else record)


def _is_cut(record: str) -> bool:
    return len(record) >= MAX_CHARS


async def _learn(
    lookups: Lookups, known: dict[tuple[str, str], Answer], domain: str, sender: str
) -> None:
    """Ask for the record of a domain, and for what its terms name."""
    known[domain, "TXT"] = Answer(found=Found.TEMPFAIL)
    answer = known[domain, "TXT"] = await lookups.ask(domain, "TXT")
    records = _records(answer)
    if len(records) != 1:
        return
    asked = []
    for term in evaluated(_terms(records[0])):
        target = expanded(term.target, domain, sender) if term.target else domain
        if target is None or term.name not in LOOKUP_TERMS:
            continue
        kind = _KINDS.get(term.name)
        if kind is None or (target, kind) in known or len(known) > MOST_NAMES:
            continue
        if kind == "TXT":
            asked.append(_learn(lookups, known, target, sender))
        else:
            asked.append(_ask(lookups, known, target, kind))
        known[target, kind] = Answer(found=Found.TEMPFAIL)
    await asyncio.gather(*asked)


_KINDS = {"include": "TXT", "redirect": "TXT", "a": "A", "exists": "A", "mx": "MX"}
"""A `ptr` asks for the name of the sender's address, which is not known here."""


async def _ask(
    lookups: Lookups, known: dict[tuple[str, str], Answer], name: str, kind: str
) -> None:
    """One question, and for an MX those for its hosts."""
    answer = known[name, kind] = await lookups.ask(name, kind)
    hosts = _exchanges(answer) if kind == "MX" else ()
    if len(hosts) <= MOST_MX and len(known) <= MOST_NAMES:
        found = await asyncio.gather(*(lookups.ask(host, "A") for host in hosts))
        known |= {(host, "A"): one for host, one in zip(hosts, found, strict=True)}


def _exchanges(answer: Answer) -> tuple[str, ...]:
    """The hosts of an MX; none of a null MX."""
    hosts = (record.partition(" ")[2] for record in answer.records)
    return tuple(host for host in hosts if host.strip("."))


@dataclass
class _Walk:
    """What is met on the way through a record and those that it includes."""

    known: Mapping[tuple[str, str], Answer]
    sender: str
    lookups: int = 0
    costs: list[tuple[str, int]] = field(default_factory=list)
    voids: list[str] = field(default_factory=list)
    includes: list[str] = field(default_factory=list)
    passing: set[str] = field(default_factory=set)
    open_at: list[str] = field(default_factory=list)
    loop: tuple[str, ...] = ()
    without: list[str] = field(default_factory=list)
    multiple: list[str] = field(default_factory=list)
    many_mx: list[str] = field(default_factory=list)
    wrong: list[Wrong] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)

    def follow(
        self, domain: str, terms: tuple[Term, ...], path: tuple[str, ...], *, passes: bool
    ) -> str | None:
        """Count what these terms need; the qualifier that the record ends with.

        `passes`: whether a pass of this record is one of the domain that it all begins with.
        """
        self.wrong += [Wrong(domain=domain, term=term) for term in terms if term.wrong]
        ends: str | None = ""
        for term in evaluated(terms):
            if self.lookups >= GIVEN_UP_AT:
                return None
            if term.name == "all":
                ends = term.qualifier
                if passes and ends == "+":
                    self.open_at.append(domain)
            if term.name not in LOOKUP_TERMS:
                continue
            before = self.lookups
            self.lookups += 1
            target = expanded(term.target, domain, self.sender) if term.target else domain
            if term.name == "redirect":
                ends = self._into(target, path, passes=passes)
            elif term.name == "include":
                self._into(target, path, passes=passes and term.qualifier == "+")
            elif target is not None:
                self._look_up(target, term.name)
            if len(path) == 1:
                self.costs.append((term.text, self.lookups - before))
        return ends

    def _into(self, target: str | None, path: tuple[str, ...], *, passes: bool) -> str | None:
        """Go on with the record of a target; how it ends, `None` where that is not known."""
        if target is None:
            return None
        if target in path:
            self.loop = self.loop or (*path, target)
            return None
        self.includes.append(target)
        if passes:
            self.passing.add(target)
        answer = self._answer(target, "TXT")
        records = _records(answer)
        if len(records) == 1:
            return self.follow(target, _terms(records[0]), (*path, target), passes=passes)
        if not answer.is_known:
            self.unread.append(target)
        elif records:
            self.multiple.append(target)
        else:
            self.without.append(target)
            if answer.found is not Found.OK:
                self.voids.append(target)
        return None

    def _look_up(self, target: str, name: str) -> None:
        """Of an `a`, `exists`, `mx` or `ptr`: whether it is asked for in vain.

        A term counts once (4.6.4). Mail from an IPv4 address is meant: it asks for A.
        """
        kind = _KINDS.get(name)
        if kind is None:
            return
        answer = self._answer(target, kind)
        hosts = _exchanges(answer) if kind == "MX" else ()
        if len(hosts) > MOST_MX:
            self.many_mx.append(target)
            return
        asked = {target: answer} | {host: self._answer(host, "A") for host in hosts}
        self.unanswered += [host for host, found in asked.items() if not found.is_known]
        empty = (host for host, found in asked.items() if found.is_known and not found.records)
        if (void := next(empty, None)) is not None:
            self.voids.append(void)

    def _answer(self, name: str, kind: str) -> Answer:
        return self.known.get((name, kind), Answer(found=Found.TEMPFAIL))
