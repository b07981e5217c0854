"""What the sending process keeps from one step to the next."""

import random
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime

from config.esp_config import EspConfig, EspName
from config.settings import DnsGate, EspDistribution
from services.base import BatchAnswer, EspAdapter
from services.calls import Delivery
from services.ledger.claim import ClaimedBatch
from services.mailing import Identity, Mailing
from services.pace import Pace


@dataclass(frozen=True, slots=True)
class Call:
    """A batch on its way to its ESP."""

    delivery: Delivery
    future: "Future[BatchAnswer]"

    @property
    def batch(self) -> ClaimedBatch:
        return self.delivery.batch


@dataclass(slots=True, kw_only=True)
class Floor:
    """What the sending process knows beside the database: connections, pace, calls under way."""

    configs: Mapping[EspName, EspConfig]
    identity: Identity
    distribution: EspDistribution
    dns_gate: DnsGate
    may_send_as: Callable[[str], bool]
    rng: random.Random
    pace: dict[EspName, Pace]
    adapters: dict[EspName, EspAdapter] = field(default_factory=dict)
    calls: dict[int, Call] = field(default_factory=dict)
    """By batch id; a call stays until its outcome is committed."""
    looked_up: dict[EspName, datetime] = field(default_factory=dict)
    """When the account of an ESP was last looked up, with or without success."""
    may_claim: bool = False
    """Whether the accounts were looked up, or waited for long enough."""
    mailings: dict[int, Mailing] = field(default_factory=dict)
    fits: dict[tuple[int, EspName], int] = field(default_factory=dict)
    """Recipients of a campaign that one call took last, where that was not all of them."""
    turns: dict[int, int] = field(default_factory=dict)
    """Which claim of all was the last of a campaign: the one that waited longest is next."""

    def keep_only(self, running: Collection[int]) -> None:
        """Forget campaigns that came to a stand."""
        for known in (self.mailings, self.turns):
            for campaign_id in known.keys() - set(running):
                known.pop(campaign_id)
        for key in [key for key in self.fits if key[0] not in running]:
            del self.fits[key]

    def note_turn(self, campaign_id: int) -> None:
        self.turns[campaign_id] = max(self.turns.values(), default=0) + 1
