"""Webhook calls that wait at the same moment are recorded together, in one transaction.

SES and Postmark make a call for each event, hundreds at once while a campaign goes out: each
would wait for all the others and for a commit of its own.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from config.esp_config import EspName
from config.failpoints import Failpoint
from database.session import Database
from services.event_recorder import Recorded, record_calls
from services.events import Event
from utils.failpoints import reach

MOST_EVENTS = 1_000
"""In one transaction, beyond those of its first call: others wait for it."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Call:
    esp: EspName
    events: Sequence[Event]
    recorded: Recorded | None = None
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return self.recorded is not None or self.error is not None


class JointRecording:
    """Thread-safe. Whoever comes first records what all who wait have to say."""

    def __init__(self, database: Database, hash_key: bytes) -> None:
        self._database, self._hash_key = database, hash_key
        self._leading = threading.Lock()
        self._adding = threading.Lock()
        self._waiting: list[_Call] = []

    def record(self, esp: EspName, events: Sequence[Event], now: datetime) -> Recorded:
        """On disk when this returns. Raises what the database raises for this call alone."""
        call = _Call(esp=esp, events=events)
        with self._adding:
            self._waiting.append(call)
        with self._leading:
            while not call.is_done:
                self._record_next(now)
        if call.recorded is None:
            assert call.error is not None
            raise call.error
        return call.recorded

    def _record_next(self, now: datetime) -> None:
        """Record those who came first; one by one when they cannot be recorded together."""
        calls: list[_Call] = []
        try:
            with self._database.write() as session:
                calls = self._taken()
                events = [call.events for call in calls]
                found = record_calls(
                    session, calls[0].esp, events, hash_key=self._hash_key, now=now
                )
                reach(Failpoint.WEBHOOK_BEFORE_COMMIT)
        except Exception as error:  # whoever waits must hear of it, whatever it is
            self._fail(calls, error, now)
        else:
            for call, recorded in zip(calls, found, strict=True):
                call.recorded = recorded

    def _taken(self) -> list[_Call]:
        """Of the ESP that has waited longest, taken once it is our turn to write."""
        taken: list[_Call] = []
        with self._adding:
            esp, n = self._waiting[0].esp, 0
            for call in self._waiting:
                if call.esp is esp and (not taken or n + len(call.events) <= MOST_EVENTS):
                    taken.append(call)
                    n += len(call.events)
            self._waiting = [call for call in self._waiting if call not in taken]
        return taken

    def _fail(self, calls: Sequence[_Call], error: Exception, now: datetime) -> None:
        if len(calls) < 2:
            # Or the database is not to be had: those who wait for it need not try in turn.
            for call in calls or self._taken():
                call.error = error
            return
        for call in calls:
            try:
                with self._database.write() as session:
                    [call.recorded] = record_calls(
                        session, call.esp, [call.events], hash_key=self._hash_key, now=now
                    )
            except Exception as alone:  # the same: of this call
                call.error = alone
