"""What became of campaigns' mails, by ESP and by mailbox provider, from kept counters."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from database.models import CampaignTally, TallyKind

_TOLD = (
    *("delivered", "deferred", "hard_bounced", "soft_bounced", "blocked", "dropped", "complained"),
    *("opened", "clicked", "unsubscribed", "machine_opened", "machine_clicked"),
)
_KINDS = {"accepted": TallyKind.CARRIED, **{name: TallyKind(name) for name in _TOLD}}
"""The figures of an answer, each from the tallies whose key is `esp/mailbox provider`."""

_BASES = {
    "delivered": "accepted",
    "bounced": "accepted",
    "complained": "delivered",
    "opened": "delivered",
    "clicked": "delivered",
    "unsubscribed": "delivered",
}
"""What each rate is a share of."""


@dataclass(slots=True)
class Tallies:
    """The keyed counters of one campaign that are not zero."""

    by_kind: dict[TallyKind, dict[str, int]] = field(default_factory=dict)

    def of(self, kind: TallyKind) -> dict[str, int]:
        return self.by_kind.get(kind, {})

    def by_esp(self) -> dict[str, dict[str, Any]]:
        """The figures and rates of each ESP that carried or told of any of it."""
        return self._grouped(0)

    def by_provider(self) -> dict[str, dict[str, Any]]:
        """The same of each mailbox provider."""
        return self._grouped(1)

    def _grouped(self, part: int) -> dict[str, dict[str, Any]]:
        found: dict[str, Counter[str]] = {}
        for name, kind in _KINDS.items():
            for key, n in self.of(kind).items():
                found.setdefault(key.split("/", 1)[part], Counter())[name] += n
        return {group: _told(found[group]) for group in sorted(found)}


def load_tallies(session: Session, campaign_ids: Collection[int]) -> dict[int, Tallies]:
    """The tallies of these campaigns, in one statement."""
    found = {campaign_id: Tallies() for campaign_id in campaign_ids}
    rows: Iterable[Any] = session.execute(
        select(CampaignTally.campaign_id, CampaignTally.kind, CampaignTally.key, CampaignTally.n)
        .where(CampaignTally.campaign_id.in_(found), CampaignTally.n != 0)
        .order_by(CampaignTally.campaign_id, CampaignTally.kind, CampaignTally.key)
    )
    for campaign_id, kind, key, n in rows:
        found[campaign_id].by_kind.setdefault(kind, {})[key] = n
    return found


def rates(figures: Mapping[str, int]) -> dict[str, float | None]:
    """Shares, 0..1, of what was accepted or delivered (`_BASES`); `None` of nothing.

    At most 1: some ESPs tell of an open and never of the delivery.
    """
    return {
        name: round(min(1.0, figures[name] / figures[base]), 6) if figures[base] else None
        for name, base in _BASES.items()
    }


def _told(counted: Counter[str]) -> dict[str, Any]:
    bounced = counted["hard_bounced"] + counted["blocked"]
    return {
        **{name: counted[name] for name in _KINDS},
        "rates": rates(Counter({**counted, "bounced": bounced})),
    }
