"""Our suppressions and the ESPs' own lists, both ways: whom one ESP found, no other writes to."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from config.esp_config import EspName
from config.settings import load_settings
from database.models import (
    EspState,
    Subscriber,
    SubscriberStatus,
    Suppression,
    SuppressionReason,
)
from database.session import Database
from list_manager import AddedAs
from lists.suppression import NewSuppression, suppress_all
from lists.suppression_sync import Taken, next_round, take
from services.adapters import build_suppression_list
from services.simulator.modes import Mode, Scope
from services.simulator.server import Simulator
from services.suppression_lists import EspSuppression, NotPushed
from services.suppression_sync import Pulled, Pushed, pull_all, push_all
from services.system import System
from tests.canned_esp import CannedEsp, answer
from tests.conftest import NOW, Clock
from tests.own_lists import mail, on_list, simulator, system
from tests.people import HASH_KEY, add, assert_counters_are_true, either_database, postgres, who
from tests.rig import rig
from tests.web import API_KEY, SECRET_KEY
from utils.addresses import normalise
from utils.tokens import email_hash, link_key

__all__ = ["either_database", "postgres", "simulator", "system"]

SENDGRID, SES, POSTMARK = EspName.SENDGRID, EspName.SES, EspName.POSTMARK
HARD, COMPLAINT = SuppressionReason.HARD_BOUNCE, SuppressionReason.COMPLAINT
UNSUBSCRIBED, INACTIVE = SuppressionReason.UNSUBSCRIBED, SuppressionReason.ESP_INACTIVE
ANN, BOB, CY = "ann@example.net", "bob@example.net", "cy@example.net"


def entry(address: str, reason: SuppressionReason = HARD, **more: Any) -> EspSuppression:
    said = {"list_name": "bounces", "at": NOW - timedelta(days=3), **more}
    return EspSuppression(address=address, reason=reason, **said)


def taken(database: Database, *entries: EspSuppression, esp: EspName = SENDGRID) -> Taken:
    with database.write() as session:
        return take(session, esp, entries, hash_key=HASH_KEY, now=NOW)


def hold(database: Database, *wanted: tuple[str, SuppressionReason], **more: Any) -> None:
    """Suppressed by us, `source` one_click if nothing else is said, long enough ago."""
    said = {"source": "one_click", **more}
    with database.write() as session:
        people = {
            address: session.scalar(select(Subscriber.id).where(Subscriber.email_key == address))
            for address, _ in wanted
        }
        suppress_all(
            session,
            [
                NewSuppression(
                    email_hash=who(address), reason=reason, subscriber_id=people[address], **said
                )
                for address, reason in wanted
            ],
            NOW - timedelta(hours=1),
        )


def lift(database: Database, address: str, clock: Clock) -> None:
    with database.write() as session:
        session.execute(
            insert(Suppression).values(
                email_hash=who(address),
                reason=SuppressionReason.LIFTED,
                source="opt_in",
                created_at=clock(),
            )
        )


def rows(database: Database, address: str) -> list[tuple[SuppressionReason, str, str | None]]:
    with database.read() as session:
        found = session.execute(
            select(Suppression.reason, Suppression.source, Suppression.evidence)
            .where(Suppression.email_hash == who(address))
            .order_by(Suppression.id)
        )
        return [(reason, source, evidence) for reason, source, evidence in found]


def status(database: Database, address: str) -> SubscriberStatus | None:
    with database.read() as session:
        return session.scalar(select(Subscriber.status).where(Subscriber.email_key == address))


def state(database: Database, esp: EspName) -> EspState | None:
    with database.read() as session:
        return session.get(EspState, esp)


# what an entry of an ESP's list does


def test_an_entry_suppresses_its_person_with_its_evidence(either_database: Database) -> None:
    add(either_database, "Ann@Example.net")
    said = entry("ANN@example.NET", detail="550 5.1.1 <ann@example.net>: unknown\r\n")
    assert taken(either_database, said) == Taken(seen=1, new=1)
    assert rows(either_database, ANN) == [
        (
            HARD,
            "sendgrid",
            "on sendgrid's own list bounces since 2026-11-21: 550 5.1.1 (address) unknown",
        )
    ]
    assert status(either_database, ANN) is SubscriberStatus.BOUNCED
    assert_counters_are_true(either_database)


def test_what_an_esp_says_at_length_is_cut_before_it_is_read(database: Database) -> None:
    assert taken(database, entry(ANN, detail="x" * 5_000_000)) == Taken(seen=1, new=1)
    [(_, _, evidence)] = rows(database, ANN)
    assert evidence is not None
    assert len(evidence) == 500


def test_who_is_not_on_the_list_is_suppressed_too_and_stays_so_when_they_join(
    either_database: Database,
) -> None:
    assert taken(either_database, entry(ANN)) == Taken(seen=1, new=1)
    assert add(either_database, ANN).outcome is AddedAs.SUPPRESSED


@pytest.mark.parametrize(
    ("reason", "after"),
    [
        (HARD, SubscriberStatus.BOUNCED),
        (INACTIVE, SubscriberStatus.BOUNCED),
        (UNSUBSCRIBED, SubscriberStatus.UNSUBSCRIBED),
        (COMPLAINT, SubscriberStatus.COMPLAINED),
    ],
)
def test_every_reason_ends_in_its_status(
    either_database: Database, reason: SuppressionReason, after: SubscriberStatus
) -> None:
    add(either_database, ANN)
    taken(either_database, entry(ANN, reason))
    assert status(either_database, ANN) is after


def test_an_entry_twice_and_a_page_again_change_nothing(either_database: Database) -> None:
    add(either_database, ANN)
    page = [entry(ANN), entry("Ann@example.net"), entry(ANN, COMPLAINT)]
    assert taken(either_database, *page) == Taken(seen=3, new=2, known=1)
    before = rows(either_database, ANN)
    assert taken(either_database, *page) == Taken(seen=3, known=3)
    assert rows(either_database, ANN) == before
    assert status(either_database, ANN) is SubscriberStatus.COMPLAINED
    assert_counters_are_true(either_database)


@pytest.mark.parametrize("held", [HARD, COMPLAINT, UNSUBSCRIBED, INACTIVE])
@pytest.mark.parametrize("echo", [HARD, UNSUBSCRIBED, INACTIVE])
def test_what_we_pushed_says_nothing_new_when_it_comes_back_in_the_esps_words(
    database: Database, held: SuppressionReason, echo: SuppressionReason
) -> None:
    hold(database, (ANN, held))
    assert taken(database, entry(ANN, echo, at=NOW)) == Taken(seen=1, known=1)
    assert [reason for reason, _, _ in rows(database, ANN)] == [held]


def test_a_pause_does_not_hide_what_an_esp_found(database: Database) -> None:
    hold(database, (ANN, SuppressionReason.PAUSED), until=NOW + timedelta(days=30))
    assert taken(database, entry(ANN)) == Taken(seen=1, new=1)


def test_who_confirmed_since_is_not_suppressed_by_an_older_entry_but_by_a_newer_one(
    either_database: Database, clock: Clock
) -> None:
    hold(either_database, (ANN, HARD))
    lift(either_database, ANN, clock)
    assert taken(either_database, entry(ANN)) == Taken(seen=1, back=1)
    newer = entry(ANN, at=NOW + timedelta(minutes=1))
    assert taken(either_database, newer) == Taken(seen=1, new=1)


@pytest.mark.parametrize("address", ["", "no address", "a@b", "\0@example.net", "ünï@example.net"])
def test_what_nobody_can_be_written_to_is_counted_and_left_out(
    database: Database, address: str
) -> None:
    assert taken(database, entry(address), entry(ANN)) == Taken(seen=2, new=1, invalid=1)


# whole pulls


def test_a_pull_takes_in_what_every_esp_found_and_again_changes_nothing(
    system: System, simulator: Simulator, clock: Clock
) -> None:
    mail(simulator, SENDGRID, "bounce@example.net", "complaint@example.net")
    mail(simulator, SES, "bounce@example.com")
    mail(simulator, POSTMARK, "unsubscribe@example.net", "bounce@example.net")
    assert pull_all(system) == [
        Pulled(esp=SENDGRID, taken=Taken(seen=2, new=2)),
        Pulled(esp=SES, taken=Taken(seen=1, new=1)),
        Pulled(esp=POSTMARK, taken=Taken(seen=2, new=1, known=1)),
    ]
    clock.forward(hours=1)
    assert [one.taken for one in pull_all(system)] == [
        Taken(seen=2, known=2),
        Taken(seen=1, known=1),
        Taken(seen=2, known=2),
    ]
    assert len(rows(system.database, "bounce@example.net")) == 1


def test_the_next_pull_asks_from_a_day_before_the_last_one_and_a_full_one_for_all(
    system: System, simulator: Simulator, clock: Clock
) -> None:
    mail(simulator, SENDGRID, "bounce@example.net")
    pull_all(system)
    clock.forward(hours=30)
    mail(simulator, SENDGRID, "bounce+late@example.net")
    pull_all(system, only=SENDGRID)
    clock.forward(hours=20)
    assert pull_all(system, only=SENDGRID) == [Pulled(esp=SENDGRID, taken=Taken(seen=1, known=1))]
    assert pull_all(system, only=SENDGRID, full=True) == [
        Pulled(esp=SENDGRID, taken=Taken(seen=2, known=2))
    ]


def test_an_esp_that_fails_keeps_no_other_from_its_turn(
    system: System, simulator: Simulator
) -> None:
    mail(simulator, POSTMARK, "bounce@example.net")
    simulator.behave(SENDGRID, Mode.UNAUTHORIZED, scope=Scope.LOOKUP)
    simulator.behave(SES, Mode.REFUSE, scope=Scope.ALL)
    sendgrid, ses, postmark = pull_all(system)
    assert sendgrid.error == "401: The provided authorization grant is invalid, expired, or revoked"
    assert str(ses.error).startswith("cannot connect")
    assert postmark == Pulled(esp=POSTMARK, taken=Taken(seen=1, new=1))
    assert state(system.database, SENDGRID) is None
    failed = push_all(system, only=SENDGRID)
    assert failed == [Pushed(esp=SENDGRID, error=None)]  # nothing to push: nobody was called


def test_a_pull_that_breaks_off_keeps_its_pages_and_begins_anew(
    system: System, clock: Clock
) -> None:
    first = [{"email": f"p{n}@example.net", "created": 1_700_000_000 - n} for n in range(500)]
    with CannedEsp() as canned:
        answers = iter([answer(200, first), answer(500)])
        canned.act = lambda sock: next(answers)(sock)
        system.esps = {SENDGRID: replace(system.esps[SENDGRID], base_url=canned.url)}
        [report] = pull_all(system)
        assert (report.taken, report.error) == (
            Taken(seen=500, new=500),
            "500: Internal Server Error",
        )
        assert state(system.database, SENDGRID) is None
        clock.forward(days=3)
        canned.act = answer(200, first[:3])
        [report] = pull_all(system)
        assert (report.taken, report.error) == (
            Taken(seen=12, new=3, known=9),
            None,
        )  # the three complained, too
        assert all("start_time" not in request.path for request in canned.requests)
        pull_all(system)
        assert f"start_time={int(clock().timestamp()) - 86400}" in canned.requests[-1].path


def test_progress_is_told_as_it_goes(system: System, simulator: Simulator) -> None:
    own_list = build_suppression_list(system.esps[POSTMARK])
    own_list.push([(f"p{n}@example.net", HARD) for n in range(600)])
    told: list[tuple[EspName, int]] = []
    pull_all(system, only=POSTMARK, progress=lambda esp, done: told.append((esp, done)))
    assert told == [(POSTMARK, 500), (POSTMARK, 600)]


# pushes


def test_a_push_puts_on_every_list_whom_others_or_we_found(
    system: System, simulator: Simulator, clock: Clock
) -> None:
    for address in (ANN, BOB, CY):
        add(system.database, address)
    hold(system.database, (ANN, UNSUBSCRIBED), ("stranger@example.net", UNSUBSCRIBED))
    hold(system.database, (BOB, HARD), source="ses")
    hold(system.database, (BOB, COMPLAINT), source="postmark")
    hold(system.database, (CY, SuppressionReason.PAUSED), until=NOW + timedelta(days=9))
    assert push_all(system) == [
        Pushed(esp=SENDGRID, pushed=2),
        Pushed(esp=SES, pushed=2),
        Pushed(esp=POSTMARK, pushed=2),
    ]
    assert on_list(system, SENDGRID) == {ANN: UNSUBSCRIBED, BOB: UNSUBSCRIBED}
    assert on_list(system, SES) == {ANN: HARD, BOB: COMPLAINT}
    assert on_list(system, POSTMARK) == {ANN: INACTIVE, BOB: INACTIVE}
    assert push_all(system) == [Pushed(esp=esp) for esp in (SENDGRID, SES, POSTMARK)]
    assert [one.taken.known for one in pull_all(system)] == [2, 2, 2]


def test_an_esp_is_not_told_what_it_told_us(system: System, simulator: Simulator) -> None:
    mail(simulator, SENDGRID, "bounce@example.net")
    add(system.database, "bounce@example.net")
    pull_all(system)
    system.clock.forward(minutes=1)  # type: ignore[attr-defined]
    assert push_all(system) == [
        Pushed(esp=SENDGRID),
        Pushed(esp=SES, pushed=1),
        Pushed(esp=POSTMARK, pushed=1),
    ]


def test_who_came_back_is_not_pushed(either_database: Database, clock: Clock) -> None:
    add(either_database, ANN)
    hold(either_database, (ANN, UNSUBSCRIBED))
    lift(either_database, ANN, clock)
    clock.forward(minutes=1)
    with either_database.read() as session:
        found = next_round(session, SES, 0, clock())
    assert found is not None
    assert (found.people, found.through) == ((), 2)


def test_the_youngest_rows_wait_for_the_next_push(either_database: Database, clock: Clock) -> None:
    add(either_database, ANN)
    taken(either_database, entry(ANN))
    with either_database.read() as session:
        assert next_round(session, SES, 0, NOW + timedelta(seconds=4)) is None
        assert next_round(session, SES, 0, NOW + timedelta(seconds=5)) is not None


def test_an_interrupted_push_is_repeated_without_harm(system: System, simulator: Simulator) -> None:
    people = [f"p{n}@example.net" for n in range(3)]
    for address in people:
        add(system.database, address)
    hold(system.database, *((address, HARD) for address in people))
    simulator.behave(SES, Mode.RESET_AFTER, scope=Scope.LOOKUP, count=1)
    [report] = push_all(system, only=SES)
    assert report.error is not None
    assert push_all(system, only=SES) == [Pushed(esp=SES, pushed=3)]
    assert on_list(system, SES) == dict.fromkeys(people, HARD)
    assert push_all(system, only=SES) == [Pushed(esp=SES)]
    assert push_all(system, only=SES, full=True) == [Pushed(esp=SES, pushed=3)]


def test_an_address_that_an_esp_refuses_is_told_and_not_tried_again(
    system: System, simulator: Simulator
) -> None:
    add(system.database, ANN)
    add(system.database, BOB)
    with system.database.write() as session:  # as an older version may have stored it
        session.execute(
            update(Subscriber).where(Subscriber.email_key == BOB).values(email="bob@nowhere")
        )
    hold(system.database, (ANN, HARD), (BOB, HARD))
    refused = NotPushed(address="bob@nowhere", why="An invalid email address was provided.")
    [report] = push_all(system, only=POSTMARK)
    assert report == Pushed(esp=POSTMARK, pushed=1, failed=(refused,))
    assert push_all(system, only=POSTMARK) == [Pushed(esp=POSTMARK)]


# why all this


def test_failover_never_writes_to_whom_another_esp_had_blocked(
    database: Database, clock: Clock
) -> None:
    with rig(database, clock) as made:
        made.add_people(1, "bounce@example.net")
        made.add_people(2)
        mail(made.simulator, SENDGRID, "bounce@example.net")
        settings = load_settings({"API_KEY": API_KEY, "SECRET_KEY": SECRET_KEY}, None)
        system = System(
            settings=settings,
            database=database,
            hash_key=made.installation.hash_key,
            link_keys=(link_key(SECRET_KEY),),
            clock=clock,
            esps=made.configs,
        )
        pull_all(system)
        made.start()
        report = made.send(esp=POSTMARK)
        assert (report["counts"]["accepted"], report["by_esp"]) == (2, {"postmark": 2})
        assert made.accepted_refs()[POSTMARK] == {"person0@example.net", "person1@example.net"}
        key = email_hash(made.installation.hash_key, normalise("bounce@example.net").key)
        with database.read() as session:
            held = session.scalar(select(Suppression.source).where(Suppression.email_hash == key))
        assert held == "sendgrid"
