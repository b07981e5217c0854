"""What a person is given of themselves: every row about them, whole, and nothing of others."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from config.esp_config import EspName
from database.models import (
    Base,
    Bounce,
    BounceClass,
    Complaint,
    EventKind,
    Segment,
    Subscriber,
    SuppressionReason,
    WebhookEvent,
)
from database.session import Database
from list_manager import Consent, erase, find_traces, suppress
from lists import personal_data as module
from lists.personal_data import personal_data
from services.base import Outcome, SendResult
from services.event_recorder import record_events
from services.events import Event
from services.housekeeping import PAYLOADS_KEPT, forget_payloads
from tests.conftest import NOW
from tests.ledgers import Ledgers
from tests.opting_in import ask, links, say_yes
from tests.people import HASH_KEY, add, either_database, postgres, who
from utils.addresses import normalise
from utils.tokens import send_ref

__all__ = ["either_database", "postgres"]  # fixtures

ANN, BOB = "ann@example.com", "bob@example.com"
SECTIONS = {
    "subscribers": "profile",
    "opt_ins": "opt_ins",
    "suppressions": "suppressions",
    "email_sends": "sends",
    "bounces": "bounces",
    "complaints": "complaints",
    "webhook_events": "events",
}
PERSONAL = {"email", "email_key", "email_hash", "subscriber_id", "send_id"}
HIDDEN = {"email_hash", "event_key"}
"""What is a key of ours, and says nothing to anybody."""
ADDED = {"campaign", "subject", "engagement_score", "consent"}
CONSENT = {"consent_source", "consent_ip", "consent_at"}
MINUTE = timedelta(minutes=1)


@pytest.fixture
def at(either_database: Database) -> Ledgers:
    """Two people with the same life: added, written to, bounced, back, gone."""
    at = Ledgers(either_database)
    for email in (ANN, BOB):
        consent = Consent(source=f"shop of {email}", ip="192.0.2.7", at=NOW)
        said = {"first_name": f"First {email}", "attributes": {"of": email}, "consent": consent}
        add(either_database, email, tags=frozenset({f"tag of {email}"}), **said)
    for audience in ({}, {"emails": [ANN, BOB]}):
        live(at, at.create(audience=audience))
    for email in (ANN, BOB):
        with either_database.write() as session:
            suppress(
                session,
                who(email),
                reason=SuppressionReason.UNSUBSCRIBED,
                source="page",
                evidence=f"of {email}",
                now=NOW,
            )
        ask(either_database, email, NOW + MINUTE, resubscribe=True)
        say_yes(either_database, links(either_database)[-1], NOW + 2 * MINUTE)
    return at


def live(at: Ledgers, campaign_id: int) -> None:
    """The campaign is taken, delivered, opened and clicked; then both complain and bounce."""
    at.plan(campaign_id)
    batch = at.claimed(campaign_id)
    at.record(batch, SendResult(outcome=Outcome.ACCEPTED, message_id="m"))
    kinds = (EventKind.DELIVERED, EventKind.OPENED, EventKind.CLICKED, EventKind.COMPLAINED)
    events = [
        Event(
            key=f"{kind}-{send.send_id}",
            kind=kind,
            occurred_at=NOW,
            payload={"email": send.email, "kind": kind.value},
            send_ref=send_ref(
                HASH_KEY, campaign_id=campaign_id, send_id=send.send_id, attempt=send.attempt
            ),
        )
        for send in batch.sends
        for kind in kinds
    ]
    events += [
        Event(
            key=f"bounce-{send.send_id}",
            kind=EventKind.BOUNCED,
            bounce_class=BounceClass.HARD,
            occurred_at=NOW,
            payload={"email": send.email},
            detail=f"550 5.1.1 {send.email}",
            send_ref=send_ref(
                HASH_KEY, campaign_id=campaign_id, send_id=send.send_id, attempt=send.attempt
            ),
        )
        for send in batch.sends
    ]
    with at.database.write() as session:
        record_events(session, EspName.SENDGRID, events, hash_key=HASH_KEY, now=NOW)


def told(at: Ledgers, email: str = ANN, **moved: float) -> dict[str, Any] | None:
    now = NOW + timedelta(**moved)
    with at.database.read() as session:
        return personal_data(session, normalise(email), hash_key=HASH_KEY, now=now)


def section(data: dict[str, Any], table: str) -> list[dict[str, Any]]:
    """What the data has of a table, as the rows are there."""
    part = data[SECTIONS[table]]
    rows = [part] if isinstance(part, dict) else part
    return [
        {
            **{name: value for name, value in row.items() if name not in ADDED},
            **{f"consent_{name}": value for name, value in row.get("consent", {}).items()},
        }
        for row in rows
    ]


def stored(at: Ledgers, table: str) -> list[dict[str, Any]]:
    with at.database.read() as session:
        rows = session.execute(
            select(Base.metadata.tables[table]).order_by(Base.metadata.tables[table].c.id)
        )
        return [
            {name: value for name, value in row.items() if name not in HIDDEN}
            for row in rows.mappings()
        ]


def test_a_table_about_people_is_part_of_what_they_are_given() -> None:
    about_people = {
        table.name for table in Base.metadata.sorted_tables if PERSONAL & set(table.c.keys())
    }
    assert about_people == set(SECTIONS)


@pytest.mark.parametrize("table", SECTIONS)
def test_every_row_is_given_whole_to_the_one_whom_it_is_about(at: Ledgers, table: str) -> None:
    rows = stored(at, table)
    anns, bobs = told(at), told(at, BOB)
    assert anns is not None
    assert bobs is not None
    given = section(anns, table) + section(bobs, table)
    assert len(section(anns, table)) == len(section(bobs, table)) >= 1
    assert sorted(given, key=lambda row: row["id"]) == rows


def test_nothing_that_names_another_is_given(at: Ledgers) -> None:
    data = told(at)
    assert data is not None
    assert ANN in str(data)
    assert BOB not in str(data)
    assert who(ANN).hex() not in str(data)


def test_what_else_is_told(at: Ledgers) -> None:
    data = told(at, "Ann@EXAMPLE.com", days=1)
    assert data is not None
    assert (data["email"], data["made_at"]) == ("Ann@example.com", NOW + timedelta(days=1))
    assert data["profile"]["consent"] == {
        "source": "double opt-in",
        "ip": "192.0.2.7",
        "at": NOW + 2 * MINUTE,
    }
    assert isinstance(data["profile"]["engagement_score"], int)
    assert [(send["campaign"], send["subject"]) for send in data["sends"]] == [
        ("News", "Hello {{ first_name }}")
    ] * 2
    with at.database.read() as session:
        named = find_traces(session, ANN, NOW).audiences
    assert data["named_in_campaigns"] == sorted(named)
    assert len(named) == 2
    assert len(data["notes"]) == 2


def test_filters_that_name_somebody_are_told_to_them_and_to_nobody_else(at: Ledgers) -> None:
    def filter_of(email: str) -> dict[str, Any]:
        return {"or": [{"tags": {"any": ["x"]}}, {"email": {"in": [email]}}]}

    campaign = at.create(audience={"filter": filter_of(ANN)})
    with at.database.write() as session:
        for name, email in (("z", ANN), ("a", "ANN@example.com"), ("of another", f"jo{ANN}")):
            said = {"filter": filter_of(email), "created_at": NOW, "updated_at": NOW}
            session.add(Segment(name=name, **said))
    anns, bobs = told(at), told(at, BOB)
    assert anns is not None
    assert bobs is not None
    assert anns["named_in_segments"] == ["a", "z"]
    assert campaign in anns["named_in_campaigns"]
    assert (bobs["named_in_segments"], campaign in bobs["named_in_campaigns"]) == ([], False)
    with at.database.write() as session:
        erase(session, normalise(ANN), find_traces(session, ANN, NOW), hash_key=HASH_KEY, now=NOW)
    after = told(at)
    assert after is not None
    assert (after["named_in_segments"], after["named_in_campaigns"]) == ([], [])


def test_opens_and_clicks_are_given_for_good_and_other_events_while_they_are_raw(
    at: Ledgers,
) -> None:
    after = PAYLOADS_KEPT + timedelta(days=2)
    with at.database.write() as session:
        forget_payloads(session, NOW + after - PAYLOADS_KEPT, None)
    before, data = told(at), told(at, days=after.days)
    assert before is not None
    assert data is not None
    kept = {"opened", "clicked"}
    touches = [row for row in stored(at, "webhook_events") if row["kind"].value in kept]
    mine = {send["id"] for send in data["sends"]}
    assert data["events"] == [row for row in touches if row["send_id"] in mine]
    assert len(data["events"]) == 4
    for name in ("sends", "bounces", "complaints", "suppressions", "opt_ins"):
        assert data[name] == before[name]


# mails that are not ours, and others whose address looks like it


def _foreign(at: Ledgers, payload: Any, diagnostic: str) -> None:
    """An event that names somebody, of a mail that we know nothing of."""
    event = WebhookEvent(
        esp=EspName.SES,
        event_key=f"foreign {payload}",
        kind=EventKind.BOUNCED,
        occurred_at=NOW,
        received_at=NOW,
        payload=payload,
    )
    report = {"esp": EspName.SES, "mailbox_provider": "other", "occurred_at": NOW}
    with at.database.write() as session:
        session.add(event)
        session.flush()
        of_it = {"event_id": event.id, "bounce_class": BounceClass.HARD, "diagnostic": None}
        session.execute(insert(Bounce), [{**report, **of_it}])
        session.execute(insert(Complaint), [{**report, "diagnostic": diagnostic}])


def _counts(at: Ledgers) -> tuple[int, int, int]:
    data = told(at)
    assert data is not None
    return len(data["events"]), len(data["bounces"]), len(data["complaints"])


@pytest.mark.parametrize(
    ("text", "is_hers"),
    [
        ("ann@example.com", True),
        ("ANN@Example.COM", True),
        ("550 <ann@example.com>: gone.", True),
        ("was ann@example.com.", True),
        ("line\nann@example.com\nline", True),
        ("mailto:ann@example.com?subject=x", True),
        ("joann@example.com", False),
        ("jo.ann@example.com", False),
        ("jo-ann@example.com", False),
        ("jo+ann@example.com", False),
        ("jo_ann@example.com", False),
        ("ann@example.com.au", False),
        ("ann@example.community", False),
        ("ann@example.com-pany.de", False),
    ],
)
def test_a_foreign_report_is_given_to_the_very_person_that_it_names(
    at: Ledgers, text: str, is_hers: bool
) -> None:
    before = _counts(at)
    _foreign(at, {"mail": [{"to": [text]}]}, text)
    assert [now - then for now, then in zip(_counts(at), before, strict=True)] == [is_hers] * 3


# erased


def test_of_somebody_erased_only_what_keeps_them_from_mail_is_left(at: Ledgers) -> None:
    now = NOW + timedelta(hours=1)
    with at.database.write() as session:
        suppress(session, who(ANN), reason=SuppressionReason.UNSUBSCRIBED, source="page", now=now)
    before = told(at, BOB)
    with at.database.read() as session:
        traces = find_traces(session, ANN, now)
    with at.database.write() as session:
        erase(session, normalise(ANN), traces, hash_key=HASH_KEY, now=now)
    data = told(at)
    assert data is not None
    assert {name for name, part in data.items() if part} == {
        *("email", "made_at", "notes", "suppressions", "opt_ins")
    }
    assert ANN not in str(data["suppressions"])
    assert [row["reason"] for row in data["suppressions"]][-1] is SuppressionReason.UNSUBSCRIBED
    personal = ("source", "ip", "confirmed_ip", "confirmed_agent")
    assert [[row[name] for name in personal] for row in data["opt_ins"]] == [[None] * 4]
    assert told(at, BOB) == before


def test_of_somebody_added_again_nothing_from_before_is_given(at: Ledgers) -> None:
    with at.database.read() as session:
        traces = find_traces(session, ANN, NOW)
    with at.database.write() as session:
        erase(session, normalise(ANN), traces, hash_key=HASH_KEY, now=NOW)
    add(at.database, ANN)
    data = told(at)
    assert data is not None
    with at.database.read() as session:
        person = session.scalars(select(Subscriber.id).where(Subscriber.email_key == ANN)).one()
    assert data["profile"]["id"] == person
    assert [data[name] for name in ("sends", "events", "bounces", "complaints")] == [[]] * 4


def test_of_a_stranger_nothing_is_held(at: Ledgers) -> None:
    assert told(at, "carl@example.com") is None


def test_of_very_many_rows_the_newest_are_given_and_that_is_said(
    at: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = told(at)
    monkeypatch.setattr(module, "MOST", 1)
    data = told(at)
    assert whole is not None
    assert data is not None
    n_sends, n_events = len(whole["sends"]), len(whole["events"])
    assert {**whole, "sends": whole["sends"][-1:], "events": whole["events"][-1:]} == {
        **data,
        "notes": whole["notes"],
    }
    assert data["notes"][2:] == [
        f"Of {n_sends} sends only the newest 1 are here.",
        f"Of {n_events} events only the newest 1 are here.",
    ]
