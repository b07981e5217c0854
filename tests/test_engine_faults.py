"""The engine when its database, an ESP, its own code or its clock lets it down."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from sqlalchemy import delete, text

import email_sender
from config.esp_config import EspName
from database.models import Campaign, CampaignStatus, Subscriber
from database.session import Database
from services import campaign_answers, campaign_step
from services.base import Outcome
from services.campaign_control import pause, resume
from services.campaigns import create
from services.ledger import plan as planning
from services.pace import Pace
from services.simulator.modes import Mode
from services.simulator.server import SIMULATED
from tests.conftest import Clock
from tests.ledgers import Ledgers
from tests.people import postgres
from tests.rig import NEW, Rig, rig
from tests.troubles import trouble

__all__ = ["postgres"]  # fixtures

SENDGRID, SES, POSTMARK = EspName.SENDGRID, EspName.SES, EspName.POSTMARK


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(email_sender, "RETRY_DATABASE_S", 0.02)
    monkeypatch.setattr(planning, "IDS_PER_CHUNK", 20)


@pytest.fixture
def at(database: Database, clock: Clock) -> Iterator[Rig]:
    with rig(database, clock) as made:
        yield made


@pytest.fixture
def at_postgres(postgres: Database, clock: Clock) -> Iterator[Rig]:
    with rig(postgres, clock) as made:
        yield made


def until(at: Rig, is_so: Any) -> None:
    """Wait until `is_so()`, as long as the rig waits for a campaign."""
    assert at.engine is not None
    for _ in range(1500):
        if is_so():
            return
        at.engine.wait_for_stand(0.02)
    raise AssertionError("never so")


def sent_once(at: Rig, told: dict[str, Any], n: int) -> None:
    assert (told["status"], told["counts"]["accepted"], told["planned"]) == ("sent", n, n)
    assert sum(at.simulator.accepted().values()) == n
    assert at.simulator.duplicates() == {}


# The database


@pytest.mark.parametrize("landed", [False, True], ids=["lost", "landed"])
@pytest.mark.parametrize("step", ["plan", "claim", "record", "finish"])
def test_a_commit_that_fails_loses_nothing_and_sends_nothing_twice(
    at: Rig, step: str, landed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    at.add_people(60)
    at.configure(SENDGRID, batch_size=10)
    with trouble(at.database, step, landed=landed) as made:
        engine = at.start()
        sent_once(at, at.send(), 60)
        until(at, lambda: not engine.cannot_write)
    assert made.failed == (1 if landed and step == "finish" else 2)
    words = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "the ledger cannot be written; what ESPs answered is kept" in words
    assert "the ledger can be written again" in words


@pytest.mark.parametrize("landed", [False, True], ids=["lost", "landed"])
@pytest.mark.parametrize("step", ["claim", "record"])
def test_a_postgresql_connection_cut_in_a_commit_leaves_nothing_in_doubt(
    at_postgres: Rig, step: str, landed: bool
) -> None:
    at = at_postgres
    at.add_people(60)
    at.configure(SENDGRID, batch_size=10)
    with trouble(at.database, step, landed=landed) as made:
        at.start()
        sent_once(at, at.send(), 60)
    assert made.failed == 2


def test_what_a_failed_commit_had_recorded_after_all_is_learnt_once(at: Rig) -> None:
    at.add_people(3)
    at.configs = {SENDGRID: at.configs[SENDGRID]}
    at.simulator.behave(SENDGRID, Mode.ERROR_500, count=1)
    with trouble(at.database, "record", times=1, landed=True):
        at.start()
        told = at.send()
    assert told["counts"]["unknown"] == 3
    with at.database.read() as session:
        row = session.execute(text("SELECT failures FROM esp_states WHERE esp = 'sendgrid'")).one()
        day = session.execute(text("SELECT calls, unknown FROM esp_performance_days")).one()
    assert (row.failures, tuple(day)) == (1, (1, 3))


def test_a_locked_database_is_waited_for_from_the_start_on(at: Rig) -> None:
    at.add_people(30)
    campaign = at.create()
    _patience(at, "busy_timeout=20")
    with closing(sqlite3.connect(str(at.database.path), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        engine = at.start()
        until(at, lambda: engine.cannot_write)
        assert not engine.may_send
    sent_once(at, at.wait(campaign), 30)


def test_answers_that_come_while_the_database_is_locked_are_recorded_later(at: Rig) -> None:
    at.add_people(30)
    at.configure(SENDGRID, batch_size=30)
    at.simulator.behave(SENDGRID, latency_s=0.2)
    _patience(at, "busy_timeout=20")
    engine = at.start()
    campaign = at.create()
    until(at, lambda: at.simulator.accepted()[SENDGRID] == 30)
    with closing(sqlite3.connect(str(at.database.path), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        until(at, lambda: engine.cannot_write)
        assert at.report(campaign)["counts"]["sending"] == 30
    sent_once(at, at.wait(campaign), 30)


def test_a_full_disk_is_waited_for(at: Rig) -> None:
    at.add_people(300)
    with at.database.write() as session:
        pages = session.scalar(text("PRAGMA page_count"))
    _patience(at, f"max_page_count={pages}")
    engine = at.start()
    campaign = at.create(subject="x")
    until(at, lambda: engine.cannot_write)
    assert at.report(campaign)["counts"]["accepted"] == 0
    _patience(at, "max_page_count=1000000")
    sent_once(at, at.wait(campaign), 300)


def _patience(at: Rig, pragma: str) -> None:
    """Set it on the one connection that writes."""
    with at.database.write() as session:
        session.execute(text(f"PRAGMA {pragma}"))


def test_a_postgresql_sender_whose_connections_are_all_cut_asks_for_the_lock_again(
    at_postgres: Rig,
) -> None:
    at = at_postgres
    at.add_people(40)
    at.configure(SENDGRID, batch_size=10)
    at.simulator.behave(SENDGRID, latency_s=0.1)
    engine = at.start()
    sent_once(at, at.send(), 40)
    campaign = at.create(subject="Another")
    until(at, lambda: at.simulator.accepted()[SENDGRID] > 40)
    _cut_connections(at.database)
    told = at.wait(campaign)
    assert (told["status"], told["counts"]["accepted"]) == ("sent", 40)
    assert at.simulator.accepted()[SENDGRID] == 80
    assert engine.may_send


def _cut_connections(database: Database) -> None:
    url = database.url.set(drivername="postgresql", database="postgres").render_as_string(False)
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            [database.url.database],
        )


def test_a_lock_that_another_process_has_by_now_ends_the_sending_of_this_one(
    at_postgres: Rig,
) -> None:
    at = at_postgres
    at.add_people(10)
    first = at.start()
    sent_once(at, at.send(), 10)
    second = at.start()
    until(at, lambda: first.may_send and not second.may_send)
    first._lock.release()
    until(at, lambda: second.may_send)
    told = at.send(subject="Another")
    assert told["counts"]["accepted"] == 10
    until(at, lambda: not first.may_send)
    assert sum(at.simulator.accepted().values()) == 20
    first.close()


# Our own faults


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("a bug")


@pytest.mark.parametrize("where", ["plan_chunk", "rank", "claim", "finish", "outcome_of"])
def test_a_fault_of_our_own_stops_the_engine_and_says_so(
    at: Rig, where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    at.add_people(30)
    module = campaign_answers if where == "outcome_of" else campaign_step
    monkeypatch.setattr(module, where, broken)
    engine = at.start()
    campaign = at.create()
    until(at, lambda: engine.fault is not None)
    assert not engine.may_send
    assert engine.fault == "the engine met a fault of its own and stopped: see the log, and restart"
    assert "RuntimeError: a bug" in caplog.text
    engine.close()
    monkeypatch.undo()
    at.start()
    told = at.wait(campaign)
    assert told["counts"]["accepted"] + told["counts"]["unknown"] == 30
    assert sum(at.simulator.accepted().values()) == 30
    assert at.simulator.duplicates() == {}


def test_what_is_under_way_when_the_engine_stops_by_itself_is_still_recorded(
    at: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    at.add_people(60)
    at.configure(SENDGRID, batch_size=10, concurrency=2)
    at.simulator.behave(SENDGRID, latency_s=0.2)
    engine = at.start()
    campaign = at.create()
    until(at, lambda: at.report(campaign)["counts"]["sending"] == 20)
    monkeypatch.setattr(campaign_step, "running", broken)
    engine.wake()
    until(at, lambda: engine.fault is not None)
    engine.close()
    told = at.report(campaign)
    assert (told["counts"]["accepted"], told["counts"]["queued"]) == (20, 40)
    assert (told["counts"]["sending"], told["counts"]["unknown"]) == (0, 0)


def test_calls_that_were_never_made_go_back_to_the_queue(
    at: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    at.add_people(20)
    engine = at.start()
    until(at, lambda: engine.may_send)
    monkeypatch.setattr(engine, "_call", broken)
    campaign = at.create()
    until(at, lambda: engine.fault is not None)
    engine.close()
    assert at.report(campaign)["counts"]["queued"] == 20
    at.start()
    sent_once(at, at.wait(campaign), 20)


@pytest.mark.parametrize(
    ("tampered", "told"),
    [
        ({"queued": 5, "planned": 10}, "queued"),
        ({"sending": 5, "planned": 10}, "sending"),
        ({"sending": -5, "planned": 0}, "sending"),
        ({"accepted": 4, "planned": 4}, "accepted"),
    ],
)
def test_a_counter_that_lies_ends_in_a_review_and_not_in_an_endless_wait(
    at: Rig, tampered: dict[str, int], told: str
) -> None:
    ledgers = Ledgers(at.database)
    campaign = ledgers.planned(5)
    batch = ledgers.claimed(campaign)
    ledgers.record(batch, Outcome.ACCEPTED)
    ledgers.tamper(campaign, **tampered)
    at.start()
    until(at, lambda: ledgers.campaign(campaign).status is CampaignStatus.NEEDS_REVIEW)
    assert at.report(campaign)["reason"] == f"ledger and counters differ: {told}"


# Stops and restarts


def test_a_stop_during_the_plan_is_gone_on_with_where_it_was(at: Rig) -> None:
    at.add_people(400)
    engine = at.start()
    campaign = at.create()
    until(at, lambda: at.report(campaign)["planned"] > 0)
    engine.close()
    assert not engine.may_send
    at.start()
    sent_once(at, at.wait(campaign), 400)


def test_a_stop_while_an_esp_hangs_returns_in_time_and_leaves_unknowns(at: Rig) -> None:
    at.add_people(30)
    at.configure(SENDGRID, batch_size=10, concurrency=2)
    at.simulator.behave(SENDGRID, Mode.HANG_AFTER)
    first = at.start()
    campaign = at.create()
    until(at, lambda: at.simulator.accepted()[SENDGRID] == 20)
    first.close(timeout_s=0.05)
    assert first._thread.is_alive()
    assert at.report(campaign)["counts"]["sending"] == 20
    first._lock.release()  # as the kernel does when the process ends
    at.simulator.behave(SENDGRID)
    at.start()
    told = at.wait(campaign)
    assert (told["status"], told["counts"]["unknown"]) == ("needs_review", 20)
    assert told["counts"]["accepted"] == 10
    assert at.simulator.duplicates() == {}
    at.stop()
    at.simulator.stop()  # the hanging calls end
    first.close()
    assert at.report(campaign)["counts"] == told["counts"]


def test_a_campaign_with_a_call_under_way_at_the_crash_is_stale_all_the_same(
    at: Rig, clock: Clock
) -> None:
    ledgers = Ledgers(at.database)
    campaign = ledgers.planned(30)
    ledgers.claimed(campaign, 10)
    clock.forward(hours=7)
    at.start()
    told = at.wait(campaign)
    assert (told["status"], told["reason"][:6]) == ("paused", "stale:")
    assert (told["counts"]["unknown"], told["counts"]["queued"]) == (10, 20)
    assert sum(at.simulator.accepted().values()) == 0


def test_a_campaign_of_which_nothing_is_left_to_send_is_never_stale(at: Rig, clock: Clock) -> None:
    ledgers = Ledgers(at.database)
    campaign = ledgers.planned(10)
    ledgers.claimed(campaign, 10)
    clock.forward(hours=7)
    at.start()
    assert at.wait(campaign)["status"] == "needs_review"


def test_a_process_that_only_waits_for_its_turn_does_not_spin(at: Rig) -> None:
    first = at.start()
    until(at, lambda: first.may_send)
    second = at.start()
    tries: list[int] = []
    take_over = second._take_over

    def count() -> None:
        tries.append(1)
        take_over()

    second._take_over = count  # type: ignore[method-assign]
    second.wake()
    second.wait_for_stand(0.3)
    assert len(tries) <= 2
    first.close()


def test_a_process_that_is_stopping_may_not_send(at: Rig) -> None:
    engine = at.start()
    until(at, lambda: engine.may_send)
    engine.stop_claiming()
    assert not engine.may_send


# Mails and people


_LOOP = "{% for one in attributes.list %}"


@pytest.mark.parametrize(
    ("html", "reason"),
    [
        ("{{ nobody }}", "html: "),
        # Harmless for somebody of whom nothing is known; too much for these people.
        (f"{_LOOP * 4}x{'{% endfor %}' * 4}", "the mails cannot be built: html: "),
    ],
)
def test_a_template_that_cannot_be_filled_pauses_the_campaign_and_blames_no_esp(
    at: Rig, html: str, reason: str
) -> None:
    at.add_people(20, attributes={"list": list(range(100))})
    at.start()
    told = at.send(html=html)
    assert (told["status"], told["counts"]["queued"]) == ("paused", 20)
    assert told["reason"].startswith(reason)
    assert at.simulator.requests(SENDGRID) <= 1  # the look-up of the account
    with at.database.read() as session:
        assert session.execute(text("SELECT * FROM esp_performance_days")).all() == []


def test_a_person_who_is_erased_after_the_plan_is_skipped(at: Rig) -> None:
    at.add_people(3)
    at.configs = {SENDGRID: at.configs[SENDGRID]}
    at.configure(SENDGRID, daily_limit=1)
    at.start()
    campaign = at.create()
    at.wait(campaign, CampaignStatus.WAITING)
    with at.database.write() as session:
        session.execute(delete(Subscriber).where(Subscriber.email_key == "person1@example.net"))
    at.stop()
    at.configure(SENDGRID, daily_limit=None)
    at.start()
    told = at.wait(campaign)
    assert (told["status"], told["counts"]["accepted"]) == ("sent", 2)
    assert told["skipped"] == {"erased": 1}


def only_ses(at: Rig, **limits: Any) -> None:
    at.configs = {SES: at.configs[SES]}
    at.configure(SES, **limits)


def test_mails_that_need_calls_of_their_own_are_claimed_about_as_often(at: Rig) -> None:
    at.add_people(30, first_name="{{x}}")
    only_ses(at, batch_size=50, concurrency=1)
    at.start()
    sent_once(at, at.send(), 30)
    batches = Ledgers(at.database).batches()
    assert [batch.accepted for batch in batches] == [1] * 30
    # A batch tries one more than fitted last, so that it grows again where it can.
    assert sum(batch.size for batch in batches[1:]) <= 2 * 30


def test_after_mails_that_need_calls_of_their_own_batches_grow_again(at: Rig) -> None:
    at.add_people(5, "odd{}@example.net", first_name="{{x}}")
    at.add_people(100)
    only_ses(at, batch_size=50, concurrency=1)
    at.start()
    sent_once(at, at.send(), 105)
    assert len(Ledgers(at.database).batches()) <= 5 + 8


def test_of_a_batch_that_did_not_fit_only_what_the_call_carried_is_unknown(at: Rig) -> None:
    at.add_people(30, first_name="{{x}}")
    only_ses(at, batch_size=50, concurrency=1)
    at.simulator.behave(SES, Mode.RESET_AFTER, count=1)
    at.start()
    told = at.send()
    assert (told["counts"]["unknown"], told["counts"]["accepted"]) == (1, 29)
    assert at.simulator.duplicates() == {}


# Campaigns side by side


def test_campaigns_side_by_side_take_turns(at: Rig) -> None:
    at.add_people(60)
    at.configs = {SENDGRID: replace(at.configs[SENDGRID], batch_size=5, concurrency=1)}
    campaigns = [at.create(subject=f"Number {n}") for n in range(3)]
    at.start()
    for campaign in campaigns:
        at.wait(campaign)
    order = [batch.campaign_id for batch in Ledgers(at.database).batches()]
    assert len(order) == 36
    for start in range(0, 36, 3):
        assert sorted(order[start : start + 3]) == campaigns


def test_a_later_campaign_is_not_held_up_by_one_that_is_under_way(at: Rig) -> None:
    at.add_people(100)
    at.configs = {SENDGRID: replace(at.configs[SENDGRID], batch_size=5, concurrency=1)}
    at.start()
    long = at.create()
    until(at, lambda: at.report(long)["counts"]["accepted"] >= 5)
    short = at.create(audience={"emails": [f"person{n}@example.net" for n in range(10)]})
    at.wait(short)
    assert at.report(long)["counts"]["queued"] > 0
    assert at.wait(long)["status"] == "sent"


def test_a_pause_from_elsewhere_is_never_overwritten_by_a_step(at_postgres: Rig) -> None:
    at = at_postgres
    at.add_people(200)
    at.configs = {SENDGRID: replace(at.configs[SENDGRID], batch_size=2, concurrency=4)}
    engine = at.start()
    campaign = at.create()
    until(at, lambda: at.report(campaign)["counts"]["accepted"] > 0)
    for _ in range(5):
        with at.database.write() as session:
            pause(session.get_one(Campaign, campaign, with_for_update=True))
        before = at.wait(campaign)
        assert before["status"] == "paused"
        engine.wake()
        with at.database.write() as session:
            found = session.get_one(Campaign, campaign, with_for_update=True)
            assert (found.status, found.sending) == (CampaignStatus.PAUSED, 0)
            resume(session, found, at.configs, at.clock(), may_send_as=at.may_send_as)
        engine.wake()
    sent_once(at, at.wait(campaign), 200)


def test_an_equal_esp_steps_in_for_one_that_is_busy(at: Rig) -> None:
    at.add_people(60)
    for esp in SIMULATED:
        at.configure(esp, priority=1 if esp is not POSTMARK else 2, batch_size=5, per_second=5)
    at.configure(SES, per_second=None)
    engine = at.start()
    engine._floor.pace[SENDGRID] = Pace(lambda: 0.0)  # after its first batch never ready again
    told = at.send()
    sent_once(at, told, 60)
    assert told["by_esp"].get("sendgrid", 0) in (0, 5)
    assert "postmark" not in told["by_esp"]


def test_an_esp_of_a_lower_priority_does_not_step_in_for_one_that_is_busy(at: Rig) -> None:
    at.add_people(60)
    at.configure(SENDGRID, batch_size=5, concurrency=1)
    at.start()
    assert at.send()["by_esp"] == {"sendgrid": 60}


def test_a_campaign_that_another_process_wrote_is_found(at: Rig, clock: Clock) -> None:
    at.add_people(10)
    engine = at.start()
    until(at, lambda: engine.may_send)
    other = Database(at.database.url.render_as_string(hide_password=False))
    with other.write() as session:
        campaign = create(session, NEW, now=clock(), sandbox=True).id
    other.close()
    sent_once(at, at.wait(campaign), 10)


# The clock


@pytest.mark.parametrize("hours", [-1, -30])
def test_a_clock_that_is_set_back_neither_loses_nor_repeats_anything(
    at: Rig, clock: Clock, hours: float
) -> None:
    at.add_people(60)
    at.configs = {SENDGRID: at.configs[SENDGRID]}
    at.configure(SENDGRID, batch_size=5, concurrency=1)
    at.start()
    campaign = at.create()
    until(at, lambda: at.report(campaign)["counts"]["accepted"] >= 10)
    look_ups = at.simulator.requests(SENDGRID)
    clock.forward(hours=hours)
    told = at.wait(campaign)
    sent_once(at, told, 60)
    assert told["duration_seconds"] >= 0
    assert at.simulator.requests(SENDGRID) > look_ups
