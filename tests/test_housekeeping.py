"""What an installation does by itself, and what it draws again from stored events."""

from dataclasses import replace
from datetime import timedelta

import pytest
from click.testing import CliRunner
from sqlalchemy import func, insert, null, select, update

from cli import cli
from config.esp_config import EspConfig, EspName
from database.models import Campaign, EspPerformanceDay, EventKind, Subscriber, WebhookEvent
from database.session import Database
from lists.tiers import recount_tiers
from services import housekeeping
from services.event_recorder import record_events
from services.event_replay import replay
from services.events import Event
from services.housekeeping import PAYLOADS_KEPT, Housekeeper
from services.reputation import ALL_PROVIDERS
from services.system import System
from tests.conftest import NOW
from tests.ledgers import HASH_KEY, Ledgers
from tests.web import system
from utils.tokens import send_ref

__all__ = ["system"]  # fixtures


def events(database: Database, ages: list[timedelta]) -> None:
    rows = [
        {
            "esp": EspName.SES,
            "event_key": f"e{n}",
            "kind": EventKind.DELIVERED,
            "occurred_at": NOW - age,
            "received_at": NOW - age,
            "payload": {"n": n},
        }
        for n, age in enumerate(ages)
    ]
    with database.write() as session:
        session.execute(insert(WebhookEvent), rows)


def left(database: Database) -> int:
    with database.read() as session:
        full = select(func.count()).where(WebhookEvent.payload.is_not(null()))
        return session.scalar(full) or 0


def test_payloads_are_kept_for_30_days_and_the_events_for_good(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "ROWS", 2)
    minute = timedelta(minutes=1)
    events(system.database, [PAYLOADS_KEPT + n * minute for n in range(-2, 6)])
    keeper = Housekeeper(system)
    keeper.turn(NOW)
    assert left(system.database) == 3
    keeper.turn(NOW + 2 * minute)
    assert left(system.database) == 1
    with system.database.read() as session:
        assert session.scalar(select(func.count()).select_from(WebhookEvent)) == 8


def test_people_whose_time_in_a_tier_is_over_are_moved(system: System) -> None:
    at = Ledgers(system.database)
    at.add_people(3)
    with system.database.write() as session:
        session.execute(update(Subscriber).values(tier_until=NOW))
    Housekeeper(system).turn(NOW)
    with system.database.read() as session:
        assert {tier.value: n for tier, n in recount_tiers(session).items()} == {"warm": 3}


def test_a_brake_is_told_of_once_when_it_begins_and_when_it_ends(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    week = {"accepted": 1_000, "complained": 9}
    with system.database.write() as session:
        session.add(
            EspPerformanceDay(
                esp=EspName.SES, mailbox_provider=ALL_PROVIDERS, day=NOW.date(), **week
            )
        )
    config = EspConfig(name=EspName.SES, priority=1, batch_size=50, concurrency=1)
    keeper = Housekeeper(replace(system, esps={EspName.SES: config}))
    for days in (0, 0, 6, 7, 8):
        keeper.turn(NOW + timedelta(days=days))
    told = [record for record in caplog.records if "brakes" in record.getMessage()]
    assert [(one.getMessage(), vars(one)["esp"]) for one in told] == [
        ("an ESP brakes", "ses"),
        ("an ESP brakes no more", "ses"),
    ]
    assert vars(told[0])["reason"].startswith("9 complaints among 1000 accepted mails")


def test_a_replay_reads_stored_payloads_again(system: System) -> None:
    """As after an upgrade: what was stored as nothing we act upon now means something."""
    at = Ledgers(system.database)
    campaign_id = at.planned(1)
    send = at.claimed(campaign_id, 1).sends[0]
    payload = {
        "email": send.email,
        "timestamp": int(NOW.timestamp()),
        "event": "delivered",
        "sg_event_id": "e1",
        "cx_send_id": send_ref(HASH_KEY, campaign_id=campaign_id, send_id=send.send_id, attempt=1),
    }
    with system.database.write() as session:
        stored = Event(key="e1", kind=EventKind.OTHER, occurred_at=NOW, payload=payload)
        record_events(session, EspName.SENDGRID, [stored], hash_key=HASH_KEY, now=NOW)
    for _ in range(2):
        assert list(replay(system, esp=None, since=NOW - timedelta(days=1))) == [1]
        with system.database.read() as session:
            assert session.get_one(Campaign, campaign_id).delivered == 1


def test_the_command_says_how_many_were_replayed(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    events(system.database, [timedelta(hours=1)] * 1)
    for name, value in {
        "API_KEY": system.settings.api_key,
        "SECRET_KEY": system.settings.secret_keys[0],
        "DATABASE_URL": str(system.database.url),
    }.items():
        monkeypatch.setenv(name, value)
    told = CliRunner().invoke(cli, ["events", "replay"])
    assert (told.exit_code, told.stdout) == (0, "Replayed 0 events.\n")
