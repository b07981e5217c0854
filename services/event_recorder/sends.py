"""What events make of a send: each kind counts once, whatever comes first or twice."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from config.esp_config import EspName
from database.models import Delivery, SendStatus, TallyKind
from services.event_recorder.resolving import Told
from services.events import BounceClass, EventKind

_KINDS = (
    "processed",
    "deferred",
    "delivered",
    "hard_bounced",
    "soft_bounced",
    "blocked",
    "dropped",
    "complained",
    "opened",
    "clicked",
    "unsubscribed",
    "late",
)
BIT = {kind: 1 << place for place, kind in enumerate(_KINDS)}
"""Stored in `email_sends.heard`: places never change."""
LATE = timedelta(minutes=15)
"""A mail put off for longer than this is held against whoever sent it (facts 6.3)."""
_BOUNCE = {
    BounceClass.HARD: BIT["hard_bounced"],
    BounceClass.SOFT: BIT["soft_bounced"],
    BounceClass.BLOCKED: BIT["blocked"],
}
BOUNCED = BIT["hard_bounced"] | BIT["blocked"]
TOUCHED = BIT["opened"] | BIT["clicked"]
ARRIVED = BIT["delivered"] | TOUCHED
"""Who opens it has it, whether or not the ESP told of the delivery."""

_DELIVERY = (
    (BIT["complained"], Delivery.COMPLAINED),
    (BOUNCED, Delivery.BOUNCED),
    (BIT["dropped"], Delivery.DROPPED),
    (BIT["delivered"], Delivery.DELIVERED),
    (BIT["soft_bounced"], Delivery.SOFT_BOUNCED),
    (BIT["deferred"], Delivery.DEFERRED),
    (BIT["processed"], Delivery.PROCESSED),
)
TALLIED = tuple(
    (BIT[kind], TallyKind(kind))
    for kind in _KINDS
    if kind not in ("processed", "opened", "clicked", "unsubscribed", "late")
)
_OPEN_ENDED = (SendStatus.UNKNOWN, SendStatus.QUEUED)


def bit_of(told: Told) -> int:
    """0 for what says nothing about the send."""
    kind = told.event.kind
    if kind is EventKind.BOUNCED:
        return _BOUNCE[told.event.bounce_class or BounceClass.SOFT]
    return BIT.get(kind.value, 0)


@dataclass(slots=True)
class SendChange:
    """A send as it was, and as events leave it."""

    send: Row[*tuple[Any, ...]]
    told: Sequence[Told]
    heard: int
    first: int
    """Bits of what was heard of it for the first time."""
    delivery: Delivery
    delivered_at: datetime | None
    message_id: str | None
    is_settled: bool
    """The ESP had it after all: it was unknown, or its answer is not recorded yet."""
    unsubscribed: bool
    interest: float
    opened: bool
    clicked: bool

    def times_of(self, bit: int) -> list[datetime]:
        """When these events say that it happened, were it not for the first time."""
        return [one.event.occurred_at for one in self.told if bit_of(one) == bit]

    @property
    def has_arrived(self) -> bool:
        """Whether this is the first sign that it reached its mailbox."""
        return bool(self.heard & ARRIVED) and not self.send.heard & ARRIVED


def change_of(send: Row[*tuple[Any, ...]], told: Sequence[Told]) -> SendChange:
    """What these events, in any order, make of a send; opens and clicks are judged later."""
    heard = send.heard
    delivered_at = send.delivered_at
    message_id = send.esp_message_id
    is_settled = False
    for one in told:
        bit = bit_of(one)
        heard |= bit
        if bit == BIT["deferred"] and _is_late(send, one.event.occurred_at):
            heard |= BIT["late"]
        if bit == BIT["delivered"]:
            delivered_at = min(delivered_at or one.event.occurred_at, one.event.occurred_at)
        if bit:
            message_id = message_id or one.event.message_id
            is_settled = is_settled or _settles(send, one.attempt)
    return SendChange(
        send=send,
        told=told,
        heard=heard,
        first=heard & ~send.heard,
        delivery=next((to for bits, to in _DELIVERY if heard & bits), send.delivery),
        delivered_at=delivered_at,
        message_id=message_id,
        is_settled=is_settled,
        unsubscribed=send.unsubscribed or bool(heard & BIT["unsubscribed"]),
        interest=send.interest,
        opened=send.opened,
        clicked=send.clicked,
    )


def _is_late(send: Row[*tuple[Any, ...]], at: datetime) -> bool:
    return send.claimed_at is not None and at - send.claimed_at > LATE


def _settles(send: Row[*tuple[Any, ...]], attempt: int) -> bool:
    """A send on its way is left to the call that carries it, unless this is that very call."""
    if send.status in _OPEN_ENDED:
        return True
    return bool(send.status is SendStatus.SENDING and attempt == send.attempt)


@dataclass(slots=True)
class Counts:
    """What changes add to the counters of campaigns and of the ESP's days."""

    campaigns: dict[int, Counter[str]] = field(default_factory=dict)
    tallies: Counter[tuple[int, TallyKind, str]] = field(default_factory=Counter)

    def add(self, esp: EspName, change: SendChange) -> None:
        send = change.send
        counter = self.campaigns.setdefault(send.campaign_id, Counter())
        where = f"{esp.value}/{send.mailbox_provider}"
        if change.first:
            for bit, kind in TALLIED:
                if change.first & bit:
                    self.tallies[send.campaign_id, kind, where] += 1
            counter["delivered"] += bool(change.first & BIT["delivered"])
            counter["complained"] += bool(change.first & BIT["complained"])
            counter["bounced"] += bool(change.first & BOUNCED) and not send.heard & BOUNCED
        for name, kind in _FLAGS:
            if by := getattr(change, name) - getattr(send, name):
                counter[name] += by
                self.tallies[send.campaign_id, kind, where] += by
        self._add_settled(esp, change, counter)

    def _add_settled(self, esp: EspName, change: SendChange, counter: Counter[str]) -> None:
        send = change.send
        if change.is_settled:
            counter[send.status.value] -= 1
            counter["accepted"] += 1
            self.tallies[send.campaign_id, TallyKind.ACCEPTED, esp.value] += 1
            where = f"{esp.value}/{send.mailbox_provider}"
            self.tallies[send.campaign_id, TallyKind.CARRIED, where] += 1
            if send.status is SendStatus.QUEUED:
                self.tallies[send.campaign_id, TallyKind.CLAIMED, esp.value] += 1

    def add_judged(self, esp: EspName, change: SendChange, by: dict[TallyKind, int]) -> None:
        """What machines did on a reader's behalf, as far as it was not known before."""
        where = f"{esp.value}/{change.send.mailbox_provider}"
        for kind, n in by.items():
            self.tallies[change.send.campaign_id, kind, where] += n


_FLAGS = (
    ("opened", TallyKind.OPENED),
    ("clicked", TallyKind.CLICKED),
    ("unsubscribed", TallyKind.UNSUBSCRIBED),
)
