"""What the processes of all sides but ours have in common. Only the standard library.

A side is started as `python -m bench.campaign.<side> <esp> <port of the sink> <batch>
<workers> <database>` and prints one line of JSON.
"""

import argparse
import http.client
import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

CAMPAIGN = 1
SAMPLE = 300
"""Mails of the SDK, which takes so long for each."""
_PEOPLE = """
CREATE TABLE subscribers (id INTEGER PRIMARY KEY, email TEXT NOT NULL, email_hash BLOB NOT NULL,
    first_name TEXT NOT NULL);
CREATE TABLE suppressions (email_hash BLOB PRIMARY KEY);
CREATE TABLE sends (id INTEGER PRIMARY KEY, campaign_id INTEGER NOT NULL,
    subscriber_id INTEGER NOT NULL, status TEXT NOT NULL, esp TEXT, batch_id INTEGER,
    message_id TEXT, claimed_at REAL, settled_at REAL, UNIQUE (campaign_id, subscriber_id));
CREATE TABLE batches (id INTEGER PRIMARY KEY, campaign_id INTEGER NOT NULL, esp TEXT NOT NULL,
    state TEXT NOT NULL, size INTEGER NOT NULL, first_send_id INTEGER NOT NULL,
    last_send_id INTEGER NOT NULL, accepted INTEGER NOT NULL, started_at REAL NOT NULL,
    finished_at REAL);
CREATE TABLE campaigns (id INTEGER PRIMARY KEY, sending INTEGER NOT NULL,
    accepted INTEGER NOT NULL, last_step_at REAL);
INSERT INTO campaigns VALUES (1, 0, 0, NULL);
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

    def post(self, body: bytes, headers: Mapping[str, str] = {}) -> tuple[dict[str, str], bytes]:
        """The headers and the body of a good answer."""
        headers = {"Content-Type": "application/json", **headers}
        self._connection.request("POST", self._path, body, headers)
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status not in (200, 202):
            raise RuntimeError(f"{answer.status}: {said!r}")
        return dict(answer.headers), said
