"""Erasing a person: nothing names them afterwards, and nothing else is lost."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from config.esp_config import EspName
from database.models import (
    Base,
    Bounce,
    BounceClass,
    BrakeOverride,
    BreakerState,
    Campaign,
    CampaignStatus,
    Complaint,
    EmailSend,
    EspState,
    EventKind,
    OptIn,
    Segment,
    SendBatch,
    Subscriber,
    SubscriberStatus,
    Suppression,
    SuppressionReason,
    WebhookEvent,
)
from database.session import Database
from list_manager import (
    AddedAs,
    Consent,
    erase,
    find_subscriber,
    find_traces,
    suppress,
    suppression_of,
    unsubscribe,
)
from lists.erasing import erased_key, without
from lists.leaving import Unsubscribe
from lists.segment_filter import parse
from lists.tiers import recount_tiers
from services.base import Outcome, SendResult
from services.unsubscribe_spool import line_of
from tests.conftest import NOW
from tests.ledgers import Ledgers, count
from tests.people import (
    HASH_KEY,
    add,
    assert_counters_are_true,
    days,
    either_database,
    postgres,
    reasons,
    who,
)
from utils.addresses import normalise
from utils.tokens import UnsubscribeLink

__all__ = ["either_database", "postgres"]  # fixtures

ANN = "Ann.Lee+x@Example.com"
KEY = "ann.lee+x@example.com"
SAID = f"550 5.1.1 <{ANN}>: no such user (bounces-ann.lee+x=example.com@em.example.net)"
FILTER = {"or": [{"email": {"in": [ANN, "bob@example.com"]}}, {"first_name": {"eq": f"x {ANN}"}}]}
CLEAN = "550 5.1.1 <(erased)>: no such user (bounces-(erased)@em.example.net)"


def forget(database: Database, email: str = ANN, **said: Any) -> bool:
    address = normalise(email)
    with database.read() as session:
        traces = find_traces(session, address.key, NOW)
    with database.write() as session:
        return erase(session, address, traces, hash_key=HASH_KEY, now=NOW, **said)


def everything(database: Database) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, as text: where an address could hide."""
    with database.read() as session:
        return {
            table.name: [
                {name: str(value) for name, value in row.items()}
                for row in session.execute(select(table)).mappings()
            ]
            for table in Base.metadata.sorted_tables
        }


@dataclass
class History:
    """What a year on the list leaves of a person, and of another one beside them."""

    ann: int
    bob: int
    to_all: int
    to_few: int


@pytest.fixture
def history(either_database: Database) -> History:
    consent = Consent(source="shop of ann", ip="192.0.2.7", at=NOW - timedelta(days=3))
    ann = add(
        either_database,
        ANN,
        first_name="Annabel",
        last_name="Leewood",
        attributes={"city": "Oslo-of-Ann"},
        tags=frozenset({"tag-of-ann"}),
        consent=consent,
    ).subscriber
    bob = add(either_database, "bob@example.com", first_name="Bob").subscriber
    assert ann is not None
    assert bob is not None
    ledgers = Ledgers(either_database)
    to_all = ledgers.create()
    to_few = ledgers.create(audience={"emails": [KEY, "bob@example.com", "nobody@example.com"]})
    for campaign_id in (to_all, to_few):
        ledgers.plan(campaign_id)
        ledgers.record(
            ledgers.claimed(campaign_id),
            SendResult(outcome=Outcome.RECIPIENT_REJECTED, reason=SAID),
            SendResult(outcome=Outcome.ACCEPTED, message_id="m"),
        )
    _reports(either_database, ledgers, ann.id, bob.id, to_all)
    return History(ann.id, bob.id, to_all, to_few)


def _reports(database: Database, ledgers: Ledgers, ann: int, bob: int, campaign_id: int) -> None:
    first, second = ledgers.sends(campaign_id)
    assert (first.email_key, second.email_key) == (KEY, "bob@example.com")
    events = [
        _event("own", first.id, ann, {"email": ANN, "smtp": SAID}),
        _event("foreign", None, None, {"mail": {"to": [ANN]}}),
        _event("bobs", second.id, bob, {"email": "bob@example.com"}),
        _event("stranger", None, None, {"email": "carl@example.com"}),
    ]
    report = {"esp": EspName.SES, "mailbox_provider": "other", "occurred_at": NOW}
    with database.write() as session:
        session.execute(insert(WebhookEvent), events)
        session.execute(
            insert(Bounce),
            [
                {**report, **said, "bounce_class": BounceClass.HARD}
                for said in (
                    {"event_id": 1, "subscriber_id": ann, "send_id": first.id, "diagnostic": SAID},
                    {"event_id": 2, "subscriber_id": None, "send_id": None, "diagnostic": "gone"},
                    {"event_id": 9, "subscriber_id": None, "send_id": None, "diagnostic": SAID},
                    {"event_id": 3, "subscriber_id": bob, "send_id": second.id, "diagnostic": "b"},
                )
            ],
        )
        session.execute(
            insert(Complaint), [{**report, "event_id": 8, "subscriber_id": ann, "diagnostic": SAID}]
        )
        session.execute(
            insert(OptIn),
            [
                {
                    "email_hash": who(KEY),
                    "subscriber_id": ann,
                    "lifts": False,
                    "source": "form of ann",
                    "ip": "192.0.2.8",
                    "created_at": NOW,
                    "confirmed_at": confirmed,
                    "confirmed_ip": "192.0.2.9",
                    "confirmed_agent": "Agent of Ann",
                }
                for confirmed in (NOW, None)
            ],
        )
        session.get_one(Campaign, campaign_id).reason = SAID
        session.get_one(Campaign, campaign_id).audience = {"filter": {"not": FILTER}}
        session.add(Segment(name="few", filter=FILTER, created_at=NOW, updated_at=NOW))
        session.add(
            BrakeOverride(
                esp=EspName.SES,
                ordered_by=f"Bob for {ANN}",
                ordered_at=NOW,
                why=f"asked by {ANN}",
                because="9 complaints",
                complaints=0.01,
                invalid=0.1,
            )
        )
        session.execute(update(SendBatch).values(detail=SAID))
        session.add(EspState(esp=EspName.SES, breaker=BreakerState.CLOSED, last_error=SAID))
        suppress(
            session,
            who(KEY),
            reason=SuppressionReason.HARD_BOUNCE,
            source="ses",
            now=NOW,
            evidence=SAID,
        )


def _event(key: str, send: int | None, person: int | None, payload: Any) -> dict[str, Any]:
    return {
        "esp": EspName.SES,
        "event_key": key,
        "kind": EventKind.BOUNCED,
        "send_id": send,
        "subscriber_id": person,
        "occurred_at": NOW,
        "received_at": NOW - timedelta(days=29),
        "payload": payload,
    }


def test_nothing_names_the_person_afterwards(either_database: Database, history: History) -> None:
    assert forget(either_database) is True
    rows = everything(either_database)
    words = (KEY, "ann.lee", "=example.com", "annabel", "leewood", "of-ann", "of ann", "192.0.2.")
    told = [
        (table, name, value)
        for table, some in rows.items()
        for row in some
        for name, value in row.items()
        if any(word in value.lower() for word in words)
    ]
    assert told == []


def test_filters_that_named_the_person_select_the_others_as_before(
    either_database: Database, history: History
) -> None:
    other = {"email": {"eq": f"jo{KEY}"}}
    with either_database.write() as session:
        session.add(Segment(name="other", filter=other, created_at=NOW, updated_at=NOW))
    forget(either_database)
    nobody = f"erased-{who(KEY).hex()}@erased.example"
    kept = {
        "or": [
            {"email": {"in": [nobody, "bob@example.com"]}},
            {"first_name": {"eq": "x (erased)"}},
        ]
    }
    with either_database.read() as session:
        said = {one.name: one.filter for one in session.scalars(select(Segment))}
        assert said == {"few": kept, "other": other}
        audience = session.get_one(Campaign, history.to_all).audience
        assert audience == {"filter": {"not": kept}}
        parse(audience["filter"])
    assert forget(either_database) is False


@pytest.mark.parametrize("source", ["one_click", "page"])
def test_a_spooled_unsubscribe_names_nobody(source: str) -> None:
    """So what stays in `.unsubscribes` or `.unsubscribes.damaged` is a keyed hash, as in the
    suppression that it becomes."""
    link = UnsubscribeLink(email_hash=who(KEY), subscriber_id=7, send_id=9)
    said = line_of(Unsubscribe(link=link, source=source, at=NOW)).decode()
    assert said.split()[:-1] == [who(KEY).hex(), "7", "9", source, NOW.isoformat()]


def test_what_counts_stays_and_so_does_everybody_else(
    either_database: Database, history: History
) -> None:
    before = everything(either_database)
    forget(either_database)
    after = everything(either_database)
    changed = {
        table: sum(row not in before[table] for row in rows)
        for table, rows in after.items()
        if rows != before[table]
    }
    gone = {name: len(before[name]) - len(after[name]) for name in changed}
    assert {name: n for name, n in gone.items() if n > 0} == {"subscribers": 1, "opt_ins": 1}
    assert {name: n for name, n in changed.items() if n} == {
        "brake_overrides": 1,
        "campaigns": 2,  # the reason and the filter of one, the list of the other
        "segments": 1,
        "email_sends": 2,
        "send_batches": 2,
        "bounces": 3,
        "complaints": 1,
        "webhook_events": 2,
        "suppressions": 1,
        "opt_ins": 1,
        "esp_states": 1,
        "subscriber_counts": 1,
        "subscriber_days": 1,
    }
    ledgers = Ledgers(either_database)
    erased = erased_key(who(KEY))
    assert [(send.email_key, send.reason) for send in ledgers.sends(history.to_few)] == [
        (erased, CLEAN),
        ("bob@example.com", None),
    ]
    assert ledgers.campaign(history.to_few).audience == {
        "emails": [erased, "bob@example.com", "nobody@example.com"]
    }
    assert ledgers.counts(history.to_all) == {"accepted": 1, "rejected": 1}
    with either_database.read() as session:
        texts = session.scalars(select(Bounce.diagnostic).order_by(Bounce.id))
        assert list(texts) == [None, None, None, "b"]
        payloads = session.scalars(select(WebhookEvent.payload).order_by(WebhookEvent.id))
        assert list(payloads) == [
            None,
            None,
            {"email": "bob@example.com"},
            {"email": "carl@example.com"},
        ]
        kept = session.scalars(select(WebhookEvent.id).where(WebhookEvent.payload.is_(None)))
        assert len(list(kept)) == 2, "NULL, and not JSON's null"
        assert set(session.scalars(select(SendBatch.detail))) == {CLEAN}
        assert set(session.scalars(select(Suppression.evidence))) >= {CLEAN}


def test_counters_are_true_and_the_day_is_noted(
    either_database: Database, history: History
) -> None:
    add(either_database, "carl@example.com")
    forget(either_database)
    forget(either_database, "carl@example.com")
    assert_counters_are_true(either_database)
    assert days(either_database)["erased"] == 2
    with either_database.read() as session:
        assert sum(recount_tiers(session).values()) == 1  # Bob


def test_a_second_time_there_is_nothing_to_erase(
    either_database: Database, history: History
) -> None:
    assert forget(either_database) is True
    assert forget(either_database) is False
    assert forget(either_database, "stranger@example.com") is False


def test_whoever_was_suppressed_stays_so_and_whoever_was_not_may_come_again(
    either_database: Database, history: History
) -> None:
    forget(either_database)
    assert add(either_database, ANN).outcome is AddedAs.SUPPRESSED
    forget(either_database, "bob@example.com")
    assert add(either_database, "bob@example.com").outcome is AddedAs.CREATED


def test_for_good_means_that_nobody_is_added_again(either_database: Database) -> None:
    add(either_database, ANN)
    assert forget(either_database, for_good=True, source="operator") is True
    assert reasons(either_database) == ["manual"]
    assert add(either_database, ANN).outcome is AddedAs.SUPPRESSED
    assert forget(either_database, for_good=True) is False
    assert_counters_are_true(either_database)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (SubscriberStatus.UNSUBSCRIBED, "unsubscribed"),
        (SubscriberStatus.BOUNCED, "hard_bounce"),
        (SubscriberStatus.COMPLAINED, "complaint"),
    ],
)
def test_a_status_that_keeps_mail_away_is_not_lost_with_its_row(
    either_database: Database, status: SubscriberStatus, reason: str
) -> None:
    Ledgers(either_database).add_people(1, KEY, status=status)
    forget(either_database)
    assert reasons(either_database) == [reason]
    assert add(either_database, ANN).outcome is AddedAs.SUPPRESSED


def test_a_queued_mail_of_an_erased_person_is_skipped(either_database: Database) -> None:
    add(either_database, ANN)
    ledgers = Ledgers(either_database)
    campaign_id = ledgers.create()
    ledgers.plan(campaign_id)
    forget(either_database)
    assert ledgers.claim(campaign_id) is None
    assert ledgers.report(campaign_id)["skipped"] == {"erased": 1}


def test_an_answer_that_comes_afterwards_names_nobody(either_database: Database) -> None:
    """Of a call that was under way; what it says of others stays."""
    for email in (ANN, "bob@example.com"):
        add(either_database, email)
    ledgers = Ledgers(either_database)
    campaign = ledgers.create()
    ledgers.plan(campaign)
    batch = ledgers.claimed(campaign)
    forget(either_database)
    rejected = Outcome.RECIPIENT_REJECTED
    ledgers.record(
        batch,
        SendResult(outcome=rejected, reason=SAID, suppress=True),
        SendResult(outcome=rejected, reason="550 <bob@example.com>: no such user"),
    )
    assert [send.reason for send in ledgers.sends(campaign)] == [
        CLEAN,
        "550 <bob@example.com>: no such user",
    ]
    assert reasons(either_database) == ["esp_inactive"]
    assert KEY not in str(everything(either_database)).lower()


def test_a_plan_that_is_half_way_goes_on_and_skips_the_erased(either_database: Database) -> None:
    for email in (ANN, "bob@example.com"):
        add(either_database, email)
    ledgers = Ledgers(either_database)
    campaign_id = ledgers.create(audience={"emails": [KEY, "bob@example.com"]})
    forget(either_database)
    ledgers.plan(campaign_id)
    assert ledgers.campaign(campaign_id).status is CampaignStatus.SENDING
    assert ledgers.report(campaign_id)["skipped"] == {"unknown_subscriber": 1}
    assert ledgers.counts(campaign_id) == {"queued": 1}


def test_what_was_planned_while_traces_were_read_is_found_too(either_database: Database) -> None:
    address = normalise(ANN)
    with either_database.read() as session:
        traces = find_traces(session, address.key, NOW)
    add(either_database, ANN)
    ledgers = Ledgers(either_database)
    campaign_id = ledgers.create(audience={"emails": [KEY]})
    ledgers.plan(campaign_id)
    event = _event("late", None, None, {"to": ANN})
    with either_database.write() as session:
        session.execute(insert(WebhookEvent), [{**event, "received_at": NOW}])
    with either_database.write() as session:
        assert erase(session, address, traces, hash_key=HASH_KEY, now=NOW) is True
    assert KEY not in str(everything(either_database)).lower()


def test_the_link_in_an_old_mail_still_works(either_database: Database, history: History) -> None:
    send = Ledgers(either_database).sends(history.to_all)[1]
    link = UnsubscribeLink(
        email_hash=who("bob@example.com"), subscriber_id=history.bob, send_id=send.id
    )
    forget(either_database, "bob@example.com")
    again = add(either_database, "bob@example.com").subscriber
    assert again is not None
    with either_database.write() as session:
        assert unsubscribe(session, link, source="page", now=NOW) is True
    with either_database.read() as session:
        found = find_subscriber(session, "bob@example.com")
        assert found is not None
        assert found.status is SubscriberStatus.UNSUBSCRIBED
        assert suppression_of(session, who("bob@example.com"), NOW) is not None
        campaign = session.get_one(Campaign, history.to_all)
        assert campaign.unsubscribed == 1


def test_the_same_person_added_again_is_somebody_new(either_database: Database) -> None:
    add(either_database, "bob@example.com", first_name="Bob")
    forget(either_database, "bob@example.com")
    again = add(either_database, "bob@example.com").subscriber
    assert again is not None
    assert (again.first_name, again.id) == (None, 2)
    with either_database.read() as session:
        assert count(session, Subscriber) == 1
        assert count(session, EmailSend) == 0


OTHERS = ("joann@example.com", "jo.ann@example.com", "jo-ann@example.com", "ann@example.com.br")
"""Whose addresses have that of ann@example.com in them."""


def test_what_names_somebody_with_a_longer_address_stays(either_database: Database) -> None:
    report = {"esp": EspName.SES, "mailbox_provider": "other", "occurred_at": NOW}
    with either_database.write() as session:
        session.execute(
            insert(WebhookEvent),
            [_event(other, None, None, {"mail": {"to": [f"<{other}>"]}}) for other in OTHERS],
        )
        for table in (Bounce, Complaint):
            rows = [
                {**report, "event_id": number, "diagnostic": f"<{other}>: no such user"}
                for number, other in enumerate(OTHERS, 1)
            ]
            if table is Bounce:
                rows = [{**row, "bounce_class": BounceClass.HARD} for row in rows]
            session.execute(insert(table), rows)
    before = everything(either_database)
    assert forget(either_database, "ann@example.com") is False
    assert everything(either_database) == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rfc822; ANN@example.com", "rfc822; (erased)"),
        ("b+ann=example.com@em.example.net", "b+(erased)@em.example.net"),
        ("https://x/?to=ann%40example.com", "https://x/?to=(erased)"),
        ("ann at example.com, an@example.com", "ann at example.com, an@example.com"),
        ("https://x/?q=to%3Dann%40example.com%26x", "https://x/?q=to%3D(erased)%26x"),
        ("annxexample.com", "annxexample.com"),
        *((text, text) for text in (*OTHERS, "b+joann=example.com@em", "joann%40example.com")),
    ],
)
def test_an_address_is_taken_out_of_a_text_however_it_is_spelled(text: str, expected: str) -> None:
    assert without(text, "ann@example.com") == expected
