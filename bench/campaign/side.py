"""What the processes of all sides but ours have in common. Only the standard library.

A side is started as `python -m bench.campaign.<side> <esp> <port of the sink> <batch>
<workers> <database>` and prints one line of JSON.
"""

import argparse
import http.client
import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

CAMPAIGN = 1
_PEOPLE = """
CREATE TABLE subscribers (id INTEGER PRIMARY KEY, email TEXT NOT NULL, email_hash BLOB NOT NULL,
    first_name TEXT NOT NULL);
CREATE TABLE suppressions (email TEXT PRIMARY KEY);
CREATE TABLE sends (id INTEGER PRIMARY KEY, campaign_id INTEGER NOT NULL,
    subscriber_id INTEGER NOT NULL, status TEXT NOT NULL, message_id TEXT,
    UNIQUE (campaign_id, subscriber_id));
"""
_FILL = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO subscribers SELECT i, 'person' || i || '@example.net', randomblob(16), 'Ann' FROM n
"""


@dataclass(frozen=True, slots=True)
class Given:
    """What a side is told."""

    esp: str
    port: int
    """Of the sink."""
    batch: int
    workers: int
    database: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def arguments(self) -> list[str]:
        return [self.esp, str(self.port), str(self.batch), str(self.workers), str(self.database)]


def given() -> Given:
    asked = argparse.ArgumentParser()
    asked.add_argument("esp")
    for name in ("port", "batch", "workers"):
        asked.add_argument(name, type=int)
    asked.add_argument("database", type=Path)
    return Given(**vars(asked.parse_args()))


def measured(send: Callable[[], int]) -> None:
    """Run a side, whose result is the number of mails, and print its figures: seconds, CPU
    seconds, the most memory it had at once, mails."""
    began, used = time.perf_counter(), time.process_time()
    sent = send()
    seconds, used = time.perf_counter() - began, time.process_time() - used
    # Not ru_maxrss, which begins with the memory of who started us.
    peak_kb = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    print(json.dumps({"s": seconds, "cpu_s": used, "peak_mb": peak_kb / 1024, "sent": sent}))  # noqa: T201 - read by the bench


def make_list(path: Path, people: int) -> None:
    """The list and the empty ledger of the sides that are not ours."""
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA journal_mode = WAL")
        raw.executescript(_PEOPLE)
        raw.execute(_FILL, (people,))
    raw.close()


class Caller:
    """One connection to the sink, kept alive."""

    def __init__(self, port: int, path: str) -> None:
        self._path = path
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def post(self, body: bytes) -> Message:
        """The headers of a good answer."""
        self._connection.request("POST", self._path, body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status not in (200, 202):
            raise RuntimeError(f"{answer.status}: {said!r}")
        return answer.headers
