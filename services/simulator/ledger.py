"""What the simulator took, who called and how often: the truth that tests compare with ours."""

import json
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from config.esp_config import EspName
from services.simulator.dialect import Content, Entry
from services.simulator.happenings import Taken
from services.simulator.mailbox import new_run, open_mailbox
from services.simulator.records import Call, Mail

_MAIL_COLUMNS = (
    "mails.id, mails.esp, recipient, send_ref, message_id, rendering_failure, at,"
    " sender, reply_to, subject, html, text, headers, labels"
)
_MAILS = (
    f"SELECT {_MAIL_COLUMNS} FROM mails JOIN calls ON calls.id = call_id"
    " LEFT JOIN contents ON mail_id = mails.id"
)


class Ledger:
    """A SQLite database, in memory or in a file, for any number of threads.

    Who got what, and when, stays; the content only of the newest mails, so that a run
    of millions stays small.
    """

    def __init__(
        self, path: Path | str | None = None, *, keep_newest: int = 10_000, keep_bytes: int
    ) -> None:
        """`keep_newest` mails keep their content, at most `keep_bytes` of it; 0 keeps none."""
        self._lock = Lock()
        self._keep_newest = keep_newest
        self._keep_bytes = keep_bytes
        self._connection = open_mailbox(path)
        kept = self._query("SELECT mail_id, size FROM contents ORDER BY mail_id")
        self._kept: deque[tuple[int, int]] = deque(kept)
        self._kept_bytes = sum(size for _, size in self._kept)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @property
    def keeps_content(self) -> bool:
        return self._keep_newest > 0

    def record(
        self, call: Call, entries: list[Entry], content_of: Callable[[Entry], Content]
    ) -> None:
        """One call and the mails that were taken of it, in one transaction."""
        failures = sum(len(e.recipients) for e in entries if e.is_rendering_failure)
        with self._lock, self._transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO calls (esp, at, method, path, mode, status, recipients, taken,"
                " rendering_failures) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    call.esp.value,
                    call.at.isoformat(),
                    call.method,
                    call.path,
                    call.mode,
                    call.status,
                    call.recipients,
                    call.taken,
                    failures,
                ),
            )
            if entries:
                first_id = self._insert_mails(call.esp, cursor.lastrowid, entries)
                self._insert_contents(first_id, entries, content_of)

    def reset(self) -> None:
        """Forget everything."""
        with self._lock, self._transaction() as connection:
            for table in ("calls", "mails", "contents"):
                connection.execute(f"DELETE FROM {table}")
            connection.execute("UPDATE told_of SET through = 0, run = ?", (new_run(),))
            self._kept.clear()
            self._kept_bytes = 0

    @property
    def run(self) -> str:
        """Sets the events of this ledger apart from those of one before it."""
        return str(self._query("SELECT run FROM told_of")[0][0])

    def untold(self, esp: EspName, before: datetime, limit: int) -> list[Taken]:
        """Mails of an ESP of which no events were posted yet, taken before then, the oldest first."""
        rows = self._query(
            "SELECT mails.id, mails.esp, recipient, send_ref, message_id, rendering_failure, at"
            " FROM mails JOIN calls ON calls.id = call_id"
            " WHERE mails.id > (SELECT through FROM told_of WHERE esp = :esp)"
            " AND mails.esp = :esp AND at <= :before ORDER BY mails.id LIMIT :limit",
            {"esp": esp.value, "before": before.isoformat(), "limit": limit},
        )
        return [
            Taken(
                id=mail_id,
                esp=EspName(esp),
                recipient=recipient,
                send_ref=send_ref,
                message_id=message_id,
                rendering_failure=bool(is_failure),
                at=datetime.fromisoformat(at).astimezone(UTC),
            )
            for mail_id, esp, recipient, send_ref, message_id, is_failure, at in rows
        ]

    def note_told(self, esp: EspName, through: int, run: str) -> None:
        """Of a `run` that a reset has ended, nothing: the numbers of mails begin anew."""
        with self._lock, self._transaction() as connection:
            connection.execute(
                "UPDATE told_of SET through = max(through, ?) WHERE esp = ? AND run = ?",
                (through, esp.value, run),
            )

    def mails(
        self,
        *,
        esp: EspName | None = None,
        to: str | None = None,
        before: int | None = None,
        limit: int | None = 100,
    ) -> list[Mail]:
        """The newest first; `before` is the id of the last one of the page before."""
        rows = self._query(
            f"{_MAILS} WHERE (:esp IS NULL OR mails.esp = :esp)"
            " AND (:to IS NULL OR recipient = :to COLLATE NOCASE)"
            " AND (:before IS NULL OR mails.id < :before) ORDER BY mails.id DESC LIMIT :limit",
            {
                "esp": esp and esp.value,
                "to": to,
                "before": before,
                "limit": -1 if limit is None else limit,
            },
        )
        return [_mail(row) for row in rows]

    def mail(self, mail_id: int) -> Mail | None:
        rows = self._query(f"{_MAILS} WHERE mails.id = :id", {"id": mail_id})
        return _mail(rows[0]) if rows else None

    def accepted(self) -> dict[EspName, int]:
        """Mails taken per ESP, rendering failures included: the ESP said yes to them."""
        counts = dict(self._query("SELECT esp, SUM(taken) FROM calls GROUP BY esp"))
        return {esp: counts.get(esp.value, 0) for esp in EspName}

    def accepted_sends(self) -> list[tuple[EspName, str, str | None]]:
        """ESP, recipient and our id of every mail taken, oldest first."""
        rows = self._query("SELECT esp, recipient, send_ref FROM mails ORDER BY id")
        return [(EspName(esp), recipient, send_ref) for esp, recipient, send_ref in rows]

    def duplicates(self) -> dict[str, int]:
        """Recipients that were taken more than once, over all ESPs, and how often."""
        rows = self._query(
            "SELECT lower(recipient), COUNT(*) FROM mails GROUP BY 1 HAVING COUNT(*) > 1"
        )
        return dict(rows)

    def rendering_failures(self) -> dict[EspName, int]:
        counts = dict(self._query("SELECT esp, SUM(rendering_failures) FROM calls GROUP BY esp"))
        return {esp: counts.get(esp.value, 0) for esp in EspName}

    def call_count(self, esp: EspName) -> int:
        rows = self._query("SELECT COUNT(*) FROM calls WHERE esp = :esp", {"esp": esp.value})
        return int(rows[0][0])

    def calls(self, esp: EspName | None = None) -> list[Call]:
        """Every request, oldest first."""
        rows = self._query(
            "SELECT esp, at, method, path, mode, status, recipients, taken FROM calls"
            " WHERE :esp IS NULL OR esp = :esp ORDER BY id",
            {"esp": esp and esp.value},
        )
        return [
            Call(
                esp=EspName(name),
                at=datetime.fromisoformat(at),
                method=method,
                path=path,
                mode=mode,
                status=status,
                recipients=recipients,
                taken=taken,
            )
            for name, at, method, path, mode, status, recipients, taken in rows
        ]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _query(self, sql: str, values: Mapping[str, Any] | None = None) -> list[Any]:
        with self._lock:
            return self._connection.execute(sql, values or {}).fetchall()

    def _insert_mails(self, esp: EspName, call_id: int | None, entries: list[Entry]) -> int:
        """The id of the first one; the others follow without a gap."""
        newest = self._connection.execute("SELECT MAX(id) FROM mails").fetchone()[0] or 0
        name = esp.value
        self._connection.executemany(
            "INSERT INTO mails (call_id, esp, recipient, send_ref, message_id,"
            " rendering_failure) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (call_id, name, to, e.send_ref, e.message_id, e.is_rendering_failure)
                for e in entries
                for to in e.recipients
            ],
        )
        return int(newest) + 1

    def _insert_contents(
        self, mail_id: int, entries: list[Entry], content_of: Callable[[Entry], Content]
    ) -> None:
        if not self.keeps_content:
            return
        rows: list[tuple[Any, ...]] = []
        for entry in entries:
            if not entry.is_rendering_failure:
                row = _content_row(content_of(entry))
                rows += ((mail_id + place, *row) for place in range(len(entry.recipients)))
            mail_id += len(entry.recipients)
        self._connection.executemany(
            "INSERT INTO contents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
        )
        self._kept.extend(row[:2] for row in rows)
        self._kept_bytes += sum(row[1] for row in rows)
        self._trim()

    def _trim(self) -> None:
        oldest = None
        while len(self._kept) > self._keep_newest or self._kept_bytes > self._keep_bytes:
            oldest, size = self._kept.popleft()
            self._kept_bytes -= size
        if oldest is not None:
            self._connection.execute("DELETE FROM contents WHERE mail_id <= ?", (oldest,))


def _content_row(content: Content) -> tuple[Any, ...]:
    parts = (
        content.sender,
        content.reply_to,
        content.subject,
        content.html,
        content.text,
        json.dumps(content.headers),
        json.dumps(content.labels),
    )
    return sum(map(len, filter(None, parts))), *parts


def _mail(row: tuple[Any, ...]) -> Mail:
    mail_id, esp, recipient, send_ref, message_id, is_failure, at, *content = row
    sender, reply_to, subject, html, text, headers, labels = content
    return Mail(
        id=mail_id,
        esp=EspName(esp),
        recipient=recipient,
        send_ref=send_ref,
        message_id=message_id,
        rendering_failure=bool(is_failure),
        received_at=datetime.fromisoformat(at).astimezone(UTC),
        sender=sender,
        reply_to=reply_to,
        subject=subject,
        html=html,
        text=text,
        headers=None if headers is None else json.loads(headers),
        labels=None if labels is None else json.loads(labels),
    )
