"""A CSV file into the list, against a bare upsert of the same rows and email-validator alone."""

import csv
import resource
import sqlite3
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from email_validator import EmailNotValidError, validate_email

from bench.ledgers import NOW
from bench.tables import Row, Tables
from database.migrate import migrate
from database.session import Database
from list_manager import import_csv

PAGE = 10_000
SAMPLE = 10_000
"""Addresses that email-validator is given: all of them would take it minutes."""
_UPSERT = """
INSERT INTO subscribers (email, email_key, email_hash, first_name, last_name, attributes, tags,
    status, mailbox_provider, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, '{}', '[]', 'active', 'other', ?, ?)
ON CONFLICT (email_key) DO UPDATE SET first_name = excluded.first_name
"""


def run(people: int) -> Tables:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "people.csv"
        write_file(file, people)
        rows = [
            in_process_of_its_own(side, file, Path(folder) / f"{side.__name__}.db")
            for side in (bare, ours, verdicts)
        ]
    limit = rows[0]["rows/CPU s"]
    return {"import": [row | {"x limit, CPU": round(row["rows/CPU s"] / limit, 2)} for row in rows]}


def write_file(file: Path, people: int) -> None:
    with file.open("w", newline="") as stream:
        lines = csv.writer(stream)
        lines.writerow(["email", "first_name", "last_name"])
        lines.writerows(
            [f"Person{n}@Example{n % 1000}.net", "Ann", f"Example {n}"] for n in range(people)
        )


def in_process_of_its_own(side: Callable[[Path, Path], int], file: Path, path: Path) -> Row:
    """So that its peak memory is its own."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (side, file, path))


def measured(side: Callable[[Path, Path], int], file: Path, path: Path) -> Row:
    before = peak_mb()
    wall, cpu = time.perf_counter(), time.process_time()
    n = side(file, path)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "side": side.__name__,
        "rows": n,
        "s": round(wall, 2),
        "CPU s": round(cpu, 2),
        "rows/s": round(n / wall),
        "rows/CPU s": round(n / cpu),
        "peak MB": round(peak_mb()),
        "of it before": round(before),
    }


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ours(file: Path, path: Path) -> int:
    database = Database(f"sqlite:///{path}")
    key = migrate(database, NOW).hash_key
    with file.open("rb") as stream:
        found = import_csv(database, stream, hash_key=key, now=NOW, refusals=path.parent)
    database.close()
    return found.created


def bare(file: Path, path: Path) -> int:
    """The limit: nothing is checked, and a page is a transaction, as with ours."""
    database = Database(f"sqlite:///{path}")
    migrate(database, NOW)
    now, n = str(NOW.replace(tzinfo=None)), 0
    with file.open(newline="") as stream, database.writer.connect() as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        lines = csv.reader(stream)
        next(lines)
        while page := list(islice(lines, PAGE)):
            raw.execute("BEGIN IMMEDIATE")
            raw.executemany(
                _UPSERT,
                [
                    (email, email.lower(), n.to_bytes(16, "big"), first, last, now, now)
                    for n, (email, first, last) in enumerate(page, n)
                ],
            )
            raw.execute("COMMIT")
            n += len(page)
    database.close()
    return n


def verdicts(file: Path, _: Path) -> int:
    """The peer: email-validator's verdict on each address, and nothing stored."""
    with file.open(newline="") as stream:
        lines = csv.reader(stream)
        next(lines)
        sample = [line[0] for line in islice(lines, SAMPLE)]
    return len([_is_valid(email) for email in sample])


def _is_valid(email: str) -> bool:
    try:
        validate_email(email, check_deliverability=False)
    except EmailNotValidError:
        return False
    return True
