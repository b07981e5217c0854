"""What SendGrid and Postmark told is kept in either database, and says the same from there."""

import json
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from config.esp_config import EspName
from database.models import WebhookEvent
from database.session import Database
from services.events import Event, WebhookCall, WebhookReader
from services.postmark_webhooks import PostmarkWebhooks
from services.sendgrid_webhooks import SendGridWebhooks
from tests.conftest import NOW
from tests.people import either_database, postgres
from tests.signing import SendGridSigner, postmark_call, postmark_listening, sendgrid_listening
from tests.webhook_corpus import EVIL_NUMBERS, corpus

__all__ = ["either_database", "postgres"]  # fixtures

SIGNER = SendGridSigner()
ODD_TEXT = r'"\u0000\ud800\ud83d\ude00 ü \\u0000"'


def stored(database: Database, esp: EspName, events: list[Event]) -> list[dict[str, Any]]:
    with database.write() as session:
        session.add_all(
            WebhookEvent(
                esp=esp,
                event_key=event.key,
                kind=event.kind,
                occurred_at=event.occurred_at,
                received_at=NOW,
                payload=dict(event.payload),
            )
            for event in events
        )
    with database.read() as session:
        rows = select(WebhookEvent.payload).order_by(WebhookEvent.id)
        return [payload or {} for payload in session.scalars(rows)]


def said(event: Event) -> Event:
    """Beside the payload: PostgreSQL gives 1e300 back with all its digits."""
    return replace(event, payload={})


def sendgrid_call(event: str) -> WebhookCall:
    return SIGNER.call(f"[{event}]".encode())


def record_call(record: str) -> WebhookCall:
    return postmark_call(record.encode())


SENDGRID = SendGridWebhooks(sendgrid_listening(SIGNER))
POSTMARK = PostmarkWebhooks(postmark_listening())

SENDGRID_ODD = [
    *(f'{{"event":"open","timestamp":{one},"url":"{at}"}}' for at, one in enumerate(EVIL_NUMBERS)),
    *('{"timestamp":1764e6}', '{"timestamp":1764000000.5,"event":"click"}'),
    f'{{"event":"bounce","email":{ODD_TEXT},"reason":{ODD_TEXT},{ODD_TEXT}:1}}',
]
POSTMARK_ODD = [
    *(
        f'{{"RecordType":"Bounce","ID":{one},"MessageID":"{at}"}}'
        for at, one in enumerate(EVIL_NUMBERS)
    ),
    f'{{"RecordType":"Click","OriginalLink":{ODD_TEXT},"Metadata":{{{ODD_TEXT}:[{ODD_TEXT}]}}}}',
]


@pytest.mark.parametrize(
    ("reader", "calls"),
    [
        (
            SENDGRID,
            [sendgrid_call(json.dumps(one["payload"])) for one in corpus("sendgrid").values()],
        ),
        (SENDGRID, [sendgrid_call(one) for one in SENDGRID_ODD]),
        (POSTMARK, [record_call(one) for one in POSTMARK_ODD]),
        *(
            (POSTMARK, [record_call(json.dumps(one["payload"]))])
            for one in corpus("postmark").values()
        ),
    ],
    ids=lambda value: None if isinstance(value, list) else value.name,
)
def test_events_are_the_same_from_the_database(
    reader: WebhookReader, calls: list[WebhookCall], either_database: Database
) -> None:
    events = [event for call in calls for event in reader.receive(call).events]
    assert len(events) == len(calls)
    kept = stored(either_database, reader.name, events)
    again = [event for payload in kept for event in reader.read(payload)]
    assert list(map(said, again)) == list(map(said, events))
