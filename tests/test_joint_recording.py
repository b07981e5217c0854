"""Calls that wait together are recorded together, each with its own answer."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from config.esp_config import EspName
from database.models import WebhookEvent
from services.event_recorder import Recorded, joint, record_calls
from services.event_recorder.joint import JointRecording
from services.events import Event, EventKind
from tests.conftest import NOW
from tests.faults.http_client import wait_until
from tests.ledgers import HASH_KEY, Ledgers, at
from tests.people import either_database, postgres
from tests.test_event_recorder import Hook

__all__ = ["at", "either_database", "postgres"]  # fixtures

SENDGRID, POSTMARK = EspName.SENDGRID, EspName.POSTMARK


def foreign(key: str) -> Event:
    return Event(key=key, kind=EventKind.DELIVERED, occurred_at=NOW, payload={})


def stored(ledgers: Ledgers) -> int:
    with ledgers.database.read() as session:
        return session.scalar(select(func.count()).select_from(WebhookEvent)) or 0


def test_each_call_is_told_of_its_own_events(at: Ledgers) -> None:
    hook = Hook(at)
    one, other = (hook.event(EventKind.DELIVERED, person) for person in (0, 1))
    calls = [[one, foreign("a")], [], [other, one, other], [foreign("a")]]
    with at.database.write() as session:
        found = record_calls(session, SENDGRID, calls, hash_key=HASH_KEY, now=NOW)
    assert found == [
        Recorded(received=2, new=2, duplicates=0, ignored=1),
        Recorded(received=0, new=0, duplicates=0, ignored=0),
        Recorded(received=3, new=1, duplicates=2, ignored=0),
        Recorded(received=1, new=0, duplicates=1, ignored=0),
    ]
    assert hook.told() == {"delivered": 2}


class Held:
    """Recording, with its first turn held until so many calls wait behind it."""

    def __init__(self, at: Ledgers, monkeypatch: pytest.MonkeyPatch) -> None:
        self.recording = JointRecording(at.database, HASH_KEY)
        self.turns: list[tuple[EspName, int]] = []
        self.has_begun, self.go = threading.Event(), threading.Event()
        self.broken: set[str] = set()

        def record(session: Any, esp: EspName, calls: Sequence[Sequence[Event]], **how: Any) -> Any:
            self.has_begun.set()
            self.go.wait(30)
            self.turns.append((esp, len(calls)))
            if self.broken & {event.key for call in calls for event in call}:
                raise OperationalError("INSERT", {}, Exception("disk I/O error"))
            return record_calls(session, esp, calls, **how)

        monkeypatch.setattr(joint, "record_calls", record)

    def _wait(self, n: int) -> bool:
        return len(self.recording._waiting) == n

    def told(self, *calls: tuple[EspName, list[str]]) -> list[Recorded | str]:
        """What each call is answered; the first of them has its turn before the others come."""

        def one(esp: EspName, keys: list[str]) -> Recorded | str:
            try:
                return self.recording.record(esp, [foreign(key) for key in keys], NOW)
            except OperationalError:
                return "failed"

        with ThreadPoolExecutor(len(calls)) as pool:
            answers = []
            for n, call in enumerate(calls):
                answers.append(pool.submit(one, *call))
                if n == 0:
                    self.has_begun.wait(30)
                else:
                    wait_until(partial(self._wait, n), "it to wait")
            self.go.set()
            return [answer.result() for answer in answers]


def recorded(n: int) -> Recorded:
    return Recorded(received=n, new=n, duplicates=0, ignored=n)


def test_who_waits_is_taken_along_esp_by_esp(at: Ledgers, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(at, monkeypatch)
    calls = [
        (SENDGRID, ["a"]),
        (SENDGRID, ["b"]),
        (POSTMARK, ["c"]),
        (SENDGRID, ["d", "e"]),
        (POSTMARK, ["f"]),
    ]
    assert held.told(*calls) == [recorded(len(keys)) for _, keys in calls]
    assert held.turns == [(SENDGRID, 1), (SENDGRID, 2), (POSTMARK, 2)]
    assert stored(at) == 6


def test_one_transaction_has_its_limit(at: Ledgers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint, "MOST_EVENTS", 2)
    held = Held(at, monkeypatch)
    calls = [(SENDGRID, keys) for keys in (["a"], ["b", "c", "d"], ["e"], ["f"], ["g"])]
    assert held.told(*calls) == [recorded(len(keys)) for _, keys in calls]
    assert held.turns == [(SENDGRID, 1), (SENDGRID, 1), (SENDGRID, 2), (SENDGRID, 1)]


def test_a_call_that_cannot_be_recorded_fails_alone(
    at: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(at, monkeypatch)
    held.broken = {"b"}
    answers = held.told((SENDGRID, ["a"]), (SENDGRID, ["b"]), (SENDGRID, ["c"]))
    assert answers == [recorded(1), "failed", recorded(1)]
    assert stored(at) == 2
    held.broken = set()
    assert held.told((SENDGRID, ["b"])) == [recorded(1)]


def test_where_the_database_is_not_to_be_had_all_who_wait_are_told(
    at: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = JointRecording(at.database, HASH_KEY)
    error = OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))
    others = [joint._Call(esp=SENDGRID, events=[foreign("b")]) for _ in range(2)]
    recording._waiting += others
    with monkeypatch.context() as patched:
        patched.setattr(at.database, "write", lambda: (_ for _ in ()).throw(error))
        with pytest.raises(OperationalError):
            recording.record(SENDGRID, [foreign("a")], NOW)
    assert [one.error for one in others] == [error, error]
    assert recording.record(SENDGRID, [foreign("a")], NOW) == recorded(1)
