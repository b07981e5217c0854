"""The records at the return path of one ESP, besides SPF: its MX, and that none excludes another.

Where a CNAME leads matters only by the SPF record that it leads to: utils/dns/spf_checks.py.
"""

import asyncio

from config.esp_config import EspName
from utils.dns.findings import Finding, Status
from utils.dns.lookup import Answer, Found, Lookups
from utils.dns.senders import REGION, in_region, sender_of
from utils.dns.subject import Subject

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
    if any(record.type == "MX" for record in (*records, *sender_of(esp).return_path)):
        return [conflict, _exchange(subject, esp, host, beside[0])]
    return [conflict]


def _conflict(
    subject: Subject, esp: EspName, host: str, alias: Answer, beside: dict[str, Answer]
) -> Finding:
    wanted = ", ".join(
        f"{record.type} {record.value or sender_of(esp).as_shown}"
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
    sender = sender_of(esp)
    wanted = _wanted_exchange(subject, esp)
    name = wanted or sender.exchange
    shown = f"10 {name}" if name else sender.as_shown
    good = Finding(
        id=f"rp.mx.{esp}",
        status=Status.PASS,
        host=host,
        found=", ".join(answer.records),
        expected=f"one MX: {shown}",
        reference=sender.exchange_reference,
        esp=esp,
    )
    if not answer.is_known:
        return good.unanswered()
    if not answer.records:
        found = "CNAMEs that lead back to themselves" if answer.is_loop else answer.found.value
        return good.but(Status.FAIL, found, f"Publish at {host} MX {shown}.")
    names = [record.split(" ", 1)[1] for record in answer.records]
    is_right = [name == wanted if wanted else sender.is_exchange(name) for name in names]
    if not any(is_right):
        return good.but(Status.FAIL, good.found, f"Replace the MX of {host} by {shown}.")
    if len(names) > 1:
        return good.but(Status.FAIL, good.found, f"Leave at {host} one MX alone: {shown}.")
    return good


def _wanted_exchange(subject: Subject, esp: EspName) -> str:
    """ "" where nobody told which it is: then any that is usual, of any region, is good.

    The region that is configured counts more than the set-up, whose value may be of before.
    """
    values = (record.value for record in subject.records(esp).return_path if record.type == "MX")
    value = next((one for one in values if one), "")
    told = value.split()[-1].lower().rstrip(".") if value else ""
    sender = sender_of(esp)
    usual = in_region(sender.exchange, subject.ses_region)
    is_usual = not told or sender.is_exchange(told)
    return usual if usual and is_usual and REGION not in usual else told
