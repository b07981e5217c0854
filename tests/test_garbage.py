"""A process that lives long finds its garbage, however long that had lived before."""

import subprocess
import sys

from config.settings import ROOT

_SCRIPT = """
import gc, weakref
gc.disable()  # as a start does
import app

class Node: pass

app._collect_less()
node = Node()
node.itself, gone = node, weakref.ref(node)
gc.collect(1)  # it has outlived the young
del node
for _ in range(60):
    kept = [[] for _ in range(60_000)]
print(gone() is None)
"""


def test_what_lived_long_in_a_cycle_is_found_once_it_is_garbage() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
