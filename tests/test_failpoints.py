"""A failpoint kills at its own place and time, and nothing is in the way where none is set."""

import signal
import subprocess
import sys

import pytest

from config.settings import ROOT

PROGRAM = """
import sys
from config.failpoints import Failpoint, armed
from utils import failpoints

def say(word):
    print(word, flush=True)

failpoints.arm(armed(sys.argv[1]) if sys.argv[1:] else None)
for word in ("one", "two"):
    failpoints.reach(Failpoint.BODY_SENT)
    failpoints.reach(Failpoint.HALF_BODY_SENT, lambda: say("half"))
    say(word)
"""


@pytest.mark.parametrize(
    ("set_to", "said", "ended_by"),
    [
        ([], "one two", 0),
        (["body-sent"], "", -signal.SIGKILL),
        (["body-sent:2"], "one", -signal.SIGKILL),
        (["body-sent:3"], "one two", 0),
        (["half-body-sent:2"], "one half", -signal.SIGKILL),
        (["connected"], "one two", 0),
    ],
)
def test_it_dies_there_and_then(set_to: list[str], said: str, ended_by: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *set_to],
        cwd=ROOT,
        capture_output=True,
        text=True,
        start_new_session=True,  # it takes its process group along
        check=False,
    )
    assert (done.stdout.split(), done.returncode) == (said.split(), ended_by)
