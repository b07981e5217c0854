"""The harness itself: it names every fault, and catches a sender that keeps no promise."""

import random
import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config.esp_config import EspName
from tests.faults import oracle
from tests.faults.driver import random_moments, site_in
from tests.faults.oracle import Query, Taken

NAIVE = (sys.executable, "-m", "tests.faults.naive_sender")
MOST_KILLS = 50

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
ANN, BOB = (
    Taken(esp="ses", recipient=f"{name}@a.net", subject="news", send_ref=f"{id}-1-x", at=NOON)
    for id, name in enumerate(("ann", "bob"), start=1)
)
AUDIENCE = {"news": {"ann@a.net", "bob@a.net", "cy@a.net"}}
LEDGER = """
CREATE TABLE campaigns (id, subject, status, planned, queued, sending, accepted, rejected,
    unknown, skipped, cancelled, delivered, kind);
CREATE TABLE email_sends (id, campaign_id, email_key, mailbox_provider, status, esp, batch_id,
    delivered_at DEFAULT '2026-11-24 12:00:00.000000');
CREATE TABLE send_batches (id, http_status);
CREATE TABLE campaign_tallies (campaign_id, kind, key, n);
CREATE TABLE suppressions (email_hash, reason, created_at);
CREATE TABLE subscribers (email_key, email_hash);
INSERT INTO campaigns VALUES (1, 'news', 'needs_review', 3, 0, 0, 1, 0, 2, 0, 0, 2, 'campaign');
INSERT INTO email_sends (id, campaign_id, email_key, mailbox_provider, status, esp, batch_id) VALUES
    (1, 1, 'ann@a.net', 'other', 'accepted', 'ses', 1),
    (2, 1, 'bob@a.net', 'other', 'unknown', 'ses', 2),
    (3, 1, 'cy@a.net', 'other', 'unknown', 'ses', 3);
INSERT INTO send_batches VALUES (1, 200), (2, NULL), (3, NULL);
INSERT INTO campaign_tallies VALUES (1, 'accepted', 'ses', 1), (1, 'carried', 'ses/other', 1);
INSERT INTO subscribers VALUES ('ann@a.net', 'a'), ('bob@a.net', 'b'), ('cy@a.net', 'c');
"""
"""Ann got her mail; Bob got his, and the server died before it knew; Cy's never left."""


def ledger(change: str = "") -> Query:
    connection = sqlite3.connect(":memory:")
    connection.executescript(LEDGER + change)
    return lambda sql: connection.execute(sql).fetchall()


def kinds(query: Query, taken: Sequence[Taken]) -> set[str]:
    return {fault.kind for fault in oracle.examine(query, taken, AUDIENCE, {"cy@a.net"})}


CY_LEFT = "INSERT INTO suppressions VALUES ('c', 'unsubscribed', '2026-11-24 12:00:00.000000');"
HAPPENED = [ANN, BOB]


def test_a_kept_promise_has_no_fault() -> None:
    assert kinds(ledger(CY_LEFT), HAPPENED) == set()
    assert oracle.unknown(ledger(), "news") == 2


@pytest.mark.parametrize(
    ("change", "taken", "kind"),
    [
        ("", [*HAPPENED, replace(ANN, esp="postmark")], {"duplicate", "phantom"}),
        ("", [*HAPPENED, BOB], {"duplicate"}),
        ("", [BOB], {"lost"}),
        ("UPDATE email_sends SET status = 'sending' WHERE id = 3", HAPPENED, {"lost", "count"}),
        ("DELETE FROM email_sends WHERE id = 3", HAPPENED, {"lost", "count"}),
        ("UPDATE email_sends SET esp = NULL WHERE id = 2", HAPPENED, {"phantom"}),
        ("UPDATE email_sends SET status = 'queued' WHERE id = 2", HAPPENED, {"lost", "phantom", "count"}),
        ("", [*HAPPENED, replace(BOB, recipient="dan@a.net")], {"phantom"}),
        ("UPDATE campaigns SET planned = 4", HAPPENED, {"count"}),
        ("UPDATE campaigns SET accepted = 2, unknown = 1", HAPPENED, {"count"}),
        ("UPDATE campaign_tallies SET key = 'sendgrid'", HAPPENED, {"count"}),
        ("UPDATE campaigns SET status = 'sent'", HAPPENED, {"end"}),
        ("DELETE FROM suppressions", HAPPENED, {"revived"}),
        (
            "INSERT INTO campaigns VALUES (2, 'news', 'sent', 0, 0, 0, 0, 0, 0, 0, 0, 0, 'campaign')",
            HAPPENED,
            {"campaigns"},
        ),
    ],
)  # fmt: skip
def test_every_fault_is_named(change: str, taken: list[Taken], kind: set[str]) -> None:
    assert kinds(ledger(CY_LEFT + change), taken) == kind


@pytest.mark.parametrize(("seconds", "kind"), [(5, set()), (6, {"unwanted"})])
def test_a_mail_later_than_a_call_may_last_after_leaving_is_a_fault(
    seconds: int, kind: set[str]
) -> None:
    late = replace(BOB, recipient="cy@a.net", at=NOON + timedelta(seconds=seconds))
    assert kinds(ledger(CY_LEFT), [*HAPPENED, late]) == kind


BOB_IS = """UPDATE email_sends SET status = '{0}' WHERE id = 2;
    UPDATE campaigns SET status = 'sending', unknown = 1, {0} = 1"""
LATER = timedelta(seconds=10)


@pytest.mark.parametrize(
    ("change", "taken", "kind"),
    [
        (CY_LEFT, HAPPENED, set()),
        (CY_LEFT + BOB_IS.format("sending"), HAPPENED, set()),
        (CY_LEFT + BOB_IS.format("queued"), [ANN, replace(BOB, at=NOON + LATER)], set()),
        (CY_LEFT, [*HAPPENED, replace(ANN, subject="next", at=NOON + LATER)], set()),
        (CY_LEFT + BOB_IS.format("queued"), HAPPENED, {"phantom"}),
        (CY_LEFT, [*HAPPENED, replace(ANN, subject="next")], {"phantom"}),
        (CY_LEFT, [BOB], {"lost"}),
        (CY_LEFT + "UPDATE campaigns SET accepted = 2", HAPPENED, {"count"}),
        ("", HAPPENED, {"revived"}),
        (CY_LEFT.replace(" 12:", " 11:"), [*HAPPENED, replace(BOB, recipient="cy@a.net")], {"unwanted"}),
    ],
)  # fmt: skip
def test_a_copy_is_held_to_what_had_happened_by_its_moment(
    change: str, taken: list[Taken], kind: set[str]
) -> None:
    """A campaign may be under way in it, and what came later is not its business."""
    at = NOON + LATER / 2
    found = oracle.examine_as_of(ledger(change), taken, at, {"cy@a.net"})
    assert {fault.kind for fault in found} == kind


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("", []),
        ("UPDATE email_sends SET delivered_at = NULL WHERE id = 3", []),
        ("UPDATE email_sends SET delivered_at = NULL WHERE id = 2", ["told"]),
        ("UPDATE campaigns SET delivered = 3", ["told"]),
    ],
)
def test_an_event_that_is_lost_or_counts_twice_is_a_fault(change: str, kind: list[str]) -> None:
    found = oracle.told_wrongly(ledger(change), HAPPENED)
    assert [fault.kind for fault in found] == kind


def test_requests_are_the_answered_calls_and_those_that_an_esp_took_mail_of() -> None:
    assert oracle.requests_made(ledger(), HAPPENED) == 2


def test_a_sender_without_claims_is_caught(tmp_path: Path, rng: random.Random) -> None:
    with site_in(tmp_path, command=NAIVE, settings={"POSTMARK_BATCH_SIZE": "10"}) as site:
        site.simulator.behave(EspName.POSTMARK, "ok", latency_s=0.01)
        server = site.add_server()
        server.start()
        site.add_people(server.client, 300)
        mailing = site.new_mailing("news")
        for moment in random_moments(rng, MOST_KILLS, recipients=300):
            with site.under_way(mailing, server.client, moment):
                server.kill()
            server.start()
            if any(oracle.duplicates(site.taken())):
                return
    pytest.fail(f"{MOST_KILLS} kills showed no duplicate")
