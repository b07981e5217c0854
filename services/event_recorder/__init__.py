"""Record what ESPs tell: each event once, in one transaction a call, whatever the order.

What follows from an event is decided from the set of all that was heard of its send and of
its person, so the ledger, the counters, the people and their suppressions come out the same
whatever comes first, late or twice. Only the rests of an ESP at one mailbox provider depend
on the order: they are a reaction, like a breaker.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from sqlalchemy.orm import Session

from config.esp_config import EspName
from database.ledger_lock import lock_ledger
from services.event_recorder.dns import note_dns_blame
from services.event_recorder.fares import note_performance
from services.event_recorder.judging import judge_touches
from services.event_recorder.people import note_people
from services.event_recorder.resolving import Told, resolve
from services.event_recorder.sends import SendChange, change_of, step_of
from services.event_recorder.storing import note_reports, store, store_again
from services.event_recorder.writing import write_counts, write_sends
from services.events import Event, EventKind
from services.reputation import note_heard


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a call came to."""

    received: int
    new: int
    duplicates: int
    ignored: int
    """Of the new ones: kept, and about nothing that we know or act upon."""


def record_events(
    session: Session, esp: EspName, events: Sequence[Event], *, hash_key: bytes, now: datetime
) -> Recorded:
    """Store the events of one call and all that follows from them. Takes any authentic event."""
    [recorded] = record_calls(session, esp, [events], hash_key=hash_key, now=now)
    return recorded


def record_calls(
    session: Session,
    esp: EspName,
    calls: Sequence[Sequence[Event]],
    *,
    hash_key: bytes,
    now: datetime,
) -> list[Recorded]:
    """The same for several calls at once. An event that is in two of them is new to the first."""
    lock_ledger(session, alone=False)
    told = resolve(session, {event.key: event for event in chain(*calls)}.values(), hash_key)
    new = store(session, esp, told, now)
    _apply(session, esp, new, hash_key, now)
    note_heard(session, esp, now)
    left = {one.event.key: one for one in new}
    return [_recorded(events, left) for events in calls]


def _recorded(events: Sequence[Event], left: dict[str, Told]) -> Recorded:
    """Takes what is new to this call out of what is `left`, by key."""
    new = [left.pop(event.key) for event in events if event.key in left]
    return Recorded(
        received=len(events),
        new=len(new),
        duplicates=len(events) - len(new),
        ignored=sum(_is_idle(one) for one in new),
    )


def replay_events(
    session: Session,
    esp: EspName,
    events: Mapping[int, Event],
    *,
    hash_key: bytes,
    now: datetime,
) -> None:
    """Draw again what follows from stored events, by the id of their row.

    Harmless for those that counted before: what was heard of a send counts once.
    """
    lock_ledger(session, alone=False)
    told = resolve(session, events.values(), hash_key)
    for one, event_id in zip(told, events, strict=True):
        one.id = event_id
    store_again(session, esp, told, now)
    _apply(session, esp, told, hash_key, now)


def _apply(
    session: Session, esp: EspName, told: Sequence[Told], hash_key: bytes, now: datetime
) -> None:
    changes = _changes(told)
    judged = judge_touches(session, changes, told)
    ordered = [changes[send_id] for send_id in sorted(changes)]
    steps = Counter(map(step_of, ordered))
    write_sends(session, esp, ordered, now)
    write_counts(session, esp, steps, judged, now)
    note_reports(session, esp, told, now)
    note_people(session, esp, ordered, judged, told, hash_key=hash_key, now=now)
    note_performance(session, esp, steps, now)
    note_dns_blame(session, told, now)


def _changes(told: Iterable[Told]) -> dict[int, SendChange]:
    of_send: dict[int, list[Told]] = {}
    for one in told:
        if one.send is not None:
            of_send.setdefault(one.send.id, []).append(one)
    return {
        send_id: change_of(about[0].send, about)
        for send_id, about in of_send.items()
        if about[0].send is not None
    }


def _is_idle(one: Told) -> bool:
    return one.event.kind is EventKind.OTHER or (one.send is None and one.event.suppress is None)
