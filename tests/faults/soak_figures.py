"""What a soak looks at while it goes on, and what that comes to at the end."""

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

MB = 1_000_000
WARM_UP = 1 / 3
"""Of each life: pools and caches fill, so it says nothing of a slope."""
NO_ANSWER = 0
"""In place of a status: the server was killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look at the process that answers and sends, and at its database."""

    at_s: float
    """Since the soak began."""
    life: int
    """How often it was killed before."""
    rss_mb: float
    files: int
    threads: int
    wal_mb: float
    database_mb: float


def look(worker: int, database: Path, *, at_s: float, life: int) -> Sample | None:
    """`None` when it has just been killed."""
    process = Path(f"/proc/{worker}")
    try:
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        files = len(list((process / "fd").iterdir()))
        return Sample(
            at_s=at_s,
            life=life,
            rss_mb=int(status["VmRSS"].split()[0]) * 1024 / MB,
            files=files,
            threads=int(status["Threads"]),
            wal_mb=_size_mb(Path(f"{database}-wal")),
            database_mb=_size_mb(database),
        )
    except (OSError, KeyError):  # a process that has ended has no VmRSS
        return None


def worker_of(arbiter: int) -> int | None:
    """gunicorn's one worker; `None` between two lives."""
    try:
        children = Path(f"/proc/{arbiter}/task/{arbiter}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None


@dataclass(slots=True)
class Calls:
    """How each call of the API was answered, and how long that took; for any thread."""

    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By route, of those that were answered."""
    statuses: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    _lock: Lock = field(default_factory=Lock)

    def note(self, route: str, status: int, since: float) -> None:
        took_s = time.monotonic() - since
        with self._lock:
            self.statuses[route][status] += 1
            if status != NO_ANSWER:
                self.seconds[route].append(took_s)

    def figures(self) -> dict[str, dict[str, Any]]:
        """By route: milliseconds and answers by status."""
        with self._lock:
            return {
                route: {
                    **_milliseconds(self.seconds[route]),
                    "answers": {
                        str(status) if status else "none": n for status, n in sorted(of_it.items())
                    },
                }
                for route, of_it in sorted(self.statuses.items())
            }


def memory(samples: Sequence[Sample]) -> dict[str, Any]:
    """MB/h by least squares: within each life after its warm-up, and across the lives by what
    each came to."""
    settled = list(_settled(samples))
    within = [_slope([(one.at_s, one.rss_mb) for one in life]) for life in settled]
    ends = [
        (
            statistics.fmean(one.at_s for one in life),
            statistics.median(one.rss_mb for one in life),
        )
        for life in settled
    ]
    slopes = [slope for slope in within if slope is not None]
    return {
        "within_each_life_mb_per_h": [round(slope, 2) for slope in slopes],
        "within_a_life_median_mb_per_h": round(statistics.median(slopes), 2) if slopes else None,
        "median_of_each_life_mb": [round(rss, 1) for _, rss in ends],
        "across_lives_mb_per_h": _slope(ends),
        "most_mb": round(max(one.rss_mb for one in samples), 1),
    }


def most(samples: Sequence[Sample]) -> dict[str, float]:
    return {
        name: round(max(getattr(one, name) for one in samples), 2)
        for name in ("files", "threads", "wal_mb", "database_mb")
    }


def _settled(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    """The samples of each life, without its warm-up."""
    lives: defaultdict[int, list[Sample]] = defaultdict(list)
    for one in samples:
        lives[one.life].append(one)
    for life in lives.values():
        yield life[int(len(life) * WARM_UP) :]


def _slope(points: Sequence[tuple[float, float]]) -> float | None:
    if len(points) < 2:
        return None
    seconds, values = zip(*points, strict=True)
    return round(statistics.linear_regression(seconds, values).slope * 3600, 2)


def _milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {}
    in_order = sorted(seconds)
    return {
        name: round(1000 * in_order[min(int(len(in_order) * share), len(in_order) - 1)], 1)
        for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99), ("most_ms", 1.0))
    }


def _size_mb(path: Path) -> float:
    return path.stat().st_size / MB if path.exists() else 0.0
