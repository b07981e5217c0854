"""The limit of the wire: a body that ours sent, again and again, with no database behind it."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import repeat
from queue import Empty, SimpleQueue

from bench.campaign.mail import ESPS
from bench.campaign.side import Caller, Given, given, measured

BODY = "body.json"
"""Beside the database: the longest body of ours."""


def send(told: Given) -> int:
    """As many calls as the list fills; the mails in them."""
    esp = ESPS[told.esp]
    body = told.database.with_name(BODY).read_bytes()
    with closing(sqlite3.connect(told.database)) as raw:
        people: int = raw.execute("SELECT count(*) FROM subscribers").fetchone()[0]
    calls = max(people // body.count(esp.mark), 1)
    waiting: SimpleQueue[bytes] = SimpleQueue()
    for one in repeat(body, calls):
        waiting.put(one)
    with ThreadPoolExecutor(told.workers) as pool:
        done = [pool.submit(_client, told.port, esp.path, waiting) for _ in range(told.workers)]
    assert sum(one.result() for one in done) == calls
    return calls * body.count(esp.mark)


def _client(port: int, path: str, waiting: SimpleQueue[bytes]) -> int:
    caller, calls = Caller(port, path), 0
    while True:
        try:
            body = waiting.get_nowait()
        except Empty:
            return calls
        caller.post(body)
        calls += 1


if __name__ == "__main__":
    told = given()
    measured(lambda: send(told))
