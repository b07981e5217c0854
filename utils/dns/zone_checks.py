"""The zone that a sending domain is in: that it is there, who serves it, and its DNSSEC.

All is asked through a resolver, so some things cannot be told: whether each name server answers
for the zone (`ns.lame` sees only those without an address), and whether their serials agree.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from itertools import chain

from config.esp_config import EspName
from utils.dns.findings import Finding, Status
from utils.dns.lookup import Answer, Found, Lookups
from utils.dns.mx_checks import check_mx
from utils.dns.senders import sender_of
from utils.dns.subject import Subject

LEAST_NAMESERVERS, MOST_NAMESERVERS = 2, 20
"""More than the last are not looked at; nobody has them."""
LOW_TTL, HIGH_TTL = 300, 86_400
"""Seconds. Facts 2.4: 300 while a domain is set up, 3600 when it is; a day is the longest that
anybody should wait for a correction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """Which zone a name is in."""

    apex: str | None
    """`None`: no SOA was found below the top-level domain."""
    is_known: bool
    """Or DNS did not answer on the way up."""
    has_name: bool
    """The name asked for exists, and is no CNAME that leads nowhere."""


async def check_zone(lookups: Lookups, subject: Subject) -> list[Finding]:
    """`from.mx`, `mx.*`, `from.soa`, `ns.*`, `ttl.*`, `cname.apex` and `dnssec.bogus`."""
    checks: tuple[Awaitable[Sequence[Finding]], ...] = (
        check_mx(lookups, subject),
        _check_soas(lookups, subject),
        _check_nameservers(lookups, subject.domain),
        _check_ttls(lookups, subject),
        _check_alias(lookups, subject.domain),
        _check_dnssec(lookups, subject.domain),
    )
    return list(chain.from_iterable(await asyncio.gather(*checks)))


def with_parents(name: str) -> list[str]:
    """A name and those above it, without the top-level domain."""
    labels = name.split(".")
    return [".".join(labels[n:]) for n in range(max(1, len(labels) - 1))]


async def find_zone(lookups: Lookups, name: str) -> Zone:
    """Walk up from a name to the SOA; a top-level domain has one, and does not count."""
    names = with_parents(name)
    answers = await asyncio.gather(*(lookups.ask(one, "SOA") for one in names))
    has_name = answers[0].found is not Found.NXDOMAIN and not answers[0].is_loop
    for one, answer in zip(names, answers, strict=True):
        if not answer.is_known:
            return Zone(apex=None, is_known=False, has_name=has_name)
        if answer.found is Found.OK and not answer.chain:
            return Zone(apex=one, is_known=True, has_name=has_name)
    return Zone(apex=None, is_known=True, has_name=has_name)


async def _check_soas(lookups: Lookups, subject: Subject) -> list[Finding]:
    hosts: list[tuple[str, EspName | None]] = [(subject.domain, None)]
    for esp in subject.esps:
        hosts += [(one.fqdn(subject.domain), esp) for one in subject.records(esp).return_path[:1]]
    zones = await asyncio.gather(*(find_zone(lookups, host) for host, _ in hosts))
    return [_soa(host, esp, zone) for (host, esp), zone in zip(hosts, zones, strict=True)]


def _soa(host: str, esp: EspName | None, zone: Zone) -> Finding:
    good = Finding(
        id="from.soa",
        status=Status.PASS,
        host=host,
        found=f"SOA of {zone.apex}",
        expected="a name that exists, in a zone with an SOA",
        reference="Yahoo Sender Hub: the domain of a sender must exist",
        esp=esp,
    )
    if not zone.is_known:
        return good.unanswered()
    if not zone.has_name:
        remedy = (
            f"Publish the return path records of {sender_of(esp).name} at {host}."
            if esp
            else f"Publish an MX record at {host}; register its domain if nobody has."
        )
        return good.but(Status.FAIL, "no such name", remedy)
    if zone.apex is None:
        remedy = f"Have the DNS provider of {host} serve the zone, with an SOA record."
        return good.but(Status.FAIL, "no SOA", remedy)
    return good


async def _check_nameservers(lookups: Lookups, domain: str) -> list[Finding]:
    zone = await find_zone(lookups, domain)
    count = Finding(
        id="ns.count",
        status=Status.PASS,
        host=zone.apex or domain,
        found="",
        expected=f"at least {LEAST_NAMESERVERS} name servers",
        reference="RFC 1034, 4.1",
    )
    if zone.is_known and zone.apex is None:
        return []
    served = await lookups.ask(zone.apex or domain, "NS")
    if not zone.is_known or not served.is_known:
        return [count.unanswered(), _lame(count).unanswered()]
    names = served.records[:MOST_NAMESERVERS]
    count = count.but(Status.PASS, ", ".join(names) or "none")
    if len(names) < LEAST_NAMESERVERS:
        remedy = f"Add a second name server to {count.host}: when the only one is down, mail fails."
        count = count.but(Status.WARN, count.found, remedy)
    return [count, await _check_lame(lookups, count, names)]


def _lame(count: Finding) -> Finding:
    return Finding(
        id="ns.lame",
        status=Status.PASS,
        host=count.host,
        found="all have an address; whether each answers for the zone was not looked at",
        expected="name servers that have an address",
        reference="RFC 1912, 2.8",
    )


async def _check_lame(lookups: Lookups, count: Finding, names: Sequence[str]) -> Finding:
    good = _lame(count)
    answers = await asyncio.gather(
        *(_addresses(lookups, name) for name in names),
    )
    dead = [name for name, known in zip(names, answers, strict=True) if known == ()]
    if dead:
        remedy = f"Take {dead[0]} out of the NS records of {good.host}, or give it an address."
        return good.but(Status.WARN, f"no address: {', '.join(dead)}", remedy)
    return good.unanswered() if None in answers else good


async def _addresses(lookups: Lookups, name: str) -> tuple[str, ...] | None:
    """`None`: none was told, and there may be some."""
    answers = await asyncio.gather(*(lookups.ask(name, kind) for kind in ("A", "AAAA")))
    found = tuple(address for answer in answers for address in answer.records)
    return found if found or all(answer.is_known for answer in answers) else None


async def _check_ttls(lookups: Lookups, subject: Subject) -> list[Finding]:
    """A resolver tells how long it will still keep a record, so a low figure may be the rest of a
    high one: that alone is no warning."""
    domain, setup = subject.domain, subject.setup
    records = [one for one in (setup.spf, setup.dmarc, *setup.mx) if one is not None]
    for esp in subject.esps:
        known = subject.records(esp)
        records += [*known.dkim, *known.return_path, *known.tracking]
    asked = dict.fromkeys(
        [
            (domain, "MX"),
            (domain, "TXT"),
            (f"_dmarc.{domain}", "TXT"),
            *((record.fqdn(domain), record.type) for record in records),
        ]
    )
    answers = await asyncio.gather(*(lookups.ask(*one) for one in asked))
    # What is behind a CNAME has the TTL of somebody else.
    ttls = {
        f"{kind} {name}": answer.ttl
        for (name, kind), answer in zip(asked, answers, strict=True)
        if answer.ttl is not None and not answer.chain
    }
    if not ttls and not any(answer.is_known for answer in answers):
        return [_ttl(name, domain, ttls).unanswered() for name in ("ttl.low", "ttl.high")]
    return [_low(domain, ttls), _high(domain, ttls)]


def _ttl(name: str, domain: str, ttls: dict[str, int]) -> Finding:
    return Finding(
        id=name,
        status=Status.PASS,
        host=domain,
        found=f"{min(ttls.values())} to {max(ttls.values())} s" if ttls else "no records",
        expected=f"{LOW_TTL} to {HIGH_TTL} s",
        reference="RFC 1912, 2.2",
    )


def _low(domain: str, ttls: dict[str, int]) -> Finding:
    good = _ttl("ttl.low", domain, ttls)
    low = {record: ttl for record, ttl in ttls.items() if ttl < LOW_TTL}
    if not low:
        return good
    remedy = f"If it is less than {LOW_TTL} in the zone too, set it to 3600 when all is right."
    return good.but(Status.INFO, f"in the resolver's memory for {_seconds(low)}", remedy)


def _high(domain: str, ttls: dict[str, int]) -> Finding:
    good = _ttl("ttl.high", domain, ttls)
    high = {record: ttl for record, ttl in ttls.items() if ttl > HIGH_TTL}
    if not high:
        return good
    remedy = f"Set the TTL of {next(iter(high))} to 3600: a correction would take days to be seen."
    return good.but(Status.WARN, _seconds(high), remedy)


def _seconds(ttls: dict[str, int]) -> str:
    return ", ".join(f"{record}: {ttl} s" for record, ttl in ttls.items())


async def _check_alias(lookups: Lookups, domain: str) -> list[Finding]:
    answer = await lookups.ask(domain, "CNAME")
    good = Finding(
        id="cname.apex",
        status=Status.PASS,
        host=domain,
        found="no CNAME",
        expected="no CNAME",
        reference="RFC 1034, 3.6.2",
    )
    if not answer.is_known:
        return [good.unanswered()]
    if answer.found is not Found.OK:
        return [good]
    remedy = f"Replace the CNAME of {domain} by A, MX and TXT records: none may stand beside it."
    return [good.but(Status.WARN, f"CNAME {answer.records[0]}", remedy)]


async def _check_dnssec(lookups: Lookups, domain: str) -> list[Finding]:
    """A resolver that checks signatures fails where one is broken, and answers when it is asked
    not to check; of one that checks none this cannot be learnt."""
    soa, zone = await asyncio.gather(lookups.ask(domain, "SOA"), find_zone(lookups, domain))
    good = Finding(
        id="dnssec.bogus",
        status=Status.PASS,
        host=zone.apex or domain,
        found="signed, and the signatures hold",
        expected="no signature, or one that holds",
        reference="RFC 4035, 5.5",
    )
    if soa.is_servfail:
        unchecked = await lookups.ask(domain, "SOA", checking_disabled=True)
        if unchecked.is_known:
            remedy = (
                f"Have the DS record of {domain} at its registrar and the keys of its zone agree, "
                "or take the DS away: whoever checks signatures sees no record of yours."
            )
            found = "SERVFAIL, but an answer when signatures are not checked"
            return [good.but(Status.FAIL, found, remedy)]
    if not zone.is_known:
        return [good.unanswered()]
    return [_signed(good, soa, await lookups.ask(good.host, "DS"))]


def _signed(good: Finding, soa: Answer, anchor: Answer) -> Finding:
    if soa.is_validated:
        return good
    if not anchor.is_known:
        return good.unanswered()
    if anchor.found is not Found.OK:
        return good.but(Status.PASS, "not signed")
    remedy = "Set DNS_NAMESERVERS to a resolver that checks signatures."
    return good.but(Status.INFO, "signed; this resolver checks no signatures", remedy)
