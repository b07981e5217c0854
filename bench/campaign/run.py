"""All sides in turn, round after round, and what comes of them."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
OTHERS = ("wire", "floor", "anymail", "sdk")
LARGE = 1_000_000
"""People, from which on a tenth of them is sent to as well."""


def run(
    setting: Setting, *, rounds: int, peers_python: str | None, against: Collection[str] = OTHERS
) -> Tables:
    """The medians of each side, and the goals of such a run."""
    names = (*sides_of(setting.esp, against), *_variants(setting))
    with tempfile.TemporaryDirectory() as lists:
        found = measured(setting, names, Path(lists), rounds=rounds, peers_python=peers_python)
    figures = figures_of(found)
    rows = [_row(setting, name, figures, rows[-1]) for name, rows in found.items()]
    tables = {_title(setting, rounds, peers_python): rows}
    goals = judged(setting, figures)
    return tables | ({"goals": goals} if goals else {})


def sides_of(esp: str, against: Collection[str]) -> tuple[str, ...]:
    """Ours, and those others that there are for this ESP."""
    return tuple(name for name in SIDES[esp] if name == "ours" or name in against)


def measured(
    setting: Setting,
    names: Sequence[str],
    lists: Path,
    *,
    rounds: int,
    peers_python: str | None,
) -> dict[str, list[Row]]:
    """Each side's rounds, in turns; sides that cannot be had are left out.

    `lists` keeps the lists of people from one run to the next. `AssertionError` when a side has
    sent another number of mails than the sink got.
    """
    with tempfile.TemporaryDirectory(dir=lists) as name:
        sides = {
            one: side
            for one in names
            if (side := _side(one, Path(name), lists, setting, peers_python)) is not None
        }
        with running_sink(peers_python or sys.executable, setting.latency_ms) as sink:
            return _rounds(sides, sink, rounds)


def figures_of(found: Mapping[str, list[Row]]) -> dict[str, Figures]:
    return {name: _figures(rows) for name, rows in found.items()}


def _rounds(sides: Mapping[str, Side], sink: RunningSink, rounds: int) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            sink.reset()
            row = side(sink)
            counted = sink.counts()
            assert counted["messages"] == row["sent"], (name, row, counted)
            found[name].append({**row, **counted})
    return found


def _variants(setting: Setting) -> Iterator[str]:
    """Ours under other conditions, for the goals that compare us with ourselves."""
    if setting.people >= LARGE:
        yield A_TENTH
    elif setting.esp == "sendgrid":
        yield WITH_LOGIC
    elif setting.esp == "ses" and setting.workers > 1:
        yield ONE_WORKER


def _side(
    name: str, folder: Path, lists: Path, setting: Setting, peers_python: str | None
) -> Side | None:
    a_tenth = max(setting.people // 10, 1)
    of_ours = {
        "ours": setting,
        WITH_LOGIC: setting,
        A_TENTH: replace(setting, people=a_tenth),
        ONE_WORKER: replace(setting, people=a_tenth, workers=1),
    }
    if name in of_ours:
        html = f"{LOGIC}\n{HTML}" if name == WITH_LOGIC else HTML
        return partial(_ours, folder, lists, of_ours[name], html)
    python = peers_python if name == "anymail" else sys.executable
    return partial(_started, folder, setting, name, python) if python else None


def _ours(folder: Path, lists: Path, setting: Setting, html: str, sink: RunningSink) -> Row:
    database = lists / f"people-{setting.people}.db"
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
            f"x {of}": round(one.rate / figures[of].rate, 2) if of in figures else ""
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
