"""One DNS question and its answer, which is one of four: never guess from a failure."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.resolver

from config.values import Nameserver

DEADLINE_S = 5.0
"""For one question."""
RUN_DEADLINE_S = 10.0
"""For all questions of a run together."""
SHORTEST_WAIT_S = 0.05
AT_ONCE = 100
"""Questions under way at the same moment: some resolvers refuse a flood."""
MAX_RECORDS, MAX_CHARS = 200, 8_192
"""No record that mail needs is larger; a hostile answer is cut here."""
MAX_CHAIN = 16


class Found(StrEnum):
    """What a question came to. Only the first three say anything about the zone."""

    OK = "ok"
    NODATA = "nodata"
    """The name exists, without this type."""
    NXDOMAIN = "nxdomain"
    TEMPFAIL = "tempfail"
    """No answer, or a server that cannot tell: unknown, never "not there"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The records of one name and type, each as text (a TXT in one piece)."""

    found: Found
    records: tuple[str, ...] = ()
    """Names in lower case without the last dot, in the order of their text."""
    chain: tuple[str, ...] = ()
    """The targets of the CNAMEs between the name asked for and the records, or the last known."""
    is_loop: bool = False
    """The CNAMEs lead nowhere but back: nothing is found, and nothing ever will be."""
    ttl: int | None = None
    """Seconds; of the shortest-lived record in the answer."""
    is_validated: bool = False
    """The resolver says that it has checked the signatures (AD; RFC 6840, 5.8)."""
    is_servfail: bool = False
    """A resolver said itself that it failed: a broken signature looks so, silence does not."""

    @property
    def is_known(self) -> bool:
        return self.found is not Found.TEMPFAIL


class Resolver:
    """Asks the given name servers, or the system's; at most `DEADLINE_S` a question."""

    def __init__(self, nameservers: Sequence[Nameserver] = ()) -> None:
        self.nameservers = tuple(nameservers)
        self._resolver = configured(dns.resolver.Resolver, self.nameservers)

    def ask(self, name: str, kind: str) -> Answer:
        """The records of `name` of type `kind` ("TXT", "MX", …); never raises for an answer."""
        try:
            found = self._resolver.resolve(
                name, kind, search=False, raise_on_no_answer=False, lifetime=DEADLINE_S
            )
        except (dns.exception.DNSException, OSError, ValueError) as error:
            return _failed(error)
        return _answered(found)


class Lookups:
    """The questions of one run, within one event loop: each is asked once, many at a time, and
    what is not answered by the end of the run is unknown. Nothing is kept for the next run."""

    def __init__(
        self, nameservers: Sequence[Nameserver] = (), deadline_s: float | None = None
    ) -> None:
        self._resolver = configured(dns.asyncresolver.Resolver, nameservers)
        self._unchecked = configured(dns.asyncresolver.Resolver, nameservers)
        self._unchecked.flags = dns.flags.RD | dns.flags.CD
        self._ends_at = time.monotonic() + (RUN_DEADLINE_S if deadline_s is None else deadline_s)
        self._asked: dict[tuple[str, str, bool], asyncio.Task[Answer]] = {}
        self._places = asyncio.Semaphore(AT_ONCE)

    @property
    def count(self) -> int:
        """Questions asked so far."""
        return len(self._asked)

    @property
    def is_unanswered(self) -> bool:
        """Whether no question asked so far was answered."""
        done = [task for task in self._asked.values() if task.done()]
        return not any(task.result().is_known for task in done)

    @property
    def left_s(self) -> float:
        """Until the run ends; 0 when it is over."""
        return max(0.0, self._ends_at - time.monotonic())

    async def ask(self, name: str, kind: str, *, checking_disabled: bool = False) -> Answer:
        """As `Resolver.ask`; from memory when this run has asked before.

        With `checking_disabled` the resolver gives an answer that DNSSEC forbids too (CD).
        """
        key = (name.lower().rstrip("."), kind, checking_disabled)
        if key not in self._asked:
            self._asked[key] = asyncio.create_task(self._ask(*key))
        return await self._asked[key]

    async def _ask(self, name: str, kind: str, checking_disabled: bool) -> Answer:
        resolver = self._unchecked if checking_disabled else self._resolver
        async with self._places:
            lifetime = min(DEADLINE_S, self.left_s)
            if lifetime < SHORTEST_WAIT_S:
                return Answer(found=Found.TEMPFAIL)
            asked = resolver.resolve(
                f"{name}.", kind, search=False, raise_on_no_answer=False, lifetime=lifetime
            )
            try:
                # Its own clock does not run while an answer is taken apart.
                found = await asyncio.wait_for(asked, lifetime + SHORTEST_WAIT_S)
            except (dns.exception.DNSException, OSError, ValueError, EOFError) as error:
                return _failed(error)
        return _answered(found)


def configured(make: Callable[..., Any], nameservers: Sequence[Nameserver]) -> Any:
    """A resolver of dnspython's with EDNS (1,232 bytes; TCP where an answer is cut)."""
    resolver = make(configure=not nameservers)
    resolver.lifetime = DEADLINE_S
    resolver.flags = dns.flags.RD | dns.flags.AD
    resolver.use_edns(0, 0, 1232)
    if nameservers:
        resolver.nameservers = [server.address for server in nameservers]
        resolver.nameserver_ports = {server.address: server.port for server in nameservers}
    return resolver


def _answered(answer: dns.resolver.Answer) -> Answer:
    chain = () if answer.rdtype == dns.rdatatype.CNAME else _chain(answer.response, answer.qname)
    is_validated = bool(answer.response.flags & dns.flags.AD)
    if answer.rrset is None:
        return Answer(found=Found.NODATA, chain=chain, is_validated=is_validated)
    records = sorted(_text(record) for record in list(answer.rrset)[:MAX_RECORDS])
    return Answer(
        found=Found.OK,
        records=tuple(records),
        chain=chain,
        ttl=_ttl(answer),
        is_validated=is_validated,
    )


def _failed(error: Exception) -> Answer:
    if isinstance(error, dns.resolver.NXDOMAIN):
        [(asked, response)] = error.kwargs["responses"].items()
        return Answer(found=Found.NXDOMAIN, chain=_chain(response, asked))
    if isinstance(error, dns.resolver.NoNameservers) and any(
        isinstance(one[3], dns.message.ChainTooLong) for one in error.kwargs.get("errors", ())
    ):
        return Answer(found=Found.NODATA, is_loop=True)
    if isinstance(error, dns.name.LabelTooLong | dns.name.NameTooLong | dns.name.EmptyLabel):
        return Answer(found=Found.NXDOMAIN)
    told = [one[3] for one in getattr(error, "kwargs", {}).get("errors", ())]
    return Answer(found=Found.TEMPFAIL, is_servfail="SERVFAIL" in told)


def _chain(response: dns.message.Message, name: dns.name.Name) -> tuple[str, ...]:
    """Where the CNAMEs of an answer lead from a name, one after the other."""
    targets = {
        rrset.name: rrset[0].target
        for rrset in response.answer
        if rrset.rdtype == dns.rdatatype.CNAME
    }
    chain: list[str] = []
    while name in targets and len(chain) < MAX_CHAIN:
        name = targets[name]
        chain.append(_named(name))
    return tuple(chain)


def _ttl(answer: dns.resolver.Answer) -> int:
    return min(rrset.ttl for rrset in answer.response.answer)


def _named(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _text(record: Any) -> str:
    strings = getattr(record, "strings", None)
    if strings is not None:
        return b"".join(strings)[:MAX_CHARS].decode("utf-8", "backslashreplace")
    for attribute in ("target", "exchange"):
        if (name := getattr(record, attribute, None)) is not None:
            rest = f"{record.preference} " if attribute == "exchange" else ""
            return f"{rest}{_named(name)}"
    return str(record)[:MAX_CHARS]
