"""Claims: each send handed out once, to whoever asks, and to nobody who has left; on both databases."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, event, text, update
from sqlalchemy.orm import Session

from config.esp_config import EspName
from database.models import Campaign, Subscriber, SubscriberStatus, TallyKind
from database.session import Database
from services.base import Outcome
from services.ledger.claim import ClaimedBatch, claim
from services.ledger.counters import tallies
from tests.conftest import NOW
from tests.ledgers import Ledgers, at
from tests.people import either_database, postgres

__all__ = ["at", "either_database", "postgres"]  # fixtures

SENDGRID, SES = EspName.SENDGRID, EspName.SES


def keys(batch: ClaimedBatch | None) -> list[str]:
    return [send.email for send in batch.sends] if batch else []


def claim_in(session: Session, campaign_id: int, n: int) -> ClaimedBatch | None:
    campaign = session.get_one(Campaign, campaign_id)
    return claim(session, campaign, SENDGRID, n, NOW, probe=False)


def test_a_claim_takes_the_next_sends_and_says_what_their_mails_are_made_of(at: Ledgers) -> None:
    campaign_id = at.planned(5)
    at.claimed(campaign_id, 2)
    batch = at.claimed(campaign_id, 2)
    assert keys(batch) == ["person2@example.net", "person3@example.net"]
    send = at.sends(campaign_id)[2]
    assert (send.status.value, send.esp, send.batch_id, send.attempt, send.claimed_at) == (
        "sending",
        SENDGRID,
        batch.id,
        1,
        at.now,
    )
    assert set(batch.sends[0]._fields) == {
        *("send_id", "attempt", "subscriber_id", "email", "email_hash"),
        *("first_name", "last_name", "attributes", "tags", "mailbox_provider"),
        *("refused_by", "kept_from"),
    }
    row = at.batches()[1]
    assert (row.size, row.first_send_id, row.last_send_id, row.state.value) == (
        2,
        batch.sends[0].send_id,
        batch.sends[-1].send_id,
        "sending",
    )
    assert at.counts(campaign_id) == {"queued": 1, "sending": 4}
    assert at.used() == (4, 4)


def test_a_claim_of_more_than_there_is_takes_what_there_is(at: Ledgers) -> None:
    campaign_id = at.planned(3)
    assert len(at.claimed(campaign_id, 100).sends) == 3
    assert at.claim(campaign_id, 100) is None
    assert [batch.size for batch in at.batches()] == [3]


def test_eight_threads_hand_out_each_send_once(at: Ledgers) -> None:
    campaign_id = at.planned(400)

    def claim_all(_: int) -> list[str]:
        taken: list[str] = []
        while batch := at.claim(campaign_id, 7):
            taken += keys(batch)
        return taken

    with ThreadPoolExecutor(8) as pool:
        taken = [key for batch in pool.map(claim_all, range(8)) for key in batch]
    assert len(taken) == len(set(taken)) == 400
    assert at.counts(campaign_id) == {"sending": 400}
    assert sum(batch.size for batch in at.batches()) == 400
    assert at.used() == (400, 400)


def test_who_left_after_the_plan_is_skipped_with_the_reason_and_in_no_batch(at: Ledgers) -> None:
    campaign_id = at.planned(6)
    at.suppress("person0@example.net")
    with at.database.write() as session:
        session.execute(delete(Subscriber).where(Subscriber.email_key == "person2@example.net"))
        session.execute(
            update(Subscriber)
            .where(Subscriber.email_key == "person4@example.net")
            .values(status=SubscriberStatus.SUNSET)
        )
    batch = at.claimed(campaign_id, 5)
    assert keys(batch) == ["person1@example.net", "person3@example.net"]
    skipped = [send for send in at.sends(campaign_id) if send.status.value == "skipped"]
    assert [send.reason for send in skipped] == ["suppressed", "erased", "not_active"]
    nothing = {(s.esp, s.batch_id, s.claimed_at, s.attempt) for s in skipped}
    assert nothing == {(None, None, None, 0)}
    assert at.report(campaign_id)["skipped"] == {"erased": 1, "not_active": 1, "suppressed": 1}
    assert at.counts(campaign_id) == {"sending": 2, "queued": 1}
    assert (at.batches()[0].size, at.used()) == (2, (2, 2))


def test_a_claim_of_people_who_all_left_is_no_batch_and_takes_no_quota(at: Ledgers) -> None:
    campaign_id = at.planned(3)
    for n in range(3):
        at.suppress(f"person{n}@example.net")
    assert at.claim(campaign_id) is None
    assert (list(at.batches()), at.used()) == ([], (0, 0))
    assert at.counts(campaign_id) == {}
    assert at.report(campaign_id)["skipped"] == {"suppressed": 3}


def test_a_suppression_that_has_ended_keeps_nobody_back(at: Ledgers) -> None:
    campaign_id = at.planned(1)
    at.suppress("person0@example.net")
    with at.database.write() as session:
        session.execute(update(Subscriber).values(status=SubscriberStatus.ACTIVE))
        session.execute(
            text("UPDATE suppressions SET until = :until"), {"until": at.now - timedelta(days=1)}
        )
    assert keys(at.claim(campaign_id)) == ["person0@example.net"]


def test_a_send_that_one_esp_refused_and_another_got_is_a_failover(at: Ledgers) -> None:
    campaign_id = at.planned(5)
    at.record(at.claimed(campaign_id, 5), Outcome.ESP_UNAVAILABLE)
    at.claimed(campaign_id, 2, SENDGRID)
    at.claimed(campaign_id, 3, SES)
    with at.database.read() as session:
        assert tallies(session, campaign_id, TallyKind.FAILOVER) == {"sendgrid>ses": 3}
        assert tallies(session, campaign_id, TallyKind.CLAIMED) == {"sendgrid": 2, "ses": 3}
    assert [send.attempt for send in at.sends(campaign_id)] == [2] * 5


def test_a_claim_that_is_rolled_back_leaves_no_trace(at: Ledgers) -> None:
    campaign_id = at.planned(5)
    before = (at.report(campaign_id), at.used())
    with suppress(KeyboardInterrupt), at.database.write() as session:
        assert keys(claim_in(session, campaign_id, 3))
        raise KeyboardInterrupt
    assert (at.report(campaign_id), at.used(), list(at.batches())) == (*before, [])


# How each database finds the sends


@contextmanager
def statements(database: Database, of: str) -> Iterator[list[tuple[str, Any]]]:
    """The statements that begin with `of`, with their parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if of in statement:
            seen.append((statement, parameters))

    event.listen(database.writer, "before_cursor_execute", note)
    yield seen
    event.remove(database.writer, "before_cursor_execute", note)


def plan_of(database: Database, statement: str, parameters: Any) -> str:
    with database.writer.connect() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return "\n".join(row.detail for row in rows)


def test_on_sqlite_a_claim_searches_the_index_of_queued_sends_alone(database: Database) -> None:
    at = Ledgers(database)
    campaign_id = at.planned(3)
    with statements(database, "FROM email_sends LEFT OUTER JOIN subscribers") as seen:
        at.claimed(campaign_id)
    plan = plan_of(database, *seen[0])
    assert "SEARCH email_sends USING INDEX ix_email_sends_queued (campaign_id=?)" in plan
    assert "SEARCH subscribers USING INTEGER PRIMARY KEY (rowid=?)" in plan
    assert "SCAN" not in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize("closed", [(), ("gmail",)])
def test_on_sqlite_claimed_sends_are_moved_by_their_ids(
    database: Database, closed: tuple[str, ...]
) -> None:
    at = Ledgers(database)
    campaign_id = at.planned(3)
    with statements(database, "UPDATE email_sends") as seen, database.write() as session:
        campaign = session.get_one(Campaign, campaign_id)
        claim(session, campaign, SENDGRID, 3, NOW, probe=False, closed=closed)
    plan = plan_of(database, *seen[0])
    assert plan == "SEARCH email_sends USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"


def test_on_sqlite_a_chunk_is_counted_by_the_ids_that_it_added(database: Database) -> None:
    at = Ledgers(database)
    at.add_people(3)
    campaign_id = at.create()
    with statements(database, "count(*)") as seen:
        at.plan(campaign_id)
    assert "SEARCH email_sends USING INTEGER PRIMARY KEY (rowid>?)" in plan_of(database, *seen[0])


def test_on_postgresql_a_claim_passes_by_what_another_one_holds(postgres: Database) -> None:
    at = Ledgers(postgres)
    campaign_id = at.planned(6)
    with statements(postgres, "FROM email_sends LEFT OUTER JOIN subscribers") as seen:
        at.claimed(campaign_id, 2)
    assert "FOR UPDATE OF email_sends SKIP LOCKED" in seen[0][0]
    held = select_for_update(at, "person2@example.net")
    with held:
        assert keys(at.claim(campaign_id, 2)) == ["person3@example.net", "person4@example.net"]


@contextmanager
def select_for_update(at: Ledgers, email_key: str) -> Iterator[None]:
    with at.database.writer.begin() as connection:
        connection.execute(
            text("SELECT id FROM email_sends WHERE email_key = :key FOR UPDATE"), {"key": email_key}
        )
        yield


def test_a_claim_never_takes_more_than_it_was_asked_for_however_often_it_runs(
    at: Ledgers,
) -> None:
    campaign_id = at.planned(50)
    with at.database.write() as session:
        if session.get_bind().dialect.name == "postgresql":
            # The plan that would run a plain sub-select again for each row.
            for kind in ("hashagg", "hashjoin", "mergejoin", "material", "sort"):
                session.execute(text(f"SET LOCAL enable_{kind} = off"))
        sizes = [len(keys(claim_in(session, campaign_id, 9))) for _ in range(5)]
    assert sizes == [9] * 5
