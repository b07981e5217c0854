"""What DNS checks came to: kept, compared with the check before, and what they block."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Table, delete, select
from sqlalchemy.orm import Session

from config.esp_config import EspName
from database.models import DnsBlock, DnsCheck, DnsDue
from utils.dns.findings import ADVISED_CHARS, Finding, Status, shown, status_of

SHOWN = 50
_BADNESS = {Status.PASS: 0, Status.INFO: 0, Status.WARN: 1, Status.FAIL: 2}

_Key = tuple[str, str | None, str]
Told = Mapping[str, Any]
"""A finding as `GET /dns-check` gives it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One finding of which the latest check says other than the one before."""

    id: str
    esp: str | None
    host: str
    before: str
    after: str
    found: str
    remedy: str

    @property
    def is_worse(self) -> bool:
        return _BADNESS[Status(self.after)] > _BADNESS[Status(self.before)]

    def __str__(self) -> str:
        whose = f" ({self.esp})" if self.esp else ""
        return f"{self.id}{whose} at {self.host}: {self.before} -> {self.after}: {self.found}"


def store(
    session: Session, domain: str, findings: Sequence[Finding], *, asked_by: str, now: datetime
) -> list[Change]:
    """Keep what a check came to, and let it block or open; what changed since the last one."""
    told = [finding.as_dict() for finding in findings]
    changes = compared([row.checks for row in _newest(session, domain, SHOWN)], told)
    session.add(
        DnsCheck(
            domain=domain,
            checked_at=now,
            status=status_of(findings).value,
            checks=told,
            asked_by=asked_by,
        )
    )
    _block(session, domain, findings)
    session.execute(delete(DnsDue).where(DnsDue.domain == domain, DnsDue.since <= now))
    return changes


def latest(session: Session, domain: str) -> DnsCheck | None:
    return next(iter(_newest(session, domain, 1)), None)


def history(session: Session, domain: str, n: int = SHOWN) -> list[tuple[DnsCheck, list[Change]]]:
    """The latest checks of a domain, the newest first, each with what it changed."""
    rows = _newest(session, domain, n + SHOWN)
    checks = [row.checks for row in rows]
    return [(row, compared(checks[i + 1 :], row.checks)) for i, row in enumerate(rows[:n])]


def compared(before: Sequence[Iterable[Told]], after: Iterable[Told]) -> list[Change]:
    """Where a check says other than the ones `before` it, the newest of them first.

    What DNS did not answer is compared with the last time that it did. A finding that was not
    there before has passed, and one that is gone passes. Nothing is a change at first.
    """
    if not before:
        return []
    was, now = _remembered(before), _known(after)
    unknown = _unknown(after) | (_unknown(before[0]) - was.keys())
    passed = {"status": Status.PASS.value, "found": "", "remedy": ""}
    changes = []
    for key in sorted((was.keys() | now.keys()) - unknown, key=str):
        old, new = was.get(key, passed), now.get(key, passed)
        if _BADNESS[Status(old["status"])] != _BADNESS[Status(new["status"])]:
            said = {"found": new["found"], "remedy": new["remedy"]}
            kind, esp, host = key
            changes.append(
                Change(
                    id=kind, esp=esp, host=host, before=old["status"], after=new["status"], **said
                )
            )
    return changes


def blocks(session: Session) -> dict[EspName, dict[str, str]]:
    """Per ESP the domains whose mail it would send unauthenticated, and why."""
    found: dict[EspName, dict[str, str]] = {}
    for row in session.connection().execute(_BLOCKS):
        found.setdefault(row.esp, {})[row.domain] = row.reason
    return found


# Each step of the engine asks, and of the table it takes half the time.
_BLOCKS = select(cast("Table", DnsBlock.__table__))


def _newest(session: Session, domain: str, n: int) -> Sequence[DnsCheck]:
    rows = select(DnsCheck).where(DnsCheck.domain == domain).order_by(DnsCheck.id.desc())
    return session.scalars(rows.limit(n)).all()


def _remembered(checks: Sequence[Iterable[Told]]) -> dict[_Key, Told]:
    """What was known at the first of these checks, where need be from the ones after it."""
    known, missing = _known(checks[0]), _unknown(checks[0])
    for older in checks[1:]:
        found = {key: told for key, told in _known(older).items() if key in missing}
        known |= found
        missing -= found.keys()
    return known


def _key(told: Told) -> _Key:
    return told["id"], told["esp"], told["host"]


def _known(checks: Iterable[Told]) -> dict[_Key, Told]:
    return {_key(told): told for told in checks if told["status"] != Status.UNKNOWN}


def _unknown(checks: Iterable[Told]) -> set[_Key]:
    return {_key(told) for told in checks if told["status"] == Status.UNKNOWN}


def _block(session: Session, domain: str, findings: Iterable[Finding]) -> None:
    """Blocked is what blocks now, and nothing of before."""
    session.execute(delete(DnsBlock).where(DnsBlock.domain == domain))
    reasons: dict[EspName, str] = {}
    for finding in findings:
        if finding.blocks:
            for esp in EspName if finding.esp is None else [finding.esp]:
                reasons.setdefault(esp, f"{finding.id}: {shown(finding.remedy, ADVISED_CHARS)}")
    for esp, reason in reasons.items():
        session.add(DnsBlock(esp=esp, domain=domain, reason=reason))
