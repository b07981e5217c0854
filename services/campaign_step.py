"""One step of the engine: what happens to all running campaigns in one transaction."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from config.esp_config import EspName
from config.failpoints import Failpoint
from config.settings import EspDistribution
from database.models import IS_RUNNING, Campaign, CampaignKind, CampaignStatus, TallyKind
from database.upsert import summed
from services.base import Account, EspError
from services.braking import why_campaign_brakes
from services.campaign_answers import Answers, pause, tell_stand
from services.campaign_control import requeue_unknown, why_not_from
from services.campaign_floor import Call, Floor
from services.campaigns import LIGHT
from services.esp_manager import (
    batch_size,
    gated_domain,
    opens_at,
    rank,
    why_all_brake,
    why_not_all,
)
from services.ledger.claim import ClaimedBatch, claim
from services.ledger.confirmation import may_go_again
from services.ledger.counters import tallies
from services.ledger.finish import finish, is_under_way
from services.ledger.plan import plan_chunk
from services.mailing import Mailing
from services.reputation import note_claimed
from services.standing import (
    Standing,
    load,
    save_account,
)
from utils.failpoints import reach
from utils.personalisation import TemplateError

log = logging.getLogger(__name__)

PATIENCE = timedelta(seconds=5)
"""A shorter wait for an ESP is part of sending."""
LOOK_EVERY_S = 1.0
"""How long a change that nobody told us about (the clock, another process) goes unseen."""


class Step:
    """Record, plan, claim and finish in one session; the caller commits, then calls."""

    def __init__(self, floor: Floor, session: Session, now: datetime) -> None:
        self._floor, self._session, self._now = floor, session, now
        self._standings: dict[EspName, Standing] = {}
        self.claimed: list[tuple[ClaimedBatch, Mailing]] = []
        self.pause = LOOK_EVERY_S
        """Seconds until the next step, if nothing happens before."""
        self._answers = Answers(floor, session, now)
        self._stood_still = False

    @property
    def stood_still(self) -> bool:
        """Whether a campaign came to a stand, so that those who wait for it look."""
        return self._stood_still or self._answers.stood_still

    def note_accounts(self, seen: Mapping[EspName, "Future[Account]"]) -> None:
        """Keep what look-ups said; one that failed changes nothing but is not repeated at once."""
        for esp, future in seen.items():
            error = future.exception()
            if error is None:
                save_account(self._session, esp, future.result(), self._now)
            elif isinstance(error, EspError):
                log.info("%s: account look-up failed: %s", esp, error.reason)
            else:
                log.error("%s: account look-up failed", esp, exc_info=error)

    def record(self, calls: Iterable[Call]) -> None:
        """Write what finished calls came to."""
        with summed(self._session):
            self._answers.record(calls)

    def advance(self) -> None:
        """Plan, end and claim, as far as ESPs have room; each campaign in its turn."""
        with summed(self._session):
            self._advance()

    def _advance(self) -> None:
        self._standings = load(self._session, self._floor.configs, self._now)
        campaigns = running(self._session)
        self._floor.keep_only({campaign.id for campaign in campaigns})
        queued = []
        for campaign in campaigns:
            has_more = campaign.status is CampaignStatus.PLANNING or campaign.queued > 0
            if has_more and (bad := why_not_from(campaign, self._floor.may_send_as)):
                self._pause_campaign(campaign, bad)
                continue
            if campaign.status is CampaignStatus.PLANNING:
                plan_chunk(self._session, campaign, self._now)
                reach(Failpoint.PLAN_BEFORE_COMMIT)
                self.pause = 0.0
            if campaign.queued > 0:
                if bad := why_campaign_brakes(self._session, campaign, self._now):
                    self._pause_campaign(campaign, f"brakes: {bad}")
                else:
                    queued.append(campaign)
            else:
                self._finish(campaign)
        queued.sort(key=lambda campaign: self._floor.turns.get(campaign.id, 0))
        while queued and self._floor.may_claim:
            queued = [campaign for campaign in queued if self._claim(campaign)]

    def _claim(self, campaign: Campaign) -> bool:
        """Claim one batch; whether another may be tried in this step."""
        allowed = [s for s in self._standings.values() if campaign.esp in (None, s.esp)]
        if campaign.kind is CampaignKind.CONFIRMATION:
            allowed = [s.for_transactional() for s in allowed]
        order = self._rank(campaign, allowed)
        while order:
            standing = self._with_room(order)
            mailing = None if standing is None else self._mailing(campaign)
            if standing is None or mailing is None:
                return False
            before = campaign.queued
            if self._take(campaign, standing, mailing):
                return campaign.queued > 0
            if campaign.queued != before or not standing.reputation.closed_to(self._now):
                self._claimed_nothing(campaign, before)
                return False
            # All that is left is for mailbox providers where this ESP rests.
            order.remove(standing.esp)
        self._rest(campaign, allowed)
        return False

    def _with_room(self, order: list[EspName]) -> Standing | None:
        """The first of the best priority that can take a batch now; one of a lower priority
        does not step in for one that is merely busy, nor does any when load is balanced."""
        best = self._standings[order[0]]
        balanced = self._floor.distribution is EspDistribution.BALANCED
        for standing in map(self._standings.__getitem__, order[:1] if balanced else order):
            if standing.priority != best.priority:
                break
            ready_in = self._floor.pace[standing.esp].ready_in()
            if self._under_way(standing.esp) >= standing.concurrency:
                continue
            if ready_in == 0:
                return standing
            self.pause = min(self.pause, ready_in)
        return None

    def _take(self, campaign: Campaign, standing: Standing, mailing: Mailing) -> bool:
        """Whether a batch was claimed for this ESP."""
        esp, fares = standing.esp, standing.reputation
        most = min(
            self._floor.adapters[esp].max_batch,
            self._floor.fits.get((campaign.id, esp), standing.batch_size),
        )
        batch = claim(
            self._session,
            campaign,
            esp,
            batch_size(standing, most=most),
            self._now,
            probe=standing.breaker.wants_probe(),
            closed=fares.closed_to(self._now),
        )
        if batch is None:
            return False
        if any(cell.rests_until is not None for cell in fares.cells.values()):
            providers = Counter(send.mailbox_provider for send in batch.sends)
            note_claimed(self._session, esp, providers, self._now)
        if campaign.status is CampaignStatus.WAITING:
            campaign.status = CampaignStatus.SENDING
            campaign.reason = campaign.resume_at = None
        self._standings[esp] = standing.after_claim(len(batch.sends))
        self._floor.pace[esp].take(len(batch.sends), standing.per_second)
        self._floor.note_turn(campaign.id)
        self.claimed.append((batch, mailing))
        reach(Failpoint.CLAIM_BEFORE_COMMIT)
        return True

    def _claimed_nothing(self, campaign: Campaign, before: int) -> None:
        """Those who were next had all left the list: look again. Or nobody was queued,
        whatever the counter said."""
        if campaign.queued != before:
            self.pause = 0.0
        else:
            self._finish(campaign)

    def _finish(self, campaign: Campaign) -> None:
        is_planned = campaign.status is not CampaignStatus.PLANNING
        if not is_planned or is_under_way(self._session, campaign.id):
            return
        if may_go_again(self._session, campaign):
            requeue_unknown(self._session, campaign, self._now, why="its outcome was not known")
            self.pause = 0.0
        else:
            finish(self._session, campaign, self._now)
            reach(Failpoint.FINISH_BEFORE_COMMIT)
            self._stood_still = True
            tell_stand(campaign)

    def _rank(self, campaign: Campaign, allowed: list[Standing]) -> list[EspName]:
        claimed: dict[EspName, int] = {}
        if self._floor.distribution is EspDistribution.BALANCED:
            counts = tallies(self._session, campaign.id, TallyKind.CLAIMED)
            claimed = {EspName(name): n for name, n in counts.items()}
        return rank(
            allowed,
            self._now,
            rng=self._floor.rng,
            domain=gated_domain(campaign.from_email, self._floor.dns_gate),
            distribution=self._floor.distribution,
            claimed=claimed,
            probing=self._probing(),
        )

    def _rest(self, campaign: Campaign, allowed: list[Standing]) -> None:
        """No ESP may get anything now: stay for a moment, or wait and say for what."""
        if self._probing() or any(b.campaign_id == campaign.id for b in self._batches()):
            return  # an answer is on its way, and with it the next step
        if campaign.status is CampaignStatus.PLANNING:
            return  # which goes on meanwhile
        if bad := why_all_brake(allowed, self._now):
            self._pause_campaign(campaign, bad)
            return
        times = [opens_at(standing, self._now) for standing in allowed]
        at = min((time for time in times if time is not None), default=None)
        if at is not None and at - self._now <= PATIENCE:
            self.pause = min(self.pause, (at - self._now).total_seconds())
            return
        domain = gated_domain(campaign.from_email, self._floor.dns_gate)
        reasons = [f"{s.esp} {why_not_all(s, self._now, domain=domain)}" for s in allowed]
        campaign.status, campaign.resume_at = CampaignStatus.WAITING, at
        campaign.reason = "; ".join(reasons) or f"{campaign.esp or 'no ESP'} is not configured"
        self._stood_still = True

    def _mailing(self, campaign: Campaign) -> Mailing | None:
        mailing = self._floor.mailings.get(campaign.id)
        if mailing is None:
            try:
                mailing = Mailing(campaign, self._floor.identity, campaign_id=campaign.id)
            except TemplateError as error:
                self._pause_campaign(campaign, f"{error.field}: {error}")
                return None
            self._floor.mailings[campaign.id] = mailing
        return mailing

    def _pause_campaign(self, campaign: Campaign, reason: str) -> None:
        self._stood_still = True
        pause(campaign, reason)

    def _under_way(self, esp: EspName) -> int:
        return sum(batch.esp is esp for batch in self._batches())

    def _probing(self) -> set[EspName]:
        return {batch.esp for batch in self._batches() if batch.probe}

    def _batches(self) -> Iterable[ClaimedBatch]:
        """What a crash right after this step's commit would leave unknown."""
        for batch_id, call in self._floor.calls.items():
            if batch_id not in self._answers.recorded:
                yield call.batch
        for batch, _ in self.claimed:
            yield batch


def running(session: Session) -> list[Campaign]:
    """The campaigns with something to do, fresh from the database, oldest first.

    Locked on PostgreSQL, so that a pause from elsewhere comes before this step or after it;
    without their texts, which may be long and are seldom needed.
    """
    return list(session.scalars(_RUNNING, execution_options={"populate_existing": True}))


def any_running(session: Session) -> bool:
    return session.execute(_ANY_RUNNING).first() is not None


# Each step asks: to build a question takes longer than to answer it.
_RUNNING = (
    select(Campaign)
    .where(IS_RUNNING)
    .order_by(Campaign.id)
    .options(*LIGHT)
    .with_for_update(key_share=True)
)
_ANY_RUNNING = select(Campaign.id).where(IS_RUNNING).limit(1)
