"""The floor: what exactly-once costs at least, by hand on the raw driver.

A page is claimed and committed before its call; the marks of finished calls and the next claim
share a commit. WAL, `synchronous=FULL`. The mails are ours, byte for byte but for ids and
signatures, and so are the records: a row for each send, a row for each call, and the campaign's
counters. No quotas, no segments, no events, nothing to be told about, and one kind of answer: a
frame has to be measured against something.
"""

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import count
from typing import NamedTuple

import orjson

from bench.campaign.floor_calls import CALLS, Ids, Page, mails
from bench.campaign.mail import ESPS
from bench.campaign.side import CAMPAIGN, Caller, Given, given, measured

_CLAIM = """
INSERT OR IGNORE INTO sends (campaign_id, subscriber_id, status, esp, batch_id, claimed_at)
SELECT ?, id, 'sending', ?, ?, ? FROM subscribers
WHERE id > ?
    AND NOT EXISTS (SELECT 1 FROM suppressions WHERE email_hash = subscribers.email_hash)
ORDER BY id LIMIT ?
"""
_PAGE = """
SELECT sends.id, subscribers.id, email, email_hash, first_name
FROM sends JOIN subscribers ON subscribers.id = subscriber_id WHERE sends.id > ? ORDER BY sends.id
"""
_BATCH = "INSERT INTO batches VALUES (?, ?, ?, 'sending', ?, ?, ?, 0, ?, NULL)"
_MARKED = "UPDATE sends SET status = 'accepted', message_id = ?, settled_at = ? WHERE"
_MARK_ALL, _MARK_ONE = f"{_MARKED} id BETWEEN ? AND ?", f"{_MARKED} id = ?"
_END = "UPDATE batches SET state = 'done', accepted = ?, finished_at = ? WHERE id = ?"
_COUNT = """
UPDATE campaigns SET sending = sending + ?, accepted = accepted + ?, last_step_at = ? WHERE id = ?
"""


class Call(NamedTuple):
    """On its way: which batch, with which sends."""

    batch: int
    first: int
    last: int
    size: int
    answer: Future[Ids]


def send(told: Given) -> int:
    """One writer, `told.workers` callers, at most twice as many calls under way."""
    callers = threading.local()
    flying: deque[Call] = deque()
    last_person = last_send = 0
    with (
        closing(sqlite3.connect(told.database, isolation_level=None)) as raw,
        ThreadPoolExecutor(told.workers) as pool,
    ):
        raw.execute("PRAGMA synchronous = FULL")
        for batch in count(1):
            answered = _answered(flying, most=2 * told.workers - 1)
            raw.execute("BEGIN IMMEDIATE")
            _mark(raw, answered)
            page = _claim(raw, told, batch, last_person, last_send)
            raw.execute("COMMIT")
            if not page:
                break
            first, last_send, last_person = page[0][0], page[-1][0], page[-1][1]
            answer = pool.submit(_post, callers, told, page)
            flying.append(Call(batch, first, last_send, len(page), answer))
        answered = _answered(flying, most=0)
        raw.execute("BEGIN IMMEDIATE")
        _mark(raw, answered)
        raw.execute("COMMIT")
        [sent] = raw.execute("SELECT accepted FROM campaigns").fetchone()
    return int(sent)


def _claim(
    raw: sqlite3.Connection, told: Given, batch: int, last_person: int, last_send: int
) -> Page:
    """The next people, as sends of a new batch."""
    now = time.time()
    raw.execute(_CLAIM, (CAMPAIGN, told.esp, batch, now, last_person, told.batch))
    page = raw.execute(_PAGE, (last_send,)).fetchall()
    if page:
        ends = page[0][0], page[-1][0]
        raw.execute(_BATCH, (batch, CAMPAIGN, told.esp, len(page), *ends, now))
        raw.execute(_COUNT, (len(page), 0, now, CAMPAIGN))
    return page


def _answered(flying: deque[Call], *, most: int) -> list[Call]:
    """Those that were answered; waits until at most so many are under way."""
    found = []
    while flying and (len(flying) > most or flying[0].answer.done()):
        call = flying.popleft()
        call.answer.result()
        found.append(call)
    return found


def _mark(raw: sqlite3.Connection, answered: Iterable[Call]) -> None:
    now = time.time()
    for call in answered:
        ids = call.answer.result()
        if isinstance(ids, str):
            raw.execute(_MARK_ALL, (ids, now, call.first, call.last))
        else:  # only we write, so the ids of a batch follow each other
            sends = range(call.first, call.last + 1)
            marks = [(said, now, one) for said, one in zip(ids, sends, strict=True)]
            raw.executemany(_MARK_ONE, marks)
        raw.execute(_END, (call.size, now, call.batch))
        raw.execute(_COUNT, (-call.size, call.size, now, CAMPAIGN))


def _post(callers: threading.local, told: Given, page: Page) -> Ids:
    calls = CALLS[told.esp]
    caller: Caller | None = getattr(callers, "caller", None)
    if caller is None:
        caller = callers.caller = Caller(told.port, ESPS[told.esp].path)
    body = orjson.dumps(calls.body(mails(page, told.port)))
    headers, answer = caller.post(body, calls.headers(body, f"127.0.0.1:{told.port}"))
    return calls.ids(headers, answer)


if __name__ == "__main__":
    told = given()
    measured(lambda: send(told))
