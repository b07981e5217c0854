"""The figures of the list are sums of kept counters, and each thing counts in them once."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from config.esp_config import EspName
from database.reports import subscriber_stats
from database.session import Database
from lists.opt_ins import Verdict
from lists.suppression import NewSuppression, suppress, suppress_all
from services.event_recorder import record_events, replay_events
from services.events import BounceClass, Event, EventKind, SuppressionReason
from tests.conftest import NOW
from tests.opting_in import ask, links, say_yes
from tests.people import (
    HASH_KEY,
    add,
    assert_suppressions_are_counted,
    either_database,
    postgres,
    who,
)
from tests.statements import counted

__all__ = ["either_database", "postgres"]  # fixtures

SENDGRID = EspName.SENDGRID
DAY = timedelta(days=1)
ANN = "ann@example.com"


def stats(database: Database, now: datetime = NOW) -> dict[str, Any]:
    with database.read() as session:
        return subscriber_stats(session, now)


def event(key: str, kind: EventKind, at: datetime = NOW, **more: Any) -> Event:
    return Event(key=key, kind=kind, occurred_at=at, payload={}, address=ANN, **more)


TOLD = (
    event("h", EventKind.BOUNCED, bounce_class=BounceClass.HARD),
    event("s1", EventKind.BOUNCED, bounce_class=BounceClass.SOFT),
    event("s2", EventKind.BOUNCED, NOW - 40 * DAY, bounce_class=BounceClass.SOFT),
    event("b", EventKind.BOUNCED, bounce_class=BounceClass.BLOCKED),
    event("c", EventKind.COMPLAINED, suppress=SuppressionReason.COMPLAINT),
    event("d", EventKind.DELIVERED),
)


def test_bounces_and_complaints_count_once_however_often_they_are_told_and_replayed(
    either_database: Database,
) -> None:
    add(either_database, ANN)
    for _ in range(2):
        with either_database.write() as session:
            record_events(session, SENDGRID, TOLD, hash_key=HASH_KEY, now=NOW)
    with either_database.write() as session:
        replayed = dict(enumerate(sorted(TOLD, key=lambda one: one.key), start=1))
        replay_events(session, SENDGRID, replayed, hash_key=HASH_KEY, now=NOW)
    told = stats(either_database)
    assert told["bounces"] == {"hard": 1, "soft": 2, "blocked": 1}
    assert told["complaints"] == 1
    assert told["growth"][-1] == {
        "day": "2026-11-24",
        "joined": 1,
        "confirmed": 0,
        "unsubscribed": 0,
        "bounced": 0,
        "complained": 1,
        "net": 0,
    }
    assert_suppressions_are_counted(either_database, NOW)


S = SuppressionReason
FOREVER = None


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([(S.UNSUBSCRIBED, FOREVER)], {"unsubscribed": 1}),
        ([(S.UNSUBSCRIBED, FOREVER), (S.UNSUBSCRIBED, FOREVER)], {"unsubscribed": 1}),
        ([(S.HARD_BOUNCE, FOREVER), (S.COMPLAINT, FOREVER)], {"hard_bounce": 1, "complaint": 1}),
        ([(S.SOFT_BOUNCE, DAY)], {}),
        ([(S.SOFT_BOUNCE, DAY), (S.SOFT_BOUNCE, FOREVER)], {"soft_bounce": 1}),
        ([(S.SOFT_BOUNCE, FOREVER), (S.SOFT_BOUNCE, DAY)], {}),
        ([(S.PAUSED, 30 * DAY)], {}),
        ([(S.MANUAL, DAY), (S.MANUAL, FOREVER)], {"manual": 1}),
    ],
)
def test_a_suppression_counts_while_it_holds_for_good(
    either_database: Database, steps: list[Any], told: dict[str, int]
) -> None:
    for reason, lasts in steps:
        new = NewSuppression(
            email_hash=who(ANN), reason=reason, source="x", until=lasts and NOW + lasts
        )
        with either_database.write() as session:
            suppress_all(session, [new], NOW)
    found = stats(either_database)["suppressions"]
    assert {reason: n for reason, n in found.items() if n} == told
    assert_suppressions_are_counted(either_database, NOW)


def test_the_page_reads_a_fixed_number_of_statements_and_no_large_table(
    database: Database,
) -> None:
    with counted(database, "SELECT") as seen:
        stats(database)
    assert len(seen) == 4
    large = ("subscribers ", "bounces", "complaints", "suppressions", "email_sends")
    assert not [statement for statement, _ in seen if any(f"FROM {t}" in statement for t in large)]


def test_a_confirmed_opt_in_takes_them_back(either_database: Database) -> None:
    add(either_database, ANN)
    for reason, until in ((S.UNSUBSCRIBED, None), (S.HARD_BOUNCE, None), (S.PAUSED, NOW + DAY)):
        with either_database.write() as session:
            suppress(session, who(ANN), reason=reason, source="x", until=until, now=NOW)
    ask(either_database, ANN, NOW, resubscribe=True)
    assert say_yes(either_database, links(either_database)[-1], NOW) is Verdict.CONFIRMED
    told = stats(either_database)
    assert set(told["suppressions"].values()) == {0}
    assert told["growth"][-1]["confirmed"] == 1
    assert_suppressions_are_counted(either_database, NOW)
