"""The server as it is, but that a test moves its wall clock and its ESPs have less time to answer.

No setting leads here.
"""

import sys
from functools import partial
from pathlib import Path

from services import base

ESP_ANSWERS_WITHIN_S = 1.5
setattr(base, "READ_TIMEOUT_S", ESP_ANSWERS_WITHIN_S)  # noqa: B010 - before adapters read it

import app  # noqa: E402
from services.system import System  # noqa: E402
from tests.faults.clock import Clock  # noqa: E402


def main() -> None:
    clock = Clock(Path(sys.argv[1]))
    setattr(System, "open", partial(System.open, clock=clock.now))  # noqa: B010 - a method
    app.serve()


if __name__ == "__main__":
    main()
