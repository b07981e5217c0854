"""What protects mail to a domain on its way, and its brand: nice to have, and never in the way
of sending.

Only DNS is asked. The policy of MTA-STS, the image and certificate of BIMI, and the certificates
of mail hosts are not fetched, so whether those are good is not known here.
"""

import asyncio
import re
from collections.abc import Callable

from utils.dns.findings import Finding, Status
from utils.dns.lookup import Answer, Found, Lookups
from utils.dns.mx_checks import MOST_HOSTS, host_names
from utils.dns.subject import Subject
from utils.dns.tags import Tags, tag_list
from utils.dns.zone_checks import find_zone, with_parents

_ID_OF_POLICY = re.compile(r"[A-Za-z0-9]{1,32}")
_REPORT_URI = re.compile(r"(?:mailto:|https://)\S+")


async def check_transport(lookups: Lookups, subject: Subject) -> list[Finding]:
    """`transport.mta_sts`, `.tls_rpt`, `.dane`, `.dnssec`, `.caa` and `brand.bimi`."""
    domain = subject.domain
    return list(
        await asyncio.gather(
            _check_mta_sts(lookups, domain),
            _check_tls_rpt(lookups, domain),
            _check_dane(lookups, domain),
            _check_dnssec(lookups, domain),
            _check_caa(lookups, domain),
            _check_bimi(lookups, domain),
        )
    )


async def _check_mta_sts(lookups: Lookups, domain: str) -> Finding:
    policy_host = f"mta-sts.{domain}"
    answer, *addresses = await asyncio.gather(
        lookups.ask(f"_mta-sts.{domain}", "TXT"),
        *(lookups.ask(policy_host, kind) for kind in ("A", "AAAA")),
    )
    good = _optional(
        "transport.mta_sts",
        f"_mta-sts.{domain}",
        f"one TXT v=STSv1; id=…, and a policy at https://{policy_host}/.well-known/mta-sts.txt",
        "RFC 8461, 3.1",
    )
    finding = _of_text(good, answer, "v=STSv1", mta_sts_fault)
    if finding.status is not Status.PASS:
        return finding
    if not any(one.records for one in addresses):
        if not all(one.is_known for one in addresses):
            return good.unanswered()
        remedy = f"Publish an address for {policy_host}, and serve the policy there by https."
        return good.but(Status.WARN, f"{policy_host} has no address", remedy)
    return good.but(Status.PASS, f"{finding.found}; the policy itself was not looked at")


async def _check_tls_rpt(lookups: Lookups, domain: str) -> Finding:
    host = f"_smtp._tls.{domain}"
    good = _optional("transport.tls_rpt", host, "one TXT v=TLSRPTv1; rua=mailto:…", "RFC 8460, 3")
    return _of_text(good, await lookups.ask(host, "TXT"), "v=TLSRPTv1", tls_rpt_fault)


async def _check_bimi(lookups: Lookups, domain: str) -> Finding:
    host = f"default._bimi.{domain}"
    good = _optional(
        "brand.bimi",
        host,
        "one TXT v=BIMI1; l=https://…; a=https://…, with DMARC at quarantine or reject",
        "draft-brand-indicators-for-message-identification, 4.3",
    )
    finding = _of_text(good, await lookups.ask(host, "TXT"), "v=BIMI1", bimi_fault)
    if finding.status is not Status.PASS:
        return finding
    return good.but(Status.PASS, f"{finding.found}; its image and certificate were not looked at")


def mta_sts_fault(tags: Tags) -> str:
    """What is wrong with the record, "" when nothing is; as the functions below."""
    if not _ID_OF_POLICY.fullmatch(tags.first("id") or ""):
        return "id= must be 1 to 32 letters and digits"
    return ""


def tls_rpt_fault(tags: Tags) -> str:
    uris = [uri.strip() for uri in (tags.first("rua") or "").split(",")]
    if not all(_REPORT_URI.fullmatch(uri) for uri in uris):
        return "rua= must be mailto: or https: addresses, separated by commas"
    return ""


def bimi_fault(tags: Tags) -> str:
    places = [tags.first(name) for name in ("l", "a")]
    if places[0] is None:
        return "l= (where the image is) is missing"
    if any(place and not place.lower().startswith("https://") for place in places):
        return "l= and a= must begin with https://"
    return ""


def _of_text(good: Finding, answer: Answer, version: str, fault: Callable[[Tags], str]) -> Finding:
    """Of a TXT record `v=…; …`; strangers beside it do not matter."""
    if not answer.is_known:
        return good.unanswered()
    parsed = [(text, tag_list(text)) for text in answer.records]
    ours = [(text, tags) for text, tags in parsed if tags.pairs[:1] == (("v", version[2:]),)]
    if not ours:
        return good.but(
            Status.INFO, "none", f"If you want it, publish at {good.host} {good.expected}."
        )
    if len(ours) > 1:
        found = " | ".join(text for text, _ in ours)
        return good.but(
            Status.WARN, found, f"Leave one TXT {version} at {good.host}: several count as none."
        )
    [(text, tags)] = ours
    if wrong := fault(tags):
        return good.but(Status.WARN, text, f"Correct the TXT {good.host}: {wrong}.")
    return good.but(Status.PASS, text)


async def _check_dane(lookups: Lookups, domain: str) -> Finding:
    exchanges = await lookups.ask(domain, "MX")
    names = list(dict.fromkeys(host_names(exchanges)))[:MOST_HOSTS]
    answers = await asyncio.gather(*(lookups.ask(f"_25._tcp.{name}", "TLSA") for name in names))
    good = _optional(
        "transport.dane", domain, "a TLSA record for each MX host, signed", "RFC 7672, 2.2"
    )
    with_keys = [name for name, one in zip(names, answers, strict=True) if one.found is Found.OK]
    if not exchanges.is_known or not all(one.is_known for one in answers):
        return good.unanswered()
    if not with_keys:
        return good.but(Status.INFO, "none")
    found = f"TLSA for {', '.join(with_keys)}"
    if len(with_keys) < len(names):
        others = ", ".join(name for name in names if name not in with_keys)
        return good.but(Status.INFO, f"{found}; none for {others}")
    if not all(one.is_validated for one in answers):
        return good.but(Status.INFO, f"{found}; this resolver does not vouch for signatures")
    return good.but(Status.PASS, f"{found}; their certificates were not looked at")


async def _check_dnssec(lookups: Lookups, domain: str) -> Finding:
    zone = await find_zone(lookups, domain)
    host = zone.apex or domain
    anchor = await lookups.ask(host, "DS")
    good = _optional("transport.dnssec", host, "a DS record at the parent", "RFC 4035, 2.4")
    if not zone.is_known or not anchor.is_known:
        return good.unanswered()
    if anchor.found is not Found.OK:
        remedy = f"If you want it, have your DNS provider sign {host}, and its DS published."
        return good.but(Status.INFO, "not signed", remedy)
    return good.but(Status.PASS, f"{len(anchor.records)} DS")


async def _check_caa(lookups: Lookups, domain: str) -> Finding:
    """Climbs to the parents, as who issues a certificate does."""
    names = with_parents(domain)
    answers = await asyncio.gather(*(lookups.ask(name, "CAA") for name in names))
    good = _optional("transport.caa", domain, "CAA records that name who may issue", "RFC 8659, 3")
    for name, answer in zip(names, answers, strict=True):
        if not answer.is_known:
            return good.unanswered()
        if answer.found is Found.OK:
            return good.but(Status.PASS, f"{name}: {', '.join(answer.records)}")
    return good.but(Status.INFO, "none: any authority may issue certificates")


def _optional(name: str, host: str, expected: str, reference: str) -> Finding:
    return Finding(
        id=name, status=Status.PASS, host=host, found="", expected=expected, reference=reference
    )
