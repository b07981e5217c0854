"""Draw again what follows from stored payloads: after an upgrade that understands more."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, null, select

from config.esp_config import EspName
from config.settings import sandbox_esps
from database.models import WebhookEvent
from services.adapters import build_webhook_reader
from services.event_recorder import replay_events
from services.events import Event, WebhookReader
from services.system import System

PAGE = 500

_Row = Row[*tuple[Any, ...]]


def replay(system: System, *, esp: EspName | None, since: datetime) -> Iterator[int]:
    """Replay what came in since then, page by page; how many of each page.

    Harmless: what was heard of a send counts once, and a suppression that a person took
    back later stays taken back.
    """
    readers = _readers(system)
    after = 0
    while rows := _page(system, esp, since, after):
        after, replayed = rows[-1].id, 0
        for name in sorted({row.esp for row in rows}):
            events = dict(_events(readers[name], [row for row in rows if row.esp == name]))
            with system.database.write() as session:
                replay_events(session, name, events, hash_key=system.hash_key, now=system.clock())
            replayed += len(events)
        yield replayed


def _readers(system: System) -> dict[EspName, WebhookReader]:
    """To read a payload that was shown to be genuine takes no secret, so any settings do."""
    bare = sandbox_esps(system.settings, dict.fromkeys(EspName, "http://127.0.0.1:9"))
    return {name: build_webhook_reader(one) for name, one in bare.items() if one.webhooks}


def _page(system: System, esp: EspName | None, since: datetime, after: int) -> Sequence[_Row]:
    stored = select(
        WebhookEvent.id, WebhookEvent.esp, WebhookEvent.event_key, WebhookEvent.payload
    ).where(
        WebhookEvent.id > after,
        WebhookEvent.received_at >= since,
        WebhookEvent.payload.is_not(null()),
    )
    if esp is not None:
        stored = stored.where(WebhookEvent.esp == esp)
    with system.database.read() as session:
        return session.execute(stored.order_by(WebhookEvent.id).limit(PAGE)).all()


def _events(reader: WebhookReader, rows: Sequence[_Row]) -> Iterator[tuple[int, Event]]:
    for row in rows:
        for event in reader.read(row.payload):
            if event.key == row.event_key:
                yield row.id, event
