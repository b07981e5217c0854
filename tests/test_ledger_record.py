"""What became of the sends of a batch: written once, however late and by whom; on both databases."""

from datetime import timedelta

import pytest
from sqlalchemy import delete, select, update

from config.esp_config import EspName
from database.models import (
    Campaign,
    CampaignStatus,
    EmailSend,
    EspPerformanceDay,
    SendStatus,
    Subscriber,
    Suppression,
    TallyKind,
)
from services.base import Outcome, SendResult
from services.ledger.counters import tallies
from services.ledger.finish import cancel_queued, finish, is_under_way
from services.ledger.record import DIED, BatchOutcome, give_back, note_day, recover
from tests.ledgers import Ledgers, at
from tests.people import either_database, postgres

__all__ = ["at", "either_database", "postgres"]  # fixtures

SENDGRID, SES = EspName.SENDGRID, EspName.SES


# Each outcome: the send's status, the batch's state, and whether the quota is free again.
OUTCOMES = {
    Outcome.ACCEPTED: ("accepted", "done", False),
    Outcome.RECIPIENT_REJECTED: ("rejected", "done", False),
    Outcome.MESSAGE_REJECTED: ("queued", "done", True),
    Outcome.THROTTLED: ("queued", "done", True),
    Outcome.ESP_UNAVAILABLE: ("queued", "done", True),
    Outcome.NOT_TAKEN: ("queued", "done", True),
    Outcome.UNKNOWN: ("unknown", "unknown", False),
}


def test_every_outcome_has_a_row() -> None:
    assert OUTCOMES.keys() == set(Outcome)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_each_outcome_moves_sends_counters_and_quota_together(
    at: Ledgers, outcome: Outcome
) -> None:
    status, state, is_free = OUTCOMES[outcome]
    campaign_id = at.planned(4)
    batch = at.claimed(campaign_id, 3)
    result = SendResult(outcome=outcome, message_id="m-1", reason="why")
    assert at.record(batch, result)
    left = {"queued": 4} if status == "queued" else {"queued": 1, status: 3}
    assert at.counts(campaign_id) == left
    assert at.used() == ((0, 0) if is_free else (3, 3))
    row = at.batches()[0]
    assert (row.state.value, row.http_status, row.finished_at) == (state, 200, at.now)
    send, ended = at.sends(campaign_id)[0], status != "queued"
    assert (send.status.value, send.reason, send.esp_message_id) == (status, "why", "m-1")
    assert (send.esp, send.settled_at) == ((SENDGRID, at.now) if ended else (None, None))
    refused = outcome in (Outcome.THROTTLED, Outcome.ESP_UNAVAILABLE)
    assert send.refused_by == (SENDGRID if refused else None)
    with at.database.read() as session:
        claimed = tallies(session, campaign_id, TallyKind.CLAIMED)
    assert claimed == ({} if is_free else {"sendgrid": 3})
    assert at.report(campaign_id)["by_esp"] == ({"sendgrid": 3} if status == "accepted" else {})


def test_one_batch_may_come_to_many_outcomes(at: Ledgers) -> None:
    campaign_id = at.planned(7)
    batch = at.claimed(campaign_id, 7)
    at.record(batch, *OUTCOMES)
    assert at.counts(campaign_id) == {"accepted": 1, "rejected": 1, "unknown": 1, "queued": 4}
    row = at.batches()[0]
    assert (row.accepted, row.rejected, row.unknown, row.requeued) == (1, 1, 1, 4)
    assert (row.state.value, at.used()) == ("unknown", (3, 3))


@pytest.mark.parametrize("first", [Outcome.ACCEPTED, Outcome.UNKNOWN, Outcome.THROTTLED])
def test_recording_twice_changes_nothing_whatever_is_said_then(at: Ledgers, first: Outcome) -> None:
    campaign_id = at.planned(3)
    batch = at.claimed(campaign_id)
    assert at.record(batch, first)
    before = (at.report(campaign_id), at.used())
    for second in OUTCOMES:
        assert not at.record(batch, second)
        assert (at.report(campaign_id), at.used()) == before


def test_an_answer_does_not_touch_sends_that_another_call_carries_by_now(at: Ledgers) -> None:
    campaign_id = at.planned(3)
    late = at.claimed(campaign_id)
    with at.database.write() as session:
        give_back(session, [late.id], at.now)
    again = at.claimed(campaign_id, 3, SES)
    assert not at.record(late, Outcome.ACCEPTED)
    assert at.counts(campaign_id) == {"sending": 3}
    at.record(again, Outcome.ACCEPTED)
    assert at.report(campaign_id)["by_esp"] == {"ses": 3}


def test_a_send_that_an_event_settled_before_the_answer_stays_as_it_is(at: Ledgers) -> None:
    campaign_id = at.planned(3)
    batch = at.claimed(campaign_id)
    with at.database.write() as session:  # as whoever records a webhook does it
        session.execute(
            update(EmailSend)
            .where(EmailSend.id == batch.sends[1].send_id)
            .values(status=SendStatus.ACCEPTED)
        )
        session.execute(
            update(Campaign).values(sending=Campaign.sending - 1, accepted=Campaign.accepted + 1)
        )
    at.record(batch, Outcome.UNKNOWN)
    assert at.counts(campaign_id) == {"accepted": 1, "unknown": 2}
    assert [send.status.value for send in at.sends(campaign_id)] == [
        "unknown",
        "accepted",
        "unknown",
    ]


def test_an_address_that_the_esp_holds_inactive_is_suppressed_once(at: Ledgers) -> None:
    campaign_id = at.planned(2)
    batch = at.claimed(campaign_id)
    gone = SendResult(outcome=Outcome.RECIPIENT_REJECTED, reason="406: inactive", suppress=True)
    at.record(batch, gone, Outcome.ACCEPTED)
    at.record(batch, gone, Outcome.ACCEPTED)
    with at.database.read() as session:
        found = session.scalars(select(Suppression)).one()
        people = session.scalars(select(Subscriber.status).order_by(Subscriber.id)).all()
    assert (found.reason.value, found.source) == ("esp_inactive", "sendgrid")
    assert found.evidence == f"send {batch.sends[0].send_id}: 406: inactive"
    assert [status.value for status in people] == ["bounced", "active"]


def test_the_figures_of_a_day_count_calls_and_sends(at: Ledgers) -> None:
    answers = (
        [Outcome.ACCEPTED, Outcome.RECIPIENT_REJECTED, Outcome.NOT_TAKEN],
        [Outcome.UNKNOWN, Outcome.UNKNOWN],
        [Outcome.THROTTLED],
        [Outcome.ESP_UNAVAILABLE, Outcome.NOT_TAKEN],
    )
    with at.database.write() as session:
        for outcomes in answers:
            results = [SendResult(outcome=outcome) for outcome in outcomes]
            outcome = BatchOutcome(results=results, http_status=200, detail=None, carried=1)
            note_day(session, SES, outcome, at.now)
    with at.database.read() as session:
        day = session.scalars(select(EspPerformanceDay)).one()
    figures = (day.calls, day.accepted, day.rejected, day.unknown, day.refused)
    assert (day.esp, day.day, figures) == (SES, at.now.date(), (4, 1, 1, 2, 2))


# What a process leaves behind


def test_batches_of_a_dead_process_are_unknown_and_keep_their_quota(at: Ledgers) -> None:
    campaign_id = at.planned(10)
    at.record(at.claimed(campaign_id, 2), Outcome.ACCEPTED)
    at.claimed(campaign_id, 3)
    at.claimed(campaign_id, 2, SES)
    with at.database.write() as session:
        assert recover(session, at.now) == 5
    assert at.counts(campaign_id) == {"accepted": 2, "unknown": 5, "queued": 3}
    assert (at.used(SENDGRID), at.used(SES)) == ((5, 5), (2, 2))
    assert [batch.state.value for batch in at.batches()] == ["done", "unknown", "unknown"]
    assert {batch.detail for batch in at.batches()} == {None, DIED}
    with at.database.write() as session:
        assert recover(session, at.now) == 0


def test_a_process_that_takes_over_again_leaves_its_own_calls_alone(at: Ledgers) -> None:
    campaign_id = at.planned(5)
    own, dead = at.claimed(campaign_id, 2), at.claimed(campaign_id, 3)
    with at.database.write() as session:
        assert recover(session, at.now, ours=[own.id]) == 3
    assert not at.record(dead, Outcome.ACCEPTED)
    assert at.record(own, Outcome.ACCEPTED)
    assert at.counts(campaign_id) == {"accepted": 2, "unknown": 3}


def test_batches_that_were_never_called_go_back_with_their_quota(at: Ledgers) -> None:
    campaign_id = at.planned(6)
    never, called = at.claimed(campaign_id, 2), at.claimed(campaign_id, 3)
    with at.database.write() as session:
        give_back(session, [never.id, 12345], at.now)
    assert at.counts(campaign_id) == {"queued": 3, "sending": 3}
    assert at.used() == (3, 3)
    assert at.record(called, Outcome.ACCEPTED)
    with at.database.write() as session:
        give_back(session, [never.id, called.id], at.now)
    assert at.counts(campaign_id) == {"queued": 3, "accepted": 3}


def test_what_was_sent_to_a_person_who_is_erased_since_is_settled_all_the_same(
    at: Ledgers,
) -> None:
    campaign_id = at.planned(3)
    at.claimed(campaign_id)
    with at.database.write() as session:
        session.execute(delete(Subscriber).where(Subscriber.email_key == "person1@example.net"))
        assert recover(session, at.now) == 3
    assert at.counts(campaign_id) == {"unknown": 3}


def test_quota_of_yesterday_goes_back_to_yesterday(at: Ledgers) -> None:
    campaign_id = at.planned(5)
    batch = at.claimed(campaign_id)
    at.now += timedelta(hours=12)  # past midnight
    at.record(batch, Outcome.THROTTLED)
    assert at.used() == (0, 0)
    at.claimed(campaign_id, 2)
    assert at.used() == (2, 2)


# The end


def finished(at: Ledgers, campaign_id: int) -> tuple[str, str | None]:
    with at.database.write() as session:
        finish(session, session.get_one(Campaign, campaign_id), at.now)
    campaign = at.campaign(campaign_id)
    assert (campaign.finished_at, campaign.resume_at) == (at.now, None)
    return campaign.status.value, campaign.reason


def test_a_campaign_is_sent_when_everybody_is_accounted_for(at: Ledgers) -> None:
    at.add_people(1, "left@example.net")
    at.suppress("left@example.net")
    emails = ["person0@example.net", "person1@example.net", "left@example.net"]
    odd = ["person0@example.net", "nobody@example.net", "no address"]
    campaign_id = at.planned(2, audience={"emails": emails + odd})
    at.record(at.claimed(campaign_id), Outcome.ACCEPTED, Outcome.RECIPIENT_REJECTED)
    assert finished(at, campaign_id) == ("sent", None)
    assert at.report(campaign_id)["planned"] == 6


def test_unknowns_alone_are_left_to_a_person(at: Ledgers) -> None:
    campaign_id = at.planned(3)
    at.record(at.claimed(campaign_id), Outcome.ACCEPTED, Outcome.UNKNOWN)
    status, reason = finished(at, campaign_id)
    assert status == "needs_review"
    assert reason is not None
    assert reason.startswith("the outcome of 2 sends is not known")


@pytest.mark.parametrize(
    ("tampered", "told"),
    [
        ({"accepted": 4}, "accepted"),
        ({"planned": 4}, "planned"),
        ({"accepted": 2, "rejected": 1}, "accepted, rejected"),
        ({"skipped": 1, "planned": 4}, "skipped"),
        ({"cancelled": -1, "planned": 2}, "cancelled"),
        ({"sending": 1}, "sending"),
        ({"queued": -3}, "queued"),
    ],
)
def test_a_counter_that_was_tampered_with_is_caught(
    at: Ledgers, tampered: dict[str, int], told: str
) -> None:
    campaign_id = at.planned(3)
    at.record(at.claimed(campaign_id), Outcome.ACCEPTED)
    at.tamper(campaign_id, **tampered)
    words = f"ledger and counters differ: {told}"
    assert finished(at, campaign_id) == ("needs_review", words)


@pytest.mark.parametrize("status", ["queued", "sending"])
def test_a_campaign_with_sends_left_behind_is_never_sent(at: Ledgers, status: str) -> None:
    campaign_id = at.planned(3)
    if status == "sending":
        at.claimed(campaign_id)
    told = ("needs_review", "3 sends were left behind, unsettled")
    assert finished(at, campaign_id) == told


def test_a_campaign_is_under_way_while_a_call_may_carry_its_sends(at: Ledgers) -> None:
    campaign_id = at.planned(4)
    other = at.create(subject="Another")
    at.plan(other)

    def under_way(campaign_id: int) -> bool:
        with at.database.read() as session:
            return is_under_way(session, campaign_id)

    assert not under_way(campaign_id)
    batch = at.claimed(campaign_id, 2)
    at.tamper(campaign_id, sending=0)
    assert (under_way(campaign_id), under_way(other)) == (True, False)
    at.record(batch, Outcome.UNKNOWN)
    assert not under_way(campaign_id)


def test_cancelling_takes_out_what_is_queued_and_leaves_what_a_call_carries(at: Ledgers) -> None:
    campaign_id = at.planned(6)
    batch = at.claimed(campaign_id, 2)
    with at.database.write() as session:
        assert cancel_queued(session, campaign_id, at.now) == 4
        assert cancel_queued(session, campaign_id, at.now) == 0
    assert at.counts(campaign_id) == {"sending": 2, "cancelled": 4}
    at.record(batch, Outcome.THROTTLED)
    with at.database.write() as session:
        assert cancel_queued(session, campaign_id, at.now) == 2
    assert at.counts(campaign_id) == {"cancelled": 6}
    assert {send.settled_at for send in at.sends(campaign_id)} == {at.now}
    assert at.campaign(campaign_id).status is CampaignStatus.SENDING
