"""What the model knows of a ledger, in a few dictionaries, and what all rules do to it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from config.esp_config import EspName
from database.models import CampaignStatus
from services.events import Event, SuppressionReason
from services.ledger.claim import ClaimedBatch
from services.ledger.finish import cancel_queued
from tests.ledger_machine.people import People
from tests.ledger_machine.start import PEOPLE, Start
from tests.ledgers import Ledgers

EVERYBODY = [*PEOPLE, "newcomer0@example.net", "newcomer1@example.net"]

esps = st.sampled_from(list(EspName))
people = st.sampled_from(EVERYBODY)


@dataclass(slots=True)
class Send:
    """What the model knows of a send."""

    campaign: int
    person: str
    subscriber: int
    status: str
    attempt: int = 0
    carriers: dict[int, EspName] = field(default_factory=dict)
    """Who carried which attempt."""
    carried: int = 0
    """How often an ESP may have taken it since it was last ordered again."""
    again: int = 0
    """How often that was done by itself."""


def happens(**drawn: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Any]:
    """A rule, after which the engine works for a while.

    Chance leaves out whole rules. Were the engine one of them, most examples would claim nothing,
    and one crash in 400 would find a call under way.
    """

    as_rule: Any = rule  # its types know no `**drawn`

    def decorate(what: Callable[..., None]) -> Any:
        @wraps(what)
        def step(self: "Model", engine: st.DataObject, steps: int, **said: Any) -> None:
            what(self, **said)
            self.work(engine, steps)

        return as_rule(engine=st.data(), steps=st.integers(0, 3), **drawn)(step)

    return decorate


class Model(RuleBasedStateMachine):
    start: ClassVar[Start]

    def __init__(self) -> None:
        super().__init__()
        self.start.afresh()
        self.database = self.start.database
        self.at = Ledgers(self.database)
        self.sends: dict[int, Send] = {}
        self.campaigns: list[int] = []
        self.people = People({email: n for n, email in enumerate(PEOPLE, start=1)})
        self.wanted: dict[int, set[str]] = {}
        """Who may be in a campaign."""
        self.must: dict[int, set[str]] = {}
        """Who was on the list when it was posted, and has been since."""
        self.unclear: Counter[int] = Counter()
        """By campaign: calls of it whose outcome was not known."""
        self.calls: list[ClaimedBatch] = []
        """Claimed, and not answered."""
        self.over: list[ClaimedBatch] = []
        """Settled in one way or another."""
        self.told: list[tuple[EspName, Event]] = []

    def work(self, data: st.DataObject, steps: int) -> None:
        """What the engine does meanwhile."""
        raise NotImplementedError

    def having(self, *statuses: CampaignStatus) -> list[int]:
        """Campaigns that have one of these."""
        rows = self.look("SELECT id, status FROM campaigns ORDER BY id")
        return [one for one, status in rows if status in statuses]

    def ids(self, campaign: int) -> list[int]:
        return sorted(one for one, send in self.sends.items() if send.campaign == campaign)

    def look(self, sql: str) -> list[tuple[Any, ...]]:
        return self.start.look(sql)

    def may_get(self, send: Send) -> bool:
        return self.people.may_get(send.campaign, send.person, send.subscriber, self.at.now)

    def leaves(
        self, person: str, reason: SuppressionReason, *, happened_at: datetime | None = None
    ) -> None:
        self.people.leave(person, reason, self.at.now, happened_at=happened_at)
        self.forget(person)

    def forget(self, person: str) -> None:
        """Nobody is missing from a plan who went while it was made."""
        for of_campaign in self.must.values():
            of_campaign.discard(person)

    def end(self, batch: ClaimedBatch) -> None:
        self.calls.remove(batch)
        self.over.append(batch)
        if self.at.campaign(batch.campaign_id).status is CampaignStatus.CANCELLED:
            with self.database.write() as session:  # as the engine does
                cancel_queued(session, batch.campaign_id, self.at.now)
            self.cancel_queued(batch.campaign_id)

    def cancel_queued(self, campaign: int) -> None:
        for one in self.ids(campaign):
            if self.sends[one].status == "queued":
                self.sends[one].status = "cancelled"
