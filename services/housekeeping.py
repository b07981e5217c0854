"""What a running installation does by itself: tiers that end, old payloads, the ESPs' lists,
the DNS of its domains."""

import logging
import threading
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import null, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from config.esp_config import EspName
from config.settings import DnsGate
from database.models import WebhookEvent
from lists.departures import wave_of_unsubscribes
from lists.tiers import retier
from services import standing
from services.dns_watch import check_due
from services.esp_manager import brake_of, webhook_warning
from services.standing import Standing
from services.suppression_sync import Release, pull_all, release
from services.system import System

log = logging.getLogger(__name__)

EVERY_S = 60.0
PULL_EVERY = timedelta(hours=6)
RELEASE_AGAIN_AFTER = timedelta(minutes=10)
"""Until an ESP that failed to let go of somebody is asked again."""
WARN_EVERY = timedelta(hours=1)
PAYLOADS_KEPT = timedelta(days=30)
ROWS = 1_000
"""In one transaction, so that nobody waits long for it."""


class Housekeeper:
    """Runs in a thread of the process that sends, between `start` and `close`."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeper", daemon=True)
        self._forgotten_through: datetime | None = None
        self._pulled_at: datetime | None = None
        self._released_next: dict[EspName, datetime] = {}
        self._warned_at: datetime | None = None
        self._told_of_wave_at: datetime | None = None
        self._braking: dict[EspName, str] = {}

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()

    def turn(self, now: datetime) -> None:
        """All that is due at `now`."""
        while not self._stopping.is_set() and self._retier(now) == ROWS:
            pass
        while not self._stopping.is_set() and self._forget(now) == ROWS:
            pass
        self._release(now)
        if not self._system.is_sandbox and (
            self._pulled_at is None or now - self._pulled_at >= PULL_EVERY
        ):
            self._pulled_at = now
            self._pull()
        if not self._system.is_sandbox and self._system.settings.dns_gate is not DnsGate.OFF:
            self._check_dns(now)
        with self._system.database.read() as session:
            standings = standing.load(session, self._system.esps, now).values()
            wave = wave_of_unsubscribes(session, now)
        self._tell_of_brakes(standings, now)
        if self._warned_at is None or now - self._warned_at >= WARN_EVERY:
            self._warn_of_silence(standings, now)
        if wave is not None and (
            self._told_of_wave_at is None or now - self._told_of_wave_at >= WARN_EVERY
        ):
            self._told_of_wave_at = now
            log.warning("%s", wave)

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_S):
            engine = self._system.engine
            if engine is None or not engine.may_send:
                continue
            try:
                self.turn(self._system.clock())
            except SQLAlchemyError:
                log.warning("housekeeping could not write; it tries again", exc_info=True)
            except Exception:  # the top of a thread: the next turn may go well
                log.exception("housekeeping met a fault of its own")

    def _retier(self, now: datetime) -> int:
        with self._system.database.write() as session:
            return retier(session, now, ROWS)

    def _forget(self, now: datetime) -> int:
        with self._system.database.write() as session:
            through, n = forget_payloads(session, now - PAYLOADS_KEPT, self._forgotten_through)
        self._forgotten_through = through
        return n

    def _tell_of_brakes(self, standings: Iterable[Standing], now: datetime) -> None:
        """Once a change; after a start, also of those that brake already."""
        braking = {known.esp: bad for known in standings if (bad := brake_of(known, now))}
        for esp, bad in braking.items():
            if esp not in self._braking:
                log.warning("an ESP brakes", extra={"esp": esp.value, "reason": bad})
        for esp in self._braking.keys() - braking.keys():
            log.warning("an ESP brakes no more", extra={"esp": esp.value})
        self._braking = braking

    def _warn_of_silence(self, standings: Iterable[Standing], now: datetime) -> None:
        for known in standings:
            warning = webhook_warning(known, now, self._system.settings.public_base_url)
            if warning:
                self._warned_at = now
                log.warning("%s", warning)

    def _release(self, now: datetime) -> None:
        """Before the pull: else that reads entries that are about to go."""
        for esp, config in self._system.esps.items():
            if not config.suppressions or now < self._released_next.get(esp, now):
                continue
            for told in release(self._system, config):
                _log_release(esp, told)
                if told.error is not None:
                    self._released_next[esp] = now + RELEASE_AGAIN_AFTER

    def _check_dns(self, now: datetime) -> None:
        for domain, asked_by in check_due(self._system, now):
            log.info("the DNS of %s was checked, asked by %s", domain, asked_by)

    def _pull(self) -> None:
        for pulled in pull_all(self._system):
            if pulled.error:
                log.warning("%s: its suppression list was not read: %s", pulled.esp, pulled.error)


def _log_release(esp: EspName, told: Release) -> None:
    """By the number of the row in `suppressions`: a log is no place for addresses."""
    if told.became is None:
        log.warning("%s: row %s is not released yet: %s", esp, told.row, told.error)
        return
    if told.became.off:
        log.info("%s: row %s is off its list %s", esp, told.row, ", ".join(told.became.off))
    if told.became.kept is not None:
        log.warning("%s: row %s stays on its list: %s", esp, told.row, told.became.kept)


def forget_payloads(
    session: Session, before: datetime, after: datetime | None
) -> tuple[datetime | None, int]:
    """Empty the payloads of events received before then, `ROWS` at once, the oldest first.

    `after`: where the call before this one stopped. Returns where this one did, and how many.
    """
    old = select(WebhookEvent.id, WebhookEvent.received_at).where(
        WebhookEvent.received_at < before, WebhookEvent.payload.is_not(null())
    )
    if after is not None:
        old = old.where(WebhookEvent.received_at >= after)
    rows = session.execute(old.order_by(WebhookEvent.received_at).limit(ROWS)).all()
    if rows:
        session.execute(
            update(WebhookEvent)
            .where(WebhookEvent.id.in_([row.id for row in rows]))
            .values(payload=null())
            .execution_options(synchronize_session=False)
        )
    return (rows[-1].received_at if rows else after), len(rows)
