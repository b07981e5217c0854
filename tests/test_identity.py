"""Events of mails that were not sent from this database credit nobody here, and suppress nobody
whom they do not name: of another installation at the same ESP account, of what was sent after the
backup that this database was restored from, of the original of a copy."""

import itertools
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, or_, select

from config.esp_config import EspName
from config.settings import SendingMode
from database.models import (
    Bounce,
    Campaign,
    CampaignTally,
    Complaint,
    EmailSend,
    EspPerformance,
    Subscriber,
    Suppression,
)
from database.restore_guard import RestoreGuard
from database.session import Database
from services.base import Outcome
from services.event_recorder import record_events
from services.events import BounceClass, Event, EventKind, SuppressionReason
from services.restoring import CannotConfirm, confirm
from services.simulator.modes import Mode, Scope
from services.simulator.server import Simulator
from services.system import System
from tests.conftest import NOW
from tests.ledgers import HASH_KEY, Ledgers
from tests.own_lists import mail, simulator
from tests.people import add, reasons
from tests.rig import configs_at
from tests.web import system
from utils.tokens import send_ref

__all__ = ["simulator", "system"]

PEOPLE = 3
OTHER_KEY = b"o" * 32
SUPPRESSES = {
    EventKind.BOUNCED: SuppressionReason.HARD_BOUNCE,
    EventKind.COMPLAINED: SuppressionReason.COMPLAINT,
    EventKind.UNSUBSCRIBED: SuppressionReason.UNSUBSCRIBED,
}
CREDITED = (Campaign, CampaignTally, EmailSend, Subscriber, Suppression, EspPerformance)
REPORTS = (Bounce, Complaint)
"""Kept of every event; what counts is whether they are said to be about somebody of ours."""
numbers = itertools.count()


@pytest.fixture
def elsewhere(migrated_file: Path, tmp_path: Path) -> Iterator[Ledgers]:
    """Where the mails were sent from that the events are about."""
    path = tmp_path / "elsewhere" / "email.db"
    path.parent.mkdir()
    shutil.copy(migrated_file, path)
    database = Database(f"sqlite:///{path}")
    yield Ledgers(database)
    database.close()


def sent(at: Ledgers, tag: str) -> Sequence[EmailSend]:
    """A campaign to people of this tag, carried by SendGrid."""
    at.add_people(PEOPLE, f"{tag}{{}}@example.net", tags=[tag])
    campaign = at.create(audience={"tags": [tag]}, subject=tag)
    at.plan(campaign)
    at.record(at.claimed(campaign, PEOPLE), *[Outcome.ACCEPTED] * PEOPLE)
    return at.sends(campaign)


def events(sends: Sequence[EmailSend], hash_key: bytes, *, named: bool) -> list[Event]:
    """All that an ESP may tell of them; `named`: with their addresses."""
    return [
        Event(
            kind=kind,
            key=f"event-{next(numbers)}",
            occurred_at=NOW,
            payload={},
            send_ref=send_ref(
                hash_key, campaign_id=send.campaign_id, send_id=send.id, attempt=send.attempt
            ),
            address=send.email_key if named else None,
            bounce_class=BounceClass.HARD if kind is EventKind.BOUNCED else None,
            suppress=SUPPRESSES.get(kind),
        )
        for send in sends
        for kind in EventKind
    ]


def tell(database: Database, told: Sequence[Event]) -> None:
    with database.write() as session:
        record_events(session, EspName.SENDGRID, told, hash_key=HASH_KEY, now=NOW)


def rows(database: Database) -> dict[str, list[Any]]:
    """All that events may change about our sends and people."""
    found = {}
    with database.read() as session:
        for model in (*CREDITED, *REPORTS):
            table = model.__table__
            assert isinstance(table, Table)
            wanted = select(table)
            if model in REPORTS:
                ours = (table.c.send_id, table.c.campaign_id, table.c.subscriber_id)
                wanted = wanted.where(or_(*(column.is_not(None) for column in ours)))
            found[table.name] = [tuple(row) for row in session.execute(wanted)]
    return found


@pytest.mark.parametrize("named", [True, False])
def test_events_of_another_installation_concern_nobody_here(
    database: Database, elsewhere: Ledgers, named: bool
) -> None:
    ours, theirs = sent(Ledgers(database), "ours"), sent(elsewhere, "theirs")
    assert [send.id for send in ours] == [send.id for send in theirs]
    before = rows(database)
    tell(database, events(theirs, OTHER_KEY, named=named))
    assert rows(database) == before


def test_who_complains_to_another_installation_is_left_alone_and_counted_nowhere(
    database: Database, elsewhere: Ledgers
) -> None:
    """The same people are on both lists: what their provider says of an address holds."""
    sent(Ledgers(database), "same")
    theirs = sent(elsewhere, "same")
    before = rows(database)
    tell(database, events(theirs[:1], OTHER_KEY, named=True))
    after = rows(database)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"subscribers", "suppressions"}
    with database.read() as session:
        hit = set(session.scalars(select(Suppression.email_hash)))
        first = session.scalars(select(Subscriber.email_hash).order_by(Subscriber.id)).first()
    assert hit == {first}


@pytest.mark.parametrize("named", [True, False])
def test_events_of_what_was_sent_after_the_backup_concern_nobody_who_came_later(
    database: Database, elsewhere: Ledgers, system: System, named: bool
) -> None:
    """`elsewhere` is how the database went on after the backup, or the original of a copy: the same
    keys. What `confirm-restore` leaves out is what keeps its numbers from being given again."""
    restored = Ledgers(database)
    assert sent(restored, "first")[0].id == sent(elsewhere, "first")[0].id
    lost = sent(elsewhere, "lost")
    guard = RestoreGuard(database)
    guard.hold("was restored")
    guard.close()
    confirm(system, moved=False)
    later = sent(restored, "later")
    before = rows(database)
    tell(database, events(lost, HASH_KEY, named=named))
    assert rows(database) == before
    assert {send.campaign_id for send in later}.isdisjoint({send.campaign_id for send in lost})
    assert {send.id for send in later}.isdisjoint({send.id for send in lost})


def test_a_number_given_twice_would_have_credited_the_wrong_person(
    database: Database, elsewhere: Ledgers
) -> None:
    """Without the confirmation an event that names nobody is believed: the test above can fail.
    One that names somebody is not."""
    restored = Ledgers(database)
    sent(restored, "first")
    sent(elsewhere, "first")
    lost = sent(elsewhere, "lost")
    sent(restored, "later")
    before = rows(database)
    tell(database, events(lost, HASH_KEY, named=True))
    assert rows(database) == before
    tell(database, events(lost, HASH_KEY, named=False))
    assert rows(database)["email_sends"] != before["email_sends"]


def test_events_of_what_the_backup_had_queued_settle_it(
    database: Database, elsewhere: Ledgers, system: System
) -> None:
    """It was sent after the backup, under the ids that the backup knows."""
    for at in (restored := Ledgers(database), elsewhere):
        at.planned(PEOPLE)
    elsewhere.record(elsewhere.claimed(1, PEOPLE), *[Outcome.ACCEPTED] * PEOPLE)
    guard = RestoreGuard(database)
    guard.hold("was restored")
    guard.close()
    assert confirm(system, moved=False).unknown == {1: PEOPLE}
    told = [
        event
        for event in events(elsewhere.sends(1), HASH_KEY, named=True)
        if event.kind is EventKind.DELIVERED
    ]
    tell(database, told[:1])
    assert restored.counts(1) == {"accepted": 1, "unknown": 2}
    tell(database, told[1:])
    assert restored.counts(1) == {"accepted": 3}
    assert restored.campaign(1).status == "sent"


# whom an ESP gave up after the backup


@pytest.fixture
def restored(database: Database, simulator: Simulator, system: System) -> System:
    """In live mode and not confirmed; SendGrid has given up somebody since."""
    add(database, "bounce@example.net")
    mail(simulator, EspName.SENDGRID, "bounce@example.net")
    settings = replace(system.settings, sending_mode=SendingMode.LIVE)
    esps = {EspName.SENDGRID: configs_at(simulator.base_urls)[EspName.SENDGRID]}
    guard = RestoreGuard(database)
    guard.hold("was restored")
    guard.close()
    return replace(system, settings=settings, esps=esps)


def test_whom_an_esp_gave_up_after_the_backup_is_left_alone_before_anything_is_sent(
    restored: System,
) -> None:
    confirm(restored, moved=False)
    assert reasons(restored.database) == ["hard_bounce"]


def test_without_the_lists_of_the_esps_it_stays_in_safe_mode(
    restored: System, simulator: Simulator
) -> None:
    simulator.behave(EspName.SENDGRID, Mode.UNAUTHORIZED, scope=Scope.LOOKUP)
    with pytest.raises(CannotConfirm, match="suppression lists cannot be read: sendgrid: "):
        confirm(restored, moved=False)
    assert restored.safe_mode is not None
    confirm(restored, moved=False, pull=False)
    assert restored.safe_mode is None
