"""What events make of a send: each kind counts once, whatever comes first or twice."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

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

    @property
    def says_more(self) -> bool:
        """Whether what was heard of it is more than what is stored."""
        send = self.send
        known = (send.heard, send.delivered_at, send.esp_message_id)
        return (self.heard, self.delivered_at, self.message_id) != known

    @property
    def differs(self) -> bool:
        """Whether its reader did other than what is stored."""
        send = self.send
        known = (send.unsubscribed, send.interest, send.opened, send.clicked)
        return (self.unsubscribed, self.interest, self.opened, self.clicked) != known

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


class Step(NamedTuple):
    """What a change adds to counters; most changes of a call make one of a few steps."""

    campaign_id: int
    mailbox_provider: str
    claimed_at: datetime | None
    first: int
    is_first_bounce: bool
    opened: int
    clicked: int
    unsubscribed: int
    settled: SendStatus | None
    """The status that it had until now, where it turns out to be accepted."""


def step_of(change: SendChange) -> Step:
    send = change.send
    return Step(
        send.campaign_id,
        send.mailbox_provider,
        send.claimed_at,
        change.first,
        bool(change.first & BOUNCED) and not send.heard & BOUNCED,
        change.opened - send.opened,
        change.clicked - send.clicked,
        change.unsubscribed - send.unsubscribed,
        send.status if change.is_settled else None,
    )


@dataclass(slots=True)
class Counts:
    """What changes add to the counters of campaigns and of the ESP's days."""

    campaigns: dict[int, Counter[str]] = field(default_factory=dict)
    tallies: Counter[tuple[int, TallyKind, str]] = field(default_factory=Counter)

    def add(self, esp: EspName, step: Step, n: int) -> None:
        """`n` changes made this step."""
        counter = self.campaigns.setdefault(step.campaign_id, Counter())
        where = f"{esp.value}/{step.mailbox_provider}"
        for bit, kind in TALLIED:
            if step.first & bit:
                self.tallies[step.campaign_id, kind, where] += n
        counter["delivered"] += n * bool(step.first & BIT["delivered"])
        counter["complained"] += n * bool(step.first & BIT["complained"])
        counter["bounced"] += n * step.is_first_bounce
        for name, kind in _FLAGS:
            by = n * getattr(step, name)
            counter[name] += by
            self.tallies[step.campaign_id, kind, where] += by
        if step.settled is not None:
            counter[step.settled.value] -= n
            counter["accepted"] += n
            self.tallies[step.campaign_id, TallyKind.ACCEPTED, esp.value] += n
            self.tallies[step.campaign_id, TallyKind.CARRIED, where] += n
            if step.settled is SendStatus.QUEUED:
                self.tallies[step.campaign_id, TallyKind.CLAIMED, esp.value] += n

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
