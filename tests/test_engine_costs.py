"""What a campaign through the whole engine costs, in counts that no clock can change."""

import gc
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
from sqlalchemy import event

import email_sender
from config.esp_config import EspConfig, EspName
from database.session import Database
from email_sender import CampaignEngine
from services.adapters import build_adapter
from services.base import Account, Batch, BatchAnswer, EspAdapter, Outcome, SendResult
from services.campaigns import stands_still
from services.mailing import Identity
from tests.canned_esp import CannedEsp, answer
from tests.conftest import NOW
from tests.ledgers import HASH_KEY, Ledgers
from tests.rig import LINK_KEY, WAIT_S, configs_at

STATEMENTS = 8
"""For a thousand mails, of a step that records and claims a call of as many for each of 8 workers."""
STATEMENTS_ALONE = 24
"""The same with one worker."""
BYTES_A_PERSON = 64
"""Next to nothing: what a person is in memory takes some 2,000."""


class Taking(EspAdapter):
    """Takes every call at once."""

    name = EspName.SENDGRID
    max_batch = 1_000

    def fit(self, batch: Batch) -> int:
        return len(batch.recipients)

    def send(self, batch: Batch) -> BatchAnswer:
        taken = SendResult(outcome=Outcome.ACCEPTED, message_id="call")
        return BatchAnswer(http_status=202, results=(taken,) * len(batch.recipients))

    def account(self) -> Account:
        return Account()


class InTurn:
    """A pool without threads: the same campaign always takes the same steps."""

    def __init__(self, **_: Any) -> None: ...

    def submit(self, call: Callable[[], Any]) -> "Future[Any]":
        done: Future[Any] = Future()
        done.set_result(call())
        return done

    def shutdown(self, **_: Any) -> None: ...


@contextmanager
def engine(
    at: Ledgers, build: Callable[[EspConfig], EspAdapter], url: str = "http://x", **limits: int
) -> Iterator[CampaignEngine]:
    """With SendGrid alone."""
    configs = configs_at(dict.fromkeys(EspName, url), **limits)
    made = CampaignEngine(
        at.database,
        {EspName.SENDGRID: configs[EspName.SENDGRID]},
        build=build,
        identity=Identity(
            hash_key=HASH_KEY, link_key=LINK_KEY, public_base_url="https://mail.example.com"
        ),
        clock=lambda: NOW,
    )
    made.start()
    try:
        yield made
    finally:
        made.close()


def addressed(at: Ledgers, people: int) -> str:
    """So many new people, and the tag that they have."""
    tag = f"{people} people"
    at.add_people(people, f"{people}-{{}}@example.net", tags=[tag], first_name="Ann")
    return tag


def send(at: Ledgers, engine: CampaignEngine, tag: str) -> int:
    """A campaign to everybody with a tag, to its end."""
    campaign_id = at.create(audience={"tags": [tag]})
    engine.wake()
    for _ in range(int(WAIT_S / 0.05)):
        engine.wait_for_stand(0.05)
        if stands_still(at.campaign(campaign_id)):
            return campaign_id
    raise AssertionError(at.report(campaign_id))


@contextmanager
def said_by_the_engine(database: Database) -> Iterator[list[str]]:
    """Its statements while the block runs, those that begin a transaction too."""
    said: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if threading.current_thread().name == "engine":
            said.append(statement)

    for one in (database.reader, database.writer):
        event.listen(one, "before_cursor_execute", note)
    try:
        yield said
    finally:
        for one in (database.reader, database.writer):
            event.remove(one, "before_cursor_execute", note)


@pytest.fixture
def stepping(database: Database, monkeypatch: pytest.MonkeyPatch) -> Ledgers:
    """The engines of the test have no threads but their own."""
    monkeypatch.setattr(email_sender, "ThreadPoolExecutor", InTurn)
    return Ledgers(database)


@pytest.mark.parametrize(("workers", "most"), [(8, STATEMENTS), (1, STATEMENTS_ALONE)])
def test_a_thousand_mails_cost_few_statements(stepping: Ledgers, workers: int, most: int) -> None:
    at, counts = stepping, []
    # All ids are in the first chunk, so that each is planned at once.
    tags = [addressed(at, people) for people in (900, 1_000, 8_000)]
    with engine(at, lambda _: Taking(), concurrency=workers, batch_size=1_000) as running:
        for tag in tags:
            with said_by_the_engine(at.database) as said:
                send(at, running, tag)
            counts.append(len(said))
    _, few, many = counts
    assert many - few <= 7 * most


def test_memory_does_not_grow_with_the_people(stepping: Ledgers) -> None:
    at, peaks = stepping, []
    tags = [addressed(at, people) for people in (1_000, 2_000, 8_000)]
    with engine(at, lambda _: Taking(), concurrency=2, batch_size=500) as running:
        for tag in tags:
            gc.collect()
            tracemalloc.start()
            try:
                send(at, running, tag)
                peaks.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
    _, few, many = peaks
    assert many - few < 6_000 * BYTES_A_PERSON


def test_a_campaign_opens_no_more_connections_than_there_are_workers(database: Database) -> None:
    at, workers = Ledgers(database), 3
    met, turns = threading.Barrier(workers), count()
    accept = answer(202, headers={"X-Message-Id": "call"})

    def act(sock: socket.socket) -> bool:
        # The look-up of the account comes first; then all workers call at once.
        if 1 <= next(turns) <= workers:
            met.wait(WAIT_S)
        return accept(sock)

    tag = addressed(at, 600)
    with CannedEsp() as esp:
        esp.act = act
        with engine(at, build_adapter, esp.url, concurrency=workers, batch_size=20) as running:
            campaign_id = send(at, running, tag)
        calls = [one for one in esp.requests if one.method == "POST"]
        assert (len(calls), at.counts(campaign_id)) == (30, {"accepted": 600})
        assert esp.connections == workers
