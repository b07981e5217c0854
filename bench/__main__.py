"""`python -m bench campaign|webhooks|import|stats|dns|keeping [--people N] [--json FILE]`."""

import argparse
import json
from importlib import import_module
from pathlib import Path

from bench.campaign import peers
from bench.campaign import run as campaign
from bench.campaign.goals import Setting
from bench.campaign.mail import ESPS
from bench.tables import Tables, conditions, show

MODULES = {name: f"bench.{name}" for name in ("webhooks", "stats", "dns", "keeping")} | {
    "import": "bench.importing"
}
"""Each with a `run(people)`. Imported when asked for: checkdmarc is in requirements-dev.txt only."""
USUAL = {
    "campaign": 100_000,
    "webhooks": 100_000,
    "import": 1_000_000,
    "stats": 1_000_000,
    "dns": 5,
    "keeping": 200_000,
}


def main() -> None:
    said = _asked()
    people = said.people or USUAL[said.bench]
    before = conditions()
    tables = (
        _campaign(said, people)
        if said.bench == "campaign"
        else import_module(MODULES[said.bench]).run(people)
    )
    found = {"conditions": before, "people": people, "tables": tables}
    found["conditions after"] = conditions()
    show(found)
    if said.json:
        said.json.write_text(json.dumps(found, indent=2) + "\n")


def _asked() -> argparse.Namespace:
    asked = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    asked.add_argument("bench", choices=USUAL)
    asked.add_argument(
        "--people",
        type=int,
        help="size of the list, for dns the number of runs; each has a usual one",
    )
    asked.add_argument("--json", type=Path, help="write the figures to this file too")
    of_campaign = asked.add_argument_group("campaign only")
    of_campaign.add_argument("--esp", choices=ESPS, default="sendgrid")
    of_campaign.add_argument("--latency-ms", type=int, default=0, help="of the ESP, for each call")
    of_campaign.add_argument("--workers", type=int, default=8, help="calls at the same time")
    of_campaign.add_argument("--batch", type=int, help="mails a call; as many as the ESP takes")
    of_campaign.add_argument("--rounds", type=int, default=3)
    return asked.parse_args()


def _campaign(said: argparse.Namespace, people: int) -> Tables:
    setting = Setting(
        esp=said.esp,
        people=people,
        latency_ms=said.latency_ms,
        workers=said.workers,
        batch=said.batch or ESPS[said.esp].most,
    )
    return campaign.run(setting, rounds=said.rounds, peers_python=peers.python())


main()
