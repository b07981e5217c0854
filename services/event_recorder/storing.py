"""The rows that events leave: the events themselves, bounces and complaints."""

from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, cast

from sqlalchemy import Connection, Table, bindparam, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from config.esp_config import EspName
from database.bulk import Bulk
from database.day_kinds import COMPLAINT, bounce_kind
from database.models import Bounce, Complaint, WebhookEvent
from lists.counters import count_reports
from lists.touches import agent_of, link_hash, origin_hash
from services.event_recorder.judging import TOUCHES
from services.event_recorder.resolving import Told, slices
from services.events import BounceClass, Event, EventKind
from utils.addresses import mailbox_provider

_Row = tuple[Any, ...]
_EVENTS = cast("Table", WebhookEvent.__table__)
_MEANING = (
    *("kind", "occurred_at", "send_id", "campaign_id", "subscriber_id"),
    *("agent", "link", "origin"),
)
_COLUMNS = ("esp", "event_key", "received_at", "payload", *_MEANING)
_RESTORE = Bulk(
    update(_EVENTS)
    .where(_EVENTS.c.id == bindparam("row"))
    .values({name: bindparam(name) for name in _MEANING}),
    ("row", *_MEANING),
)
_ADD = Bulk(
    sqlite.insert(_EVENTS).on_conflict_do_nothing(index_elements=["esp", "event_key"]), _COLUMNS
)
_LAST = select(func.coalesce(func.max(_EVENTS.c.id), 0))
_SINCE = select(_EVENTS.c.id, _EVENTS.c.event_key).where(_EVENTS.c.id > bindparam("last"))


def store(session: Session, esp: EspName, told: Iterable[Told], now: datetime) -> list[Told]:
    """Add the events that are not there yet, and return those with the ids of their rows."""
    by_key = {one.event.key: one for one in told}
    if not by_key:
        return []
    # In one order for all writers, so that two calls with the same events never wait for
    # each other in a circle.
    rows = [_row(esp, by_key[key], now) for key in sorted(by_key)]
    connection = session.connection()
    added = _add_postgresql if connection.dialect.name == "postgresql" else _add_sqlite
    new = []
    for event_id, key in added(connection, rows):
        by_key[key].id = event_id
        new.append(by_key[key])
    return new


def _add_postgresql(connection: Connection, rows: list[_Row]) -> Iterable[Any]:
    once = postgresql.insert(_EVENTS).on_conflict_do_nothing(index_elements=["esp", "event_key"])
    said = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
    return connection.execute(once.returning(_EVENTS.c.id, _EVENTS.c.event_key), said)


def _add_sqlite(connection: Connection, rows: list[_Row]) -> Iterable[Any]:
    """There is one writer at a time, so ids above the last one are ours. With RETURNING the
    statement would be built anew for each call, which takes longer than all else."""
    last = connection.execute(_LAST).scalar_one()
    _ADD.run(connection, rows)
    return connection.execute(_SINCE, {"last": last}).all()


def store_again(session: Session, esp: EspName, told: Iterable[Told], now: datetime) -> None:
    """Write what replayed events are taken for now; of a touch that was judged before, says so."""
    by_id = {one.id: one for one in told}
    for some in slices(sorted(by_id)):
        known = select(WebhookEvent.id, WebhookEvent.kind, WebhookEvent.send_id).where(
            WebhookEvent.id.in_(some)
        )
        for row in session.execute(known):
            one = by_id[row.id]
            is_same = one.send is not None and row.send_id == one.send.id
            one.was_counted = row.kind in TOUCHES and is_same
    _RESTORE.run(session.connection(), [(one.id, *_meaning(one)) for one in by_id.values()])


def note_reports(session: Session, esp: EspName, told: Iterable[Told], now: datetime) -> None:
    """A row for each bounce and each complaint, once, also when an event is replayed; and
    count those that are new."""
    bounces = [_bounce(esp, one) for one in told if one.event.kind is EventKind.BOUNCED]
    complaints = [_complaint(esp, one) for one in told if one.event.kind is EventKind.COMPLAINED]
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    counted: Counter[tuple[date, str]] = Counter()
    if bounces:
        once = dialect.insert(Bounce).on_conflict_do_nothing(index_elements=["event_id"])
        new = session.execute(once.returning(Bounce.occurred_at, Bounce.bounce_class), bounces)
        counted.update((_day(at, now), bounce_kind(of)) for at, of in new)
    if complaints:
        once = dialect.insert(Complaint).on_conflict_do_nothing(index_elements=["event_id"])
        new_at = session.scalars(once.returning(Complaint.occurred_at), complaints)
        counted.update((_day(at, now), COMPLAINT) for at in new_at)
    count_reports(session, counted)


def _day(at: datetime, now: datetime) -> date:
    return min(at, now).date()


def _row(esp: EspName, one: Told, now: datetime) -> _Row:
    payload = None if one.names_nobody else one.event.payload
    return (esp, one.event.key, now, payload, *_meaning(one))


def _meaning(one: Told) -> _Row:
    event, send = one.event, one.send
    about = (None, None, None)
    if send is not None:
        about = (send.id, send.campaign_id, send.subscriber_id)
    touch = _touch(event) if event.kind in TOUCHES else _NO_TOUCH
    return (event.kind, event.occurred_at, *about, *touch)


_NO_TOUCH = (None, None, None)


def _touch(event: Event) -> _Row:
    return (
        agent_of(event.kind, event.user_agent, event.ip, event.is_machine).value,
        link_hash(event.url) if event.url else None,
        origin_hash(event.user_agent, event.ip),
    )


def _report(esp: EspName, one: Told) -> dict[str, Any]:
    send = one.send
    domain = (one.email_key or "").rpartition("@")[2]
    return {
        "event_id": one.id,
        "esp": esp,
        "send_id": send.id if send is not None else None,
        "campaign_id": send.campaign_id if send is not None else None,
        "subscriber_id": send.subscriber_id if send is not None else None,
        "mailbox_provider": (
            send.mailbox_provider if send is not None else mailbox_provider(domain).value
        ),
        "diagnostic": None if one.names_nobody else one.event.detail,
        "occurred_at": one.event.occurred_at,
    }


def _bounce(esp: EspName, one: Told) -> dict[str, Any]:
    return {
        **_report(esp, one),
        "bounce_class": one.event.bounce_class or BounceClass.SOFT,
        "code": one.event.code,
    }


def _complaint(esp: EspName, one: Told) -> dict[str, Any]:
    return {**_report(esp, one), "feedback_type": one.event.code}
