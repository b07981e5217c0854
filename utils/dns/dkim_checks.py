"""Whether the DKIM keys of one ESP are published for a domain, and whether they are good."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from config.esp_config import EspName
from utils.dns.dkim import Key, parse_key
from utils.dns.dkim_place import Place, look
from utils.dns.findings import Finding, Status
from utils.dns.lookup import Lookups
from utils.dns.mechanism import Mechanism, Verdict
from utils.dns.senders import Sender, sender_of
from utils.dns.subject import Subject

LEAST_BITS, GOOD_BITS, MOST_BITS = 1024, 2048, 4096
"""RFC 8301, 3.2: below the first no signature counts; above the last few receivers check it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Selector:
    """One selector: all that was found, and what it is good for."""

    findings: tuple[Finding, ...]
    verdict: Verdict
    key: Key | None = None


async def check_dkim(
    lookups: Lookups, subject: Subject, esp: EspName
) -> tuple[list[Finding], Mechanism]:
    """Every selector of the set-up, or those that the ESP takes by itself.

    It works with one good key: which of several the ESP signs with is for it to say.
    """
    sender = sender_of(esp)
    records = subject.records(esp).dkim
    usual = [record for record in sender.dkim if "<" not in record.host]
    places = await asyncio.gather(
        *(look(lookups, subject.domain, record, esp) for record in records or usual)
    )
    if not records and not any(sender.dkim_zone in place.leads_to for place in places):
        return _nobody_knows(subject.domain, esp, sender, places)
    selectors = [_selector(place) for place in places]
    findings = [finding for selector in selectors for finding in selector.findings]
    findings += _together(subject.domain, esp, sender, places, selectors)
    verdict = _verdict([selector.verdict for selector in selectors])
    host = next(
        place.host
        for place, selector in zip(places, selectors, strict=True)
        if selector.verdict is verdict
    )
    return findings, Mechanism(verdict=verdict, domain=_signing_domain(subject.domain, host))


def _nobody_knows(
    domain: str, esp: EspName, sender: Sender, tried: Sequence[Place]
) -> tuple[list[Finding], Mechanism]:
    is_answered = all(place.is_known for place in tried)
    or_ask = f", or set {sender.account} in live mode" if sender.account else ""
    finding = Finding(
        id="dkim.unknown",
        status=Status.INFO if is_answered else Status.UNKNOWN,
        host=f"_domainkey.{domain}",
        found=", ".join(f"{place.host}: {place.found}" for place in tried) or "not looked for",
        expected=f"the selectors of {sender.name}",
        remedy=(
            f"Put the DKIM records that the {sender.name} panel shows for {domain} into "
            f"config/domain_setup.json{or_ask}."
        ),
        reference="RFC 6376, 3.1",
        esp=esp,
    )
    return [finding], Mechanism(verdict=Verdict.UNKNOWN)


def _selector(place: Place) -> _Selector:
    if place.key_text is None:
        return _Selector(findings=place.findings, verdict=place.verdict)
    key = parse_key(place.key_text)
    told = _key_findings(place, key)
    is_broken = any(finding.status is Status.FAIL for finding in told)
    verdict = Verdict.BROKEN if is_broken else place.verdict
    return _Selector(findings=(*place.findings, *told), verdict=verdict, key=key)


def _key_findings(place: Place, key: Key) -> list[Finding]:
    """What is to be said of a key that is published."""
    said = replace(
        place.about("dkim.bits"), found=key.summary, expected="RSA, 2048 bits", remedy=""
    )
    if key.fault:
        remedy = (
            f"Paste the value of {place.record.type} {place.host} again, whole, without quotes or "
            "backslashes, in strings of at most 255 bytes."
        )
        reference = "RFC 6376, 3.6.1"
        return [_as(said, "dkim.bad_b64", Status.FAIL, remedy, reference)]
    if key.is_revoked:
        name = place.sender.name
        remedy = f"Have {name} make a new key and publish it: p= is empty, which revokes this."
        return [_as(said, "dkim.revoked", Status.FAIL, remedy, "RFC 6376, 3.6.1")]
    findings = [_bits(said, key, place.sender)]
    if not key.takes_sha256:
        found = replace(said, found=f"h={':'.join(key.hashes)}", expected="h= with sha256, or none")
        remedy = f"Take h= out of {place.host}: only rsa-sha256 is signed and accepted today."
        findings.append(_as(found, "dkim.h", Status.FAIL, remedy, "RFC 8301, 3.1"))
    if key.is_testing:
        found = replace(said, found="t=y", expected="no t=y")
        remedy = f"Take t=y out of {place.host}: it says that signatures are only a test."
        findings.append(_as(found, "dkim.testing", Status.WARN, remedy, "RFC 6376, 3.6.1"))
    if key.is_exact:
        found = replace(said, found="t=s", expected="t=s or none")
        findings.append(_as(found, "dkim.t_s", Status.INFO, "", "RFC 6376, 3.6.1"))
    return findings


def _bits(said: Finding, key: Key, sender: Sender) -> Finding:
    bits = key.bits or 0
    said = replace(said, reference="RFC 8301, 3.2")
    if key.type != "rsa" or GOOD_BITS <= bits <= MOST_BITS:
        return said
    status = Status.FAIL if bits < LEAST_BITS else Status.WARN
    remedy = (
        f"Have {sender.name} make a key of 2048 bits and publish that: receivers trust none below "
        "1024, and not all read more than 4096."
    )
    return replace(said, status=status, remedy=remedy)


def _as(said: Finding, name: str, status: Status, remedy: str, reference: str) -> Finding:
    return replace(said, id=name, status=status, remedy=remedy, reference=reference)


def _together(
    domain: str,
    esp: EspName,
    sender: Sender,
    places: Sequence[Place],
    selectors: Sequence[_Selector],
) -> list[Finding]:
    """What only all selectors together say; nothing while some are unknown or none is good."""
    verdicts = [selector.verdict for selector in selectors]
    if Verdict.UNKNOWN in verdicts or Verdict.WORKS not in verdicts:
        return []
    good = verdicts.count(Verdict.WORKS)
    are_aliases = all(place.record.type == "CNAME" for place in places)
    # An ESP that wants several CNAMEs changes keys without a gap.
    usual = sum(record.type == "CNAME" for record in sender.dkim)
    wanted = max(len(places), usual if are_aliases else 0)
    count = Finding(
        id="dkim.count",
        status=Status.PASS if good == wanted else Status.WARN,
        host=f"_domainkey.{domain}",
        found=f"{good} of {wanted} selectors good",
        expected=f"{wanted} selectors of {sender.name}",
        remedy=""
        if good == wanted
        else f"Publish all {wanted} DKIM records that the {sender.name} panel shows for {domain}: "
        "mail fails as soon as the ESP signs with a key that is not there.",
        reference="RFC 6376, 3.1",
        esp=esp,
    )
    kinds = {one.key.type for one in selectors if one.key and one.verdict is Verdict.WORKS}
    if kinds != {"ed25519"}:
        return [count]
    remedy = "Publish an RSA key beside it: many receivers cannot read Ed25519."
    found = replace(count, found="only Ed25519 keys", expected="an RSA key")
    return [count, _as(found, "dkim.ed25519_only", Status.WARN, remedy, "RFC 8463, 5")]


def _verdict(verdicts: Sequence[Verdict]) -> Verdict:
    order = (Verdict.WORKS, Verdict.UNKNOWN, Verdict.BROKEN)
    return next(verdict for verdict in order if verdict in verdicts)


def _signing_domain(domain: str, host: str) -> str:
    """d= of signatures whose key is at that host: what `_domainkey` is in."""
    _, _, below = host.partition("._domainkey.")
    return below or domain
