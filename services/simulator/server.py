"""The simulator as one thing to start, give orders and ask; the package tells how to use it."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from config.esp_config import EspName
from services.simulator.control import ControlListener
from services.simulator.courier import Courier
from services.simulator.desk import Desk
from services.simulator.dialect import Dialect, Limit
from services.simulator.ledger import Ledger
from services.simulator.limits import AccountLimits
from services.simulator.listener import EspListener
from services.simulator.loop_thread import LoopThread
from services.simulator.modes import Behaviour, Mode
from services.simulator.postmark import Postmark
from services.simulator.records import Call, Mail
from services.simulator.sendgrid import SendGrid
from services.simulator.ses import Ses
from services.simulator.shape import JsonObject

DIALECTS: tuple[type[Dialect], ...] = (SendGrid, Ses, Postmark)
SIMULATED: tuple[EspName, ...] = tuple(dialect.esp for dialect in DIALECTS)

KEEP_NEWEST = 10_000
KEEP_BYTES = 200_000_000


class Simulator:
    """Runs in a daemon thread between `start` and `stop`, or as a context manager.

    Every method may be called from any thread. What a call to an ESP did is in the
    ledger before its answer leaves.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        mailbox: Path | str | None = None,
        keep_content: bool = True,
        keep_newest: int = KEEP_NEWEST,
        limits: Mapping[EspName, AccountLimits] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`port` is the control listener's, those of the ESPs follow; 0: free ones.

        Raises OSError when a port is taken. `mailbox` is a file for the ledger, which
        is in memory otherwise; contents are kept for the newest mails only.
        """
        with ExitStack() as undo:
            keep = keep_newest if keep_content else 0
            self.ledger = Ledger(mailbox, keep_newest=keep, keep_bytes=KEEP_BYTES)
            undo.callback(self.ledger.close)
            self._dialects = [dialect() for dialect in DIALECTS]
            topics = {one.esp: one.topic for one in self._dialects if one.topic is not None}
            self.courier = Courier(self.ledger, clock, topics)
            undo.callback(self.courier.secrets.close)
            self._control = ControlListener(port, self)
            undo.callback(self._control.release)
            self._desks: dict[EspName, Desk] = {}
            self._listeners: dict[EspName, EspListener] = {}
            for place, dialect in enumerate(self._dialects, start=1):
                account = (limits or {}).get(dialect.esp)
                desk = Desk(dialect, self.ledger, limits=account, clock=clock)
                desk.elsewhere = f"{self._control.url}/elsewhere"
                self._desks[dialect.esp] = desk
                self._listeners[dialect.esp] = EspListener(port and port + place, desk)
                undo.callback(self._listeners[dialect.esp].release)
            undo.pop_all()
        self._loop = LoopThread("simulator")

    @property
    def control_url(self) -> str:
        return self._control.url

    @property
    def base_urls(self) -> dict[EspName, str]:
        """Where each ESP is, without a slash at the end."""
        return {esp: listener.url for esp, listener in self._listeners.items()}

    def start(self) -> Self:
        self._loop.start()
        self._loop.wait_for(self._open())
        self.courier.start()
        return self

    def stop(self) -> None:
        """End every connection and close the ledger. A second call does nothing."""
        if self._loop.is_closed:
            return
        self.courier.stop()
        self._loop.wait_for(self._close())
        self._loop.close()
        self.ledger.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # orders

    def behave(self, esp: EspName, mode: Mode | str = Mode.OK, **how: Any) -> None:
        """What `esp` does from now on; `how` are the other fields of `Behaviour`.

        Raises ValueError when this ESP cannot behave so.
        """
        self._loop.wait_for(self.put_behaviour(esp, Behaviour.from_words({"mode": mode, **how})))

    def limit(
        self, esp: EspName, *, per_second: float | None = None, daily_limit: int | None = None
    ) -> None:
        """Give the account of `esp` these limits, in place of those it had."""
        limits = AccountLimits(per_second=per_second, daily_limit=daily_limit)
        self._loop.wait_for(self._put_limits(esp, limits))

    def know(self, *domains: str) -> None:
        """The domains that every account may send for, in place of those before."""
        self.put_domains(list(domains))

    def reset(self) -> None:
        """Forget all mails, calls and violations; all ESPs behave well. Limits and domains stay."""
        self._loop.wait_for(self.put_back())

    def post_webhooks_to(self, base_url: str | None, **how: Any) -> None:
        """Tell what becomes of the mails at `<base_url>/engagement-webhook/<esp>`; `None`: wait.

        `how`: `rates` of what people with ordinary addresses do, `shuffle`, `repeat` (so many
        times each), `delay_s` between a mail and its events.
        """
        self.courier.post_to(base_url, **how)

    def block(self, esp: EspName, provider: str, *, blocked: bool = True) -> None:
        """Let a mailbox provider refuse what comes from an ESP, or take it again."""
        (self.courier.blocks.add if blocked else self.courier.blocks.discard)((esp, provider))

    @property
    def webhook_settings(self) -> dict[EspName, Mapping[str, Any]]:
        """The fields of each ESP's configuration that show its webhooks to be genuine."""
        return self.courier.secrets.settings

    # what was taken

    def mails(
        self,
        *,
        esp: EspName | None = None,
        to: str | None = None,
        limit: int | None = 100,
    ) -> list[Mail]:
        """The newest first; `limit` None: all of them."""
        return self.ledger.mails(esp=esp, to=to, limit=limit)

    def accepted(self) -> dict[EspName, int]:
        """Mails taken per ESP, rendering failures included: the ESP said yes to them."""
        return _simulated(self.ledger.accepted())

    def accepted_sends(self) -> list[tuple[EspName, str, str | None]]:
        """ESP, recipient and our id of every mail taken, oldest first."""
        return self.ledger.accepted_sends()

    def duplicates(self) -> dict[str, int]:
        """Recipients taken more than once since the last reset, over all ESPs."""
        return self.ledger.duplicates()

    def rendering_failures(self) -> dict[EspName, int]:
        """Mails that SES took and could not fill in, so that nobody got them."""
        return _simulated(self.ledger.rendering_failures())

    def calls(self, esp: EspName | None = None) -> list[Call]:
        """Every request that an ESP got, oldest first."""
        return self.ledger.calls(esp)

    def requests(self, esp: EspName) -> int:
        return self.ledger.call_count(esp)

    def connections(self, esp: EspName) -> int:
        """How often a client connected to `esp`, since the start."""
        return self._listeners[esp].connections

    @property
    def limit_violations(self) -> dict[EspName, dict[Limit, int]]:
        """Calls that broke a limit of an ESP or of its account; empty when none did."""
        counts = {esp: dict(desk.violations) for esp, desk in self._desks.items()}
        return {esp: limits for esp, limits in counts.items() if limits}

    @property
    def followed_redirects(self) -> int:
        """How often a client went where `Mode.REDIRECT` sent it."""
        return self._control.followed_redirects

    def stats(self) -> JsonObject:
        accepted, failures = self.ledger.accepted(), self.ledger.rendering_failures()
        return {
            "esps": {
                esp.value: {
                    "base_url": listener.url,
                    "accepted": accepted[esp],
                    "rendering_failures": failures[esp],
                    "requests": self.requests(esp),
                    "connections": listener.connections,
                    "peak_in_flight": listener.peak_in_flight,
                    "behaviour": asdict(self._desks[esp].board.behaviour),
                    "limits": asdict(self._desks[esp].meter.limits),
                    "limit_violations": dict(self._desks[esp].violations),
                }
                for esp, listener in self._listeners.items()
            }
        }

    # the event loop's side

    async def put_behaviour(self, esp: EspName, behaviour: Behaviour) -> None:
        _check_simulated(esp)
        behaviour.check(esp)
        self._desks[esp].board.put(behaviour)
        await self._listeners[esp].obey()

    def put_limits(self, esp: EspName, limits: AccountLimits) -> None:
        _check_simulated(esp)
        self._desks[esp].meter.put(limits)

    def put_webhooks(self, order: JsonObject) -> None:
        """Raises ValueError or TypeError for what cannot be: nothing leaves this machine."""
        self.courier.obey(order)

    def put_domains(self, domains: list[str]) -> None:
        for dialect in self._dialects:
            dialect.domains = tuple(domain.lower() for domain in domains)

    async def put_back(self) -> None:
        self.ledger.reset()
        self.courier.blocks.clear()
        self._control.followed_redirects = 0
        for esp, desk in self._desks.items():
            desk.reset()
            await self._listeners[esp].obey()

    async def _put_limits(self, esp: EspName, limits: AccountLimits) -> None:
        self.put_limits(esp, limits)

    async def _open(self) -> None:
        await self._control.open()
        for listener in self._listeners.values():
            await listener.obey()

    async def _close(self) -> None:
        for listener in (self._control, *self._listeners.values()):
            await listener.close()


def _simulated(counts: Mapping[EspName, int]) -> dict[EspName, int]:
    return {esp: counts[esp] for esp in SIMULATED}


def _check_simulated(esp: EspName) -> None:
    if esp not in SIMULATED:
        raise ValueError(f"{esp} has no simulator; these have: {', '.join(SIMULATED)}")
