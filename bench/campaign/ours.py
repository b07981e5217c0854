"""Ours: `POST /send-campaign` whole, against `app.py` in live mode on SQLite."""

import json
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from bench.campaign.esp import RunningSink
from bench.campaign.goals import Setting
from bench.campaign.mail import HTML, SUBJECT, TEXT
from bench.servers import Server, free_port, running
from bench.tables import Row
from tests.environment import live_environment

PAUSE_S = 0.05


def measure(
    database: Path, sink: RunningSink, setting: Setting, html: str = HTML
) -> tuple[Row, bytes]:
    """Send one campaign to everybody in a copy of `database`; the figures, and the longest body
    of a call. `AssertionError` unless the sink and our own ledger count each person once."""
    with tempfile.TemporaryDirectory(dir=database.parent) as folder:
        path = Path(folder) / "email.db"
        shutil.copy(database, path)
        port, prefix = free_port(), setting.esp.upper()
        environ = live_environment(
            port,
            path,
            **_account(setting.esp, sink.url),
            **{
                f"{prefix}_BATCH_SIZE": str(setting.batch),
                f"{prefix}_CONCURRENCY": str(setting.workers),
            },
        )
        with running([sys.executable, "app.py"], environ, port) as server:
            # What is loaded with the first mail is not the campaign's.
            warm_up = {"emails": ["person1@example.net"]}
            _send(server, setting.esp, "warm-up", html, warm_up)
            sink.reset()
            used, began = server.cpu_s(), time.perf_counter()
            counts = _send(server, setting.esp, SUBJECT, html, None)
            seconds, used = time.perf_counter() - began, server.cpu_s() - used
            peak = _peak_mb(server)
        people = _counted(path, sink)
    assert counts["accepted"] == people, counts
    row = {"s": seconds, "cpu_s": used, "peak_mb": peak, "sent": people}
    return row, sink.ask("GET", "/body")


def _peak_mb(server: Server) -> float:
    """The most memory that the largest of its processes had at once."""
    return max(_peaks_kb(server)) / 1024


def _counted(path: Path, sink: RunningSink) -> int:
    """People, each of whom the second campaign's ledger and the sink must have once."""
    with closing(sqlite3.connect(path)) as raw:
        [people] = raw.execute("SELECT count(*) FROM subscribers").fetchone()
        said = "SELECT count(*), count(DISTINCT subscriber_id) FROM email_sends"
        ledger = raw.execute(f"{said} WHERE status = 'accepted' AND campaign_id = 2").fetchone()
    messages = sink.counts()["messages"]
    assert (*ledger, messages) == (people, people, people), (people, ledger, messages)
    return int(people)


def _peaks_kb(server: Server) -> Iterator[int]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int((process / "stat").read_text().rpartition(")")[2].split()[2]) == server.group:
                yield int((process / "status").read_text().partition("VmHWM:")[2].split()[0])


def _account(esp: str, url: str) -> dict[str, str]:
    return {
        "sendgrid": {"SENDGRID_API_KEY": "SG.a-key-for-benches", "SENDGRID_BASE_URL": url},
        "ses": {
            "AWS_ACCESS_KEY_ID": "AKIABENCHESBENCHES00",
            "AWS_SECRET_ACCESS_KEY": "a-secret-key-for-benches",
            "AWS_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL_SESV2": url,
        },
        "postmark": {"POSTMARK_API_KEY": "a-token-for-benches", "POSTMARK_BASE_URL": url},
    }[esp]


def _send(
    server: Server, esp: str, subject: str, html: str, audience: dict[str, list[str]] | None
) -> dict[str, int]:
    """Send and wait until all is sent; the campaign's counts."""
    body = {"subject": subject, "html": html, "text": TEXT, "esp": esp, "audience": audience}
    key = subject.partition(" ")[0]
    headers = {"Content-Type": "application/json", "Prefer": "wait=60", "Idempotency-Key": key}
    while True:
        status, answer = server.call("POST", "/send-campaign", json.dumps(body).encode(), headers)
        if status not in (202, 409):
            break
        time.sleep(PAUSE_S)
    told = json.loads(answer)
    assert (status, told.get("status")) == (200, "sent"), answer
    counts: dict[str, int] = told["counts"]
    return counts
