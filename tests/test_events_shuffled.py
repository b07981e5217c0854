"""Many events, told again and again in any order, in calls of any size, by several threads: the
ledger ends as the set of them says, counted here in plain Python.

As a command it does the same with as many as you like: python -m tests.test_events_shuffled 100000
"""

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from config.esp_config import EspName
from database.migrate import migrate
from database.models import (
    Bounce,
    CampaignTally,
    Complaint,
    Delivery,
    EmailSend,
    Subscriber,
    SubscriberCount,
    Suppression,
    TallyKind,
    WebhookEvent,
)
from database.session import Database
from services.base import Outcome
from services.event_recorder import record_events
from services.events import BounceClass, Event, EventKind, SuppressionReason
from tests.conftest import NOW
from tests.ledgers import HASH_KEY, Ledgers
from tests.people import either_database, postgres
from utils.tokens import send_ref

__all__ = ["either_database", "postgres"]  # fixtures

SENDGRID = EspName.SENDGRID
MIXED: dict[str, dict[str, Any]] = {
    "processed": {"kind": EventKind.PROCESSED},
    "deferred": {"kind": EventKind.DEFERRED},
    "delivered": {"kind": EventKind.DELIVERED},
    "opened": {"kind": EventKind.OPENED},
    "machine": {"kind": EventKind.OPENED, "is_machine": True},
    "clicked": {"kind": EventKind.CLICKED, "url": "https://example.com/"},
    "soft": {"kind": EventKind.BOUNCED, "bounce_class": BounceClass.SOFT},
    "blocked": {"kind": EventKind.BOUNCED, "bounce_class": BounceClass.BLOCKED},
    "hard": {
        "kind": EventKind.BOUNCED,
        "bounce_class": BounceClass.HARD,
        "suppress": SuppressionReason.HARD_BOUNCE,
    },
    "complained": {"kind": EventKind.COMPLAINED, "suppress": SuppressionReason.COMPLAINT},
    "unsubscribed": {"kind": EventKind.UNSUBSCRIBED, "suppress": SuppressionReason.UNSUBSCRIBED},
}
COMMON = ("processed", "delivered", "opened", "deferred", "machine", "clicked")
RARE = ("soft", "blocked", "hard", "complained", "unsubscribed")


@dataclass(frozen=True)
class Story:
    """A campaign whose calls all came to unknown, and what was told of its sends."""

    at: Ledgers
    campaign_id: int
    of_send: dict[int, set[str]]
    events: Sequence[Event]


def begin(database: Database, events: int, rng: random.Random, *, sent_at: datetime = NOW) -> Story:
    """Nothing is told yet; what there is to tell happened in the half day after `sent_at`. A
    mail has 2.7 events on average, so there are a little more than `events`."""
    at = Ledgers(database, sent_at)
    people = max(1, round(events / 2.5))
    campaign_id = at.planned(people)
    while at.campaign(campaign_id).queued:
        batch = at.claimed(campaign_id, 500)
        at.record(batch, *[Outcome.UNKNOWN] * len(batch.sends))
    of_send: dict[int, set[str]] = {}
    told = []
    for send in at.sends(campaign_id):
        names = set(rng.sample(COMMON, rng.randint(1, 4)))
        names |= {name for name in RARE if rng.random() < 0.04}
        of_send[send.id] = names
        told += [_event(campaign_id, send, name, sent_at) for name in sorted(names)]
    return Story(at, campaign_id, of_send, told)


def _event(campaign_id: int, send: EmailSend, name: str, sent_at: datetime) -> Event:
    ref = send_ref(HASH_KEY, campaign_id=campaign_id, send_id=send.id, attempt=send.attempt)
    return Event(
        key=f"{name}-{send.id}",
        occurred_at=sent_at + timedelta(hours=list(MIXED).index(name) + 1),
        payload={"event": name},
        send_ref=ref,
        address=send.email_key,
        message_id=f"m-{send.id}",
        user_agent=f"Mozilla/5.0 (Macintosh) {send.id}",
        ip="198.51.100.7",
        **MIXED[name],
    )


def tell(
    story: Story,
    rng: random.Random,
    *,
    times: int,
    threads: int,
    post: Callable[[Sequence[Event]], None] | None = None,
) -> None:
    """Each event so many times, in calls of 1 to 1,000, several calls at once.

    `post` makes a call; unless it is given, the events are recorded here.
    """
    queue = [event for event in story.events for _ in range(times)]
    rng.shuffle(queue)
    calls = []
    while queue:
        size = rng.choice((1, 7, 100, 1000))
        calls.append(queue[:size])
        del queue[:size]

    def record(events: Sequence[Event]) -> None:
        with story.at.database.write() as session:
            record_events(session, SENDGRID, events, hash_key=HASH_KEY, now=NOW + timedelta(days=2))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(post or record, calls))


def check(story: Story) -> None:
    """All that can be counted, from the set of what was told."""
    told = list(story.of_send.values())
    has = Counter(name for names in told for name in names)
    bounced = sum(bool(names & {"hard", "blocked"}) for names in told)
    campaign = story.at.campaign(story.campaign_id)
    counted = {
        name: getattr(campaign, name)
        for name in (
            *("accepted", "unknown", "delivered", "bounced", "complained"),
            *("opened", "clicked", "unsubscribed"),
        )
    }
    assert counted == {
        "accepted": len(told),
        "unknown": 0,
        "delivered": has["delivered"],
        "bounced": bounced,
        "complained": has["complained"],
        "opened": has["opened"],
        "clicked": has["clicked"],
        "unsubscribed": has["unsubscribed"],
    }
    with story.at.database.read() as session:
        tallied = {
            row.kind.value: row.n
            for row in session.scalars(
                select(CampaignTally).where(CampaignTally.key == "sendgrid/other")
            )
            if row.kind in _TALLIES
        }
        assert tallied == {kind.value: has[name] for kind, name in _TALLIES.items() if has[name]}
        rows = [
            session.scalar(select(func.count()).select_from(table))
            for table in (WebhookEvent, Bounce, Complaint)
        ]
        bounces = has["hard"] + has["soft"] + has["blocked"]
        assert rows == [has.total(), bounces, has["complained"]]
        deliveries = dict(
            session.execute(
                select(EmailSend.delivery, func.count()).group_by(EmailSend.delivery)
            ).all()
        )
        assert deliveries == Counter(_delivery(names) for names in told)
        reasons = dict(
            session.execute(
                select(Suppression.reason, func.count()).group_by(Suppression.reason)
            ).all()
        )
        assert {reason.value: n for reason, n in reasons.items()} == {
            reason: has[name]
            for reason, name in (
                *(("hard_bounce", "hard"), ("complaint", "complained")),
                ("unsubscribed", "unsubscribed"),
            )
            if has[name]
        }
        statuses = dict(
            session.execute(
                select(Subscriber.status, func.count()).group_by(Subscriber.status)
            ).all()
        )
        assert {status.value: n for status, n in statuses.items()} == Counter(map(_status, told))
        moved = {row.status.value: row.n for row in session.scalars(select(SubscriberCount))}
        gone = Counter(_status(names) for names in told if _status(names) != "active")
        assert moved == {"active": -gone.total()} | gone


_TALLIES = {
    TallyKind.DELIVERED: "delivered",
    TallyKind.DEFERRED: "deferred",
    TallyKind.HARD_BOUNCED: "hard",
    TallyKind.SOFT_BOUNCED: "soft",
    TallyKind.BLOCKED: "blocked",
    TallyKind.COMPLAINED: "complained",
    TallyKind.OPENED: "opened",
    TallyKind.CLICKED: "clicked",
    TallyKind.UNSUBSCRIBED: "unsubscribed",
    TallyKind.MACHINE_OPENED: "machine",
}


def _delivery(names: set[str]) -> Delivery:
    for name, delivery in (
        ("complained", Delivery.COMPLAINED),
        ("hard", Delivery.BOUNCED),
        ("blocked", Delivery.BOUNCED),
        ("delivered", Delivery.DELIVERED),
        ("soft", Delivery.SOFT_BOUNCED),
        ("deferred", Delivery.DEFERRED),
        ("processed", Delivery.PROCESSED),
    ):
        if name in names:
            return delivery
    return Delivery.NONE


def _status(names: set[str]) -> str:
    for name, status in (
        ("complained", "complained"),
        ("unsubscribed", "unsubscribed"),
        ("hard", "bounced"),
    ):
        if name in names:
            return status
    return "active"


def test_shuffled_and_repeated_events_come_to_what_their_set_says(
    either_database: Database,
) -> None:
    rng = random.Random(20261124)
    story = begin(either_database, 600, rng)
    tell(story, rng, times=2, threads=3)
    check(story)


def main(events: int, seed: int) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder) / 'email.db'}")
        migrate(database, NOW)
        story = begin(database, events, rng)
        started, cpu = time.monotonic(), time.process_time()
        tell(story, rng, times=2, threads=4)
        took, used = time.monotonic() - started, time.process_time() - cpu
        check(story)
        database.close()
    told = f"{2 * len(story.events)} events of {len(story.of_send)} sends"
    print(f"seed {seed}: {told} in {took:.1f} s, CPU {used:.1f} s")  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
