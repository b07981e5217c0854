"""Figures: how they are summed up, and how they are shown."""

import os
import platform
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

Row = dict[str, Any]
Tables = dict[str, list[Row]]
"""By title; all rows of a table have the same keys, in the order of its columns."""


def conditions() -> Row:
    """What the figures depend on."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "load average": [round(one, 2) for one in os.getloadavg()],
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def share(values: Sequence[float], part: float) -> float:
    """The value that this part of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def milliseconds(seconds: Sequence[float]) -> Row:
    p50, p99 = median(seconds) * 1000, share(seconds, 0.99) * 1000
    return {"p50 ms": round(p50, 2), "p99 ms": round(p99, 2), "p99/p50": round(p99 / p50, 2)}


def goal(words: str, measured: float, is_reached: bool) -> Row:
    return {"goal": words, "measured": round(measured, 2), "reached": "yes" if is_reached else "no"}


def show(found: dict[str, Any]) -> None:
    console = Console(width=max(140, Console().width))
    console.print({name: value for name, value in found.items() if name != "tables"})
    for title, rows in found["tables"].items():
        table = Table(*rows[0], title=title, title_justify="left")
        for row in rows:
            table.add_row(
                *(f"{value:,}" if _is_number(value) else str(value) for value in row.values())
            )
        console.print(table)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
