"""How both databases go about every statement of planning, sending, recording and telling.

A wrong plan is right, and fast, over the few rows of other tests.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import insert, select, text, update
from sqlalchemy.orm import Session

from config.esp_config import EspName
from database.models import (
    Base,
    Campaign,
    CampaignStatus,
    EmailSend,
    SendBatch,
    SendStatus,
    Suppression,
    SuppressionReason,
    WebhookEvent,
)
from database.reports import subscriber_stats
from services.base import Outcome, SendResult
from services.campaign_step import any_running, running
from services.event_recorder import record_events
from services.events import BounceClass, Event, EventKind
from tests.conftest import NOW
from tests.ledgers import HASH_KEY, Ledgers, at
from tests.people import either_database, postgres
from tests.statements import counted, explained
from utils.tokens import send_ref

__all__ = ["at", "either_database", "postgres"]  # fixtures

LARGE = (
    "email_sends",
    "subscribers",
    "suppressions",
    "webhook_events",
    "send_batches",
    "campaigns",
)
"""Tables that grow with people, mails or time."""
ROWS = 4_000
BATCH = 50
KINDS: dict[str, dict[str, Any]] = {
    "delivered": {},
    "opened": {"user_agent": "Mozilla/5.0", "ip": "192.0.2.1"},
    "clicked": {"url": "https://example.com/a", "user_agent": "Mozilla/5.0", "ip": "192.0.2.1"},
    "bounced": {"bounce_class": BounceClass.HARD, "suppress": SuppressionReason.HARD_BOUNCE},
    "complained": {"suppress": SuppressionReason.COMPLAINT},
    "unsubscribed": {"suppress": SuppressionReason.UNSUBSCRIBED},
}

Statements = list[tuple[str, Any]]


def grown(at: Ledgers) -> int:
    """Make every large table large, with its statistics; a campaign that is half planned."""
    if not at.database.is_sqlite:
        _keep_statistics(at)
    at.add_people(ROWS)
    old = at.create()
    at.plan(old)
    batch = at.claimed(old, BATCH)
    at.record(batch, SendResult(outcome=Outcome.ACCEPTED, message_id="call"))
    at.suppress("gone@example.net")
    record(at, [event_of(at, batch.sends[0].send_id, old, EventKind.DELIVERED)])
    with at.database.write() as session:
        done = {"status": CampaignStatus.SENT, "queued": 0}
        session.execute(update(Campaign).values(done))
        session.execute(update(EmailSend).values(status=SendStatus.ACCEPTED))
        _copy(session, Campaign, [{} for _ in range(ROWS)])
        _copy(session, SendBatch, [{} for _ in range(ROWS)])
        _copy(session, Suppression, [{"email_hash": n.to_bytes(16, "big")} for n in range(ROWS)])
        _copy(session, WebhookEvent, [{"event_key": f"other{n}"} for n in range(ROWS)])
    campaign_id = at.create(name="another")
    at.plan(campaign_id)
    with at.database.write() as session:
        session.execute(text("ANALYZE"))
    return campaign_id


def _keep_statistics(at: Ledgers) -> None:
    """Else PostgreSQL makes new ones in the middle of the test, of what the work has left."""
    with at.database.write() as session:
        for table in LARGE:
            session.execute(text(f"ALTER TABLE {table} SET (autovacuum_enabled = false)"))


def _copy(session: Session, model: type[Base], changes: list[dict[str, Any]]) -> None:
    """The first row again, once for each of `changes`."""
    table = model.__table__
    first = dict(session.execute(select(table).order_by(table.c.id).limit(1)).mappings().one())
    del first["id"]
    session.execute(insert(model), [{**first, **one} for one in changes])


def event_of(at: Ledgers, send_id: int, campaign_id: int, kind: EventKind) -> Event:
    ref = send_ref(HASH_KEY, campaign_id=campaign_id, send_id=send_id, attempt=1)
    with at.database.read() as session:
        address = session.get_one(EmailSend, send_id).email_key
    return Event(
        key=f"{kind}{send_id}",
        kind=kind,
        occurred_at=NOW + timedelta(hours=1),
        address=address,
        send_ref=ref,
        payload={},
        **KINDS[kind.value],
    )


def record(at: Ledgers, events: list[Event]) -> None:
    with at.database.write() as session:
        record_events(
            session, EspName.SENDGRID, events, hash_key=HASH_KEY, now=NOW + timedelta(days=1)
        )


def work(at: Ledgers) -> dict[str, Statements]:
    """What each part of the work says to a large database."""
    campaign_id = grown(at)
    said: dict[str, Statements] = {}

    @contextmanager
    def part(name: str) -> Iterator[None]:
        with counted(at.database, "") as seen:
            yield
        said[name] = list(seen)

    with part("look"), at.database.read() as session:
        assert any_running(session)
        assert len(running(session)) == 1
    with part("claim"):
        batch = at.claimed(campaign_id, BATCH)
    with part("record"):
        at.record(batch, SendResult(outcome=Outcome.ACCEPTED, message_id="call"))
    each = at.claimed(campaign_id, BATCH)
    results = [SendResult(outcome=Outcome.ACCEPTED, message_id=f"{n}") for n in range(BATCH)]
    with part("record each"):
        at.record(each, *results)
    kinds = [EventKind(name) for name in KINDS]
    events = [
        event_of(at, send.send_id, campaign_id, kind)
        for send, kind in zip(each.sends, kinds, strict=False)
    ]
    with part("events"):
        record(at, events)
    with part("tell"):
        at.report(campaign_id)
        with at.database.read() as session:
            subscriber_stats(session, NOW)
    last = at.create(name="the last")
    with part("plan"):
        at.plan_one(last)
    return said


def plans(at: Ledgers, statements: Statements) -> list[tuple[str, str]]:
    """Each statement on one line, with the plan for its first parameters."""
    return [
        (" ".join(statement.split()), explained(at.database, statement, _first(parameters)))
        for statement, parameters in statements
        if statement.startswith(("SELECT", "INSERT", "UPDATE", "DELETE"))
    ]


def _first(parameters: Any) -> Any:
    return parameters[0] if isinstance(parameters, list) else parameters


_SCAN = re.compile(
    rf"(?:SCAN|Seq Scan on) ({'|'.join(LARGE)})(?! USING .*INDEX ix_campaigns_running)"
)
"""Every row is looked at."""
NOT_YET = {
    # For the ten thousand people of a chunk.
    ("postgresql", "plan", "suppressions"),
}
"""Where every row of a large table is looked at."""
_RANGE = r"email_sends USING .*(rowid|id)>\? AND (rowid|id)<\?\)"
_BY_ID = r"email_sends USING INTEGER PRIMARY KEY \(rowid=\?\)"
INDEXES = (
    # Part of the work, beginning of its statement, what SQLite uses, and PostgreSQL.
    ("look", "SELECT campaigns.id", "ix_campaigns_running", "using ix_campaigns_running"),
    (
        "claim",
        "SELECT email_sends",
        r"ix_email_sends_queued \(campaign_id=\?\)",
        # In a table of a few thousand rows both cost about the same.
        "using (?:ix_email_sends_queued|pk_email_sends)",
    ),
    ("claim", "UPDATE email_sends", _RANGE, "using pk_email_sends"),
    ("record", "UPDATE email_sends", _RANGE, "using pk_email_sends"),
    ("record each", "UPDATE email_sends", _BY_ID, "using pk_email_sends"),
    ("events", "SELECT email_sends", _BY_ID, "using pk_email_sends"),
    ("events", "UPDATE email_sends", _BY_ID, "using pk_email_sends"),
    (
        "plan",
        "INSERT INTO email_sends",
        r"subscribers USING INTEGER PRIMARY KEY \(rowid>\? AND rowid<\?\)",
        "using pk_subscribers",
    ),
)


def test_no_statement_looks_at_every_row_and_each_goes_by_its_index(at: Ledgers) -> None:
    is_sqlite = at.database.is_sqlite
    dialect = "sqlite" if is_sqlite else "postgresql"
    found = {part: plans(at, statements) for part, statements in work(at).items()}
    scans = {
        (dialect, part, table)
        for part, statements in found.items()
        for _, plan in statements
        for table in _SCAN.findall(plan)
    }
    assert scans <= NOT_YET, [
        one for part in found.values() for one in part if _SCAN.search(one[1])
    ]
    for part, begin, in_sqlite, in_postgresql in INDEXES:
        used = [plan for statement, plan in found[part] if statement.startswith(begin)]
        assert used, (part, begin)
        wanted = in_sqlite if is_sqlite else in_postgresql
        assert all(re.search(wanted, plan) for plan in used), used
    [planned] = [plan for statement, plan in found["plan"] if statement.startswith("INSERT")]
    # Two columns say what keeps a person out.
    assert len(re.findall(r"(?:SEARCH|suppressions) suppressions_1", planned)) == 1, planned
    # Figures are kept, not counted.
    assert not any("email_sends" in statement for statement, _ in found["tell"])
