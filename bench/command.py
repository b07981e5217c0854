"""`python -m bench <what>`: which benchmarks there are, what they are told, and what they show."""

import argparse
import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from bench.campaign import matrix, peers
from bench.campaign import run as campaign
from bench.campaign.goals import Setting
from bench.campaign.mail import ESPS
from bench.tables import Tables, conditions, show

MODULES = {name: f"bench.{name}" for name in ("webhooks", "stats", "dns", "keeping")} | {
    "import": "bench.importing",
    "plan": "bench.planning",
    "start": "bench.starting",
}
"""Each with a `run(people)`. Imported when asked for: checkdmarc is in requirements-dev.txt only."""
USUAL = {
    "webhooks": 100_000,
    "import": 1_000_000,
    "stats": 1_000_000,
    "plan": 1_000_000,
    "start": 7,
    "dns": 5,
    "keeping": 200_000,
}
_RUNS = ("dns", "start")
"""Those that count runs, not people."""


def main(arguments: Sequence[str] | None = None) -> None:
    said = asked(arguments)
    before = conditions()
    tables = _tables(said)
    wanted = {name: value for name, value in vars(said).items() if name != "json"}
    found = {"conditions": before, "asked": wanted, "tables": tables}
    found["conditions after"] = conditions()
    show(found)
    if said.json:
        said.json.write_text(json.dumps(found, indent=2) + "\n")


def asked(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Those of the command line unless others are given."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    benches = parser.add_subparsers(dest="bench", required=True)
    _campaign_arguments(benches.add_parser("campaign", help="one campaign, all sides"))
    _matrix_arguments(benches.add_parser("matrix", help="many campaigns in one run"))
    for name, usual in USUAL.items():
        what = "runs" if name in _RUNS else "people"
        one = benches.add_parser(name, help=f"bench/README.md; usually {usual:,} {what}")
        one.add_argument(f"--{what}", dest="people", type=int, default=usual, metavar="N")
    for one in benches.choices.values():
        one.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser.parse_args(arguments)


def _campaign_arguments(one: argparse.ArgumentParser) -> None:
    one.add_argument("--esp", choices=ESPS, default="sendgrid")
    one.add_argument("--people", type=int, default=100_000, metavar="N")
    one.add_argument("--latency-ms", type=int, default=0, help="of the ESP, for each call")
    one.add_argument("--workers", type=int, default=8, help="calls at the same time")
    one.add_argument("--batch", type=int, help="mails a call; as many as the ESP takes")
    one.add_argument("--rounds", type=int, default=3)
    _against(one, campaign.OTHERS)


def _matrix_arguments(one: argparse.ArgumentParser) -> None:
    one.add_argument("--esps", nargs="+", choices=ESPS, default=list(ESPS))
    for name, usual in (
        ("people", matrix.PEOPLE),
        ("latencies", matrix.LATENCIES_MS),
        ("workers", matrix.WORKERS),
    ):
        one.add_argument(f"--{name}", nargs="+", type=int, default=usual, metavar="N")
    one.add_argument("--rounds", type=int, default=matrix.ROUNDS)
    one.add_argument("--minutes-at-most", type=float, default=matrix.MINUTES, metavar="N")
    _against(one, matrix.AGAINST)


def _against(one: argparse.ArgumentParser, usual: Sequence[str]) -> None:
    one.add_argument("--against", nargs="*", choices=campaign.OTHERS, default=usual)


def _tables(said: argparse.Namespace) -> Tables:
    if said.bench == "campaign":
        return _campaign(said)
    if said.bench == "matrix":
        return _matrix(said)
    found: Tables = import_module(MODULES[said.bench]).run(said.people)
    return found


def _campaign(said: argparse.Namespace) -> Tables:
    setting = Setting(
        esp=said.esp,
        people=said.people,
        latency_ms=said.latency_ms,
        workers=said.workers,
        batch=said.batch or ESPS[said.esp].most,
    )
    return campaign.run(
        setting, rounds=said.rounds, peers_python=peers.python(), against=said.against
    )


def _matrix(said: argparse.Namespace) -> Tables:
    return matrix.run(
        matrix.settings(said.esps, said.people, said.latencies, said.workers),
        against=said.against,
        rounds=said.rounds,
        minutes=said.minutes_at_most,
        peers_python=peers.python(),
    )
