"""Half an hour of work with a kill every few minutes: what grows, and whether the promise holds.

`python -m tests.faults.soak --minutes 30 --json FILE`: the real server with three simulated
ESPs in another process, small campaigns, their webhooks, people who come and go, backups. It
prints a table each minute and figures at the end, and fails when the oracle finds a fault.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from services.simulator.server import SIMULATED
from tests.faults import oracle
from tests.faults.backups import Backup, back_up, faults_of
from tests.faults.driver import Server, Site, site_in
from tests.faults.http_client import NoAnswer
from tests.faults.oracle import Fault
from tests.faults.promises import SETTINGS
from tests.faults.soak_figures import Calls, Sample, look, memory, most, worker_of
from tests.faults.soak_load import COUNTED, REPEAT, Load, Teller, TimedClient

PEOPLE = 2_000
LATENCY_S = 0.3
"""Of each ESP: long enough for most kills to strike a call."""
CAMPAIGN_EVERY_S = 5.0
TELL_EVERY_S = 0.2
LEAVE_EVERY_S, COME_EVERY_S, ASK_EVERY_S = 10.0, 30.0, 1.0
SAMPLE_EVERY_S = 1.0
HEADER = "    min  life  RSS MB  files  threads  WAL MB  DB MB    mails   events  kills"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long, how hard, and how often each thing happens."""

    minutes: float = 30.0
    sends_per_s: float = 20.0
    events_per_s: float = 100.0
    backup_every_s: float = 300.0
    kill_every_s: float = 180.0
    row_every_s: float = 60.0
    seed: int = 1

    @property
    def settings(self) -> dict[str, str]:
        """Each ESP so slow that a campaign lasts for most of the time until the next one, so
        that most kills strike one."""
        rate = 1.2 * self.sends_per_s / len(SIMULATED)
        return {**SETTINGS, **{f"{esp.upper()}_PER_SECOND": f"{rate:.1f}" for esp in SIMULATED}}


@dataclass(slots=True)
class Soak:
    """One run: its chores in threads, and what they saw."""

    site: Site
    server: Server
    plan: Plan
    say: Callable[[str], object]
    calls: Calls = field(default_factory=Calls)
    samples: list[Sample] = field(default_factory=list)
    backups: list[Backup] = field(default_factory=list)
    broken: list[BaseException] = field(default_factory=list)
    """What ended a chore: a fault of the soak, or of the server."""
    _began: float = field(default_factory=time.monotonic)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> dict[str, Any]:
        """The figures; `faults` in them is empty when the promise was kept."""
        plan, rng = self.plan, random.Random(self.plan.seed)
        client = TimedClient(int(self.server.url.rpartition(":")[2]), self.calls)
        load = Load(
            site=self.site,
            client=client,
            rng=rng,
            recipients=round(plan.sends_per_s * CAMPAIGN_EVERY_S),
        )
        teller = Teller(site=self.site, client=client, rng=random.Random(plan.seed))
        load.some_come(PEOPLE)
        self.say(HEADER)
        chores: list[tuple[float, Callable[[], object]]] = [
            (CAMPAIGN_EVERY_S, load.post_campaign),
            (TELL_EVERY_S, partial(teller.tell, round(plan.events_per_s * TELL_EVERY_S))),
            (LEAVE_EVERY_S, load.someone_leaves),
            (COME_EVERY_S, load.some_come),
            (ASK_EVERY_S, load.ask),
            (SAMPLE_EVERY_S, self._sample),
            (plan.row_every_s, partial(self._say_row, teller)),
            (plan.backup_every_s, self._back_up),
            (plan.kill_every_s, self._kill),
        ]
        threads = [
            threading.Thread(target=self._repeat, args=(number, *chore))
            for number, chore in enumerate(chores)
        ]
        for thread in threads:
            thread.start()
        self._over.wait(plan.minutes * 60)
        self._over.set()
        for thread in threads:
            thread.join()
        took_s = time.monotonic() - self._began
        load.end_all()
        teller.tell_the_rest()
        return self._figures(teller, took_s)

    def _repeat(self, number: int, every_s: float, chore: Callable[[], object]) -> None:
        """Until the end, about as often: two chores must not always meet in the same moment.
        One whose server was killed is done again the next time."""
        rng = random.Random(f"{self.plan.seed} {number}")
        due = time.monotonic() + every_s * rng.random()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due += every_s * rng.uniform(0.8, 1.2)
            try:
                chore()
            except NoAnswer:
                continue
            except BaseException as error:
                self.broken.append(error)
                self._over.set()
                raise

    def _sample(self) -> None:
        process = self.server._process
        worker = worker_of(process.pid) if process is not None else None
        at_s = time.monotonic() - self._began
        if worker is not None and (
            sample := look(worker, self.site.database, at_s=at_s, life=self.server.kills)
        ):
            self.samples.append(sample)

    def _say_row(self, teller: Teller) -> None:
        if self.samples:
            one, mails = self.samples[-1], sum(self.site.simulator.accepted().values())
            self.say(
                f"{one.at_s / 60:7.1f} {one.life:5} {one.rss_mb:7.1f} {one.files:6}"
                f" {one.threads:8} {one.wal_mb:7.1f} {one.database_mb:6.1f}"
                f" {mails:8} {teller.taken:8} {self.server.kills:6}"
            )

    def _back_up(self) -> None:
        environ, folder = self.server._environ, self.site.folder / "backups"
        self.backups.append(back_up(environ, folder, set(self.site.left)))

    def _kill(self) -> None:
        self.server.kill()
        self.server.start()

    def _figures(self, teller: Teller, took_s: float) -> dict[str, Any]:
        mails = sum(self.site.simulator.accepted().values())
        query = oracle.sqlite_query(self.site.database)
        ((unknown,),) = query("SELECT SUM(unknown) FROM campaigns")
        return {
            "plan": asdict(self.plan),
            "took_s": round(took_s, 1),
            "kills": self.server.kills,
            "campaigns": len(self.site.mailings),
            "mails": mails,
            "mails_per_s": round(mails / took_s, 1),
            "events": teller.told.total(),
            "events_told": teller.taken,
            "events_per_s": round(teller.taken / took_s, 1),
            "left": len(self.site.left),
            "unknown": unknown,
            "backups": len(self.backups),
            "memory": memory(self.samples),
            "most": most(self.samples),
            "calls": self.calls.figures(),
            "faults": [str(fault) for fault in self._faults(teller)]
            + [repr(error) for error in self.broken],
        }

    def _faults(self, teller: Teller) -> list[Fault]:
        """Of the database as it is, of its events, and of each backup."""
        taken = self.site.taken()
        query = oracle.sqlite_query(self.site.database)
        audiences = {one.subject: one.audience for one in self.site.mailings}
        rows: dict[str, int] = dict(query("SELECT kind, COUNT(*) FROM webhook_events GROUP BY 1"))
        scratch = self.site.folder / "restored"
        return [
            *oracle.examine(query, taken, audiences, self.site.left),
            *oracle.told_wrongly(query, taken),
            *(
                Fault(
                    "told", f"{rows.get(kind, 0)} events are {kind}, {teller.told[what]} were told"
                )
                for kind, what in COUNTED.items()
                if rows.get(kind, 0) != teller.told[what]
            ),
            *(
                Fault("events", f"{teller.taken} of {REPEAT * teller.told.total()} were taken")
                for _ in range(teller.taken != REPEAT * teller.told.total())
            ),
            *(
                Fault(fault.kind, f"{backup.path.name}: {fault.what}")
                for backup in self.backups
                for fault in faults_of(backup, self.server._environ, scratch, taken)
            ),
        ]


def soak(plan: Plan, folder: Path, say: Callable[[str], object]) -> dict[str, Any]:
    """Do it in an empty folder; `say` gets each line of the table."""
    with site_in(folder, settings=plan.settings) as site:
        for esp in SIMULATED:
            site.simulator.behave(esp, "ok", latency_s=LATENCY_S)
        server = site.add_server()
        server.start()
        return Soak(site, server, plan, say).run()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in asdict(Plan()).items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(default), default=default, metavar="N"
        )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = vars(parser.parse_args(arguments))
    file: Path | None = options.pop("json")
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        figures = soak(Plan(**options), Path(folder), partial(print, flush=True))
    said = json.dumps(figures, indent=2)
    print(said)  # noqa: T201 - for whoever ran it
    if file is not None:
        file.write_text(said + "\n")
    return 1 if figures["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
