"""Double opt-in: who is asked, how often, what a click takes back, and what no click does.

The last test plays many lives of three people against a model that knows only the promise.
"""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from database.models import (
    Campaign,
    CampaignKind,
    CampaignStatus,
    EmailSend,
    EngagementCount,
    OptIn,
    Subscriber,
    SubscriberStatus,
    Suppression,
    SuppressionReason,
)
from database.session import Database
from list_manager import suppress, suppression_of
from lists.opt_ins import Verdict, look, next_mail_at
from lists.tiers import recount_tiers
from services.base import Outcome
from services.campaigns import find_duplicate, page
from tests.conftest import NOW
from tests.ledgers import Ledgers
from tests.opting_in import ask, links, say_yes
from tests.people import add, assert_counters_are_true, either_database, postgres, who
from utils.tokens import ConfirmLink

__all__ = ["either_database", "postgres"]  # fixtures

ANN = "ann@example.com"
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
R, S = SuppressionReason, SubscriberStatus


@pytest.fixture
def at(either_database: Database) -> Ledgers:
    return Ledgers(either_database)


def hold(at: Ledgers, reason: SuppressionReason, now: datetime, email: str = ANN) -> None:
    until = now + 400 * DAY if reason in (R.PAUSED, R.SOFT_BOUNCE) else None
    with at.database.write() as session:
        suppress(session, who(email), reason=reason, source="test", until=until, now=now)


def person(at: Ledgers, email: str = ANN) -> Subscriber:
    with at.database.read() as session:
        return session.scalars(select(Subscriber).where(Subscriber.email_key == email)).one()


def is_suppressed(at: Ledgers, now: datetime) -> bool:
    with at.database.read() as session:
        return suppression_of(session, who(ANN), now) is not None


def carried(at: Ledgers, campaign_id: int) -> list[str]:
    """Plan and claim a campaign as the engine does: whom it reaches."""
    at.plan(campaign_id)
    batch = at.claim(campaign_id)
    return [send.email for send in batch.sends] if batch else []


def asked(at: Ledgers, now: datetime = NOW, **how: Any) -> int:
    """The campaign of a request."""
    at.now = now
    asking = ask(at.database, ANN, now, **how).asking
    assert asking is not None
    assert asking.campaign_id is not None
    return asking.campaign_id


def assert_all_counters_are_true(at: Ledgers) -> None:
    assert_counters_are_true(at.database)
    with at.database.read() as session:
        kept = {row.tier: row.n for row in session.scalars(select(EngagementCount)) if row.n}
        assert kept == recount_tiers(session)


# who is asked, and how often


@pytest.mark.parametrize(
    ("hours_ago", "hours"),
    [
        ((), 0),
        ((25,), 0),
        ((24,), 0),
        ((1,), 23),
        ((30, 60), 0),
        ((30, 60, 30 * 24), 0),
        ((30, 60, 30 * 24 - 5), 5),
        ((2, 60, 30 * 24 - 5), 22),
        ((25, 50, 75), 30 * 24 - 75),
    ],
)
def test_one_mail_a_day_and_three_a_month(hours_ago: tuple[int, ...], hours: int) -> None:
    before = [NOW - timedelta(hours=one) for one in hours_ago]
    assert next_mail_at(before, NOW) == NOW + timedelta(hours=hours)


def test_somebody_new_is_pending_and_asked(at: Ledgers) -> None:
    campaign = asked(at)
    assert (person(at).status, person(at).tier) == (S.PENDING, None)
    assert carried(at, at.create()) == []
    assert carried(at, campaign) == [ANN]
    assert_all_counters_are_true(at)


@pytest.mark.parametrize("resubscribe", [False, True])
def test_somebody_else_who_left_keeps_nobody_from_being_asked(
    at: Ledgers, resubscribe: bool
) -> None:
    """Neither when it is planned nor when it is claimed, before the request or after."""
    for email in ("before@example.net", "after@example.net", "later@example.net"):
        add(at.database, email)
    at.suppress("before@example.net")
    told = ask(at.database, "newcomer@example.net", at.now, resubscribe=resubscribe)
    assert told.asking is not None
    assert told.asking.campaign_id is not None
    at.now += timedelta(minutes=1)
    at.suppress("after@example.net")
    at.plan(told.asking.campaign_id)
    assert at.statuses(told.asking.campaign_id) == {"queued": 1}
    at.suppress("later@example.net")
    claimed = at.claimed(told.asking.campaign_id).sends
    assert [send.email for send in claimed] == ["newcomer@example.net"]


def test_who_is_active_is_not_asked(at: Ledgers) -> None:
    add(at.database, ANN)
    for resubscribe in (False, True):
        assert ask(at.database, ANN, NOW, resubscribe=resubscribe).asking is None
    assert links(at.database) == []


def test_without_double_opt_in_somebody_new_is_active_at_once(at: Ledgers) -> None:
    assert ask(at.database, ANN, NOW, double_opt_in=False, resubscribe=True).asking is None
    assert person(at).status is S.ACTIVE


def test_ten_thousand_requests_for_nine_addresses_are_nine_mails(at: Ledgers) -> None:
    """T22; fewer calls do, as each beyond the first takes the same way."""
    addresses = [f"p{n}@example.com" for n in range(9)]
    sent: Counter[str] = Counter()
    for n in range(270):
        asking = ask(at.database, addresses[n % 9], NOW + n * MINUTE, resubscribe=n % 2 == 0).asking
        assert asking is not None
        sent[addresses[n % 9]] += asking.campaign_id is not None
        assert asking.next_possible_at > NOW + n * MINUTE
    assert sent == dict.fromkeys(addresses, 1)


def test_requests_at_the_same_moment_are_one_mail(at: Ledgers) -> None:
    with ThreadPoolExecutor(4) as pool:
        asked_at_once = list(pool.map(lambda _: ask(at.database, ANN, NOW).asking, range(8)))
    assert sum(one is not None and one.campaign_id is not None for one in asked_at_once) == 1
    assert len(links(at.database)) == 1
    assert_all_counters_are_true(at)


def test_beyond_the_limit_it_is_said_when_the_next_is_possible(at: Ledgers) -> None:
    said = []
    for days in (0, 0.5, 1, 2, 3, 29.9, 30):
        asking = ask(at.database, ANN, NOW + days * DAY).asking
        assert asking is not None
        said.append((asking.campaign_id is not None, (asking.next_possible_at - NOW) / DAY))
    assert said == [
        *((True, 1), (False, 1), (True, 2), (True, 30), (False, 30), (False, 30), (True, 31))
    ]


@pytest.mark.parametrize("reason", [reason for reason in R if reason is not R.LIFTED])
def test_who_is_suppressed_is_asked_only_with_resubscribe(
    at: Ledgers, reason: SuppressionReason
) -> None:
    add(at.database, ANN)
    hold(at, reason, NOW)
    status = person(at).status
    assert ask(at.database, ANN, NOW + MINUTE).asking is None
    campaign = asked(at, NOW + MINUTE, resubscribe=True)
    assert (person(at).status, is_suppressed(at, at.now)) == (status, True)
    assert carried(at, at.create()) == []
    assert carried(at, campaign) == [ANN]
    assert say_yes(at.database, links(at.database)[0], NOW + 2 * MINUTE) is Verdict.CONFIRMED
    assert (person(at).status, is_suppressed(at, at.now)) == (S.ACTIVE, False)
    assert carried(at, at.create()) == [ANN]
    assert_all_counters_are_true(at)


def test_somebody_who_left_and_was_erased_can_be_asked(at: Ledgers) -> None:
    hold(at, R.UNSUBSCRIBED, NOW)
    campaign = asked(at, NOW + MINUTE, resubscribe=True)
    assert person(at).status is S.PENDING
    assert carried(at, campaign) == [ANN]
    assert say_yes(at.database, links(at.database)[0], NOW + 2 * MINUTE) is Verdict.CONFIRMED
    assert_all_counters_are_true(at)


def test_who_was_sunset_comes_back_by_confirming(at: Ledgers) -> None:
    add(at.database, ANN)
    with at.database.write() as session:
        session.execute(update(Subscriber).values(status=S.SUNSET, tier=None))
    assert carried(at, asked(at)) == [ANN]
    assert say_yes(at.database, links(at.database)[0], NOW) is Verdict.CONFIRMED
    assert person(at).status is S.ACTIVE


# what the mail's campaign is, and is not


def test_a_confirmation_is_in_no_list_and_no_guard(at: Ledgers) -> None:
    campaign_id = asked(at)
    carried(at, campaign_id)
    with at.database.read() as session:
        campaign = session.get_one(Campaign, campaign_id)
        assert (campaign.kind, campaign.planned) == (CampaignKind.CONFIRMATION, 1)
        assert (campaign.track_opens, campaign.track_clicks) == (False, False)
        assert page(session, after=None, limit=10) == []

        class Same:
            content_hash = campaign.content_hash

        assert find_duplicate(session, Same(), NOW) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("step", ["before the plan", "before the claim"])
@pytest.mark.parametrize("reason", [R.UNSUBSCRIBED, R.COMPLAINT, R.HARD_BOUNCE, R.PAUSED, R.MANUAL])
@pytest.mark.parametrize("resubscribe", [False, True])
def test_what_came_after_the_request_is_never_passed(
    at: Ledgers, step: str, reason: SuppressionReason, resubscribe: bool
) -> None:
    if resubscribe:
        hold(at, R.UNSUBSCRIBED, NOW - DAY)
    campaign = asked(at, NOW, resubscribe=resubscribe)
    if step == "before the claim":
        at.plan(campaign)
    at.now = NOW + MINUTE
    # Another reason of the same kind says nothing new while the first one holds.
    later = R.COMPLAINT if resubscribe and reason is R.UNSUBSCRIBED else reason
    hold(at, later, at.now)
    if step == "before the plan":
        at.plan(campaign)
    assert at.claim(campaign) is None
    assert at.report(campaign)["skipped"] == {"suppressed": 1}


@pytest.mark.parametrize(
    "make",
    [
        pytest.param({"campaign_id": 999}, id="of another campaign"),
        pytest.param({"subscriber_id": 999}, id="of another person"),
        pytest.param({"email_hash": b"x" * 16}, id="of another address"),
        pytest.param({"confirmed_at": NOW}, id="confirmed"),
        pytest.param({"created_at": NOW - 7 * DAY}, id="seven days old"),
        pytest.param({"lifts": False}, id="not made to lift"),
    ],
)
def test_only_the_open_request_of_the_very_person_and_campaign_counts(
    at: Ledgers, make: dict[str, Any]
) -> None:
    hold(at, R.UNSUBSCRIBED, NOW - 8 * DAY)
    campaign = asked(at, NOW, resubscribe=True)
    with at.database.write() as session:
        session.execute(update(OptIn).values(**make))
    assert carried(at, campaign) == []


def test_a_request_opens_no_other_campaign(at: Ledgers) -> None:
    """The same campaign, but of the ordinary kind: status and suppression stand."""
    campaign = asked(at)
    with at.database.write() as session:
        session.execute(update(Campaign).values(kind=CampaignKind.CAMPAIGN))
    assert carried(at, campaign) == []


def test_an_unknown_confirmation_is_at_the_ledgers_end_until_the_engine_looks(at: Ledgers) -> None:
    campaign = asked(at)
    at.plan(campaign)
    at.record(at.claimed(campaign), Outcome.UNKNOWN)
    assert at.report(campaign)["counts"]["unknown"] == 1


# what a click does


def test_confirming_is_kept_with_its_evidence(at: Ledgers) -> None:
    hold(at, R.COMPLAINT, NOW)
    asked(at, NOW + MINUTE, resubscribe=True)
    then = NOW + 2 * MINUTE
    assert say_yes(at.database, links(at.database)[0], then) is Verdict.CONFIRMED
    ann = person(at)
    assert (ann.consent_source, ann.consent_ip, ann.consent_at) == (
        *("double opt-in", "192.0.2.7", then),
    )
    with at.database.read() as session:
        opt_in = session.scalars(select(OptIn)).one()
        lifted = session.scalars(select(Suppression).where(Suppression.reason == R.LIFTED)).one()
    assert (opt_in.confirmed_at, opt_in.confirmed_ip, opt_in.confirmed_agent) == (
        *(then, "192.0.2.7", "Mozilla/5.0"),
    )
    assert (lifted.email_hash, lifted.source) == (who(ANN), "page")
    assert lifted.evidence == f"opt-in {opt_in.id}, confirmed {then.isoformat()}"


def test_nothing_is_lifted_where_nothing_held(at: Ledgers) -> None:
    asked(at)
    say_yes(at.database, links(at.database)[0], NOW)
    with at.database.read() as session:
        assert session.scalars(select(Suppression)).all() == []


@pytest.mark.parametrize(
    ("reason", "verdict"),
    [
        (R.UNSUBSCRIBED, Verdict.CONFIRMED),
        (R.PAUSED, Verdict.CONFIRMED),
        (R.COMPLAINT, Verdict.CONFIRMED),
        (R.HARD_BOUNCE, Verdict.CONFIRMED),
        (R.SOFT_BOUNCE, Verdict.CONFIRMED),
        (R.ESP_INACTIVE, Verdict.CONFIRMED),
        (R.MANUAL, Verdict.HELD),
    ],
)
def test_a_click_is_newer_than_what_came_after_the_request_but_for_the_operators_word(
    at: Ledgers, reason: SuppressionReason, verdict: Verdict
) -> None:
    asked(at)
    hold(at, reason, NOW + MINUTE)
    assert say_yes(at.database, links(at.database)[0], NOW + 2 * MINUTE) is verdict
    assert is_suppressed(at, NOW + 2 * MINUTE) == (verdict is Verdict.HELD)
    assert_all_counters_are_true(at)


def test_a_link_works_once(at: Ledgers) -> None:
    asked(at)
    (link,) = links(at.database)
    assert say_yes(at.database, link, NOW) is Verdict.CONFIRMED
    assert say_yes(at.database, link, NOW + MINUTE) is Verdict.CONFIRMED  # says so, changes nothing
    hold(at, R.UNSUBSCRIBED, NOW + 2 * MINUTE)
    assert say_yes(at.database, link, NOW + 3 * MINUTE) is Verdict.USED
    assert is_suppressed(at, NOW + 3 * MINUTE)
    assert person(at).status is S.UNSUBSCRIBED


@pytest.mark.parametrize(
    ("age", "verdict"), [(7 * DAY, Verdict.CONFIRMED), (7 * DAY + MINUTE, Verdict.EXPIRED)]
)
def test_a_link_works_for_seven_days(at: Ledgers, age: timedelta, verdict: Verdict) -> None:
    asked(at)
    assert say_yes(at.database, links(at.database)[0], NOW + age) is verdict


@pytest.mark.parametrize("gone", [Subscriber, OptIn])
def test_nothing_comes_of_the_link_of_somebody_erased(at: Ledgers, gone: Any) -> None:
    asked(at)
    (link,) = links(at.database)
    with at.database.write() as session:
        session.execute(delete(gone))
    assert say_yes(at.database, link, NOW) is Verdict.GONE


def test_the_link_of_one_person_is_not_anothers(at: Ledgers) -> None:
    asked(at)
    (link,) = links(at.database)
    other = ConfirmLink(
        email_hash=who("bob@example.com"), opt_in_id=link.opt_in_id, issued_at=link.issued_at
    )
    assert say_yes(at.database, other, NOW) is Verdict.GONE
    assert person(at).status is S.PENDING


def test_looking_changes_nothing(at: Ledgers) -> None:
    hold(at, R.UNSUBSCRIBED, NOW)
    asked(at, NOW + MINUTE, resubscribe=True)
    (link,) = links(at.database)
    with at.database.read() as session:
        assert look(session, link, NOW + MINUTE) is Verdict.OPEN
    assert is_suppressed(at, NOW + MINUTE)


# any life


class Life:
    """Three people, anything that happens to them, and the promise kept without our tables."""

    people = tuple(f"p{n}@example.com" for n in range(3))
    reasons = (R.UNSUBSCRIBED, R.COMPLAINT, R.HARD_BOUNCE, R.MANUAL, R.ESP_INACTIVE)

    def __init__(self, at: Ledgers, seed: int) -> None:
        self.at, self.rng = at, random.Random(seed)
        self.kept: dict[str, dict[SuppressionReason, datetime]] = {}
        """What a person did not take back with a click, and since when."""
        self.asked: dict[int, tuple[str, datetime, bool]] = {}
        """By campaign: who, when, and whether it was to lift."""

    def step(self) -> None:
        self.at.now += timedelta(hours=self.rng.choice((0.1, 1, 30, 100)))
        happens = (self.add, self.ask, self.ask, self.hold, self.click, self.click, self.send)
        self.rng.choice((*happens, self.confirmations))(self.rng.choice(self.people))

    def add(self, email: str) -> None:
        ask(self.at.database, email, self.at.now, double_opt_in=False)

    def ask(self, email: str) -> None:
        lifts = self.rng.random() < 0.6
        asking = ask(self.at.database, email, self.at.now, resubscribe=lifts).asking
        if asking and asking.campaign_id:
            self.asked[asking.campaign_id] = (email, self.at.now, lifts)

    def hold(self, email: str) -> None:
        reason = self.rng.choice(self.reasons)
        hold(self.at, reason, self.at.now, email)
        self.kept.setdefault(email, {}).setdefault(reason, self.at.now)

    def click(self, _: str) -> None:
        before, known = _confirmed(self.at), links(self.at.database)
        if not known:
            return
        link = self.rng.choice(known)
        say_yes(self.at.database, link, self.at.now)
        if _confirmed(self.at) > before:
            [clicked] = [one for one in self.people if who(one) == link.email_hash]
            self.kept.pop(clicked, None)

    def send(self, _: str = "") -> None:
        for email in carried(self.at, self.at.create()):
            assert not self.kept.get(email), f"{email} was written to"

    def confirmations(self, _: str) -> None:
        for campaign, (email, since, lifts) in self.asked.items():
            if self.at.campaign(campaign).status is not CampaignStatus.PLANNING:
                continue
            reached = carried(self.at, campaign)
            assert reached in ([], [email])
            kept = self.kept.get(email, {}).values() if reached else ()
            assert not [one for one in kept if one > since or not lifts]


@pytest.mark.parametrize("seed", range(12))
def test_no_life_without_a_click_leads_past_a_suppression(at: Ledgers, seed: int) -> None:
    life = Life(at, seed)
    for _ in range(40):
        life.step()
    life.send()
    assert_all_counters_are_true(at)


def _confirmed(at: Ledgers) -> int:
    with at.database.read() as session:
        return len(session.scalars(select(OptIn.id).where(OptIn.confirmed_at.is_not(None))).all())


def test_the_ledger_of_a_confirmation_is_its_one_person(at: Ledgers) -> None:
    campaign = asked(at)
    carried(at, campaign)
    with at.database.read() as session:
        sends = session.scalars(select(EmailSend).where(EmailSend.campaign_id == campaign)).all()
    assert [(send.email_key, send.attempt) for send in sends] == [(ANN, 1)]
