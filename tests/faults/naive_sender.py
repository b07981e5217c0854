"""A sender as it is usually written: send, then record. The harness must catch it.

It speaks as much of our HTTP as `driver` does, and remembers who got what in a table of its
own. A kill between Postmark's answer and the commit sends that batch again.
"""

import csv
import io
import json
import os
import sqlite3
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS people (email TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS sent (subject TEXT, email TEXT, PRIMARY KEY (subject, email));
"""
DATABASE = os.environ["DATABASE_URL"].removeprefix("sqlite:///")
BATCH = int(os.environ["POSTMARK_BATCH_SIZE"])


class NaiveSender(BaseHTTPRequestHandler):
    """Sends within the request that asks for it, and goes on when asked again."""

    def do_GET(self) -> None:
        self._answer({"status": "ready"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with sqlite3.connect(DATABASE, isolation_level=None) as database:
            database.executescript(SCHEMA)
            if self.path == "/subscribers/import":
                rows = [(row["email"],) for row in csv.DictReader(io.StringIO(body.decode()))]
                database.executemany("INSERT INTO people VALUES (?)", rows)
                self._answer({"created": len(rows)})
            else:
                _send_to_all(database, json.loads(body)["subject"])
                self._answer({"status": "sent"})

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def _answer(self, document: dict[str, Any]) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())


def _send_to_all(database: sqlite3.Connection, subject: str) -> None:
    todo = (
        "SELECT email FROM people WHERE email NOT IN (SELECT email FROM sent WHERE subject = ?)"
        " LIMIT ?"
    )
    while batch := database.execute(todo, (subject, BATCH)).fetchall():
        _send([email for (email,) in batch], subject)
        database.executemany("INSERT INTO sent VALUES (?, ?)", [(subject, *row) for row in batch])


def _send(emails: list[str], subject: str) -> None:
    mail = {"From": os.environ["FROM_EMAIL"], "Subject": subject, "TextBody": "Hello"}
    request = urllib.request.Request(
        f"{os.environ['POSTMARK_BASE_URL']}/email/batch",
        json.dumps(
            [{**mail, "To": email, "MessageStream": "broadcast"} for email in emails]
        ).encode(),
        {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "X-Postmark-Server-Token": os.environ["POSTMARK_API_KEY"],
        },
    )
    with urllib.request.urlopen(request) as response:
        response.read()


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), NaiveSender).serve_forever()
