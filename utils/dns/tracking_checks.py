"""The hosts that counted links of one ESP lead through.

Whether they answer by https with a good certificate (`track.https`) is not looked at: that would
be a call to a web server, and this only asks DNS.
"""

import asyncio
from collections.abc import Sequence

from config.domain_setup import Record
from config.esp_config import EspName
from utils.dns.findings import Finding, Status
from utils.dns.lookup import Answer, Found, Lookups
from utils.dns.senders import in_region, sender_of
from utils.dns.subject import Subject


async def check_tracking(lookups: Lookups, subject: Subject, esp: EspName) -> list[Finding]:
    """`track.cname` and `track.resolves` of each host in the set-up; `track.same_org` once,
    also where there is none, if the ESP then counts by a name of its own."""
    records = subject.records(esp).tracking
    of_hosts = await asyncio.gather(*(_of_host(lookups, subject, esp, one) for one in records))
    told = [finding for pair in of_hosts for finding in pair]
    if not records and sender_of(esp).tracking is None:
        return []
    return [_same_org(subject, esp, told), *told]


def _same_org(subject: Subject, esp: EspName, told: Sequence[Finding]) -> Finding:
    """Hosts in the set-up are under the domain; so only where there are none it is another's."""
    hosts = [record.fqdn(subject.domain) for record in subject.records(esp).tracking]
    good = Finding(
        id="track.same_org",
        status=Status.PASS,
        host=subject.domain,
        found=", ".join(hosts),
        expected=f"counted links under {subject.domain}",
        reference="Google 81126: links and From of one domain",
        esp=esp,
    )
    if hosts:
        is_known = any(finding.status is not Status.UNKNOWN for finding in told)
        return good if is_known else good.unanswered()
    name = sender_of(esp).name
    remedy = (
        f"If {name} counts opens or clicks, set up a tracking domain of your own there and put its "
        "records into config/domain_setup.json."
    )
    return good.but(Status.INFO, f"none: counted links lead through a name of {name}", remedy)


async def _of_host(
    lookups: Lookups, subject: Subject, esp: EspName, record: Record
) -> Sequence[Finding]:
    host = record.fqdn(subject.domain)
    answer, *addresses = await asyncio.gather(
        *(lookups.ask(host, kind) for kind in (record.type, "A", "AAAA"))
    )
    return [
        _target(subject, esp, record, answer, addresses),
        _resolves(esp, host, addresses),
    ]


def _target(
    subject: Subject, esp: EspName, record: Record, answer: Answer, addresses: Sequence[Answer]
) -> Finding:
    host = record.fqdn(subject.domain)
    sender = sender_of(esp)
    wanted = record.value or in_region(sender.tracking_usual, subject.ses_region)
    good = Finding(
        id="track.cname",
        status=Status.PASS,
        host=host,
        found=f"{record.type} {', '.join(answer.records)}",
        expected=f"{record.type} {wanted or sender.as_shown}",
        reference=f"the tracking domain that {sender.name} asks for",
        esp=esp,
    )
    if not answer.is_known:
        return good.unanswered()
    remedy = f"Set {host} to {good.expected}."
    if answer.found is not Found.OK:
        listed = _listed(addresses)
        if listed and record.type == "CNAME":
            proxied = f"{remedy} Leave it if these are a proxy of yours in front, for https."
            return good.but(Status.INFO, f"addresses in place of the CNAME: {listed}", proxied)
        return good.but(Status.WARN, answer.found.value, remedy)
    path = {*answer.records, *(name for one in addresses for name in one.chain)}
    return good if _is_right(esp, record, path) else good.but(Status.WARN, good.found, remedy)


def _is_right(esp: EspName, record: Record, path: set[str]) -> bool:
    if record.value:
        return record.value.lower().rstrip(".") in path
    pattern = sender_of(esp).tracking
    return pattern is None or any(pattern.fullmatch(name) for name in path)


def _resolves(esp: EspName, host: str, addresses: Sequence[Answer]) -> Finding:
    good = Finding(
        id="track.resolves",
        status=Status.PASS,
        host=host,
        found=_listed(addresses),
        expected="an address",
        reference="RFC 1034, 3.6.2",
        esp=esp,
    )
    if good.found:
        return good
    sender = sender_of(esp)
    if any(answer.is_loop for answer in addresses):
        remedy = f"Set the CNAME of {host} to what the {sender.name} panel shows."
        return good.but(Status.FAIL, "CNAMEs that lead back to themselves", remedy)
    if not all(answer.is_known for answer in addresses):
        return good.unanswered()
    chain = next((answer.chain for answer in addresses if answer.chain), ())
    if chain and any(answer.found is Found.NXDOMAIN for answer in addresses):
        remedy = (
            f"Take the CNAME of {host} away or set up the tracking domain at {sender.name} again: "
            f"whoever gets hold of {chain[-1]} takes over your links."
        )
        return good.but(Status.FAIL, f"CNAME {chain[-1]}, which does not exist", remedy)
    found = f"CNAME {chain[-1]}, which has no address" if chain else "no address"
    return good.but(Status.WARN, found, f"Publish {host} {sender.as_shown}.")


def _listed(addresses: Sequence[Answer]) -> str:
    return ", ".join(address for answer in addresses for address in answer.records)
