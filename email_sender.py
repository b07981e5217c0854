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
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue

from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from config.esp_config import EspConfig, EspName
from config.failpoints import Failpoint
from config.settings import DnsGate, EspDistribution
from database.ledger_lock import lock_ledger
from database.models import CampaignKind, CampaignStatus
from database.restore_guard import RestoreGuard, safe_mode
from database.sender_lock import SenderLock
from database.session import Database
from services.base import Account, EspAdapter
from services.calls import Delivery
from services.campaign_floor import Call, Floor
from services.campaign_step import LOOK_EVERY_S, Step, any_running, running
from services.ledger.claim import ClaimedBatch
from services.ledger.record import give_back, recover
from services.mailing import Identity, Mailing
from services.pace import Pace
from services.unsubscribe_spool import UnsubscribeSpool
from utils.failpoints import reach

log = logging.getLogger(__name__)

RESUME_WITHIN = timedelta(hours=6)
"""After a longer stop a campaign may be out of date: a person decides."""
RETRY_DATABASE_S = 1.0
CANNOT_WRITE = (OperationalError, InterfaceError, InternalError, PoolTimeout, OSError)
"""The database is locked, full, read-only or away: later it may work. Anything else that a
step raises is a fault of ours, and trying again would meet it again."""
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
        dns_gate: DnsGate = DnsGate.OFF,
        may_send_as: Callable[[str], bool] = lambda _: True,
        rng: random.Random | None = None,
    ) -> None:
        self._database, self._build, self._clock = database, build, clock
        self._floor = Floor(
            configs=configs,
            identity=identity,
            distribution=distribution,
            dns_gate=dns_gate,
            may_send_as=may_send_as,
            rng=rng or random.Random(),
            pace={esp: Pace() for esp in configs},
        )
        self._lock = SenderLock(database)
        self._guard = RestoreGuard(database)
        self._held: str | None = None
        self._unsubscribes = UnsubscribeSpool(database)
        self._pool = ThreadPoolExecutor(
            max_workers=1 + sum(config.concurrency + 1 for config in configs.values()),
            thread_name_prefix="esp",
        )
        self._done: SimpleQueue[Call] = SimpleQueue()
        self._finished: list[Call] = []
        """Calls whose outcome is not committed yet."""
        self._look_ups: dict[EspName, Future[Account]] = {}
        self._wait_until = 0.0
        self._uncalled: set[int] = set()
        """Batches claimed in a commit that is not known to have happened: never called."""
        self.has_looked = False
        """Whether it has asked for the right to send, once: before, nobody knows who sends."""
        self.cannot_write = False
        """Whether the last step could not be recorded; it is tried again."""
        self.fault: str | None = None
        """Why it stopped by itself, in words for a person; the log has the cause."""
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._sending = threading.Event()
        self._stood_still = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Begin: take over sending as soon as no other process has it."""
        # Before the thread: SDKs take half a second to import, and who may send can.
        self._floor.adapters = {
            esp: self._build(config) for esp, config in self._floor.configs.items()
        }
        self._thread.start()

    @property
    def may_send(self) -> bool:
        """Whether this process has taken over sending, and goes on with it."""
        is_running = self._thread.is_alive() and not self._stopping.is_set()
        return is_running and self._sending.is_set()

    @property
    def adapters(self) -> Mapping[EspName, EspAdapter]:
        """The ESPs' adapters, while this process may send; any thread may call them."""
        return self._floor.adapters if self.may_send else {}

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
        try:
            while self._has_to_go_on():
                self._wake.clear()
                pause = self._turn()
                if self._has_to_go_on():
                    self._wake.wait(pause)
        except Exception:  # the top of a thread
            log.exception("the engine met a fault of its own: no more campaigns are sent")
            self.fault = "the engine met a fault of its own and stopped: see the log, and restart"
            self._sending.clear()
            self._announce()
            self._salvage()
        finally:
            self._sending.clear()
            self._guard.close()
            self._lock.release()
            self._announce()

    def _has_to_go_on(self) -> bool:
        return bool(self._floor.calls) or not self._stopping.is_set()

    def _turn(self) -> float:
        """One step; a database that cannot be written is tried again, and nothing is lost."""
        try:
            if not (self._sending.is_set() or self._stopping.is_set()):
                self._take_over()
                self.has_looked = True
            pause = self._step()
        except CANNOT_WRITE:
            if not self.cannot_write:
                log.exception("the ledger cannot be written; what ESPs answered is kept")
            self.cannot_write = True
            return RETRY_DATABASE_S
        if self.cannot_write:
            log.warning("the ledger can be written again")
        self.cannot_write = False
        return pause

    def _take_over(self) -> None:
        """Become the sender, if nobody is: settle what a dead process left, and go on."""
        if not self._lock.try_acquire():
            self._guard.follow()
            return
        try:
            if self._is_held():
                self._lock.release()
                return
            self._guard.take()
            with self._database.write() as session:
                lock_ledger(session, alone=True)
                self._pause_stale(session)
                unknown = recover(
                    session, self._clock(), ours={*self._floor.calls, *self._uncalled}
                )
                reach(Failpoint.RECOVERY_BEFORE_COMMIT)
        except CANNOT_WRITE:
            self._lock.release()
            raise
        reach(Failpoint.RECOVERY_AFTER_COMMIT)
        if unknown:
            log.warning("%d sends were under way when the last process ended: unknown", unknown)
        self._sending.set()
        self._wait_until = time.monotonic() + WAIT_FOR_ACCOUNTS_S

    def _is_held(self) -> bool:
        """Whether the database was restored or copied, and nobody has confirmed it yet."""
        why = self._guard.why_held()
        if why is not None and why != self._held:
            log.warning("%s", safe_mode(why))
            self._guard.report()
        self._held = why
        return why is not None

    def _pause_stale(self, session: Session) -> None:
        """Before the batches of the dead are settled, which counts as a step."""
        for campaign in running(session):
            stood = self._clock() - campaign.last_step_at
            has_more = campaign.status is CampaignStatus.PLANNING or campaign.queued > 0
            if campaign.status is CampaignStatus.WAITING or not has_more:
                continue
            if campaign.kind is CampaignKind.CONFIRMATION:
                continue  # whoever asked for it still waits; it ends with its link
            if stood > RESUME_WITHIN:
                campaign.status = CampaignStatus.PAUSED
                campaign.reason = (
                    "stale: it stood still for over 6 hours; resume it if it still holds"
                )

    def _step(self) -> float:
        """Returns the seconds until the next step, if nothing wakes us before."""
        self._collect()
        looked_up = {esp: seen for esp, seen in self._look_ups.items() if seen.done()}
        may_claim = self.may_send and self._holds_the_lock()
        if may_claim:
            self._guard.keep_up()
        if not (self._finished or looked_up or self._uncalled or (may_claim and self._has_work())):
            return LOOK_EVERY_S
        now = self._clock()
        if may_claim:
            self._look_up_accounts(now)
        with self._unsubscribes.write() as session:
            lock_ledger(session, alone=True)
            give_back(session, self._uncalled, now)
            step = Step(self._floor, session, now)
            step.note_accounts(looked_up)
            step.record(self._finished)
            if may_claim:
                step.advance()
            self._uncalled |= {batch.id for batch, _ in step.claimed}
        self._after_commit(step, looked_up)
        return step.pause

    def _holds_the_lock(self) -> bool:
        if self._lock.is_held():
            return True
        log.warning("the right to send was lost with its connection; asking for it again")
        self._sending.clear()
        return False

    def _after_commit(self, step: Step, looked_up: Mapping[EspName, object]) -> None:
        self._uncalled = {batch.id for batch, _ in step.claimed}
        if self._finished:
            reach(Failpoint.RECORD_AFTER_COMMIT)
        if step.claimed:
            reach(Failpoint.CLAIM_AFTER_COMMIT)
        for esp in looked_up:
            del self._look_ups[esp]
        for call in self._finished:
            del self._floor.calls[call.batch.id]
        self._finished = []
        if step.claimed:
            self._guard.claimed(max(self._uncalled))
        for batch, mailing in step.claimed:
            self._call(batch, mailing)
        if step.stood_still:
            self._announce()

    def _salvage(self) -> None:
        """Record what calls under way come to, each by itself, since one of them may be what
        broke us; what cannot be recorded is unknown to the next process."""
        for calls in ([], *([call] for call in self._floor.calls.values())):
            wait([call.future for call in calls])  # no longer than an ESP may take to answer
            try:
                with self._database.write() as session:
                    lock_ledger(session, alone=True)
                    if not calls:
                        give_back(session, self._uncalled, self._clock())
                    Step(self._floor, session, self._clock()).record(calls)
            except Exception:  # the next one may still be recorded
                log.exception("the outcome of a call is lost: unknown to the next process")

    def _collect(self) -> None:
        while True:
            try:
                self._finished.append(self._done.get_nowait())
            except Empty:
                return

    def _has_work(self) -> bool:
        if not self._unsubscribes.is_empty:
            return True
        with self._database.read() as session:
            return any_running(session)

    def _look_up_accounts(self, now: datetime) -> None:
        """Start the account look-ups that are due; claims wait for the first ones a moment."""
        for esp, adapter in self._floor.adapters.items():
            last = self._floor.looked_up.get(esp)
            # A clock may be set back.
            is_due = last is None or not timedelta(0) <= now - last <= ACCOUNT_EVERY
            if is_due and esp not in self._look_ups:
                self._floor.looked_up[esp] = now
                self._look_ups[esp] = self._pool.submit(adapter.account)
                self._look_ups[esp].add_done_callback(lambda _: self._wake.set())
        seen = all(look_up.done() for look_up in self._look_ups.values())
        if seen or time.monotonic() > self._wait_until:
            self._floor.may_claim = True

    def _call(self, batch: ClaimedBatch, mailing: Mailing) -> None:
        delivery = Delivery(self._floor.adapters[batch.esp], mailing, batch)
        call = Call(delivery, self._pool.submit(delivery))
        self._floor.calls[batch.id] = call
        self._uncalled.discard(batch.id)
        call.future.add_done_callback(lambda _: self._hang_up(call))

    def _hang_up(self, call: Call) -> None:
        self._done.put(call)
        self._wake.set()

    def _announce(self) -> None:
        with self._stood_still:
            self._stood_still.notify_all()
