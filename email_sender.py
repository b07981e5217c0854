"""The campaign engine: plan, pace, claim, call, record, finish, resume.

One thread decides and is the only one that writes sends; a bounded pool of threads calls
the ESPs. A step is one transaction: it records what finished calls came to, plans, claims,
and ends campaigns; the calls it claimed begin only after its commit. So at any moment a
`kill -9` finds each send either safely queued, or in a batch that says it may be on its way.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from config.esp_config import EspConfig, EspName
from config.settings import EspDistribution
from database.models import CampaignStatus
from database.sender_lock import SenderLock
from database.session import Database
from services.base import Account, EspAdapter
from services.calls import deliver
from services.campaign_step import LOOK_EVERY_S, Call, Floor, Step, running
from services.ledger.claim import ClaimedBatch
from services.ledger.record import recover
from services.mailing import Identity, Mailing
from services.pace import Pace

log = logging.getLogger(__name__)

RESUME_WITHIN = timedelta(hours=6)
"""After a longer stop a campaign may be out of date: a person decides."""
TAKE_OVER_EVERY_S = 1.0
RETRY_DATABASE_S = 1.0
ACCOUNT_EVERY = timedelta(minutes=10)
WAIT_FOR_ACCOUNTS_S = 5.0
"""How long the first claim waits to learn the limits that ESPs set."""


class CampaignEngine:
    """Sends campaigns, if this process holds the database's sender lock.

    `start` it once; `stop_claiming` and `close` end it without leaving an unknown behind,
    unless an ESP itself does not answer.
    """

    def __init__(
        self,
        database: Database,
        configs: Mapping[EspName, EspConfig],
        *,
        build: Callable[[EspConfig], EspAdapter],
        identity: Identity,
        clock: Callable[[], datetime],
        distribution: EspDistribution = EspDistribution.PRIORITY,
        rng: random.Random | None = None,
    ) -> None:
        self._database, self._build, self._clock = database, build, clock
        self._floor = Floor(
            configs=configs,
            identity=identity,
            distribution=distribution,
            rng=rng or random.Random(),
            pace={esp: Pace() for esp in configs},
        )
        self._lock = SenderLock(database)
        self._pool = ThreadPoolExecutor(
            max_workers=1 + sum(config.concurrency + 1 for config in configs.values()),
            thread_name_prefix="esp",
        )
        self._done: SimpleQueue[Call] = SimpleQueue()
        self._finished: list[Call] = []
        """Calls whose outcome is not committed yet."""
        self._look_ups: dict[EspName, Future[Account]] = {}
        self._wait_until = 0.0
        self._in_doubt = False
        """Whether the last commit may or may not have happened."""
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._sending = threading.Event()
        self._stood_still = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Begin: take over sending as soon as no other process has it."""
        self._thread.start()

    @property
    def may_send(self) -> bool:
        """Whether this process has taken over sending, and still does it."""
        return self._sending.is_set() and self._thread.is_alive()

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    def wake(self) -> None:
        """Something changed in the database: look now."""
        self._wake.set()

    def wait_for_stand(self, seconds: float) -> None:
        """Return when some campaign came to a stand, or after `seconds`."""
        with self._stood_still:
            self._stood_still.wait(seconds)

    def stop_claiming(self) -> None:
        """Claim no more from now on; safe in a signal handler."""
        self._stopping.set()
        self._wake.set()

    def close(self, timeout_s: float = 40.0) -> None:
        """Stop claiming, and wait until what is under way is recorded."""
        self.stop_claiming()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        while not self._stopping.is_set() and not self._take_over():
            self._wake.wait(TAKE_OVER_EVERY_S)
        while self._floor.calls or not self._stopping.is_set():
            self._wake.clear()
            pause = self._step_or_retry()
            if self._floor.calls or not self._stopping.is_set():
                self._wake.wait(pause)
        self._lock.release()
        self._announce()

    def _take_over(self) -> bool:
        """Become the sender, if nobody is: settle what a dead process left, and go on."""
        try:
            if not self._lock.try_acquire():
                return False
            with self._database.write() as session:
                unknown = recover(session, self._clock())
                self._pause_stale(session)
        except SQLAlchemyError:
            log.exception("cannot take over sending yet")
            self._lock.release()
            return False
        if unknown:
            log.warning("%d sends were under way when the last process ended: unknown", unknown)
        self._sending.set()
        for esp, config in self._floor.configs.items():
            self._floor.adapters[esp] = self._build(config)
        self._wait_until = time.monotonic() + WAIT_FOR_ACCOUNTS_S
        return True

    def _pause_stale(self, session: Session) -> None:
        for campaign in running(session):
            stood = self._clock() - campaign.last_step_at
            if campaign.status is not CampaignStatus.WAITING and stood > RESUME_WITHIN:
                campaign.status = CampaignStatus.PAUSED
                campaign.reason = (
                    "stale: it stood still for over 6 hours; resume it if it still holds"
                )

    def _step_or_retry(self) -> float:
        """One step; a database that cannot be written is tried again, and nothing is lost."""
        try:
            return self._step()
        except SQLAlchemyError:
            log.exception("the ledger cannot be written; what ESPs answered is kept")
            self._in_doubt = True
            return RETRY_DATABASE_S

    def _step(self) -> float:
        """Returns the seconds until the next step, if nothing wakes us before."""
        self._collect()
        looked_up = {esp: seen for esp, seen in self._look_ups.items() if seen.done()}
        if not (self._finished or looked_up or self._has_work()):
            return LOOK_EVERY_S
        now = self._clock()
        self._look_up_accounts(now)
        with self._database.write() as session:
            if self._in_doubt:
                recover(session, now, uncalled=self._floor.calls.keys())
            step = Step(self._floor, session, now)
            step.note_accounts(looked_up)
            step.record(self._finished)
            if not self._stopping.is_set() and self._lock.is_held():
                step.advance()
        self._after_commit(step, looked_up)
        return step.pause

    def _after_commit(self, step: Step, looked_up: Mapping[EspName, object]) -> None:
        self._in_doubt = False
        for esp in looked_up:
            del self._look_ups[esp]
        for call in self._finished:
            del self._floor.calls[call.batch.id]
        self._finished = []
        for batch, mailing in step.claimed:
            self._call(batch, mailing)
        if step.stood_still:
            self._announce()

    def _collect(self) -> None:
        while True:
            try:
                self._finished.append(self._done.get_nowait())
            except Empty:
                return

    def _has_work(self) -> bool:
        with self._database.read() as session:
            return bool(running(session))

    def _look_up_accounts(self, now: datetime) -> None:
        """Start the account look-ups that are due; claims wait for the first ones a moment."""
        for esp, adapter in self._floor.adapters.items():
            last = self._floor.looked_up.get(esp)
            if esp not in self._look_ups and (last is None or now - last > ACCOUNT_EVERY):
                self._floor.looked_up[esp] = now
                self._look_ups[esp] = self._pool.submit(adapter.account)
                self._look_ups[esp].add_done_callback(lambda _: self._wake.set())
        seen = all(look_up.done() for look_up in self._look_ups.values())
        if seen or time.monotonic() > self._wait_until:
            self._floor.may_claim = True

    def _call(self, batch: ClaimedBatch, mailing: Mailing) -> None:
        future = self._pool.submit(deliver, self._floor.adapters[batch.esp], mailing, batch)
        call = Call(batch, future)
        self._floor.calls[batch.id] = call
        future.add_done_callback(lambda _: self._hang_up(call))

    def _hang_up(self, call: Call) -> None:
        self._done.put(call)
        self._wake.set()

    def _announce(self) -> None:
        with self._stood_still:
            self._stood_still.notify_all()
