"""The floor: what exactly-once costs at least, by hand on the raw driver, SendGrid only.

A page is claimed and committed before its call; the marks of finished calls and the next claim
share a commit. WAL, `synchronous=FULL`. The mails are ours, with a link and a reference that a
keyed BLAKE2b signs each. No quotas, no segments, no events, nothing to be told about: a frame
has to be measured against something.
"""

import secrets
import sqlite3
import struct
import threading
from base64 import urlsafe_b64encode
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from hashlib import blake2b
from typing import Any

import orjson

from bench.campaign.mail import ESPS, FROM, HTML, SUBJECT, TEXT, filled
from bench.campaign.side import CAMPAIGN, Caller, Given, given, measured

_CLAIM = """
INSERT OR IGNORE INTO sends (campaign_id, subscriber_id, status)
SELECT ?, id, 'claimed' FROM subscribers
WHERE id > ? AND NOT EXISTS (SELECT 1 FROM suppressions WHERE email = subscribers.email)
ORDER BY id LIMIT ?
"""
_PAGE = """
SELECT sends.id, subscribers.id, email, email_hash, first_name
FROM sends JOIN subscribers ON subscribers.id = subscriber_id WHERE sends.id > ? ORDER BY sends.id
"""
_MARK = "UPDATE sends SET status = 'accepted', message_id = ? WHERE id BETWEEN ? AND ?"
_LINK = struct.Struct(">16sQQ")
_LINKS = blake2b(key=secrets.token_bytes(32), person=b"unsubscribe", digest_size=16)
_REFS = blake2b(key=secrets.token_bytes(32), person=b"send", digest_size=8)
_ESP = ESPS["sendgrid"]

Page = list[tuple[int, int, str, bytes, str]]
"""Send, subscriber, address, hash, first name."""


def send(told: Given) -> int:
    """One writer, `told.workers` callers, at most twice as many pages in flight."""
    callers = threading.local()
    flying: deque[tuple[int, int, Future[str]]] = deque()
    with (
        closing(sqlite3.connect(told.database, isolation_level=None)) as raw,
        ThreadPoolExecutor(told.workers) as pool,
    ):
        raw.execute("PRAGMA synchronous = FULL")
        last_person = last_send = 0
        while True:
            answered = _answered(flying, most=2 * told.workers - 1)
            raw.execute("BEGIN IMMEDIATE")
            raw.executemany(_MARK, answered)
            raw.execute(_CLAIM, (CAMPAIGN, last_person, told.batch))
            raw.execute("COMMIT")
            page: Page = raw.execute(_PAGE, (last_send,)).fetchall()
            if not page:
                break
            first_send, last_send, last_person = page[0][0], page[-1][0], page[-1][1]
            answer = pool.submit(_post, callers, told.port, orjson.dumps(_call(page)))
            flying.append((first_send, last_send, answer))
        answered = _answered(flying, most=0)
        raw.execute("BEGIN IMMEDIATE")
        raw.executemany(_MARK, answered)
        raw.execute("COMMIT")
        [sent] = raw.execute("SELECT count(*) FROM sends WHERE status = 'accepted'").fetchone()
    return int(sent)


def _answered(
    flying: deque[tuple[int, int, Future[str]]], *, most: int
) -> list[tuple[str, int, int]]:
    """The marks of what was answered; waits until at most so many pages are in flight."""
    marks = []
    while flying and (len(flying) > most or flying[0][2].done()):
        first, last, answer = flying.popleft()
        marks.append((answer.result(), first, last))
    return marks


def _post(callers: threading.local, port: int, body: bytes) -> str:
    caller: Caller | None = getattr(callers, "caller", None)
    if caller is None:
        caller = callers.caller = Caller(port, _ESP.path)
    return caller.post(body)["X-Message-Id"]


def _call(page: Page) -> dict[str, Any]:
    text, html = (filled(one, "-name-", "-link-") for one in (TEXT, HTML))
    return {
        "from": {"email": FROM},
        "subject": filled(SUBJECT, "-name-", ""),
        "content": [
            {"type": "text/plain", "value": text},
            {"type": "text/html", "value": html},
        ],
        "tracking_settings": {
            "click_tracking": {"enable": False, "enable_text": False},
            "open_tracking": {"enable": False},
            "subscription_tracking": {"enable": False},
        },
        "personalizations": [_personalization(one) for one in page],
    }


def _personalization(one: Sequence[Any]) -> dict[str, Any]:
    send_id, person, email, email_hash, name = one
    said = _LINK.pack(email_hash, person, send_id)
    link = f"https://mail.example.com/unsubscribe?token={_signed(said, _LINKS)}"
    return {
        "to": [{"email": email}],
        "custom_args": {"cx_send_id": f"{send_id}-1-{_ref(send_id)}"},
        "headers": {
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            "List-Id": "<news.example.com>",
            "List-Unsubscribe": f"<{link}>",
        },
        "substitutions": {"-name-": name, "-link-": link},
    }


def _signed(said: bytes, key: "blake2b") -> str:
    return urlsafe_b64encode(said + _mac(said, key)).decode()


def _ref(send_id: int) -> str:
    mac = _mac(b"%d.%d.1" % (CAMPAIGN, send_id), _REFS)
    return urlsafe_b64encode(mac).rstrip(b"=").decode()


def _mac(said: bytes, key: "blake2b") -> bytes:
    mac = key.copy()
    mac.update(said)
    return mac.digest()


if __name__ == "__main__":
    told = given()
    measured(lambda: send(told))
