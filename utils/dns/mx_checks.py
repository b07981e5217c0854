"""Whether mail to a sending domain arrives: its MX, and the hosts that they name.

That abuse@ and postmaster@ are read (RFC 2142) cannot be seen in DNS, so it is not checked.
"""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from utils.dns.findings import Finding, Status
from utils.dns.lookup import Answer, Found, Lookups
from utils.dns.subject import Subject

MOST_HOSTS = 20
"""Nobody has more; those of a longer list with the best preference are looked at."""
NULL_MX = "."
_PRIVATE = [
    *map(ipaddress.ip_network, ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8")),
    *map(ipaddress.ip_network, ("169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")),
    *map(ipaddress.ip_network, ("::/127", "fc00::/7", "fe80::/10")),
]
"""RFC 6890, without the networks of documentation: nobody has those by mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host that MX records name, with what DNS says of it."""

    name: str
    addresses: tuple[str, ...]
    """None where the name is an address itself: no server looks further then."""
    alias_of: str
    """Where its CNAMEs lead; "" when it has none."""
    is_known: bool
    """Or it may have addresses that DNS did not tell."""
    times: int
    """It is named by so many MX."""

    @property
    def is_address(self) -> bool:
        return is_address(self.name)

    @property
    def is_dead(self) -> bool:
        return self.is_known and not self.addresses and not self.is_address


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """`fault` says what is wrong with a host, "" when nothing is."""

    id: str
    fault: Callable[[Host], str]
    expected: str
    remedy: str
    reference: str
    asks_addresses: bool = True


_RULES = (
    _Rule(
        id="mx.cname",
        fault=lambda host: f"CNAME {host.alias_of}" if host.alias_of else "",
        expected="hosts that are no aliases",
        remedy="Name in the MX the host that the CNAME leads to.",
        reference="RFC 2181, 10.3",
    ),
    _Rule(
        id="mx.ip",
        fault=lambda host: "an address" if host.is_address else "",
        expected="names of hosts",
        remedy="Give the address a name with an A or AAAA record, and put that name into the MX.",
        reference="RFC 1035, 3.3.9",
        asks_addresses=False,
    ),
    _Rule(
        id="mx.noaddr",
        fault=lambda host: "no address" if host.is_dead else "",
        expected="hosts with an A or AAAA record",
        remedy="Publish an A or AAAA record for the host, or take it out of the MX.",
        reference="RFC 5321, 5.1",
    ),
    _Rule(
        id="mx.private",
        fault=lambda host: ", ".join(filter(_is_private, host.addresses)),
        expected="public addresses",
        remedy="Give the host its public address: this one cannot be reached from outside.",
        reference="RFC 6890",
    ),
    _Rule(
        id="mx.dup",
        fault=lambda host: f"{host.times} times" if host.times > 1 else "",
        expected="each host once",
        remedy="Leave one MX for the host: a second one gives no second try.",
        reference="RFC 5321, 5.1",
        asks_addresses=False,
    ),
)


async def check_mx(lookups: Lookups, subject: Subject) -> list[Finding]:
    """`from.mx`, and the `mx.*` of the hosts where there are any."""
    domain = subject.domain
    exchanges, *addresses = await asyncio.gather(
        *(lookups.ask(domain, kind) for kind in ("MX", "A", "AAAA"))
    )
    if not exchanges.is_known:
        good = [_from_mx(subject, exchanges), *(_of_rule(rule, domain, "") for rule in _RULES)]
        return [finding.unanswered() for finding in good]
    names = host_names(exchanges)
    if not names:
        return [_without_hosts(subject, exchanges, addresses)]
    times = Counter(names)
    hosts = await asyncio.gather(
        *(_host(lookups, name, times[name]) for name in list(times)[:MOST_HOSTS])
    )
    return [
        _with_hosts(subject, exchanges, hosts),
        *(_judged(rule, domain, hosts) for rule in _RULES),
    ]


def host_names(exchanges: Answer) -> list[str]:
    """The hosts of MX records, the preferred first; a null MX is none."""
    pairs = [record.split(" ", 1) for record in exchanges.records]
    pairs.sort(key=lambda pair: int(pair[0]))
    return [name for _, name in pairs if name != NULL_MX]


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _host(lookups: Lookups, name: str, times: int) -> Host:
    kinds = () if is_address(name) else ("A", "AAAA")
    answers = await asyncio.gather(*(lookups.ask(name, kind) for kind in kinds))
    chain = next((answer.chain for answer in answers if answer.chain), ())
    return Host(
        name=name,
        addresses=tuple(address for answer in answers for address in answer.records),
        alias_of=chain[-1] if chain else "",
        is_known=all(answer.is_known for answer in answers),
        times=times,
    )


def _from_mx(subject: Subject, exchanges: Answer) -> Finding:
    return Finding(
        id="from.mx",
        status=Status.PASS,
        host=subject.domain,
        found=", ".join(exchanges.records),
        expected=", ".join(_wanted(subject)) or "an MX, and no null MX",
        reference="RFC 5321, 5.1; RFC 7505, 3",
    )


def _without_hosts(subject: Subject, exchanges: Answer, addresses: Sequence[Answer]) -> Finding:
    good = _from_mx(subject, exchanges)
    wanted = " and ".join(_wanted(subject)) or "10 <your mail host>"
    remedy = f"Publish at {subject.domain} MX {wanted}, so that replies and bounces arrive."
    if exchanges.records:
        return good.but(Status.FAIL, "a null MX: the domain takes no mail", remedy)
    if any(answer.found is Found.OK for answer in addresses):
        # Without an MX the address is where mail goes (RFC 5321, 5.1).
        listed = ", ".join(address for answer in addresses for address in answer.records)
        return good.but(Status.INFO, f"no MX, but an address: {listed}", remedy)
    if not all(answer.is_known for answer in addresses):
        return good.unanswered()
    return good.but(Status.FAIL, "neither MX nor address", remedy)


def _with_hosts(subject: Subject, exchanges: Answer, hosts: Sequence[Host]) -> Finding:
    good = _from_mx(subject, exchanges)
    names = [host.name for host in hosts]
    if len(exchanges.records) > len(host_names(exchanges)):
        remedy = f"Take the null MX of {subject.domain} away, or all others."
        return good.but(Status.FAIL, f"a null MX beside others: {good.found}", remedy)
    if not any(host.addresses for host in hosts):
        if not all(host.is_known for host in hosts):
            return good.unanswered()
        remedy = f"Publish an A record for {names[0]}, or an MX of {subject.domain} that has one."
        return good.but(Status.FAIL, f"no host with an address: {good.found}", remedy)
    missing = [one for one in _wanted(subject) if one.split()[-1] not in host_names(exchanges)]
    if missing:
        remedy = f"Publish at {subject.domain} MX {missing[0]}, or correct mx in config/domain_setup.json."
        return good.but(Status.WARN, good.found, remedy)
    return good


def _judged(rule: _Rule, domain: str, hosts: Sequence[Host]) -> Finding:
    faults = [f"{host.name}: {fault}" for host in hosts if (fault := rule.fault(host))]
    good = _of_rule(rule, domain, ", ".join(host.name for host in hosts))
    if faults:
        return good.but(Status.WARN, "; ".join(faults), rule.remedy)
    if rule.asks_addresses and not all(host.is_known for host in hosts):
        return good.unanswered()
    return good


def _of_rule(rule: _Rule, domain: str, found: str) -> Finding:
    return Finding(
        id=rule.id,
        status=Status.PASS,
        host=domain,
        found=found,
        expected=rule.expected,
        reference=rule.reference,
    )


def _wanted(subject: Subject) -> list[str]:
    """The MX of the set-up for the domain itself, as an answer has them."""
    return [
        record.value.lower().rstrip(".")
        for record in subject.setup.mx
        if record.host == "@" and record.value
    ]


def _is_private(address: str) -> bool:
    return any(ipaddress.ip_address(address) in network for network in _PRIVATE)
