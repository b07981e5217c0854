"""Starts the real server, kills it for real, and starts it again on the same database.

The ESPs are a simulator in the test's own process: it outlives the kills, and its record of
what each ESP took is the truth that `oracle` holds the server's record against. Nothing here
knows how the server works inside, so another program that speaks the same HTTP can stand in
its place (`naive_sender`), and so can another database.
"""

import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.esp_config import EspName
from config.settings import ROOT
from services.simulator.server import Simulator
from tests.environment import live_environment
from tests.faults.http_client import Client, NoAnswer, unsubscribe, wait_until
from tests.faults.oracle import Query, Taken, postgres_query, sqlite_query

SERVER = (sys.executable, "app.py")
START_WITHIN_S = 30.0
STOP_WITHIN_S = 45.0
KEEP_NEWEST = 1_000_000
"""Mails whose subject can still be read at the end: all of them."""
OWN_PORTS = range(15_000, 32_000)
"""Below those that the kernel gives to clients, so that none of them is met after a restart."""


class Server:
    """One server program on one port: started, killed or stopped, and started again."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        self.client = Client(int(environ["PORT"]))
        self.url = environ["PUBLIC_BASE_URL"]
        self._command, self._environ, self._log = command, environ, log
        self._process: subprocess.Popen[bytes] | None = None
        self.kills = 0
        self._ended_by: int | None = None
        self._alive = -1
        """A pipe that every process of the server holds: at its end when the last is gone."""

    def start(self) -> None:
        """Returns when `/readyz` says 200."""
        assert self.begin(), f"the server did not start:\n{self.said()}"

    def begin(self, **more: str) -> bool:
        """Start with further settings, in a process group of its own; returns when `/readyz`
        says 200, or when the server has ended by itself: whether it is ready."""
        self._alive, held = os.pipe()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env={**self._environ, **more},
                stdout=log,
                stderr=log,
                pass_fds=(held,),
                start_new_session=True,
            )
        os.close(held)
        ends_at = time.monotonic() + START_WITHIN_S
        while not self._is_ready():
            if self._is_gone(within_s=0.02):
                self._see_it_gone()
                return False
            assert time.monotonic() < ends_at, f"the server is not ready:\n{self.said()}"
        return True

    def kill(self) -> None:
        """`kill -9` for the whole group, arbiter and worker; returns when all are gone."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._see_it_gone()

    def terminate(self) -> float:
        """SIGTERM, as a deploy does it; the seconds until the last process is gone."""
        assert self._process is not None
        begin = time.monotonic()
        self._process.terminate()
        self._see_it_gone()
        return time.monotonic() - begin

    def dies(self) -> None:
        """Returns when it has ended by itself."""
        self._see_it_gone()

    @property
    def was_killed(self) -> bool:
        """Whether it ended by SIGKILL the last time that it ended."""
        return self._ended_by == -signal.SIGKILL

    @property
    def worker(self) -> int:
        """The process id of who answers and sends; the process that was started watches it."""
        assert self._process is not None
        arbiter = self._process.pid
        (pid,) = Path(f"/proc/{arbiter}/task/{arbiter}/children").read_text().split()
        return int(pid)

    def said(self) -> str:
        """The end of what it printed."""
        return self._log.read_text(errors="replace")[-4000:]

    def _see_it_gone(self) -> None:
        assert self._process is not None
        assert self._is_gone(within_s=STOP_WITHIN_S), f"still there:\n{self.said()}"
        self._ended_by = self._process.wait()
        self.kills += self.was_killed
        self._process = None
        os.close(self._alive)

    def _is_gone(self, *, within_s: float) -> bool:
        return bool(select.select([self._alive], [], [], within_s)[0])

    def _is_ready(self) -> bool:
        try:
            return self.client.call("GET", "/readyz").status == 200
        except NoAnswer:
            return False


@dataclass(frozen=True, slots=True)
class Moment:
    """When to strike: after so many mails of the campaign were taken, and a little later."""

    taken: int
    later_s: float


def random_moments(rng: random.Random, n: int, *, recipients: int) -> list[Moment]:
    """Over the whole campaign, the first while it is made and planned.

    Where two are close, the second strikes during the recovery from the first.
    """
    taken = [0, *sorted(rng.randrange(recipients) for _ in range(n - 1))]
    return [Moment(mails, rng.uniform(0, 0.06)) for mails in taken]


@dataclass(slots=True, kw_only=True)
class Mailing:
    """A campaign as its client knows it."""

    subject: str
    """Also its Idempotency-Key, and how the mails of one campaign are told from another's."""
    audience: frozenset[str]
    """Who was on the list when it was first posted."""
    taken_before: int
    """Mails that the ESPs had taken by then."""


@dataclass(slots=True, kw_only=True)
class Site:
    """An installation under test: its settings, its database, and the ESPs it sends through."""

    folder: Path
    simulator: Simulator
    settings: Mapping[str, str]
    command: Sequence[str] = SERVER
    people: set[str] = field(default_factory=set)
    """Who is on the list now."""
    left: set[str] = field(default_factory=set)
    """Who was told that they are off the list."""
    erased: set[str] = field(default_factory=set)
    """Of whom nothing is held any more."""
    mailings: list[Mailing] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)
    clients: ThreadPoolExecutor = field(default_factory=ThreadPoolExecutor)

    @property
    def database(self) -> Path:
        return self.folder / "email.db"

    @property
    def query(self) -> Query:
        """Asks its database."""
        url = self.settings.get("DATABASE_URL")
        return postgres_query(url) if url else sqlite_query(self.database)

    def add_server(self) -> Server:
        """One more server on the same database, not started yet."""
        port = free_port()
        environ = {**environment(port, self.database, self.simulator), **self.settings}
        log = self.folder / f"server-{len(self.servers) + 1}.log"
        self.servers.append(Server(self.command, environ, log))
        return self.servers[-1]

    def add_people(self, client: Client, n: int) -> None:
        """`n` more."""
        known = len(self.people | self.left)
        emails = [f"person{number}@example.net" for number in range(known, known + n)]
        client.import_people(emails)
        self.people.update(emails)

    def new_mailing(self, subject: str) -> Mailing:
        mailing = Mailing(
            subject=subject, audience=frozenset(self.people), taken_before=self._taken()
        )
        self.mailings.append(mailing)
        return mailing

    @contextmanager
    def under_way(self, mailing: Mailing, client: Client, moment: Moment) -> Iterator[None]:
        """Post it, or post it again; the body runs at that moment, and ends the server.

        A campaign that ends before meets it when it has ended.
        """
        posting = self.clients.submit(client.send_to_the_end, mailing.subject)
        self.wait_for(mailing, moment.taken, or_until=posting.done)
        with suppress(TimeoutError):
            posting.result(moment.later_s)
        yield
        with suppress(NoAnswer):
            posting.result()

    def die_at(self, failpoint: str, mailing: Mailing, server: Server) -> None:
        """Start the server with this FAILPOINT, and post the campaign until it died there."""
        self.die_in(failpoint, server, lambda: server.client.send_to_the_end(mailing.subject))

    def die_in(self, failpoint: str, server: Server, act: Callable[[], object]) -> None:
        """Start the server anew, with this FAILPOINT, and use it until it died there."""
        server.kill()
        if server.begin(FAILPOINT=failpoint):
            acting = self.clients.submit(act)
            server.dies()
            with suppress(NoAnswer):
                acting.result()
        assert server.was_killed, f"{failpoint} did not kill it:\n{server.said()}"

    def someone_leaves(self, mailing: Mailing) -> None:
        """A reader of the campaign, if it has one yet, unsubscribes as mail programs do."""
        for mail in self.simulator.mails(limit=1):
            if mail.subject == mailing.subject and mail.headers is not None:
                self.leaves(mail.recipient, mail.headers["List-Unsubscribe"])

    def leaves(self, recipient: str, list_unsubscribe: str) -> None:
        unsubscribe(list_unsubscribe)
        self.people.discard(recipient)
        self.left.add(recipient)

    def ways_out(self) -> dict[str, str]:
        """The List-Unsubscribe of everybody on the list who was written to."""
        return {
            mail.recipient: mail.headers["List-Unsubscribe"]
            for mail in self.simulator.mails(limit=None)
            if mail.headers is not None and mail.recipient in self.people
        }

    def wait_for(
        self, mailing: Mailing, taken: int, *, or_until: Callable[[], bool] = lambda: False
    ) -> None:
        """Return when the ESPs took so many mails of it."""
        wait_until(
            lambda: or_until() or self._taken() - mailing.taken_before >= taken,
            f"{taken} mails of {mailing.subject}",
        )

    def has_told_all(self) -> bool:
        """Whether the ESPs' webhooks have told what became of each mail."""
        return self.simulator.courier.is_done

    def taken(self) -> list[Taken]:
        """Every mail that an ESP took, oldest first."""
        return [
            Taken(
                esp=mail.esp.value,
                recipient=mail.recipient,
                subject=mail.subject or "",
                send_ref=mail.send_ref or "",
                at=mail.received_at,
            )
            for mail in reversed(self.simulator.mails(limit=None))
        ]

    def requests(self) -> int:
        """Calls with mail that an ESP read to their end."""
        return sum(call.recipients > 0 for call in self.simulator.calls())

    def look_ups(self) -> int:
        """Calls that asked an ESP about our account: a sender's first ones."""
        return sum(call.method == "GET" for call in self.simulator.calls())

    def _taken(self) -> int:
        return sum(self.simulator.accepted().values())


@contextmanager
def site_in(folder: Path, **how: Any) -> Iterator[Site]:
    """A site whose servers end with the block; `how` are further fields of `Site`."""
    with Simulator(keep_newest=KEEP_NEWEST) as simulator:
        site = Site(folder=folder, simulator=simulator, **how)
        try:
            yield site
        finally:
            for server in site.servers:
                server.kill()
            site.clients.shutdown()


def environment(port: int, database: Path, simulator: Simulator) -> dict[str, str]:
    """Live mode with all three ESPs at the simulator."""
    return live_environment(
        port,
        database,
        SENDGRID_API_KEY="SG.a-key-for-tests",
        SENDGRID_BASE_URL=simulator.base_urls[EspName.SENDGRID],
        AWS_ACCESS_KEY_ID="AKIAKEYFORTESTS",
        AWS_SECRET_ACCESS_KEY="a-secret-for-tests",
        AWS_REGION="eu-west-1",
        AWS_ENDPOINT_URL_SESV2=simulator.base_urls[EspName.SES],
        POSTMARK_API_KEY="a-token-for-tests",
        POSTMARK_BASE_URL=simulator.base_urls[EspName.POSTMARK],
        **_webhook_settings(simulator),
    )


def _webhook_settings(simulator: Simulator) -> dict[str, str]:
    fields = simulator.webhook_settings
    return {
        "SENDGRID_WEBHOOK_PUBLIC_KEY": ",".join(fields[EspName.SENDGRID]["webhook_public_keys"]),
        "SES_SNS_TOPIC_ARNS": ",".join(fields[EspName.SES]["sns_topic_arns"]),
        "SNS_CERT_DIR": str(fields[EspName.SES]["sns_cert_dir"]),
        "POSTMARK_WEBHOOK_USER": fields[EspName.POSTMARK]["webhook_user"],
        "POSTMARK_WEBHOOK_PASSWORD": fields[EspName.POSTMARK]["webhook_password"],
    }


def free_port() -> int:
    while True:
        port = random.SystemRandom().choice(OWN_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
