"""What sending, recording and importing cost, in counts that no clock and no other load can change."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from config.esp_config import EspName
from database.migrate import migrate
from database.models import EmailSend, Subscriber, WebhookEvent
from database.session import Database
from list_manager import import_csv
from services.base import Outcome, SendResult
from services.event_recorder import record_events
from services.events import Event, EventKind
from services.ledger import plan
from services.mailing import Identity, Mailing
from tests.conftest import NOW
from tests.ledgers import HASH_KEY, Ledgers
from tests.rig import LINK_KEY, NEW
from tests.statements import counted
from utils.tokens import send_ref

INSTRUCTIONS = 100
"""SQLite tells of every so many of its virtual machine."""
ROW_MODELS = (EmailSend, Subscriber, WebhookEvent)
"""Of which there is a row for each mail, person or event."""
IDENTITY = Identity(
    hash_key=HASH_KEY, link_key=LINK_KEY, public_base_url="https://mail.example.com"
)


def carry(at: Ledgers, campaign_id: int, size: int) -> int:
    """Claim, build and record all of a campaign; in how many calls."""
    mailing = Mailing(NEW, IDENTITY, campaign_id=campaign_id)
    calls = 0
    while batch := at.claim(campaign_id, size):
        assert len(mailing.batch(batch.sends).recipients) == len(batch.sends)
        taken = SendResult(outcome=Outcome.ACCEPTED, message_id=f"call{calls}")
        at.record(batch, *[taken] * len(batch.sends))
        calls += 1
    return calls


def told(at: Ledgers, campaign_id: int) -> list[Event]:
    """A delivery of each send."""
    return [
        Event(
            key=f"event-{send.id}",
            kind=EventKind.DELIVERED,
            occurred_at=NOW + timedelta(hours=1),
            address=send.email_key,
            send_ref=send_ref(HASH_KEY, campaign_id=campaign_id, send_id=send.id, attempt=1),
            payload={"n": 1},
        )
        for send in at.sends(campaign_id)
    ]


def record_all(at: Ledgers, events: list[Event]) -> None:
    with at.database.write() as session:
        record_events(
            session, EspName.SENDGRID, events, hash_key=HASH_KEY, now=NOW + timedelta(days=1)
        )


@contextmanager
def loaded() -> Iterator[list[str]]:
    """The names of the row models of which an object is made while the block runs."""
    names: list[str] = []

    def note(made: object, _context: object) -> None:
        names.append(type(made).__name__)

    for model in ROW_MODELS:
        event.listen(model, "load", note)
    try:
        yield names
    finally:
        for model in ROW_MODELS:
            event.remove(model, "load", note)


@contextmanager
def instructions(database: Database) -> Iterator[list[int]]:
    """How many hundreds of instructions SQLite's writer works off."""
    ticks: list[int] = []

    def tick() -> int:
        ticks.append(1)
        return 0

    def handler(of: Callable[[], int] | None) -> None:
        with database.writer.connect() as connection:
            raw: Any = connection.connection.driver_connection
            raw.set_progress_handler(of, INSTRUCTIONS)

    handler(tick)
    try:
        yield ticks
    finally:
        handler(None)


def test_a_call_takes_as_many_statements_for_a_thousand_mails_as_for_ten(
    database: Database,
) -> None:
    at = Ledgers(database)
    found = []
    for size in (10, 1_000):
        campaign_id = at.planned(size) if size == 10 else _planned_more(at, size)
        with counted(database, "") as claiming:
            batch = at.claimed(campaign_id, size)
        with counted(database, "") as recording:
            at.record(batch, *[SendResult(outcome=Outcome.ACCEPTED, message_id="a")] * size)
        assert len(batch.sends) == size
        found.append((len(claiming), len(recording)))
    # With BEGIN and the campaign's row, which the engine reads once for all calls of a step.
    assert found == [(8, 5), (8, 5)]


def _planned_more(at: Ledgers, n: int) -> int:
    at.add_people(n, "other{}@example.net", tags=["other"])
    campaign_id = at.create(audience={"tags": ["other"]})
    at.plan(campaign_id)
    return campaign_id


def test_no_object_is_made_for_a_mail_an_event_or_a_person(
    database: Database, tmp_path: Path
) -> None:
    at = Ledgers(database)
    at.add_people(50)
    campaign_id = at.create()
    with loaded() as names:
        at.plan(campaign_id)
        assert carry(at, campaign_id, 20) == 3
    assert names == []

    events = told(at, campaign_id)
    with loaded() as names:
        record_all(at, events)
    assert names == []

    lines = "email\n" + "".join(f"new{n}@example.net\n" for n in range(50))
    with loaded() as names:
        import_csv(
            database, io.BytesIO(lines.encode()), hash_key=HASH_KEY, now=NOW, refusals=tmp_path
        )
    assert names == []


@pytest.mark.parametrize("what", ["plan", "send", "record"])
def test_the_database_works_eight_times_as_much_for_eight_times_the_people(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong index is not seen at 1,000 people, and never ends at 1,000,000."""
    monkeypatch.setattr(plan, "IDS_PER_CHUNK", 500)
    few, many = (_work(tmp_path, people)[what] for people in (1_000, 8_000))
    assert 7 * few < many < 9 * few


def _work(folder: Path, people: int) -> dict[str, int]:
    database = Database(f"sqlite:///{folder / f'{people}.db'}")
    migrate(database, NOW)
    at = Ledgers(database)
    at.add_people(people)
    campaign_id = at.create()
    with instructions(database) as planning:
        at.plan(campaign_id)
    with instructions(database) as sending:
        assert carry(at, campaign_id, 500) == people // 500
    events = told(at, campaign_id)
    with instructions(database) as recording:
        for start in range(0, people, 500):
            record_all(at, events[start : start + 500])
    database.close()
    return {"plan": len(planning), "send": len(sending), "record": len(recording)}
