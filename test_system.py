"""The operator's self-test of this installation: `python3 test_system.py`.

A table of what passed; exit code 1, and what to do, where something did not. In sandbox
mode the ESPs are the simulator. Nothing is sent, and nothing is left behind.
"""

from utils.environment import ensure_environment

if __name__ == "__main__":
    ensure_environment()

import sys

import click
from rich.table import Table

from commands.opening import console, opened
from services import self_test
from services.self_test import Verdict


def main() -> int:
    table = Table("what", "", "found", "what to do", title="Self-test")
    verdicts = []
    try:
        with opened() as system:
            if system.is_sandbox:
                system.start_simulator()
            for finding in self_test.run(system):
                verdicts.append(finding.verdict)
                table.add_row(finding.what, finding.verdict, finding.found, finding.remedy)
    except click.ClickException as error:
        sys.stderr.write(f"{error.format_message()}\n")
        return 1
    console().print(table)
    return int(Verdict.FAIL in verdicts)


if __name__ == "__main__":
    sys.exit(main())
