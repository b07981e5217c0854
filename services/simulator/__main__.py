"""`python -m services.simulator`: the three ESPs as a process of its own."""

import argparse
import signal
import sqlite3
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from services.simulator.server import Simulator

PORT = 8025


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    options = _parser().parse_args(arguments)
    leave = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: leave.set())
    try:
        simulator = Simulator(
            port=options.port, mailbox=options.mailbox, keep_content=not options.no_content
        )
    except (OSError, ValueError, sqlite3.Error) as error:
        sys.stderr.write(f"The simulator cannot start: {error}\n")
        return 1
    with simulator:
        sys.stdout.write(_greeting(simulator))
        sys.stdout.flush()
        leave.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.simulator",
        description="SendGrid, Amazon SES and Postmark on this machine; nothing leaves it.",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=PORT,
        help=f"port of the control listener; the ESPs take the next three (default {PORT};"
        " 0: free ones)",
    )
    parser.add_argument("--mailbox", type=Path, help="file that keeps the mails (SQLite)")
    parser.add_argument(
        "--no-content", action="store_true", help="keep who got what, without the bodies"
    )
    return parser


def _greeting(simulator: Simulator) -> str:
    lines = [f"control   {simulator.control_url}  (open it to read the mails)"]
    lines += [f"{esp.value:<9} {url}" for esp, url in simulator.base_urls.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
