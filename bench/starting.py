"""`python3 app.py` until `/healthz` says 200, against an empty app of Flask with SQLAlchemy."""

import http.client
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from bench.servers import START_WITHIN_S, free_port, ours, peer, started
from bench.tables import Row, Tables, goal

MOST_S = 1.0
MOST_TIMES = 1.3
"""The seconds of the empty app."""
PAUSE_S = 0.002
OURS, SANDBOX, EMPTY = "app.py, live", "app.py, sandbox", "Flask, SQLAlchemy"


def run(rounds: int) -> Tables:
    """Medians; one start of each goes before and is not counted, so that all is warm."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "email.db"
        found: dict[str, list[float]] = {OURS: [], SANDBOX: [], EMPTY: []}
        for _ in range(rounds + 1):
            for name, seconds in found.items():
                seconds.append(_seconds(*_command(name, database)))
    medians = {name: median(seconds[1:]) for name, seconds in found.items()}
    rows = [
        {
            "side": name,
            "s": round(one, 3),
            "least": round(min(found[name][1:]), 3),
            "x empty": round(one / medians[EMPTY], 2),
        }
        for name, one in medians.items()
    ]
    return {f"a start, medians of {rounds}": rows, "goals": _goals(medians)}


def _goals(medians: Mapping[str, float]) -> list[Row]:
    return [
        row
        for name in (OURS, SANDBOX)
        for one, times in [(medians[name], medians[name] / medians[EMPTY])]
        for row in (
            goal(f"{name} <= {MOST_S} s", one, one <= MOST_S),
            goal(f"{name} <= {MOST_TIMES} x {EMPTY}", times, times <= MOST_TIMES),
        )
    ]


def _command(name: str, database: Path) -> tuple[Sequence[str], Mapping[str, str], int]:
    port = free_port()
    if name == EMPTY:
        return (*peer("bench.empty_app:app", port), port)
    command, environ = ours(database.with_name(f"{name}.db"), "", port)
    return command, environ | ({"SENDING_MODE": "sandbox"} if name == SANDBOX else {}), port


def _seconds(command: Sequence[str], environ: Mapping[str, str], port: int) -> float:
    """Until the first answer; `RuntimeError` when there is none."""
    began = time.perf_counter()
    with started(command, environ, lambda: _is_healthy(port), pause_s=PAUSE_S):
        return time.perf_counter() - began


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_WITHIN_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
