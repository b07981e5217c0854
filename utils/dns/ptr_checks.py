"""The names of addresses that send for a domain alone; those of shared addresses are the ESP's
to keep, and are not looked at."""

import asyncio
import ipaddress
import re

import dns.reversename

from utils.dns.findings import Finding, Status
from utils.dns.lookup import Found, Lookups
from utils.dns.subject import Subject

MOST_NAMES = 5
"""Of one address; receivers look no further either."""
# Whole parts of a name, as access providers give them to lines of customers.
_GENERIC_WORD = re.compile(
    r"(?:^|[.\-_])(?:dyn|dynamic|dhcp|dial|dialup|dsl|adsl|vdsl|ppp|pppoe|pool|cable|unassigned)"
    r"\d*(?=[.\-_]|$)"
)


async def check_ptr(lookups: Lookups, subject: Subject) -> list[Finding]:
    """`ptr.<ip>` for each address of `Subject.own_ips`."""
    return list(await asyncio.gather(*(_check(lookups, ip) for ip in subject.own_ips)))


async def _check(lookups: Lookups, ip: str) -> Finding:
    host = dns.reversename.from_address(ip).to_text(omit_final_dot=True)
    answer = await lookups.ask(host, "PTR")
    names = answer.records[:MOST_NAMES]
    good = Finding(
        id=f"ptr.{ip}",
        status=Status.PASS,
        host=host,
        found=", ".join(names),
        expected=f"a name of yours that leads back to {ip}",
        reference="Google 81126 (5.7.25); RFC 1912, 2.1",
    )
    if not answer.is_known:
        return good.unanswered()
    if answer.found is not Found.OK:
        remedy = f"Have whoever rents {ip} to you set its PTR to a host of yours with that address."
        return good.but(Status.FAIL, "no PTR", remedy)
    back = await asyncio.gather(*(_leads_back(lookups, name, ip) for name in names))
    if True not in back:
        if None in back:
            return good.unanswered()
        kind = "AAAA" if ":" in ip else "A"
        remedy = f"Publish {names[0]} {kind} {ip}, or have the PTR of {ip} name another host."
        return good.but(Status.FAIL, f"{good.found}: does not lead back to {ip}", remedy)
    confirmed = [name for name, is_back in zip(names, back, strict=True) if is_back]
    if all(is_generic(name, ip) for name in confirmed):
        remedy = f"Have the PTR of {ip} set to a host of yours: such names look like a home line."
        return good.but(Status.FAIL, f"{confirmed[0]}: a name of the provider's", remedy)
    return good


async def _leads_back(lookups: Lookups, name: str, ip: str) -> bool | None:
    answer = await lookups.ask(name, "AAAA" if ":" in ip else "A")
    if not answer.is_known:
        return None
    wanted = ipaddress.ip_address(ip)
    return any(ipaddress.ip_address(one) == wanted for one in answer.records)


def is_generic(name: str, ip: str) -> bool:
    """Whether a name looks like one that a provider gives to each address: with the address in
    it, forwards or backwards, or with a word such as `dhcp`."""
    if _GENERIC_WORD.search(name):
        return True
    address = ipaddress.ip_address(ip)
    if address.version == 6:
        bare = re.sub(r"[.\-_:]", "", name)
        return address.exploded.replace(":", "") in bare
    octets = str(address).split(".")
    in_hex = "".join(f"{int(octet):02x}" for octet in octets)
    return in_hex in name or any(_holds(name, parts) for parts in (octets, octets[::-1]))


def _holds(name: str, octets: list[str]) -> bool:
    """All four, with or without zeros in front and something between."""
    numbers = "[.\\-_x]".join(f"0*{octet}" for octet in octets)
    padded = "".join(f"{int(octet):03d}" for octet in octets)
    return bool(re.search(rf"(?<!\d){numbers}(?!\d)", name)) or padded in name
