"""The self-test of an installation: what works, what does not, and what to do about it.

Nothing is sent, and nothing is left behind.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError

from config.esp_config import EspConfig, EspName
from config.settings import DnsGate
from database.models import Segment
from database.restore_guard import CONFIRM
from list_manager import Person, add_subscriber, find_subscriber, unsubscribe
from services import dns_watch, standing, trial
from services.adapters import build_adapter
from services.base import EspError
from services.content import prepared
from services.demo import MAILING
from services.esp_manager import webhook_setup, webhook_silence
from services.system import System
from utils.addresses import normalise
from utils.dns.findings import ADVISED_CHARS, Status, shown
from utils.tokens import UnsubscribeLink, email_hash

PROBE = "self-test@example.com"


class Verdict(StrEnum):
    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at; `remedy` says what to do where it is not a pass."""

    what: str
    verdict: Verdict
    found: str
    remedy: str = ""


class _RollBack(Exception):
    """Ends a trial in the database without a trace."""


def run(system: System) -> Iterator[Finding]:
    """Look at one thing after the other; a fault of one does not keep the next from being seen."""
    yield database(system)
    yield subscribers(system)
    if held := system.safe_mode:
        yield Finding(what="sending", verdict=Verdict.FAIL, found=held, remedy=CONFIRM)
    if not system.esps:
        yield Finding(
            what="ESPs",
            verdict=Verdict.FAIL,
            found="none is configured",
            remedy="Set the key of one in .env: SENDGRID_API_KEY, AWS_ACCESS_KEY_ID or POSTMARK_API_KEY.",
        )
    for config in system.esps.values():
        yield esp(config)
    yield from silences(system)
    yield from dns(system)
    yield dry_run(system)


def database(system: System) -> Finding:
    """Write a row, read it back through the readers' engine, and take it away."""
    name, now = "self-test", system.clock()
    try:
        with system.database.write() as session:
            session.execute(delete(Segment).where(Segment.name == name))
            session.add(Segment(name=name, filter={}, created_at=now, updated_at=now))
        with system.database.read() as session:
            found = session.scalar(select(Segment).where(Segment.name == name))
        with system.database.write() as session:
            session.execute(delete(Segment).where(Segment.name == name))
    except SQLAlchemyError as error:
        return Finding(
            what="database",
            verdict=Verdict.FAIL,
            found=type(error).__name__,
            remedy="Check DATABASE_URL, free disk space, and that no other program locks the file.",
        )
    ok = found is not None and found.created_at == now
    return Finding(
        what="database",
        verdict=Verdict.PASS if ok else Verdict.FAIL,
        found="a row was written and read back" if ok else "a row was not read back as written",
        remedy="" if ok else "Restore a backup: this database loses what it is told.",
    )


def subscribers(system: System) -> Finding:
    """Add somebody, find them, take them off; all rolled back."""
    address, now = normalise(PROBE), system.clock()
    said = ""
    try:
        with system.database.write() as session:
            add_subscriber(session, Person(address=address), hash_key=system.hash_key, now=now)
            added = find_subscriber(session, address.key)
            assert added is not None
            link = UnsubscribeLink(
                email_hash=email_hash(system.hash_key, address.key),
                subscriber_id=added.id,
                send_id=0,
            )
            unsubscribe(session, link, source="self-test", now=now)
            session.flush()
            session.refresh(added)
            said = added.status.value
            raise _RollBack
    except _RollBack:
        pass
    ok = said == "unsubscribed"
    return Finding(
        what="subscriber round trip",
        verdict=Verdict.PASS if ok else Verdict.FAIL,
        found=f"added, found, {said}",
        remedy="" if ok else "This is a fault of the software; the log has more.",
    )


def esp(config: EspConfig) -> Finding:
    """Look the account up with the key that is set; nothing is sent."""
    what = f"{config.name} account"
    try:
        account = build_adapter(config).account()
    except EspError as error:
        return Finding(
            what=what,
            verdict=Verdict.FAIL,
            found=error.reason,
            remedy=f"Check the key of {config.name} in .env, its permissions, and the account itself.",
        )
    if account.sending_enabled is False:
        return Finding(
            what=what,
            verdict=Verdict.FAIL,
            found=account.detail,
            remedy=f"{config.name} has switched sending off for this account: ask its support.",
        )
    if config.name is EspName.POSTMARK and "handled by Custom" not in account.detail:
        return Finding(
            what=what,
            verdict=Verdict.WARN,
            found=account.detail,
            remedy=(
                "Postmark puts its own unsubscribe link beside ours: ask its support to switch "
                "the stream to custom handling."
            ),
        )
    return Finding(what=what, verdict=Verdict.PASS, found=account.detail or "answers")


def silences(system: System) -> Iterator[Finding]:
    """ESPs that take mail and never tell what became of it."""
    now = system.clock()
    with system.database.read() as session:
        standings = standing.load(session, system.esps, now)
    for known in standings.values():
        if silence := webhook_silence(known, now):
            yield Finding(
                what=f"{known.esp} events",
                verdict=Verdict.WARN,
                found=silence,
                remedy=webhook_setup(known.esp, system.settings.public_base_url),
            )


def dns(system: System) -> Iterator[Finding]:
    """The sending domain's, as `cli.py dns check` tells it: how many checks came to what, and
    what is wrong."""
    domain = system.settings.sending_domain
    findings = dns_watch.checker(system, domain).findings()
    counts = Counter(finding.status for finding in findings)
    wrong = [one for one in findings if one.status in (Status.FAIL, Status.WARN)]
    remedy = "python3 cli.py dns check" if wrong else ""
    if counts[Status.UNKNOWN] and not counts[Status.PASS]:
        remedy = "Check the network, or set DNS_NAMESERVERS."
    yield Finding(
        what=f"DNS of {domain}",
        verdict=Verdict.WARN if remedy else Verdict.PASS,
        found=", ".join(f"{n} {status}" for status, n in sorted(counts.items())),
        remedy=remedy,
    )
    keeps_back = system.settings.dns_gate is DnsGate.BLOCK
    for one in wrong:
        if one.status is Status.FAIL:
            yield Finding(
                what=f"DNS: {one.id}{f' of {one.esp}' if one.esp else ''}",
                verdict=Verdict.FAIL if one.blocks and keeps_back else Verdict.WARN,
                found=shown(f"{one.host}: {one.found}"),
                remedy=shown(one.remedy, ADVISED_CHARS),
            )


def dry_run(system: System) -> Finding:
    """What a campaign to everybody would come to."""
    settings = system.settings
    prepared(
        subject=MAILING.subject,
        html=MAILING.html,
        text=MAILING.text,
        name=MAILING.name,
        address=settings.postal_address,
    )
    with system.database.read() as session:
        told = trial.dry_run(
            session,
            MAILING,
            system.esps,
            now=system.clock(),
            distribution=settings.esp_distribution,
            dns_gate=settings.dns_gate,
        )
    ends = told["ends_at"]
    return Finding(
        what="campaign, dry run",
        verdict=Verdict.PASS if ends else Verdict.FAIL,
        found=f"{told['counts']['queued']} people by {told['by_esp'] or 'nobody'}, until {ends}",
        remedy="" if ends else "The limits of the ESPs never let it end: see GET /esp-status.",
    )
