"""The ledger's SQLite database: its tables, and how it is opened."""

import secrets
import sqlite3
from pathlib import Path

from config.esp_config import EspName

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE calls (
    id INTEGER PRIMARY KEY, esp TEXT NOT NULL, at TEXT NOT NULL, method TEXT NOT NULL,
    path TEXT NOT NULL, mode TEXT NOT NULL, status INTEGER, recipients INTEGER NOT NULL,
    taken INTEGER NOT NULL, rendering_failures INTEGER NOT NULL
);
CREATE TABLE mails (
    id INTEGER PRIMARY KEY, call_id INTEGER NOT NULL, esp TEXT NOT NULL,
    recipient TEXT NOT NULL, send_ref TEXT, message_id TEXT NOT NULL,
    rendering_failure INTEGER NOT NULL
);
CREATE TABLE contents (
    mail_id INTEGER PRIMARY KEY, size INTEGER NOT NULL, sender TEXT NOT NULL,
    reply_to TEXT NOT NULL, subject TEXT NOT NULL, html TEXT, text TEXT,
    headers TEXT NOT NULL, labels TEXT NOT NULL
);
"""

TOLD = """
CREATE TABLE IF NOT EXISTS told_of (
    esp TEXT PRIMARY KEY, run TEXT NOT NULL, through INTEGER NOT NULL
)
"""
"""How far events were posted; a ledger of an earlier version has none, and tells of no old mail."""


def open_mailbox(path: Path | str | None) -> sqlite3.Connection:
    """For any thread, in autocommit; None: in memory.

    Raises OSError, ValueError or sqlite3.Error for a file that cannot be used.
    """
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def new_run() -> str:
    """Sets the events of one ledger apart from those of another."""
    return secrets.token_hex(6)


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # A crash of the machine may lose mails of a stand-in, so nothing waits for the disk.
    connection.execute("PRAGMA synchronous = OFF")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        connection.executescript(SCHEMA)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    elif version != SCHEMA_VERSION:
        raise ValueError("the mailbox file is of another version; delete it")
    connection.executescript(TOLD)
    known = connection.execute("SELECT run FROM told_of").fetchone()
    run = known[0] if known else new_run()
    connection.executemany(
        "INSERT OR IGNORE INTO told_of SELECT ?, ?, coalesce(max(id), 0) FROM mails",
        [(esp.value, run) for esp in EspName],
    )
