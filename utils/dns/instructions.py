"""What to publish, as text for a person and as a fragment of a zone file."""

from collections.abc import Iterable, Sequence

from utils.dns.findings import ADVISED_CHARS, Status, shown
from utils.dns.publishing import Advice
from utils.dns.senders import sender_of

_STATE = {
    Status.PASS: "published",
    Status.FAIL: "not published like this",
    Status.UNKNOWN: "not known",
    Status.INFO: "there; compare it with the panel",
}
_PURPOSE = {
    "dkim": "DKIM",
    "return_path": "return path",
    "tracking": "link tracking",
    "spf": "SPF of the domain",
    "dmarc": "DMARC",
    "mx": "MX",
}
RAMP = (
    (
        "v=DMARC1; p=none; {rua}",
        "begin here; go on after 2 to 4 weeks in which the reports show at least 98 % of your mail "
        "aligned, and no sender that you had forgotten",
    ),
    (
        "v=DMARC1; p=quarantine; t=y; np=reject; {rua}",
        "receivers act one step weaker than p says; go on after 2 clean weeks",
    ),
    ("v=DMARC1; p=quarantine; np=reject; {rua}", "go on after 2 to 4 clean weeks"),
    ("v=DMARC1; p=reject; np=reject; {rua}", "stay here"),
)
"""RFC 9989; facts/dns_deliverability.md 2.3."""


def as_text(domain: str, records: Sequence[Advice]) -> str:
    """For a person at the panel of their DNS provider."""
    parts = [f"DNS records for {domain}", _summary(records)]
    parts += ["\n".join(_lines(record, domain)) for record in records]
    return "\n\n".join([*parts, dmarc_ramp(domain, records)]) + "\n"


def as_zone(domain: str, records: Iterable[Advice]) -> str:
    """For a BIND zone file; what only an ESP knows is a comment."""
    lines = [f"$ORIGIN {domain}.", "; TTL 300 until all is right, then 3600."]
    for record in records:
        label = f"{_whose(record)}, {_PURPOSE[record.purpose]}"
        line = f"{record.host} {record.ttl} IN {record.type} {record.told_value}"
        lines += [f"; {label}", f"; {line}" if record.value is None else line]
    return "\n".join(lines) + "\n"


def dmarc_ramp(domain: str, records: Iterable[Advice]) -> str:
    """From watching to refusing, with when to take the next step, and where you are."""
    now = next((one.value or "" for one in records if one.purpose == "dmarc"), "")
    rua = next((tag.strip() for tag in now.split(";") if tag.strip().startswith("rua=")), "")
    rua = shown(rua, ADVISED_CHARS) or f"rua=mailto:dmarc@{domain}"
    steps = [step.format(rua=rua) for step, _ in RAMP]
    here = _step(now)
    lines = [f"DMARC, step by step (TXT at _dmarc.{domain}):"]
    for number, (step, (_, when)) in enumerate(zip(steps, RAMP, strict=True), 1):
        mark = "->" if number == here else "  "
        lines.append(f"{mark} {number}. {step}\n      {when}")
    return "\n".join(lines)


def _step(policy: str) -> int:
    tags = {}
    for tag in policy.lower().split(";"):
        name, _, value = tag.partition("=")
        tags[name.strip()] = value.strip()
    if tags.get("p") == "reject":
        return 4
    if tags.get("p") == "quarantine":
        return 2 if tags.get("t") == "y" else 3
    return 1


def _summary(records: Sequence[Advice]) -> str:
    done = sum(record.status is Status.PASS for record in records)
    return (
        f"{done} of {len(records)} are published as they should be. Most panels want the host "
        "without the domain: enter it as it stands under host."
    )


def _lines(record: Advice, domain: str) -> list[str]:
    return [
        f"{_whose(record)}: {_PURPOSE[record.purpose]} [{_STATE[record.status]}]",
        f"  host    {record.host}",
        f"  name    {record.fqdn}",
        f"  type    {record.type}",
        f"  value   {record.told_value}",
        f"  TTL     {record.ttl}",
        f"  why     {record.why}",
        f"  verify  {record.verify}",
    ]


def _whose(record: Advice) -> str:
    return sender_of(record.esp).name if record.esp else "The domain"
