"""What finished calls came to: written, learnt from, and what their campaigns do about it."""

import logging
from datetime import datetime

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

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


class Answers:
    """Of one step of the engine; the caller commits."""

    def __init__(self, floor: Floor, session: Session, now: datetime) -> None:
        self._floor, self._session, self._now = floor, session, now
        self.recorded: set[int] = set()
        """Ids of the batches."""
        self.stood_still = False
        """Whether a campaign came to a stand."""

    def record(self, call: Call) -> None:
        batch = call.batch
        outcome = without_erased(self._session, batch, outcome_of(call.delivery, call.future))
        is_new = record(self._session, batch, outcome, self._now)
        self.recorded.add(batch.id)
        if is_new and outcome.carried:
            self._learn(batch, outcome)
        self._react(batch, outcome)
        reach(Failpoint.RECORD_BEFORE_COMMIT)

    def _learn(self, batch: ClaimedBatch, outcome: BatchOutcome) -> None:
        """What a call says about its ESP, and about how many of these mails fit into one."""
        said = verdict(outcome.results)
        if said.outcome is not Outcome.ACCEPTED:
            _tell(batch, said, outcome.http_status)
        before = load_breaker(self._session, batch.esp)
        after = breaker_after(
            before, said, self._now, probe=batch.probe, jitter=self._floor.rng.random()
        )
        if after != before:
            save_breaker(self._session, batch.esp, after)
        accepted = outcome.counts[Outcome.ACCEPTED]
        failed = said.outcome in (Outcome.UNKNOWN, Outcome.ESP_UNAVAILABLE)
        note_outcomes(self._session, batch.esp, self._now, successes=accepted, failures=int(failed))
        note_day(self._session, batch.esp, outcome, self._now)
        if accepted:
            note_unheard(self._session, batch.esp, accepted, self._now)
        self._learn_fit(batch, outcome.carried)

    def _learn_fit(self, batch: ClaimedBatch, fit: int) -> None:
        key = (batch.campaign_id, batch.esp)
        if fit < len(batch.sends):
            self._floor.fits[key] = fit
        elif key in self._floor.fits:
            self._floor.fits[key] = max(self._floor.fits[key], fit * 2)

    def _react(self, batch: ClaimedBatch, outcome: BatchOutcome) -> None:
        """What the answer means for its campaign, which may have been deleted or stopped since."""
        status = self._session.scalar(_STATUS, {"campaign": batch.campaign_id})
        if status is CampaignStatus.CANCELLED:
            cancel_queued(self._session, batch.campaign_id, self._now)
        if outcome.counts[Outcome.MESSAGE_REJECTED] and status in RUNNING:
            refused = [r for r in outcome.results if r.outcome is Outcome.MESSAGE_REJECTED]
            who = f"{batch.esp} refused the message: " if outcome.carried else ""
            campaign = self._session.get_one(Campaign, batch.campaign_id, options=LIGHT)
            pause(campaign, f"{who}{refused[0].reason}")
            self.stood_still = True
        elif status is not None and status not in RUNNING:
            self.stood_still = True


_STATUS = select(Campaign.status).where(Campaign.id == bindparam("campaign"))


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
