"""What the engine does: plan, claim, answer, end, crash."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition

from database.models import Campaign, CampaignStatus
from services import campaign_control as control
from services.base import Outcome, SendResult
from services.events import SuppressionReason
from services.ledger.claim import ClaimedBatch
from services.ledger.confirmation import may_go_again
from services.ledger.finish import finish, is_under_way
from services.ledger.record import give_back, recover
from tests.ledger_machine.model import EVERYBODY, Model, Send, esps, happens, people

RUNNING = (CampaignStatus.SENDING, CampaignStatus.WAITING)
MAY_BE_CARRIED = (Outcome.ACCEPTED, Outcome.UNKNOWN)

AFTER = {
    Outcome.ACCEPTED: "accepted",
    Outcome.RECIPIENT_REJECTED: "rejected",
    Outcome.MESSAGE_REJECTED: "queued",
    Outcome.THROTTLED: "queued",
    Outcome.ESP_UNAVAILABLE: "queued",
    Outcome.NOT_TAKEN: "queued",
    Outcome.UNKNOWN: "unknown",
}
"""Written again here, so that a slip in the code's own table is seen."""


class Sending(Model):
    @initialize(plans=st.sampled_from([True, True, True, False]))
    def a_campaign(self, plans: bool) -> None:
        self._post(None)
        while plans and self.having(CampaignStatus.PLANNING):
            self._plan_one(1)

    @precondition(lambda self: len(self.campaigns) < 3)
    @happens(emails=st.none() | st.lists(people, max_size=4))
    def post(self, emails: list[str] | None) -> None:
        self._post(emails)

    def _post(self, emails: list[str] | None) -> None:
        if emails is not None:  # to name who was erased is to hold their address again
            emails = [email for email in emails if email not in self.people.erased]
        audience = {} if emails is None else {"emails": [*emails, "nobody@example.net", "no one"]}
        campaign = self.at.create(audience=audience)
        self.campaigns.append(campaign)
        self.wanted[campaign] = set(EVERYBODY if emails is None else emails)
        self.must[campaign] = self.wanted[campaign] & self.people.active

    @happens()
    def nothing(self) -> None:
        """But the engine works."""

    def work(self, data: st.DataObject, steps: int) -> None:
        for _ in range(steps):
            if possible := self._can_do():
                step, about = data.draw(st.sampled_from(possible))
                step(about, data)

    def _can_do(self) -> list[tuple[Callable[[Any, st.DataObject], None], Any]]:
        running = self.having(*RUNNING)
        queued = {send.campaign for send in self.sends.values() if send.status == "queued"}
        calling = {call.campaign_id for call in self.calls}
        return [
            *((self._plan_one, one) for one in self.having(CampaignStatus.PLANNING)),
            *((self._claim, one) for one in running if one in queued),
            *((self._answer, call) for call in self.calls),
            *((self._finish, one) for one in running if one not in queued | calling),
        ]

    def _plan_one(self, campaign: int, _data: st.DataObject | None = None) -> None:
        """One transaction of a plan, which takes several."""
        self.at.plan_one(campaign)
        for row in self.at.sends(campaign):
            if row.id in self.sends:
                continue
            assert row.subscriber_id is not None
            send = Send(campaign, row.email_key, row.subscriber_id, row.status.value)
            assert (send.status == "queued") == self.may_get(send), row.reason
            self.sends[row.id] = send
        if self.at.campaign(campaign).status is not CampaignStatus.PLANNING:
            self._check_whole(campaign)

    def _check_whole(self, campaign: int) -> None:
        """Nobody who has not left is missing from a plan that is complete."""
        planned = {self.sends[one].person for one in self.ids(campaign)}
        assert self.must[campaign] <= planned <= self.wanted[campaign]

    def _claim(self, campaign: int, data: st.DataObject) -> None:
        n, esp = data.draw(st.integers(1, 4)), data.draw(esps)
        next_ones = [one for one in self.ids(campaign) if self.sends[one].status == "queued"][:n]
        batch = self.at.claim(campaign, n, esp)
        claimed = [] if batch is None else [send.send_id for send in batch.sends]
        assert claimed == [one for one in next_ones if self.may_get(self.sends[one])]
        for send_id in next_ones:
            send = self.sends[send_id]
            if send_id not in claimed:
                send.status = "skipped"
                continue
            assert send.carried == 0, "it may have been taken before"
            send.status, send.attempt = "sending", send.attempt + 1
            send.carriers[send.attempt] = esp
        if batch is not None:
            self.calls.append(batch)

    def _answer(self, batch: ClaimedBatch, data: st.DataObject) -> None:
        """One outcome for all of a call, or one each."""
        size = len(batch.sends)
        one_each = st.lists(st.sampled_from(Outcome), min_size=size, max_size=size)
        outcomes = data.draw(one_each | st.sampled_from(Outcome).map(lambda one: [one] * size))
        inactive = data.draw(st.booleans())
        results = [
            SendResult(
                outcome=outcome,
                message_id="m" if outcome is Outcome.ACCEPTED else None,
                reason=None if outcome is Outcome.ACCEPTED else f"550 <{claimed.email}>: no",
                suppress=inactive and outcome is Outcome.RECIPIENT_REJECTED,
            )
            for claimed, outcome in zip(batch.sends, outcomes, strict=True)
        ]
        assert self.at.record(batch, *results)
        for claimed, result in zip(batch.sends, results, strict=True):
            send = self.sends[claimed.send_id]
            if result.suppress:
                self.leaves(send.person, SuppressionReason.ESP_INACTIVE)
            if send.status == "sending":  # else an event has come first
                send.status = AFTER[result.outcome]
                send.carried += result.outcome in MAY_BE_CARRIED
                self.unclear[batch.campaign_id] += result.outcome is Outcome.UNKNOWN
        self.end(batch)

    def _finish(self, campaign: int, _data: st.DataObject) -> None:
        """As the engine does when nothing is left to claim, and nothing is under way."""
        statuses = Counter(self.sends[one].status for one in self.ids(campaign))
        with self.database.write() as session:
            assert not is_under_way(session, campaign)
            row = session.get_one(Campaign, campaign)
            if goes_again := may_go_again(session, row):
                control.requeue_unknown(session, row, self.at.now)
            else:
                finish(session, row, self.at.now)
            says = (row.status, "not known" in (row.reason or ""))
        assert goes_again == (statuses["unknown"] > 0 and self._is_unclear_once(campaign))
        if goes_again:
            self._again(campaign)
        elif statuses["unknown"]:
            assert says == (CampaignStatus.NEEDS_REVIEW, True)
        else:
            assert says == (CampaignStatus.SENT, False)

    def _is_unclear_once(self, campaign: int) -> bool:
        """Of a request that is open."""
        return self.unclear[campaign] == 1 and any(
            request.campaign == campaign and not (request.is_confirmed or request.is_forgotten)
            for request in self.people.requests
        )

    def _again(self, campaign: int) -> None:
        for one in self.ids(campaign):
            if self.sends[one].status == "unknown":
                self.sends[one].status, self.sends[one].carried = "queued", 0
                self.sends[one].again += 1

    @precondition(lambda self: self.over)
    @happens(data=st.data(), outcome=st.sampled_from(Outcome))
    def answer_again(self, data: st.DataObject, outcome: Outcome) -> None:
        """A commit that seemed to fail; a process that was taken for dead."""
        batch = data.draw(st.sampled_from(self.over))
        assert not self.at.record(batch, outcome)

    @precondition(lambda self: self.calls)
    @happens(data=st.data())
    def never_called(self, data: st.DataObject) -> None:
        batch = data.draw(st.sampled_from(self.calls))
        with self.database.write() as session:
            give_back(session, [batch.id], self.at.now)
        for claimed in batch.sends:
            send = self.sends[claimed.send_id]
            if send.status == "sending":
                send.status = "queued"
        self.end(batch)

    @precondition(lambda self: self.calls)
    @happens()
    def crash(self) -> None:
        """All calls under way are cut short, and the next process finds their batches."""
        with self.database.write() as session:
            n = recover(session, self.at.now)
        under_way = [self.sends[send.send_id] for batch in self.calls for send in batch.sends]
        unsettled = [send for send in under_way if send.status == "sending"]
        assert n == len(unsettled)
        for send in unsettled:
            send.status = "unknown"
            send.carried += 1
            self.unclear[send.campaign] += 1
        for batch in list(self.calls):
            self.end(batch)
