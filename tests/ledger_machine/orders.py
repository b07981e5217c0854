"""What a person orders of a campaign, and the clock."""

from collections.abc import Callable
from datetime import timedelta

from hypothesis import strategies as st
from sqlalchemy.orm import Session

from database.models import Campaign, CampaignStatus
from services import campaign_control as control
from services.housekeeping import PAYLOADS_KEPT, forget_payloads
from services.ledger import plan as planning
from tests.ledger_machine.model import Model, happens
from tests.people import assert_counters_are_true, assert_suppressions_are_counted


class Orders(Model):
    @happens(data=st.data(), resolution=st.sampled_from(control.Resolution), wrong=st.booleans())
    def resolve(self, data: st.DataObject, resolution: control.Resolution, wrong: bool) -> None:
        campaign = data.draw(st.sampled_from(self.campaigns))
        unknown = [self.sends[i] for i in self.ids(campaign) if self.sends[i].status == "unknown"]
        is_requeue = resolution is control.Resolution.REQUEUE
        is_cancelled = self.at.campaign(campaign).status is CampaignStatus.CANCELLED
        refused = wrong or (is_requeue and is_cancelled)

        def order(session: Session, row: Campaign) -> None:
            control.resolve(session, row, resolution, len(unknown) + wrong, self.at.now)

        if self._order(campaign, order) == refused:
            raise AssertionError("taken" if refused else "refused")
        if refused:
            return
        for send in unknown:
            send.status = "queued" if is_requeue else "accepted"
            send.carried = 0 if is_requeue else send.carried

    @happens(data=st.data(), what=st.sampled_from(["pause", "go on", "go on", "cancel"]))
    def order(self, data: st.DataObject, what: str) -> None:
        campaign = data.draw(st.sampled_from(self.campaigns))
        if what == "pause":
            self._order(campaign, lambda _, row: control.pause(row))
        elif what == "go on":
            self._order(campaign, self._resume)
        elif self._order(campaign, self._cancel):
            self.cancel_queued(campaign)

    def _resume(self, _session: Session, row: Campaign) -> None:
        """As far as the ledger is concerned."""
        if row.status is CampaignStatus.PAUSED:
            planned = planning.is_planned(row)
            row.status = CampaignStatus.SENDING if planned else CampaignStatus.PLANNING

    def _cancel(self, session: Session, row: Campaign) -> None:
        control.cancel(session, row, self.at.now)

    def _order(self, campaign: int, order: Callable[[Session, Campaign], None]) -> bool:
        """Whether it was taken."""
        try:
            with self.database.write() as session:
                order(session, session.get_one(Campaign, campaign))
        except control.Conflict:
            return False
        return True

    @happens(minutes=st.sampled_from([-60, 1, 60, 24 * 60, 40 * 24 * 60]))
    def clock(self, minutes: int) -> None:
        """It may also be set back. Old raw events go, as they do each day. And the people are
        recounted, which takes too long to do each time."""
        self.at.now += timedelta(minutes=minutes)
        with self.database.write() as session:
            forget_payloads(session, self.at.now - PAYLOADS_KEPT, None)
        assert_counters_are_true(self.database)
        assert_suppressions_are_counted(self.database, self.at.now)
