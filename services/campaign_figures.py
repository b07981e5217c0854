"""What became of campaigns' mails, by ESP and by mailbox provider, from kept counters."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import String, select, type_coerce
from sqlalchemy.orm import Session

from database.models import CampaignTally, TallyKind

_TOLD = (
    *("delivered", "deferred", "hard_bounced", "soft_bounced", "blocked", "dropped", "complained"),
    *("opened", "clicked", "unsubscribed", "machine_opened", "machine_clicked"),
)
_NAMES = {TallyKind.CARRIED.value: "accepted", **{name: name for name in _TOLD}}
"""The figures of an answer, by the tallies whose key is `esp/mailbox provider`."""


def _nothing() -> dict[str, int]:
    return dict.fromkeys(_NAMES.values(), 0)


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

    by_kind: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    """Those whose key is not `esp/mailbox provider`."""
    esps: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(_nothing))
    providers: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(_nothing))

    def of(self, kind: TallyKind) -> dict[str, int]:
        return self.by_kind.get(kind.value, {})

    def by_esp(self) -> dict[str, dict[str, Any]]:
        """The figures and rates of each ESP that carried or told of any of it."""
        return {esp: _told(self.esps[esp]) for esp in sorted(self.esps)}

    def by_provider(self) -> dict[str, dict[str, Any]]:
        """The same of each mailbox provider."""
        return {name: _told(self.providers[name]) for name in sorted(self.providers)}


def load_tallies(session: Session, campaign_ids: Collection[int]) -> dict[int, Tallies]:
    """The tallies of these campaigns, in one statement."""
    found = {campaign_id: Tallies() for campaign_id in campaign_ids}
    # As text, and past the ORM: a page of campaigns has some ten thousand of them.
    columns = CampaignTally.__table__.c
    rows = session.connection().execute(
        select(columns.campaign_id, type_coerce(columns.kind, String), columns.key, columns.n)
        .where(columns.campaign_id.in_(found), columns.n != 0)
        .order_by(columns.campaign_id, columns.kind, columns.key)
    )
    for campaign_id, kind, key, n in rows:
        tallies, name = found[campaign_id], _NAMES.get(kind)
        if name is None:
            tallies.by_kind[kind][key] = n
        else:
            esp, _, provider = key.partition("/")
            tallies.esps[esp][name] += n
            tallies.providers[provider][name] += n
    return found


def rates(figures: Mapping[str, int]) -> dict[str, float | None]:
    """Shares, 0..1, of what was accepted or delivered (`_BASES`); `None` of nothing.

    At most 1: some ESPs tell of an open and never of the delivery.
    """
    return {
        name: round(min(1.0, figures[name] / figures[base]), 6) if figures[base] else None
        for name, base in _BASES.items()
    }


def _told(figures: dict[str, int]) -> dict[str, Any]:
    bounced = figures["hard_bounced"] + figures["blocked"]
    return {**figures, "rates": rates({**figures, "bounced": bounced})}
