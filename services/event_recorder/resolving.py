"""Which send of ours an event is about, if it is about any."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Row, Table, bindparam, select
from sqlalchemy.orm import Session

from database.models import EmailSend
from lists.erasing import ERASED, erased_key
from services.events import Event
from utils.addresses import InvalidAddress, normalise
from utils.tokens import email_hash, is_our_send_ref, read_send_ref

IDS_PER_QUERY = 500
_SENDS = cast("Table", EmailSend.__table__)
_LOCKED = (
    select(
        _SENDS.c.id,
        _SENDS.c.campaign_id,
        _SENDS.c.subscriber_id,
        _SENDS.c.email_key,
        _SENDS.c.mailbox_provider,
        _SENDS.c.status,
        _SENDS.c.esp,
        _SENDS.c.batch_id,
        _SENDS.c.attempt,
        _SENDS.c.claimed_at,
        _SENDS.c.esp_message_id,
        _SENDS.c.delivery,
        _SENDS.c.delivered_at,
        _SENDS.c.heard,
        _SENDS.c.interest,
        _SENDS.c.opened,
        _SENDS.c.clicked,
        _SENDS.c.unsubscribed,
    )
    .where(_SENDS.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(_SENDS.c.id)
    .with_for_update()
)


SendRow = Row[*tuple[Any, ...]]
"""A send as `locked_sends` reads it."""


@dataclass(slots=True)
class Told:
    """One event, and the send of ours that it is about."""

    event: Event
    email_key: str | None
    """Whose address it names, in the form that we know people by."""
    send: SendRow | None
    attempt: int = 0
    id: int = 0
    """Of its row in `webhook_events`."""
    was_counted: bool = False
    """It is replayed, and what it said of an open or click was judged before."""

    @property
    def names_nobody(self) -> bool:
        """Whether its person was erased: what it says in words must not be kept."""
        return self.send is not None and self.send.email_key.startswith(ERASED)


def resolve(session: Session, events: Iterable[Event], hash_key: bytes) -> list[Told]:
    """Each event with its send, locked in the order of ids until the transaction ends.

    A send is credited only by a reference that this installation gave to it, together with
    the address it went to: another installation at the same account, or a database that was
    restored and gave the same id again, credits nobody. What such an event says of an address
    is another matter: `people` believes it of people on our list.
    """
    read = [(event, event.send_ref and read_send_ref(event.send_ref)) for event in events]
    sends = locked_sends(session, {ref[0] for _, ref in read if ref})
    return [_told(event, ref or None, sends, hash_key) for event, ref in read]


def locked_sends(session: Session, ids: Collection[int]) -> dict[int, SendRow]:
    return {
        row.id: row
        for some in slices(sorted(ids))
        for row in session.connection().execute(_LOCKED, {"ids": some}).all()
    }


def slices(items: Sequence[Any], size: int = IDS_PER_QUERY) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _told(
    event: Event, ref: tuple[int, int] | None, sends: dict[int, SendRow], hash_key: bytes
) -> Told:
    send = sends.get(ref[0]) if ref else None
    # Nearly all name the address as we know it, and to look into one takes its time.
    is_known = send is not None and event.address == send.email_key
    key = event.address if is_known else _key(event.address)
    if send is None or ref is None or not event.send_ref:
        return Told(event, key, None)
    if not is_our_send_ref(hash_key, event.send_ref, campaign_id=send.campaign_id):
        return Told(event, key, None)
    if key is not None and not _went_to(send.email_key, key, hash_key):
        return Told(event, key, None)
    if key is None and not send.email_key.startswith(ERASED):
        key = send.email_key
    return Told(event, key, send, ref[1])


def _went_to(sent_to: str, key: str, hash_key: bytes) -> bool:
    if sent_to.startswith(ERASED):
        return sent_to == erased_key(email_hash(hash_key, key))
    return sent_to == key


def _key(address: str | None) -> str | None:
    """`Ann <ann@example.com>` is how some bounces name a recipient."""
    if not address:
        return None
    bare = address.rpartition("<")[2].rstrip("> ") if address.endswith(">") else address
    try:
        return normalise(bare).key
    except InvalidAddress:
        return None
