"""All sides in turn, round after round, and what comes of them."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

from bench.campaign import ours
from bench.campaign.esp import RunningSink, running_sink
from bench.campaign.goals import A_TENTH, ONE_WORKER, WITH_LOGIC, Figures, Setting, judged
from bench.campaign.mail import HTML, LOGIC
from bench.campaign.side import Given, make_list
from bench.campaign.wire import BODY
from bench.ledgers import build
from bench.tables import Row, Tables
from config.settings import ROOT

Side = Callable[[RunningSink], Row]
SIDES = {
    "sendgrid": ("ours", "wire", "floor", "anymail", "sdk"),
    "postmark": ("ours", "wire", "floor", "anymail", "sdk"),
    "ses": ("ours", "wire", "floor", "sdk"),
}
"""In their turn; ours is first, since the wire repeats what it sent."""
LARGE = 1_000_000
"""People, from which on a tenth of them is sent to as well."""


def run(setting: Setting, *, rounds: int, peers_python: str | None) -> Tables:
    """The medians of each side, and the goals of such a run; `AssertionError` when a side has
    sent another number of mails than the sink got."""
    with tempfile.TemporaryDirectory() as name:
        sides = _sides(Path(name), setting, peers_python)
        with running_sink(peers_python or sys.executable, setting.latency_ms) as sink:
            found = _rounds(sides, sink, rounds)
    figures = {name: _figures(rows) for name, rows in found.items()}
    rows = [_row(setting, name, figures, rows[-1]) for name, rows in found.items()]
    tables = {_title(setting, rounds, peers_python): rows}
    goals = judged(setting, figures)
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
    return {"ours": partial(_ours, folder, setting), **started, **_variants(folder, setting)}


def _variants(folder: Path, setting: Setting) -> dict[str, Side]:
    """Ours under other conditions, for the goals that compare us with ourselves."""
    variants: dict[str, Side] = {}
    if setting.esp == "sendgrid":
        variants[WITH_LOGIC] = partial(_ours, folder, setting, html=f"{LOGIC}\n{HTML}")
    if setting.esp == "ses" and setting.workers > 1:
        variants[ONE_WORKER] = partial(_ours, folder, replace(setting, workers=1))
    if setting.people >= LARGE:
        variants[A_TENTH] = partial(_ours, folder, replace(setting, people=setting.people // 10))
    return variants


def _ours(folder: Path, setting: Setting, sink: RunningSink, html: str = HTML) -> Row:
    database = folder / f"people-{setting.people}.db"
    if not database.exists():
        build(database, people=setting.people, campaigns=0)
    row, body = ours.measure(database, sink, setting, html)
    if not (folder / BODY).exists():
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


def _figures(rows: list[Row]) -> Figures:
    return Figures(
        rate=median(row["sent"] / row["s"] for row in rows),
        cpu_us=median(row["cpu_s"] / row["sent"] * 1e6 for row in rows),
        peak_mb=median(row["peak_mb"] for row in rows),
    )


def _row(setting: Setting, name: str, figures: dict[str, Figures], last: Row) -> Row:
    one, sent = figures[name], last["sent"]
    if name == "sdk" and sent < setting.people:
        name, sent = f"sdk, extrapolated from {sent}", setting.people
    return {
        "side": name,
        "s": round(sent / one.rate, 2),
        "mails/s": round(one.rate),
        **{
            f"x {of}": round(one.rate / figures[of].rate, 2) if of in figures else "not available"
            for of in SIDES[setting.esp][1:-1]
        },
        "CPU µs/mail": round(one.cpu_us, 2),
        "peak MB": round(one.peak_mb, 1),
        "bytes/mail": round(last["bytes"] / last["sent"]),
        "connections": last["connections"],
    }


def _title(setting: Setting, rounds: int, peers_python: str | None) -> str:
    sink = "uvloop" if peers_python else "asyncio"
    return (
        f"{setting.esp}: {setting.people:,} people, {setting.latency_ms} ms a call, "
        f"{setting.workers} workers, {setting.batch} a call, medians of {rounds}, sink on {sink}"
    )
