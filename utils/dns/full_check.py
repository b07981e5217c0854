"""All checks of a domain, side by side within one deadline."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from config.esp_config import EspName
from config.values import Nameserver
from utils.dns.alignment import check_alignment, with_blocks
from utils.dns.blocklists import check_blocklists
from utils.dns.dkim_checks import check_dkim
from utils.dns.dmarc import Policy, organizational_domains
from utils.dns.dmarc_checks import check_dmarc
from utils.dns.findings import Finding, Status
from utils.dns.lookup import Answer, Found, Lookups
from utils.dns.mechanism import Mechanism
from utils.dns.ptr_checks import check_ptr
from utils.dns.return_path_checks import check_return_path_records
from utils.dns.spf_checks import check_apex, check_return_path
from utils.dns.subject import Subject
from utils.dns.tracking_checks import check_tracking
from utils.dns.transport_checks import check_transport
from utils.dns.zone_checks import check_zone

UNANSWERED = "Check the network, or set DNS_NAMESERVERS: no name server answered anything."


async def full_check(
    subject: Subject,
    nameservers: Sequence[Nameserver] = (),
    blocklist_nameservers: Sequence[Nameserver] = (),
) -> list[Finding]:
    """The findings of every check, what is of the domain first, then ESP by ESP."""
    lookups = Lookups(nameservers)
    ahead = _ask_ahead(lookups, subject)
    dmarc = asyncio.create_task(check_dmarc(lookups, subject))
    of_domain, of_esps = await asyncio.gather(
        _of_domain(lookups, subject, dmarc, blocklist_nameservers),
        asyncio.gather(*(_of_esp(lookups, subject, esp, dmarc) for esp in subject.esps)),
    )
    await ahead
    fault = await _why_unknown(lookups, subject.domain)
    if fault is None:
        return with_blocks(chain(of_domain, *of_esps))
    # What names alone say is of no use to anybody then.
    return [
        replace(finding, status=Status.UNKNOWN, remedy=fault)
        for finding in chain(of_domain, *of_esps)
    ]


async def _why_unknown(lookups: Lookups, domain: str) -> str | None:
    """Why nothing that was answered can be believed; `None`: it can."""
    top = domain.rpartition(".")[2]
    answer = await lookups.ask(top, "SOA")
    if lookups.is_unanswered:
        return UNANSWERED
    if answer.found is Found.NXDOMAIN:
        # Networks without a way out have name servers that know nothing and say so.
        return f"Set DNS_NAMESERVERS: the name server says that there is no .{top} at all."
    return None


def _ask_ahead(lookups: Lookups, subject: Subject) -> "asyncio.Future[list[Answer]]":
    """Questions that nearly every run comes to, but only after other answers."""
    hosts = {
        record.fqdn(subject.domain)
        for esp in subject.esps
        for record in subject.records(esp).return_path
    }
    of_domain = [(subject.domain, kind) for kind in ("NS", "DS")]
    of_domain.append((subject.domain.rpartition(".")[2], "SOA"))
    of_hosts = [(f"_dmarc.{host}", "TXT") for host in sorted(hosts)]
    return asyncio.gather(*(lookups.ask(*asked) for asked in (*of_domain, *of_hosts)))


async def _of_domain(
    lookups: Lookups,
    subject: Subject,
    dmarc: "asyncio.Task[tuple[list[Finding], Policy]]",
    blocklist_nameservers: Sequence[Nameserver],
) -> list[Finding]:
    async def of_dmarc() -> list[Finding]:
        return (await dmarc)[0]

    found = await asyncio.gather(
        check_apex(lookups, subject),
        of_dmarc(),
        check_zone(lookups, subject),
        check_ptr(lookups, subject),
        check_transport(lookups, subject),
        _of_blocklists(subject, blocklist_nameservers),
    )
    return list(chain(*found))


async def _of_esp(
    lookups: Lookups,
    subject: Subject,
    esp: EspName,
    dmarc: "asyncio.Task[tuple[list[Finding], Policy]]",
) -> list[Finding]:
    (of_dkim, dkim), (of_spf, spf), of_path, of_tracking, (_, policy) = await asyncio.gather(
        check_dkim(lookups, subject, esp),
        check_return_path(lookups, subject, esp),
        check_return_path_records(lookups, subject, esp),
        check_tracking(lookups, subject, esp),
        dmarc,
    )
    domains = {subject.domain, *_domains(dkim, spf)}
    organizational = await organizational_domains(lookups, domains)
    aligned = check_alignment(subject, esp, dkim, spf, policy, organizational)
    return [*of_dkim, *of_spf, *of_path, *of_tracking, *aligned]


def _domains(*mechanisms: Mechanism) -> list[str]:
    return [one.domain for one in mechanisms if one.domain is not None]


async def _of_blocklists(subject: Subject, nameservers: Sequence[Nameserver]) -> list[Finding]:
    """Nothing without a resolver of our own: the lists refuse public ones."""
    if not nameservers:
        return []
    tracking = {
        record.fqdn(subject.domain)
        for esp in subject.esps
        for record in subject.records(esp).tracking
    }
    hosts = [subject.domain, *sorted(tracking)]
    return await check_blocklists(Lookups(nameservers), subject, hosts)
