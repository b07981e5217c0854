"""`python -m bench webhooks|import|stats|dns|keeping [--people N] [--json FILE]`."""

import argparse
import json
from pathlib import Path

from bench import dns, importing, keeping, stats, webhooks
from bench.tables import conditions, show

BENCHES = {
    "webhooks": webhooks.run,
    "import": importing.run,
    "stats": stats.run,
    "dns": dns.run,
    "keeping": keeping.run,
}
USUAL = {
    "webhooks": 100_000,
    "import": 1_000_000,
    "stats": 1_000_000,
    "dns": 5,
    "keeping": 200_000,
}


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    asked.add_argument("bench", choices=BENCHES)
    asked.add_argument(
        "--people",
        type=int,
        help="size of the list, for dns the number of runs; each has a usual one",
    )
    asked.add_argument("--json", type=Path, help="write the figures to this file too")
    said = asked.parse_args()
    people = said.people or USUAL[said.bench]
    before = conditions()
    found = {"conditions": before, "people": people, "tables": BENCHES[said.bench](people)}
    found["conditions after"] = conditions()
    show(found)
    if said.json:
        said.json.write_text(json.dumps(found, indent=2) + "\n")


main()
