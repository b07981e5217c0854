"""The records at the return path of one ESP, besides SPF: its MX, and that none excludes another.

Where a CNAME leads matters only by the SPF record that it leads to: utils/dns/spf_checks.py.
"""

import asyncio
import re

from config.esp_config import EspName
from utils.dns.findings import Finding, Status
from utils.dns.lookup import Answer, Found, Lookups
from utils.dns.subject import Subject

SES_EXCHANGE = re.compile(r"feedback-smtp\.[a-z0-9-]+\.amazonses\.com")
SENDGRID_EXCHANGE = "mx.sendgrid.net"
"""In manual mode; otherwise the return path is a CNAME."""
_BESIDE_CNAME = ("MX", "TXT", "A", "AAAA")


async def check_return_path_records(
    lookups: Lookups, subject: Subject, esp: EspName
) -> list[Finding]:
    """`rp.conflict`, and `rp.mx.<esp>` where bounces come by an MX of ours; none where no return
    path is known, which `spf.rp.missing` tells."""
    records = subject.records(esp).return_path
    if not records:
        return []
    host = records[0].fqdn(subject.domain)
    alias, *beside = await asyncio.gather(
        *(lookups.ask(host, kind) for kind in ("CNAME", *_BESIDE_CNAME))
    )
    conflict = _conflict(subject, esp, host, alias, dict(zip(_BESIDE_CNAME, beside, strict=True)))
    if esp is EspName.SES or any(record.type == "MX" for record in records):
        return [conflict, _exchange(subject, esp, host, beside[0])]
    return [conflict]


def _conflict(
    subject: Subject, esp: EspName, host: str, alias: Answer, beside: dict[str, Answer]
) -> Finding:
    wanted = ", ".join(
        f"{record.type} {record.value or f'as the {esp} panel shows'}"
        for record in subject.records(esp).return_path
    )
    good = Finding(
        id="rp.conflict",
        status=Status.PASS,
        host=host,
        found=f"CNAME {alias.records[0]} alone" if alias.records else "no CNAME",
        expected="a CNAME alone, or none",
        reference="RFC 1034, 3.6.2",
        esp=esp,
    )
    if not alias.is_known:
        return good.unanswered()
    if alias.found is not Found.OK:
        return good
    # What comes by the CNAME has a chain; what is beside it has none.
    others = [kind for kind, one in beside.items() if one.found is Found.OK and not one.chain]
    if others:
        found = f"CNAME {alias.records[0]} beside {', '.join(others)}"
        return good.but(Status.FAIL, found, f"Leave at {host} nothing but {wanted}.")
    return good if all(one.is_known for one in beside.values()) else good.unanswered()


def _exchange(subject: Subject, esp: EspName, host: str, answer: Answer) -> Finding:
    wanted = _wanted_exchange(subject, esp)
    shown = f"10 {wanted or 'feedback-smtp.<region>.amazonses.com'}"
    good = Finding(
        id=f"rp.mx.{esp}",
        status=Status.PASS,
        host=host,
        found=", ".join(answer.records),
        expected=f"one MX: {shown}",
        reference=_REFERENCES.get(esp, "RFC 5321, 5.1"),
        esp=esp,
    )
    if not answer.is_known:
        return good.unanswered()
    if not answer.records:
        found = "CNAMEs that lead back to themselves" if answer.is_loop else answer.found.value
        return good.but(Status.FAIL, found, f"Publish at {host} MX {shown}.")
    names = [record.split(" ", 1)[1] for record in answer.records]
    is_right = [name == wanted if wanted else _is_of_ses(name) for name in names]
    if not any(is_right):
        return good.but(Status.FAIL, good.found, f"Replace the MX of {host} by {shown}.")
    if len(names) > 1:
        return good.but(Status.FAIL, good.found, f"Leave at {host} one MX alone: {shown}.")
    return good


_REFERENCES = {
    EspName.SES: "Amazon SES Developer Guide: custom MAIL FROM domain",
    EspName.SENDGRID: "Twilio SendGrid: domain authentication, manual security",
}


def _wanted_exchange(subject: Subject, esp: EspName) -> str:
    """ "" where any region of SES is as good as another: nobody told which it is.

    The region that is configured counts more than the set-up, whose value may be of before.
    """
    values = (record.value for record in subject.records(esp).return_path if record.type == "MX")
    value = next((one for one in values if one), "")
    told = value.split()[-1].lower().rstrip(".") if value else ""
    if esp is EspName.SENDGRID:
        return told or SENDGRID_EXCHANGE
    if esp is EspName.SES and subject.ses_region and (not told or _is_of_ses(told)):
        return f"feedback-smtp.{subject.ses_region}.amazonses.com"
    return told


def _is_of_ses(name: str) -> bool:
    return bool(SES_EXCHANGE.fullmatch(name))
