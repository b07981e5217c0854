"""Whether the promise was kept: our ledger, read with plain SQL, against the ESPs' own record.

Knows nothing of our code, so that it cannot be wrong in the same way: only the names of
tables and columns, and what each ESP really took.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

Query = Callable[[str], list[tuple[Any, ...]]]

STATUSES = ("queued", "sending", "accepted", "rejected", "unknown", "skipped", "cancelled")
ENDED = ("accepted", "rejected", "unknown", "skipped", "cancelled")
MAY_HAVE_BEEN_TAKEN = ("accepted", "unknown")
CHECK = "PRAGMA integrity_check"
LEAVING_TAKES = timedelta(seconds=5)
"""A call that began before somebody left may still arrive this long after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One mail to one recipient that an ESP took, by the ESP's own record."""

    esp: str
    recipient: str
    subject: str
    """Tells the campaign: each has its own."""
    send_ref: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which the promise was broken."""

    kind: str
    what: str


def sqlite_query(path: Path) -> Query:
    """Asks a SQLite file; the server may have it open."""

    def ask(sql: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    return ask


def postgres_query(url: str) -> Query:
    """Asks a PostgreSQL database, whose server answers for its files itself."""

    def ask(sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(url, connect_timeout=10) as connection:
            return connection.execute("SELECT 'ok'" if sql == CHECK else sql.encode()).fetchall()

    return ask


def examine(
    query: Query,
    taken: Sequence[Taken],
    audiences: Mapping[str, Collection[str]],
    left: Collection[str] = (),
) -> list[Fault]:
    """Every fault of campaigns that have ended; empty when the promise was kept.

    `audiences`: by subject, who was on the list when the client first posted it. `left`:
    who was told that they are off the list.
    """
    ledger = _ledger(query)
    return [
        *_wrong_campaigns(query, audiences),
        *duplicates(taken),
        *_lost(ledger, taken, audiences),
        *_phantoms(ledger, taken),
        *_miscounted(query),
        *_mailed_after_leaving(query, taken, left),
        *_broken_file(query),
    ]


def examine_as_of(
    query: Query, taken: Sequence[Taken], at: datetime, left: Collection[str] = ()
) -> list[Fault]:
    """Every fault of a copy of the database that was made after `at`, campaigns under way
    included; `taken` may go on beyond it, `left` may not.

    What was taken before `at` had been claimed by then, so the copy must know of it.
    """
    ledger = _ledger(query)
    before = [mail for mail in taken if mail.at < at]
    return [
        *_phantoms(ledger, before, may_have_been=("sending", *MAY_HAVE_BEEN_TAKEN)),
        *_accepted_nowhere(ledger, taken),
        *_miscounted(query),
        *_mailed_after_leaving(query, before, left),
        *_broken_file(query),
    ]


def duplicates(taken: Iterable[Taken]) -> Iterator[Fault]:
    """A person of one campaign taken more than once, over all ESPs."""
    esps: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for mail in taken:
        esps[mail.subject, mail.recipient].append(mail.esp)
    for (subject, recipient), by in esps.items():
        if len(by) > 1:
            yield Fault("duplicate", f"{recipient} of {subject} by {', '.join(by)}")


def unknown(query: Query, subject: str) -> int:
    """How many sends of a campaign have an outcome that we do not know."""
    statuses = [status for (of, _), (status, _) in _ledger(query).items() if of == subject]
    return statuses.count("unknown")


def requests_made(query: Query, taken: Sequence[Taken]) -> int:
    """Calls that reached an ESP, by the ledger: the check of the harness itself.

    A call that was answered arrived. One that was not, since the server was killed, arrived
    if the ESP took a mail of it; else it never left.
    """
    answered = _one(query, "SELECT COUNT(*) FROM send_batches WHERE http_status IS NOT NULL")
    batch_of: dict[int, int] = dict(query("SELECT id, batch_id FROM email_sends"))
    arrived = {batch_of[int(mail.send_ref.partition("-")[0])] for mail in taken}
    cut_short = query("SELECT id FROM send_batches WHERE http_status IS NULL")
    return int(answered) + sum(batch in arrived for (batch,) in cut_short)


def rows_that_name(path: Path, email: str) -> list[str]:
    """The tables of a SQLite file that have an address in a row, once for each such row."""
    query = sqlite_query(path)
    tables = [name for (name,) in query("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    return [
        table for table in tables for row in query(f"SELECT * FROM {table}") if email in str(row)
    ]


def told_wrongly(query: Query, taken: Iterable[Taken]) -> Iterator[Fault]:
    """After webhooks told that each mail was delivered: a send that does not know, and a
    counter that an event raised twice, or not at all."""
    heard: dict[int, str | None] = dict(query("SELECT id, delivered_at FROM email_sends"))
    for mail in taken:
        if heard[int(mail.send_ref.partition("-")[0])] is None:
            yield Fault("told", f"{mail.recipient} of {mail.subject} was told to be delivered")
    told = Counter(mail.subject for mail in taken)
    for subject, kept in query("SELECT subject, delivered FROM campaigns"):
        if kept != told[subject]:
            yield Fault("told", f"{subject}: {kept} are delivered, {told[subject]} were told")


Ledger = dict[tuple[str, str], tuple[str, str | None]]
"""(subject, recipient) -> (status, ESP)."""


def _ledger(query: Query) -> Ledger:
    rows = query(
        "SELECT c.subject, s.email_key, s.status, s.esp"
        " FROM email_sends s JOIN campaigns c ON c.id = s.campaign_id"
    )
    return {(subject, recipient): (status, esp) for subject, recipient, status, esp in rows}


def _wrong_campaigns(query: Query, audiences: Mapping[str, object]) -> Iterator[Fault]:
    made = Counter(
        subject for (subject,) in query("SELECT subject FROM campaigns WHERE kind = 'campaign'")
    )
    for subject in {*made, *audiences}:
        if (made[subject], subject in audiences) != (1, True):
            yield Fault("campaigns", f"{subject}: {made[subject]} made")
    for subject, status, of_it in query("SELECT subject, status, unknown FROM campaigns"):
        if status != ("needs_review" if of_it else "sent"):
            yield Fault("end", f"{subject} is {status} with {of_it} unknown")


def _lost(
    ledger: Ledger, taken: Iterable[Taken], audiences: Mapping[str, Collection[str]]
) -> Iterator[Fault]:
    """In the audience and not in the ledger; not settled; or accepted, and at no ESP."""
    for subject, audience in audiences.items():
        for recipient in audience:
            if (subject, recipient) not in ledger:
                yield Fault("lost", f"{recipient} of {subject} was not planned")
    for (subject, recipient), (status, _) in ledger.items():
        if status not in ENDED:
            yield Fault("lost", f"{recipient} of {subject} is {status}")
    yield from _accepted_nowhere(ledger, taken)


def _accepted_nowhere(ledger: Ledger, taken: Iterable[Taken]) -> Iterator[Fault]:
    at_esp = {(mail.subject, mail.recipient) for mail in taken}
    for (subject, recipient), (status, _) in ledger.items():
        if status == "accepted" and (subject, recipient) not in at_esp:
            yield Fault("lost", f"{recipient} of {subject} is accepted, and no ESP took it")


def _phantoms(
    ledger: Ledger, taken: Iterable[Taken], may_have_been: Collection[str] = MAY_HAVE_BEEN_TAKEN
) -> Iterator[Fault]:
    """Taken by an ESP, and the ledger does not know or denies it."""
    for mail in taken:
        status, esp = ledger.get((mail.subject, mail.recipient), ("not planned", None))
        if status not in may_have_been or esp != mail.esp:
            what = f"{mail.recipient} of {mail.subject} by {mail.esp}, and is {status} ({esp})"
            yield Fault("phantom", what)


def _miscounted(query: Query) -> Iterator[Fault]:
    """Counters that differ from the ledger, row by row, or do not add up."""
    counted = Counter(
        {
            (campaign, status): n
            for campaign, status, n in query(
                "SELECT campaign_id, status, COUNT(*) FROM email_sends GROUP BY 1, 2"
            )
        }
    )
    for campaign, n in query(
        "SELECT campaign_id, SUM(n) FROM campaign_tallies WHERE kind = 'skipped'"
        " AND key IN ('duplicate', 'unknown_subscriber', 'invalid') GROUP BY 1"
    ):
        counted[campaign, "skipped"] += n
    for campaign, planned, *kept in query(
        f"SELECT id, planned, {', '.join(STATUSES)} FROM campaigns"
    ):
        by_row = [counted[campaign, status] for status in STATUSES]
        if kept != by_row or planned != sum(kept):
            yield Fault("count", f"campaign {campaign}: {planned}, {kept}, by row {by_row}")
    yield from _miscounted_by_esp(query)


def _miscounted_by_esp(query: Query) -> Iterator[Fault]:
    kept = query(
        "SELECT campaign_id, key, n FROM campaign_tallies WHERE kind = 'accepted' AND n <> 0"
    )
    by_row = query(
        "SELECT campaign_id, esp, COUNT(*) FROM email_sends WHERE status = 'accepted' GROUP BY 1, 2"
    )
    if sorted(kept) != sorted(by_row):
        yield Fault("count", f"by ESP: {sorted(kept)}, by row {sorted(by_row)}")
    carried = query(
        "SELECT campaign_id, key, n FROM campaign_tallies WHERE kind = 'carried' AND n <> 0"
    )
    by_row = query(
        "SELECT campaign_id, esp || '/' || mailbox_provider, COUNT(*) FROM email_sends"
        " WHERE status = 'accepted' GROUP BY 1, 2"
    )
    if sorted(carried) != sorted(by_row):
        yield Fault("count", f"by provider: {sorted(carried)}, by row {sorted(by_row)}")


def _mailed_after_leaving(
    query: Query, taken: Iterable[Taken], left: Collection[str]
) -> Iterator[Fault]:
    """An acknowledged unsubscribe that is gone, or a mail that was called for after one."""
    gone_at = {
        recipient: _moment(since)
        for recipient, since in query(
            "SELECT p.email_key, MIN(x.created_at) FROM suppressions x"
            " JOIN subscribers p ON p.email_hash = x.email_hash"
            " WHERE x.reason <> 'lifted' GROUP BY 1"
        )
    }
    for recipient in left:
        if recipient not in gone_at:
            yield Fault("revived", f"{recipient} was told to be off the list, and is on it")
    for mail in taken:
        since = gone_at.get(mail.recipient)
        if since is not None and mail.at > since + LEAVING_TAKES:
            yield Fault("unwanted", f"{mail.recipient} left at {since}, {mail.subject} {mail.at}")


def _broken_file(query: Query) -> Iterator[Fault]:
    for (said,) in query(CHECK):
        if said != "ok":
            yield Fault("file", str(said))


def _one(query: Query, sql: str) -> Any:
    return query(sql)[0][0]


def _moment(stored: str | datetime) -> datetime:
    """UTC, as text in SQLite."""
    if isinstance(stored, datetime):
        return stored.astimezone(UTC)
    return datetime.fromisoformat(stored).replace(tzinfo=UTC)
