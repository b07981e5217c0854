"""The plan of a campaign: everybody of the audience once, whatever interrupts it, on both databases."""

from contextlib import suppress as suppress_error
from datetime import timedelta

import pytest
from sqlalchemy import delete, text

from database.models import (
    Campaign,
    CampaignStatus,
    Subscriber,
    SubscriberStatus,
    SuppressionReason,
)
from database.session import Database
from list_manager import suppress
from services.ledger import plan as planning
from tests.conftest import NOW
from tests.ledgers import HASH_KEY, Ledgers
from tests.people import either_database, postgres
from tests.statements import counted
from utils.tokens import email_hash

__all__ = ["either_database", "postgres"]  # fixtures


@pytest.fixture
def at(either_database: Database, monkeypatch: pytest.MonkeyPatch) -> Ledgers:
    """Chunks of 10, so that a plan has several."""
    monkeypatch.setattr(planning, "IDS_PER_CHUNK", 10)
    monkeypatch.setattr(planning, "EMAILS_PER_CHUNK", 10)
    return Ledgers(either_database)


def test_a_plan_is_one_row_for_each_person_chunk_by_chunk(at: Ledgers) -> None:
    at.add_people(35)
    campaign_id = at.create()
    assert at.plan(campaign_id) == 4
    assert at.counts(campaign_id) == {"queued": 35}
    campaign, sends = at.campaign(campaign_id), at.sends(campaign_id)
    assert campaign.status is CampaignStatus.SENDING
    assert [send.email_key for send in sends] == [f"person{n}@example.net" for n in range(35)]
    assert (campaign.first_send_id, campaign.last_send_id) == (sends[0].id, sends[-1].id)


def test_chunks_begin_small_and_grow_to_the_largest(
    at: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "FIRST_IDS", 3)
    at.add_people(35)
    campaign_id = at.create()
    through = []
    while at.campaign(campaign_id).status is CampaignStatus.PLANNING:
        at.plan_one(campaign_id)
        through.append(at.campaign(campaign_id).planned_through)
    assert through == [3, 6, 12, 22, 32, 35]


@pytest.mark.parametrize("people", [20, 200])
def test_a_chunk_takes_as_many_statements_whatever_its_size(
    at: Ledgers, people: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "IDS_PER_CHUNK", people // 2)
    at.add_people(people)
    campaign_id = at.create()
    with counted(at.database, "email_sends") as said:
        at.plan_one(campaign_id)
    # Where the ledger ends, its rows, who of them is skipped, the first id and the last.
    begins = [statement.split()[0] for statement, _ in said]
    assert begins == ["SELECT", "INSERT", "SELECT", "SELECT", "SELECT"]


def test_postgresql_compiles_nothing_for_a_chunk(postgres: Database) -> None:
    at = Ledgers(postgres)
    at.add_people(1)
    campaign_id = at.create()
    with postgres.write() as session:
        session.execute(text("SET LOCAL jit = on"))
        planning.plan_chunk(session, session.get_one(Campaign, campaign_id), NOW)
        assert session.scalar(text("SHOW jit")) == "off"


def test_nothing_is_to_be_sent_before_the_plan_is_complete(at: Ledgers) -> None:
    at.add_people(35)
    campaign_id = at.create()
    at.plan_one(campaign_id)
    assert at.counts(campaign_id) == {"queued": 10}
    assert at.campaign(campaign_id).status is CampaignStatus.PLANNING


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_a_plan_cut_short_goes_on_with_no_double_and_nobody_missing(at: Ledgers, done: int) -> None:
    at.add_people(35)
    campaign_id = at.create()
    for _ in range(done):
        at.plan_one(campaign_id)
    with suppress_error(KeyboardInterrupt), at.database.write() as session:
        planning.plan_chunk(session, session.get_one(Campaign, campaign_id), NOW)
        raise KeyboardInterrupt  # before the commit
    at.plan(campaign_id)
    assert at.counts(campaign_id) == {"queued": 35}
    assert len({send.email_key for send in at.sends(campaign_id)}) == 35


def test_people_who_join_during_the_plan_are_not_in_it(at: Ledgers) -> None:
    at.add_people(15)
    ids, emails = at.create(), at.create(audience={"emails": _emails(15) + _emails(15, "late")})
    at.plan_one(ids)
    at.plan_one(emails)
    at.add_people(15, "late{}@example.net")
    at.plan(ids)
    at.plan(emails)
    assert at.counts(ids) == at.counts(emails) == {"queued": 15}
    assert at.report(emails)["skipped"] == {"unknown_subscriber": 15}


def _emails(n: int, name: str = "person") -> list[str]:
    return [f"{name}{number}@example.net" for number in range(n)]


def test_people_who_go_during_the_plan_are_not_in_it_either(at: Ledgers) -> None:
    at.add_people(15)
    campaign_id = at.create()
    at.plan_one(campaign_id)
    with at.database.write() as session:
        session.execute(delete(Subscriber).where(Subscriber.email_key == "person12@example.net"))
    at.plan(campaign_id)
    assert at.counts(campaign_id) == {"queued": 14}


def test_two_campaigns_planned_side_by_side_have_their_own_rows_and_counters(at: Ledgers) -> None:
    at.add_people(25)
    first, second = at.create(), at.create(subject="Another")
    for _ in range(3):
        at.plan_one(first)
        at.plan_one(second)
    assert at.counts(first) == at.counts(second) == {"queued": 25}
    campaign = at.campaign(first)
    ids = [send.id for send in at.sends(first)]
    assert (campaign.first_send_id, campaign.last_send_id) == (ids[0], ids[-1])


def test_who_must_not_be_written_to_is_in_the_ledger_with_the_reason(at: Ledgers) -> None:
    at.add_people(4)
    at.add_people(2, "left{}@example.net", status=SubscriberStatus.UNSUBSCRIBED)
    at.suppress("left1@example.net")
    with at.database.write() as session:  # for a time: the status stays active
        suppress(
            session,
            email_hash(HASH_KEY, "person2@example.net"),
            reason=SuppressionReason.SOFT_BOUNCE,
            source="test",
            until=NOW + timedelta(days=1),
            now=NOW,
        )
    emails = [*_emails(4), "left0@example.net", "left1@example.net", "nobody@example.net"]
    everybody, some = at.create(), at.create(audience={"emails": emails})
    at.plan(everybody)
    at.plan(some)
    assert at.counts(everybody) == at.counts(some) == {"queued": 3}
    assert at.report(everybody)["skipped"] == {"suppressed": 1}
    assert at.report(some)["skipped"] == {
        "not_active": 1,
        "suppressed": 2,
        "unknown_subscriber": 1,
    }
    told = {send.email_key: (send.status.value, send.reason) for send in at.sends(some)}
    assert told == {
        "person0@example.net": ("queued", None),
        "person1@example.net": ("queued", None),
        "person2@example.net": ("skipped", "suppressed"),
        "person3@example.net": ("queued", None),
        "left0@example.net": ("skipped", "not_active"),
        "left1@example.net": ("skipped", "suppressed"),
    }


@pytest.mark.parametrize(
    ("tags", "planned"),
    [(["red"], 2), (["blue"], 3), (["red", "blue"], 5), (["none"], 0), (["re"], 0), (["'"], 1)],
)
def test_an_audience_of_tags_is_everybody_with_any_of_them(
    at: Ledgers, tags: list[str], planned: int
) -> None:
    at.add_people(2, "a{}@example.net", tags=["red", "grey"])
    at.add_people(3, "b{}@example.net", tags=["blue", "green"])
    at.add_people(4, "c{}@example.net", tags=[])
    at.add_people(1, "d{}@example.net", tags=["'", '"'])
    campaign_id = at.create(audience={"tags": tags})
    at.plan(campaign_id)
    assert at.campaign(campaign_id).planned == planned


@pytest.mark.parametrize("audience", [{}, {"emails": []}, {"tags": ["none"]}])
def test_an_empty_audience_is_a_plan_of_nobody(at: Ledgers, audience: dict[str, list[str]]) -> None:
    campaign_id = at.create(audience=audience)
    at.plan(campaign_id)
    assert at.counts(campaign_id) == {}
    assert at.campaign(campaign_id).status is CampaignStatus.SENDING


def test_what_is_not_in_the_ledger_is_counted_when_the_campaign_is_made(at: Ledgers) -> None:
    at.add_people(2)
    emails = ["person0@example.net", "PERSON0@EXAMPLE.NET", "no address", "person1@example.net"]
    campaign_id = at.create(audience={"emails": [*emails, "person1@example.net"]})
    at.plan(campaign_id)
    assert at.counts(campaign_id) == {"queued": 2}
    assert at.report(campaign_id)["skipped"] == {"duplicate": 2, "invalid": 1}
