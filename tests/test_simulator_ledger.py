"""What the simulator keeps, and the limits of an account."""

import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from config.esp_config import EspName
from services.simulator.desk import Desk
from services.simulator.dialect import Dialect
from services.simulator.http1 import Request
from services.simulator.ledger import Ledger
from services.simulator.limits import AccountLimits
from services.simulator.postmark import Postmark
from services.simulator.sendgrid import SendGrid
from services.simulator.server import SIMULATED, Simulator
from services.simulator.ses import Ses
from tests.conftest import NOW, Clock
from tests.simulator_calls import (
    BATCH_PATHS,
    BATCHES,
    JSON,
    KEYS,
    call,
    people,
    results,
    send,
    ses_batch,
)

SENDGRID, SES, POSTMARK = SIMULATED
DIALECTS: dict[EspName, type[Dialect]] = {SENDGRID: SendGrid, SES: Ses, POSTMARK: Postmark}


@pytest.fixture
def sim(clock: Clock) -> Iterator[Simulator]:
    with Simulator(clock=clock) as simulator:
        yield simulator


@pytest.mark.parametrize("esp", SIMULATED)
def test_mails_can_be_asked_for(sim: Simulator, esp: EspName) -> None:
    for name in SIMULATED:
        send(sim, name, people(2))
    mails = sim.mails(esp=esp, to="READER1@example.net")
    assert [(mail.esp, mail.recipient, mail.received_at) for mail in mails] == [
        (esp, "reader1@example.net", NOW)
    ]
    assert [mail.esp for mail in sim.mails(limit=3)] == [POSTMARK, POSTMARK, SES]
    assert len(sim.mails(limit=None)) == 6


def test_recipient_of_two_esps_is_a_duplicate(sim: Simulator) -> None:
    send(sim, SENDGRID, people(3))
    assert sim.duplicates() == {}
    send(sim, SES, ["Reader1@example.net"])
    send(sim, POSTMARK, people(2))
    assert sim.duplicates() == {"reader0@example.net": 2, "reader1@example.net": 3}


def test_every_mail_taken_can_be_compared(sim: Simulator) -> None:
    send(sim, SENDGRID, people(1))
    send(sim, POSTMARK, [*people(1, 1), "inactive@example.net"])
    assert sim.accepted_sends() == [
        (SENDGRID, "reader0@example.net", "s_reader0@example.net"),
        (POSTMARK, "reader1@example.net", "s_reader1@example.net"),
    ]


def test_calls_are_kept_with_what_became_of_them(sim: Simulator) -> None:
    send(sim, SES, [*people(2), "invalid@example.net"])
    sim.behave(SES, "hang_after")
    with pytest.raises(TimeoutError):
        call(sim, SES, ses_batch(people(1)), timeout_s=0.2)
    sim.behave(SES, "throttle")
    send(sim, SES, people(1))
    assert [(met.mode, met.status, met.recipients, met.taken) for met in sim.calls(SES)] == [
        ("ok", 200, 3, 2),
        ("hang_after", None, 1, 1),
        ("throttle", 429, 0, 0),
    ]
    assert (sim.requests(SES), sim.connections(SES), sim.requests(POSTMARK)) == (3, 3, 0)


def test_reset_forgets_all_but_the_limits(sim: Simulator) -> None:
    sim.limit(SES, daily_limit=3)
    send(sim, SES, people(5))
    assert sim.limit_violations == {SES: {"daily": 1}}
    sim.behave(SES, "throttle")
    sim.reset()
    assert (sim.mails(), sim.calls(), sim.limit_violations) == ([], [], {})
    assert results(SES, send(sim, SES, people(4)))[2:] == [
        "SUCCESS",
        "ACCOUNT_DAILY_QUOTA_EXCEEDED",
    ]


def test_what_was_told_before_a_reset_says_nothing_of_the_mails_after_it(sim: Simulator) -> None:
    send(sim, SES, people(3))
    before = sim.ledger.run
    sim.reset()
    send(sim, SES, people(2))
    sim.ledger.note_told(SES, 3, before)
    assert [mail.id for mail in sim.ledger.untold(SES, NOW, 10)] == [1, 2]
    sim.ledger.note_told(SES, 1, sim.ledger.run)
    assert [mail.id for mail in sim.ledger.untold(SES, NOW, 10)] == [2]


@pytest.mark.parametrize(
    ("kept", "with_content"),
    [({"keep_newest": 3}, 3), ({"keep_content": False}, 0), ({}, 5)],
)
def test_content_is_kept_for_the_newest_mails(kept: dict[str, Any], with_content: int) -> None:
    with Simulator(**kept) as sim:
        send(sim, SENDGRID, people(2))
        send(sim, POSTMARK, people(3, 2))
        mails = sim.mails()
        assert [mail.subject is not None for mail in mails] == [
            place < with_content for place in range(5)
        ]
        assert sim.accepted() == {SENDGRID: 2, SES: 0, POSTMARK: 3}


def test_content_is_bounded_in_bytes() -> None:
    ledger = Ledger(keep_newest=100, keep_bytes=400)
    desk = Desk(Postmark(), ledger)
    for number in range(10):
        desk.serve(_request(POSTMARK, BATCHES[POSTMARK](people(1, number))))
    kept = [mail for mail in ledger.mails() if mail.html is not None]
    sizes = ledger._connection.execute("SELECT SUM(size) FROM contents").fetchone()
    ledger.close()
    assert 1 <= len(kept) < 10
    assert sizes[0] <= 400


def test_mailbox_file_outlives_its_process(tmp_path: Path) -> None:
    path = tmp_path / "mailbox.db"
    with Simulator(mailbox=path, keep_newest=3) as sim:
        send(sim, SENDGRID, people(2))
    with Simulator(mailbox=path, keep_newest=3) as sim:
        send(sim, SENDGRID, people(2))
        assert [mail.subject for mail in sim.mails()] == ["Hello N1", "Hello N0", "Hello N1", None]
        assert len(sim.duplicates()) == 2


def test_mailbox_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mailbox.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ValueError, match="another version"):
        Simulator(mailbox=path)


def test_calls_from_many_threads_are_all_booked(sim: Simulator) -> None:
    def one(number: int) -> int:
        esp = SIMULATED[number % 3]
        sim.accepted()
        return send(sim, esp, people(10, number * 10)).status

    with ThreadPoolExecutor(8) as threads:
        statuses = set(threads.map(one, range(60)))
    assert (statuses, sim.accepted()) == ({200, 202}, dict.fromkeys(SIMULATED, 200))
    assert sim.duplicates() == {}


@pytest.mark.parametrize(
    ("esp", "status", "taken"),
    [(SENDGRID, 429, 10), (SES, 200, 15), (POSTMARK, 429, 10)],
)
def test_recipients_per_second_are_limited_as_the_esp_does(
    sim: Simulator, clock: Clock, esp: EspName, status: int, taken: int
) -> None:
    sim.limit(esp, per_second=10)
    assert send(sim, esp, people(10)).status in (200, 202)
    assert sim.limit_violations == {}
    assert send(sim, esp, people(10)).status == status
    assert (sim.accepted()[esp], sim.limit_violations) == (taken, {esp: {"per_second": 1}})
    clock.forward(seconds=1)
    assert send(sim, esp, people(10)).status in (200, 202)
    assert (sim.accepted()[esp], sim.limit_violations) == (taken + 10, {esp: {"per_second": 1}})


def test_who_keeps_the_pace_breaks_no_limit(sim: Simulator, clock: Clock) -> None:
    sim.limit(SES, per_second=14)
    for number in range(30):
        assert set(results(SES, send(sim, SES, people(14, number * 14)))) == {"SUCCESS"}
        clock.forward(seconds=0.8 if number % 2 else 1.2)
    assert sim.limit_violations == {}


@pytest.mark.parametrize(
    ("esp", "status", "taken"),
    [(SENDGRID, 401, 8), (SES, 200, 10), (POSTMARK, 200, 10)],
)
def test_recipients_per_day_are_limited_as_the_esp_does(
    sim: Simulator, clock: Clock, esp: EspName, status: int, taken: int
) -> None:
    sim.limit(esp, daily_limit=10)
    send(sim, esp, people(8))
    assert send(sim, esp, people(8, 8)).status == status
    assert (sim.accepted()[esp], sim.limit_violations) == (taken, {esp: {"daily": 1}})
    clock.forward(hours=24, minutes=1)
    send(sim, esp, people(8, 16))
    assert sim.accepted()[esp] == taken + 8


@pytest.mark.parametrize(("esp", "left"), [(SENDGRID, 10), (SES, 3), (POSTMARK, 10)])
def test_day_of_ses_is_the_last_24_hours(
    sim: Simulator, clock: Clock, esp: EspName, left: int
) -> None:
    clock.now = NOW.replace(hour=20)
    send(sim, esp, people(4))
    clock.forward(hours=3)
    send(sim, esp, people(3, 4))
    clock.forward(hours=1, minutes=1)  # past midnight
    sim.limit(esp, daily_limit=10)
    send(sim, esp, people(left, 7))
    assert sim.limit_violations == {}
    clock.forward(hours=20)  # what was sent first is a day old
    send(sim, esp, people(4, 20))
    assert (sim.limit_violations == {}) is (esp is SES)


@pytest.mark.parametrize("limits", [{"per_second": 0}, {"daily_limit": -1}, {"burst_s": 0}])
def test_limit_is_above_zero(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        AccountLimits(**limits)


def test_limits_may_be_given_at_the_start(clock: Clock) -> None:
    with Simulator(limits={SES: AccountLimits(daily_limit=1)}, clock=clock) as sim:
        assert results(SES, send(sim, SES, people(2))) == [
            "SUCCESS",
            "ACCOUNT_DAILY_QUOTA_EXCEEDED",
        ]


def test_clock_that_goes_back_gives_nothing(clock: Clock) -> None:
    with Simulator(limits={SES: AccountLimits(per_second=2)}, clock=clock) as sim:
        send(sim, SES, people(3))
        clock.now -= timedelta(seconds=10)
        assert results(SES, send(sim, SES, people(1))) == ["ACCOUNT_THROTTLED"]


def _request(esp: EspName, payload: Any, path: str | None = None) -> Request:
    headers = {name.lower(): value for name, value in (KEYS[esp] | JSON).items()}
    return Request(
        method="POST",
        path=path or BATCH_PATHS[esp],
        headers=headers,
        body=json.dumps(payload).encode(),
    )
