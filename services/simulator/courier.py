"""Tells what became of the mails: reads the ledger from where it stopped, and posts webhooks.

At least once, as real ESPs do: a call that is not answered 2xx is made again, and after a
restart the last page may come twice.
"""

import logging
import random
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import urllib3

from config.esp_config import EspName
from config.values import is_loopback
from services.simulator.happenings import Rates, Taken, happenings
from services.simulator.ledger import Ledger
from services.simulator.records import Post
from services.simulator.secrets import WebhookSecrets
from services.simulator.shape import JsonObject
from services.simulator.sns import Topic
from services.simulator.wordings import Told, posts

log = logging.getLogger(__name__)

PAGE = 500
"""Mails at once; SendGrid tells them in one call."""
TIMEOUT = urllib3.Timeout(connect=5.0, read=30.0)
STOP_S = 0.5
LONGEST_PAUSE_S = 5.0

_ORDERS: dict[str, Callable[[Any], Any]] = {"shuffle": bool, "repeat": int, "delay_s": float}


class Courier:
    """A daemon thread for each ESP between `start` and `stop`, so that one whose webhooks are
    refused does not keep the others from telling. Orders may be changed at any time."""

    def __init__(
        self, ledger: Ledger, clock: Callable[[], datetime], topics: Mapping[EspName, Topic]
    ) -> None:
        self.secrets = WebhookSecrets()
        self.to: str | None = None
        """Where the webhooks go, as `http://127.0.0.1:5000`; nowhere: they wait."""
        self.rates = Rates()
        self.blocks: set[tuple[EspName, str]] = set()
        """(ESP, mailbox provider): that provider refuses what comes from that ESP."""
        self.shuffle = False
        self.repeat = 1
        self.delay_s = 0.2
        self._ledger, self._clock, self._topics = ledger, clock, topics
        self._asked: dict[Topic, str] = {}
        """Who was asked last to confirm."""
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(esp,), name=f"courier {esp}", daemon=True)
            for esp in EspName
        ]
        self._http = urllib3.PoolManager(retries=False, timeout=TIMEOUT)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """A call that is under way is left to end with the process."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(STOP_S)
        self._http.clear()
        self.secrets.close()

    def post_to(self, base_url: str | None, **how: Any) -> None:
        """As `Simulator.post_webhooks_to`."""
        for name, value in how.items():
            setattr(self, name, value)
        self.to = base_url

    def obey(self, order: JsonObject) -> None:
        """What came as JSON. Raises ValueError or TypeError for what cannot be."""
        to = order.pop("to", self.to)
        if to is not None and not is_loopback(str(to)):
            raise ValueError("webhooks go to this machine only")
        rates = Rates(**{name: float(share) for name, share in order.pop("rates", {}).items()})
        how = {name: parse(order.pop(name)) for name, parse in _ORDERS.items() if name in order}
        if order:
            raise TypeError(f"no such orders: {', '.join(sorted(order))}")
        self.post_to(to, rates=rates, **how)

    @property
    def is_done(self) -> bool:
        """Whether everything that happened so far was told."""
        return not any(self._page(esp) for esp in EspName)

    def _run(self, esp: EspName) -> None:
        pause = 0.1
        while not self._stopping.wait(pause):
            try:
                pause = 0.01 if self._turn(esp) else 0.1
            except Exception:  # the top of a thread; what was not told is told again
                if self._stopping.is_set():
                    return
                log.warning("webhooks of the simulator could not be posted", exc_info=True)
                pause = min(2 * pause, LONGEST_PAUSE_S)

    def _turn(self, esp: EspName) -> bool:
        """Tell of one page of mails; whether there was any."""
        run = self._ledger.run
        mails = self._page(esp) if self._may_tell(esp) else []
        if not mails:
            return False
        told: list[Told] = [
            (mail, what)
            for mail in mails
            for what in happenings(mail, self.rates, self.blocks)
            for _ in range(self.repeat)
        ]
        if self.shuffle:
            random.shuffle(told)
        for post in posts(esp, told, self.secrets, run):
            if not self._deliver(esp, post):
                return False
        self._ledger.note_told(esp, mails[-1].id, run)
        return True

    def _may_tell(self, esp: EspName) -> bool:
        """Whether there is somebody to tell, who has said yes where that is needed. Each is
        asked once, as by SNS, and then has to see to it."""
        to, topic = self.to, self._topics.get(esp)
        if topic is None or to is None:
            return to is not None
        if self._asked.get(topic) != to and self._deliver(esp, topic.ask(self.secrets)):
            self._asked[topic] = to
        return topic.is_confirmed

    def _page(self, esp: EspName) -> list[Taken]:
        return self._ledger.untold(esp, self._clock() - timedelta(seconds=self.delay_s), PAGE)

    def _deliver(self, esp: EspName, post: Post) -> bool:
        """Until it is answered 2xx, with growing pauses; `False` when told to stop."""
        headers, body = post
        pause = 0.05
        while not self._stopping.is_set():
            if self.to and self._is_taken(
                f"{self.to}/engagement-webhook/{esp.value}", headers, body
            ):
                return True
            pause = min(2 * pause, LONGEST_PAUSE_S)
            self._stopping.wait(pause)
        return False

    def _is_taken(self, url: str, headers: dict[str, str], body: bytes) -> bool:
        try:
            answer = self._http.request("POST", url, body=body, headers=headers)
        except urllib3.exceptions.HTTPError:
            return False
        return 200 <= answer.status < 300
