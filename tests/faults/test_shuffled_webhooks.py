"""Many webhook calls of the real server, shuffled, repeated and with a kill among them: the
ledger ends as the set of events says."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import update

from database.migrate import migrate
from database.models import Campaign, Installation
from database.session import Database
from services.base import SEND_REF_KEY
from services.events import Event
from tests.faults.driver import Server, Site, site_in
from tests.faults.http_client import NoAnswer, wait_until
from tests.faults.tiers import FIGURES, Tier
from tests.ledgers import HASH_KEY
from tests.signing import sendgrid_body
from tests.test_events_shuffled import begin, check, tell

THREADS = 4
KILL_WITHIN = 0.9
"""Of the calls, however late the moment: the rest comes after it."""
SENDGRID: dict[str, dict[str, Any]] = {
    "processed": {"event": "processed"},
    "deferred": {"event": "deferred", "response": "451 4.3.0 try again"},
    "delivered": {"event": "delivered", "response": "250 OK"},
    "opened": {"event": "open", "sg_machine_open": False},
    "machine": {"event": "open", "sg_machine_open": True},
    "clicked": {"event": "click", "url": "https://example.com/"},
    "soft": {
        **{"event": "bounce", "type": "bounce", "bounce_classification": "Mailbox Unavailable"},
        **{"status": "5.2.2", "reason": "552 5.2.2 mailbox full"},
    },
    "blocked": {
        **{"event": "bounce", "type": "blocked", "bounce_classification": "Reputation"},
        **{"status": "5.7.1", "reason": "550 5.7.1 blocked for its reputation"},
    },
    "hard": {
        **{"event": "bounce", "type": "bounce", "bounce_classification": "Invalid Address"},
        **{"status": "5.1.1", "reason": "550 5.1.1 no such user"},
    },
    "complained": {"event": "spamreport"},
    "unsubscribed": {"event": "unsubscribe"},
}
"""The events of `test_events_shuffled` in SendGrid's words."""


def test_shuffled_and_repeated_webhooks_come_to_what_their_set_says(
    tmp_path: Path,
    rng: random.Random,
    tier: Tier,
    record_property: Callable[[str, object], None],
) -> None:
    with site_in(tmp_path, settings={}) as site, database_of(site) as database:
        story = begin(database, tier.webhooks, rng, sent_at=datetime.now(UTC) - timedelta(days=2))
        with database.write() as session:  # live mode takes none of a sandbox
            session.execute(update(Campaign).values(sandbox=False))
        server = site.add_server()
        server.start()
        teller = Teller(
            site, server, kill_after=rng.randrange(1, round(tier.webhooks * KILL_WITHIN))
        )
        tell(story, rng, times=2, threads=THREADS, post=teller.post)
        assert server.kills == 1
        server.terminate()
        check(story)
    record_property(FIGURES, {"events": len(story.events), "told": teller.taken, "kills": 1})


class Teller:
    """Makes each call until it is answered; kills the server once, after so many events."""

    def __init__(self, site: Site, server: Server, *, kill_after: int) -> None:
        self._secrets, self._server, self._kill_after = (
            site.simulator.courier.secrets,
            server,
            kill_after,
        )
        self.taken = 0
        self._counting = Lock()

    def post(self, events: Sequence[Event]) -> None:
        wait_until(lambda: self._is_taken(events), "webhooks to be taken", look_again_s=0.2)
        with self._counting:
            self.taken += len(events)
            if self.taken >= self._kill_after and not self._server.kills:
                self._server.kill()
                self._server.start()

    def _is_taken(self, events: Sequence[Event]) -> bool:
        body = sendgrid_body([in_words(event) for event in events])
        timestamp = str(int(datetime.now(UTC).timestamp()))
        headers = {
            "Content-Type": "application/json",
            "X-Twilio-Email-Event-Webhook-Signature": self._secrets.sign_sendgrid(
                timestamp.encode() + body
            ),
            "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
        }
        try:
            answer = self._server.client.call("POST", "/engagement-webhook/sendgrid", body, headers)
        except NoAnswer:
            return False
        assert answer.status in (200, 503), answer
        return answer.status == 200


def in_words(event: Event) -> dict[str, Any]:
    assert event.payload is not None
    return {
        "email": event.address,
        "timestamp": int(event.occurred_at.timestamp()),
        "sg_event_id": event.key,
        "sg_message_id": f"{event.message_id}.recvd-1.1",
        SEND_REF_KEY: event.send_ref,
        "useragent": event.user_agent,
        "ip": event.ip,
        **SENDGRID[event.payload["event"]],
    }


@contextmanager
def database_of(site: Site) -> Iterator[Database]:
    """Migrated, with the key that the stories are signed with."""
    database = Database(f"sqlite:///{site.database}")
    migrate(database, datetime.now(UTC))
    with database.write() as session:
        session.execute(update(Installation).values(hash_key=HASH_KEY))
    try:
        yield database
    finally:
        database.close()
