"""All sides in turn, round after round, and what comes of them."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from bench.campaign import ours
from bench.campaign.esp import RunningSink, running_sink
from bench.campaign.goals import Setting, judged
from bench.campaign.side import Given, make_list
from bench.campaign.wire import BODY
from bench.ledgers import build
from bench.tables import Row, Tables
from config.settings import ROOT

Side = Callable[[RunningSink], Row]
SIDES = {
    "sendgrid": ("ours", "wire", "floor", "anymail", "sdk"),
    "postmark": ("ours", "wire", "anymail", "sdk"),
    "ses": ("ours", "wire", "sdk"),
}
"""In their turn; ours is first, since the wire repeats what it sent."""


def run(setting: Setting, *, rounds: int, peers_python: str | None) -> Tables:
    """The medians of each side, and the goals of such a run; `AssertionError` when a side has
    sent another number of mails than the sink got."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder / "ours.db", people=setting.people, campaigns=0)
        with running_sink(peers_python or sys.executable, setting.latency_ms) as sink:
            found = _rounds(_sides(folder, setting, peers_python), sink, rounds)
    rows, rates = _summed_up(found, setting)
    tables = {_title(setting, rounds, peers_python): rows}
    goals = judged(setting, rates)
    return tables | ({"goals": goals} if goals else {})


def _rounds(sides: dict[str, Side], sink: RunningSink, rounds: int) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            sink.reset()
            row = side(sink)
            counted = sink.counts()
            assert counted["messages"] == row["sent"], (name, row, counted)
            found[name].append({**row, **counted})
    return found


def _sides(folder: Path, setting: Setting, peers_python: str | None) -> dict[str, Side]:
    """Those that can be had."""
    pythons = {"anymail": peers_python}
    started = {
        name: partial(_started, folder, setting, name, python)
        for name in SIDES[setting.esp][1:]
        if (python := pythons.get(name, sys.executable))
    }
    return {"ours": partial(_ours, folder, setting), **started}


def _ours(folder: Path, setting: Setting, sink: RunningSink) -> Row:
    row, body = ours.measure(
        folder / "ours.db",
        sink,
        esp=setting.esp,
        batch=setting.batch,
        workers=setting.workers,
    )
    (folder / BODY).write_bytes(body)
    return row


def _started(folder: Path, setting: Setting, side: str, python: str, sink: RunningSink) -> Row:
    database = folder / "side.db"
    for one in folder.glob("side.db*"):
        one.unlink()
    make_list(database, setting.people)
    told = Given(setting.esp, sink.port, setting.batch, setting.workers, database)
    command = [python, "-W", "ignore", "-m", f"bench.campaign.{side}", *told.arguments()]
    environ = {"PATH": os.environ["PATH"]}
    said = subprocess.run(
        command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, check=True, text=True
    )
    row: Row = json.loads(said.stdout)
    return row


@dataclass(frozen=True, slots=True)
class _Medians:
    rate: float
    """Mails a second."""
    cpu_us: float
    """Of one mail."""
    peak_mb: float


def _summed_up(found: dict[str, list[Row]], setting: Setting) -> tuple[list[Row], dict[str, float]]:
    """A row for each side, and its mails a second."""
    sums = {
        name: _Medians(
            rate=median(row["sent"] / row["s"] for row in rows),
            cpu_us=median(row["cpu_s"] / row["sent"] * 1e6 for row in rows),
            peak_mb=median(row["peak_mb"] for row in rows),
        )
        for name, rows in found.items()
    }
    rates = {name: one.rate for name, one in sums.items()}
    rows = []
    for name, one in sums.items():
        last = found[name][-1]
        extrapolated = last["sent"] < setting.people and name == "sdk"
        rows.append(
            {
                "side": f"{name}, from {last['sent']} mails" if extrapolated else name,
                "s": round(setting.people / one.rate, 2),
                "mails/s": round(one.rate),
                **{f"x {of}": _ratio(one.rate, rates, of) for of in SIDES[setting.esp][1:-1]},
                "CPU µs/mail": round(one.cpu_us, 2),
                "peak MB": round(one.peak_mb, 1),
                "bytes/mail": round(last["bytes"] / last["sent"]),
                "connections": last["connections"],
            }
        )
    return rows, rates


def _ratio(rate: float, rates: dict[str, float], of: str) -> float | str:
    return round(rate / rates[of], 2) if of in rates else "not available"


def _title(setting: Setting, rounds: int, peers_python: str | None) -> str:
    sink = "uvloop" if peers_python else "asyncio"
    return (
        f"{setting.esp}: {setting.people:,} people, {setting.latency_ms} ms a call, "
        f"{setting.workers} workers, {setting.batch} a call, medians of {rounds}, sink on {sink}"
    )
