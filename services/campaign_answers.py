"""What finished calls came to: written, learnt from, and what their campaigns do about it."""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import cast

from sqlalchemy import Table, bindparam, select
from sqlalchemy.orm import Session

from config.esp_config import EspName
from config.failpoints import Failpoint
from database.models import RUNNING, Campaign, CampaignStatus
from services.base import Outcome, SendResult
from services.calls import breaker_after, outcome_of, verdict
from services.campaign_floor import Call, Floor
from services.campaigns import LIGHT
from services.ledger.claim import ClaimedBatch
from services.ledger.finish import cancel_queued
from services.ledger.record import BatchOutcome, note_day, record, without_erased
from services.reputation import note_outcomes, note_unheard
from services.standing import load_breaker, save_breaker
from utils.failpoints import reach

log = logging.getLogger(__name__)

_Said = tuple[ClaimedBatch, BatchOutcome]


class Answers:
    """Of one step of the engine; the caller commits."""

    def __init__(self, floor: Floor, session: Session, now: datetime) -> None:
        self._floor, self._session, self._now = floor, session, now
        self.recorded: set[int] = set()
        """Ids of the batches."""
        self.stood_still = False
        """Whether a campaign came to a stand."""

    def record(self, calls: Iterable[Call]) -> None:
        """Write each; then learn from those of an ESP together."""
        learnt: dict[EspName, list[_Said]] = {}
        outcomes: list[_Said] = []
        for call in calls:
            batch = call.batch
            outcome = without_erased(self._session, batch, outcome_of(call.delivery, call.future))
            is_new = record(self._session, batch, outcome, self._now)
            self.recorded.add(batch.id)
            outcomes.append((batch, outcome))
            if is_new and outcome.carried:
                learnt.setdefault(batch.esp, []).append((batch, outcome))
            reach(Failpoint.RECORD_BEFORE_COMMIT)
        for esp, said in learnt.items():
            self._learn(esp, said)
        self._react(outcomes)

    def _learn(self, esp: EspName, calls: Sequence[_Said]) -> None:
        """What calls say about their ESP, and about how many of these mails fit into one."""
        before = after = load_breaker(self._session, esp)
        failures = 0
        for batch, outcome in calls:
            said = verdict(outcome.results)
            if said.outcome is not Outcome.ACCEPTED:
                _tell(batch, said, outcome.http_status)
            after = breaker_after(
                after, said, self._now, probe=batch.probe, jitter=self._floor.rng.random()
            )
            failures += said.outcome in (Outcome.UNKNOWN, Outcome.ESP_UNAVAILABLE)
            note_day(self._session, esp, outcome, self._now)
            self._learn_fit(batch, outcome.carried)
        if after != before:
            save_breaker(self._session, esp, after)
        accepted = sum(outcome.counts[Outcome.ACCEPTED] for _, outcome in calls)
        note_outcomes(self._session, esp, self._now, successes=accepted, failures=failures)
        if accepted:
            note_unheard(self._session, esp, accepted, self._now)

    def _learn_fit(self, batch: ClaimedBatch, fit: int) -> None:
        key = (batch.campaign_id, batch.esp)
        if fit < len(batch.sends):
            self._floor.fits[key] = fit
        elif key in self._floor.fits:
            self._floor.fits[key] = max(self._floor.fits[key], fit * 2)

    def _react(self, calls: Sequence[_Said]) -> None:
        """What answers mean for their campaigns, which may have been deleted or stopped since."""
        ids = {batch.campaign_id for batch, _ in calls}
        if not ids:
            return
        statuses = dict(self._session.connection().execute(_STATUSES, {"ids": sorted(ids)}).all())
        for campaign_id, status in statuses.items():
            if status is CampaignStatus.CANCELLED:
                cancel_queued(self._session, campaign_id, self._now)
            self.stood_still |= status not in RUNNING
        for batch, outcome in calls:
            is_refused = outcome.counts[Outcome.MESSAGE_REJECTED]
            if is_refused and statuses.get(batch.campaign_id) in RUNNING:
                refused = [r for r in outcome.results if r.outcome is Outcome.MESSAGE_REJECTED]
                who = f"{batch.esp} refused the message: " if outcome.carried else ""
                campaign = self._session.get_one(Campaign, batch.campaign_id, options=LIGHT)
                pause(campaign, f"{who}{refused[0].reason}")
                statuses[batch.campaign_id] = campaign.status
                self.stood_still = True


_CAMPAIGNS = cast("Table", Campaign.__table__).c
_STATUSES = select(_CAMPAIGNS.id, _CAMPAIGNS.status).where(
    _CAMPAIGNS.id.in_(bindparam("ids", expanding=True))
)


def _tell(batch: ClaimedBatch, said: SendResult, http_status: int | None) -> None:
    about = {"campaign_id": batch.campaign_id, "batch_id": batch.id, "esp": batch.esp.value}
    what = {"outcome": said.outcome.value, "http_status": http_status, "reason": said.reason}
    log.warning("an ESP did not take a batch", extra={**about, **what})


def pause(campaign: Campaign, reason: str) -> None:
    """Stop it until a person looks."""
    campaign.status, campaign.reason = CampaignStatus.PAUSED, reason
    campaign.resume_at = None
    tell_stand(campaign)


def tell_stand(campaign: Campaign) -> None:
    about = {"campaign_id": campaign.id, "status": campaign.status.value}
    log.info("a campaign stands", extra={**about, "reason": campaign.reason})
