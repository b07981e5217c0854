"""What happens to a mail after an ESP took it: by its address, by chance, by a block."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from typing import Protocol

from config.esp_config import EspName
from services.simulator.fates import Fate, fate_of
from utils.addresses import mailbox_provider


class Happening(StrEnum):
    PROCESSED = "processed"
    DEFERRED = "deferred"
    DELIVERED = "delivered"
    HARD_BOUNCE = "hard_bounce"
    SOFT_BOUNCE = "soft_bounce"
    BLOCK = "block"
    DROPPED = "dropped"
    RENDERING_FAILURE = "rendering_failure"
    MACHINE_OPEN = "machine_open"
    OPEN = "open"
    CLICK = "click"
    UNSUBSCRIBE = "unsubscribe"
    COMPLAINT = "complaint"


AFTER: dict[Happening, timedelta] = {
    Happening.DEFERRED: timedelta(seconds=1),
    Happening.DELIVERED: timedelta(seconds=2),
    Happening.HARD_BOUNCE: timedelta(seconds=2),
    Happening.SOFT_BOUNCE: timedelta(seconds=2),
    Happening.BLOCK: timedelta(seconds=2),
    Happening.DROPPED: timedelta(seconds=2),
    Happening.RENDERING_FAILURE: timedelta(seconds=2),
    Happening.MACHINE_OPEN: timedelta(seconds=30),
    Happening.OPEN: timedelta(seconds=120),
    Happening.CLICK: timedelta(seconds=200),
    Happening.UNSUBSCRIBE: timedelta(seconds=240),
    Happening.COMPLAINT: timedelta(seconds=280),
}
"""By the clock of the events. They are told at once, so a reader's minutes lie ahead."""

_OF_FATE: dict[Fate, tuple[Happening, ...]] = {
    Fate.DELIVERED: (Happening.DELIVERED,),
    Fate.HARD_BOUNCED: (Happening.HARD_BOUNCE,),
    Fate.SOFT_BOUNCED: (Happening.SOFT_BOUNCE,),
    Fate.BLOCKED: (Happening.BLOCK,),
    Fate.DEFERRED: (Happening.DEFERRED, Happening.DELIVERED),
    Fate.COMPLAINED: (Happening.DELIVERED, Happening.COMPLAINT),
    Fate.OPENED: (Happening.DELIVERED, Happening.OPEN),
    Fate.CLICKED: (Happening.DELIVERED, Happening.OPEN, Happening.CLICK),
    Fate.UNSUBSCRIBED: (Happening.DELIVERED, Happening.UNSUBSCRIBE),
    Fate.INACTIVE: (Happening.DROPPED,),
    Fate.INVALID: (Happening.DROPPED,),
}


class Carried(Protocol):
    """A mail, as far as what happens to it depends on it."""

    @property
    def esp(self) -> EspName: ...
    @property
    def recipient(self) -> str: ...
    @property
    def rendering_failure(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A mail that an ESP took, as far as its events tell of it."""

    id: int
    esp: EspName
    recipient: str
    send_ref: str | None
    message_id: str
    rendering_failure: bool
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How people with ordinary addresses behave: shares of 0 to 1, always the same ones."""

    bounce: float = 0.0
    complaint: float = 0.0
    machine_open: float = 0.0
    open: float = 0.0
    click: float = 0.0


def happenings(
    mail: Carried, rates: Rates, blocks: Collection[tuple[EspName, str]]
) -> tuple[Happening, ...]:
    """In their order. `blocks`: mailbox providers that refuse what comes from an ESP."""
    if mail.rendering_failure:
        return (Happening.RENDERING_FAILURE,)
    fate = fate_of(mail.recipient)
    provider = mailbox_provider(mail.recipient.rpartition("@")[2].lower()).value
    if (mail.esp, provider) in blocks:
        then: tuple[Happening, ...] = (Happening.BLOCK,)
    elif fate is Fate.DELIVERED:
        then = _by_chance(mail.recipient, rates)
    else:
        then = _OF_FATE[fate]
    return (Happening.PROCESSED, *then)


def chance(what: str, recipient: str) -> float:
    """0 to 1, always the same for the same recipient."""
    digest = blake2b(f"{what} {recipient.lower()}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def _by_chance(recipient: str, rates: Rates) -> tuple[Happening, ...]:
    if chance("bounce", recipient) < rates.bounce:
        return (Happening.HARD_BOUNCE,)
    found = [Happening.DELIVERED]
    if chance("machine_open", recipient) < rates.machine_open:
        found.append(Happening.MACHINE_OPEN)
    opens = chance("open", recipient)
    if opens < rates.open:
        found.append(Happening.OPEN)
    if opens < rates.click:
        found.append(Happening.CLICK)
    if chance("complaint", recipient) < rates.complaint:
        found.append(Happening.COMPLAINT)
    return tuple(found)
