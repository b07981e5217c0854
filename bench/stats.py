"""Pages of figures, over a small ledger and over a large one: the time must be the same."""

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from bench.ledgers import build
from bench.servers import Server, free_port, ours, running
from bench.tables import Row, Tables

SMALL = 10_000
CAMPAIGNS = 5
TIMES = 100
PAGES = ("/subscriber-stats", "/campaigns/1", "/campaigns")


def run(people: int, small: int = SMALL, times: int = TIMES) -> Tables:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = []
        for n in (small, people):
            path, port = Path(folder) / f"{n}.db", free_port()
            build(path, people=n, campaigns=CAMPAIGNS)
            servers.append(stack.enter_context(running(*ours(path, "", port), port)))
        return {
            "pages": [
                _measure(page, *servers, sizes=(small, people), times=times) for page in PAGES
            ]
        }


def _measure(page: str, small: Server, large: Server, *, sizes: tuple[int, int], times: int) -> Row:
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(times):
        for server, seconds in zip((small, large), took, strict=True):
            begin = time.perf_counter()
            status, body = server.call("GET", page)
            seconds.append(time.perf_counter() - begin)
            assert status == 200, body
    of_small, of_large = (median(seconds) * 1000 for seconds in took)
    return {
        "page": page,
        f"{sizes[0]} people, p50 ms": round(of_small, 2),
        f"{sizes[1]} people, p50 ms": round(of_large, 2),
        "ratio": round(of_large / of_small, 2),
    }
