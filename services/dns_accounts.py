"""The records that ESPs' own APIs ask for, read seldom and kept."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from config.domain_setup import EspRecords, Record
from config.esp_config import EspName
from database.models import EspDomain
from services.adapters import build_domain_records
from services.base import EspError
from services.system import System

log = logging.getLogger(__name__)

READ_EVERY = timedelta(hours=6)


def records_by_account(system: System, domain: str) -> dict[EspName, EspRecords]:
    """What each configured ESP wants for this domain; of one that does not answer now, what it
    wanted last. An ESP that does not know the domain is left out."""
    now = system.clock()
    with system.database.read() as session:
        known = {esp: session.get(EspDomain, (esp, domain)) for esp in system.esps}
    for esp, config in system.esps.items():
        kept = known[esp]
        if not config.domain_records or (kept and now - kept.fetched_at < READ_EVERY):
            continue
        account = build_domain_records(config)
        if account.cannot is not None:
            log.info("%s: its records of %s were not read: %s", esp, domain, account.cannot)
            continue
        try:
            found = account.records_of(domain)
        except EspError as error:
            log.warning("%s: its records of %s were not read: %s", esp, domain, error.reason)
            continue
        known[esp] = EspDomain(
            esp=esp,
            domain=domain,
            records=asdict(found) if found is not None else None,
            fetched_at=now,
        )
        with system.database.write() as session:
            session.merge(known[esp])
    return {esp: _read(row.records) for esp, row in known.items() if row and row.records}


def _read(stored: Mapping[str, Any]) -> EspRecords:
    return EspRecords(
        **{purpose: tuple(Record(**one) for one in records) for purpose, records in stored.items()}
    )
