"""Many campaigns in one run: each ESP, size of the list, latency and number of workers."""

import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import product
from pathlib import Path

from bench.campaign.goals import Figures, Setting, judged
from bench.campaign.mail import ESPS
from bench.campaign.run import figures_of, measured, sides_of
from bench.campaign.side import SAMPLE
from bench.tables import Row, Tables

AGAINST = ("wire",)
PEOPLE, LATENCIES_MS, WORKERS = (10_000, 100_000), (0, 50, 100), (1, 8, 16)
ROUNDS = 1
MINUTES = 20.0
_START_S = 4.0
"""What a campaign costs at any size: a start, a mail before, the list."""
_MAIL_S = {"sendgrid": 50e-6, "ses": 150e-6, "postmark": 100e-6}
_ANYMAIL_S, _SDK_S = 300e-6, 10e-3
"""CPU of a mail, the sink's too, and rather more: only what is left out hangs on it."""


def settings(
    esps: Sequence[str] = tuple(ESPS),
    people: Sequence[int] = PEOPLE,
    latencies_ms: Sequence[int] = LATENCIES_MS,
    workers: Sequence[int] = WORKERS,
) -> list[Setting]:
    """Every combination; as many mails a call as the ESP takes."""
    return [
        Setting(esp=esp, people=n, latency_ms=ms, workers=w, batch=ESPS[esp].most)
        for esp, n, ms, w in product(esps, people, latencies_ms, workers)
    ]


def run(
    wanted: Sequence[Setting],
    *,
    against: Collection[str] = AGAINST,
    rounds: int = ROUNDS,
    minutes: float = MINUTES,
    peers_python: str | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Tables:
    """The medians of each, the shortest first; what would end after `minutes` is left out."""
    ends_at = clock() + 60 * minutes
    found: dict[Setting, dict[str, Figures]] = {}
    takes = {
        one: rounds * sum(seconds(one, name) for name in sides_of(one.esp, against))
        for one in wanted
    }
    with tempfile.TemporaryDirectory() as lists:
        for setting in sorted(wanted, key=takes.__getitem__):
            if clock() + takes[setting] <= ends_at:
                names = sides_of(setting.esp, against)
                sides = measured(
                    setting, names, Path(lists), rounds=rounds, peers_python=peers_python
                )
                found[setting] = figures_of(sides)
    tables = {
        f"medians of {rounds}": [
            _said(one) | _compared(found[one], against) for one in wanted if one in found
        ],
        "goals": [_said(one) | row for one in found for row in judged(one, found[one])],
        left_out_title(minutes): [
            _said(one) | {"would take s": round(takes[one])} for one in wanted if one not in found
        ],
    }
    return {title: rows for title, rows in tables.items() if rows}


def left_out_title(minutes: float) -> str:
    return f"left out, so that it ends within {minutes:g} min"


def seconds(setting: Setting, side: str) -> float:
    """How long a round of one side may take, about."""
    latency_s = setting.latency_ms / 1000
    if side == "sdk":
        return _START_S + SAMPLE * (latency_s + _SDK_S)
    workers, mail_s = (
        (1, _ANYMAIL_S) if side == "anymail" else (setting.workers, _MAIL_S[setting.esp])
    )
    calls = -(-setting.people // setting.batch)
    return _START_S + calls * latency_s / workers + setting.people * mail_s


def _said(setting: Setting) -> Row:
    return {
        "ESP": setting.esp,
        "people": setting.people,
        "ms": setting.latency_ms,
        "workers": setting.workers,
    }


def _compared(figures: Mapping[str, Figures], against: Collection[str]) -> Row:
    one = figures["ours"]
    ratios = {
        f"x {name}": round(one.rate / figures[name].rate, 2) if name in figures else ""
        for name in against
    }
    return {
        "mails/s": round(one.rate),
        **ratios,
        "CPU µs/mail": round(one.cpu_us, 2),
        "peak MB": round(one.peak_mb, 1),
    }
