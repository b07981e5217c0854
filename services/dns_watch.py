"""The DNS of sending domains, looked at now and then: checked, kept, and what got worse told."""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from config.domain_setup import DomainSetup, merged
from config.settings import SendingMode
from database.models import Campaign, DnsCheck, DnsDue
from services.dns_accounts import records_by_account
from services.dns_results import Change, latest, store
from services.system import System
from utils.dns_checker import DNSChecker

log = logging.getLogger(__name__)

CHECK_EVERY = timedelta(hours=6)
DUE_AT_MOST_EVERY = timedelta(minutes=10)
"""Bounces that blame the DNS come in crowds."""
FROM_WITHIN = timedelta(days=30)
"""Domains that nobody mailed from for so long are not looked at any more."""

BY_CLOCK, BY_PERSON = "the clock", "a person"


def checker(system: System, domain: str) -> DNSChecker:
    """Of one domain, with what the file and, in live mode, the ESPs' own APIs ask for."""
    settings = system.settings
    setup = settings.domain_setups.get(domain, DomainSetup(domain=domain))
    if settings.sending_mode is SendingMode.LIVE:
        setup = merged(setup, records_by_account(system, domain))
    return DNSChecker(domain, settings=settings, setup=setup)


def check(system: System, domain: str, *, asked_by: str) -> tuple[DnsCheck, list[Change]]:
    """Ask DNS now, keep what it said, and log what is worse than it was."""
    began = system.clock()
    findings = checker(system, domain).findings()
    with system.database.write() as session:
        changes = store(session, domain, findings, asked_by=asked_by, now=began)
        session.flush()
        stored = latest(session, domain)
        assert stored is not None
    for change in changes:
        if change.is_worse:
            log.warning("DNS of %s got worse: %s. %s", domain, change, change.remedy)
    return stored, changes


def check_due(system: System, now: datetime) -> Iterator[tuple[str, str]]:
    """Check each domain whose time it is; yields the domain and who asked."""
    with system.database.read() as session:
        due = dict(_due(session, system.settings.sending_domain, now))
    for domain, asked_by in due.items():
        check(system, domain, asked_by=asked_by)
        yield domain, asked_by


def told(row: DnsCheck) -> dict[str, Any]:
    """A kept result as `GET /dns-check` gives it."""
    return {
        "domain": row.domain,
        "status": row.status,
        "checks": row.checks,
        "checked_at": row.checked_at.isoformat(),
    }


def _due(session: Session, own: str, now: datetime) -> Iterator[tuple[str, str]]:
    last = select(DnsCheck.domain, func.max(DnsCheck.checked_at)).group_by(DnsCheck.domain)
    checked = {domain: at for domain, at in session.execute(last) if at is not None}
    for domain in sorted({own, *_sending(session, now)}):
        if domain not in checked or now - checked[domain] >= CHECK_EVERY:
            yield domain, BY_CLOCK
    for row in session.scalars(select(DnsDue)):
        if row.domain not in checked or now - checked[row.domain] >= DUE_AT_MOST_EVERY:
            yield row.domain, row.reason


def _sending(session: Session, now: datetime) -> set[str]:
    """The domains that campaigns came from lately."""
    lately = select(Campaign.from_email).where(Campaign.created_at > now - FROM_WITHIN).distinct()
    return {address.rpartition("@")[2].lower() for address in session.scalars(lately)}
