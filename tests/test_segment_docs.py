"""docs/segments.md holds: each row of its tables selects whom it says, or is refused as it says."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from config.settings import ROOT
from database.models import (
    Delivery,
    EmailSend,
    EngagementTier,
    SendStatus,
    Subscriber,
    SubscriberStatus,
)
from database.session import Database
from lists.engagement import score_of
from lists.segment_filter import (
    BEHAVIOURS,
    FIELDS,
    MAX_DEPTH,
    MAX_LIST,
    MAX_NODES,
    MAX_VALUES,
    InvalidFilter,
    parse,
)
from lists.segment_sql import selects
from lists.segment_values import MAX_TEXT
from lists.segments import check_campaigns
from services.campaigns import create
from tests.conftest import NOW
from tests.people import either_database, postgres
from tests.rig import NEW
from utils.addresses import normalise

__all__ = ["either_database", "postgres"]  # fixtures

PAGE = (ROOT / "docs/segments.md").read_text()
ROWS = [(filter_, told) for filter_, told in re.findall(r"^\| `(\{.*\})` \| (.*) \|$", PAGE, re.M)]
SELECTING = [row for row in ROWS if not row[1].startswith("`/")]
REFUSED = [row for row in ROWS if row[1].startswith("`/")]
PEOPLE = json.loads(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0])

SENDS: dict[str, dict[str, Any]] = {
    "opened and clicked": {"opened": True, "clicked": True},
    "accepted": {},
    "bounced": {"delivery": Delivery.BOUNCED},
    "unknown": {"status": SendStatus.UNKNOWN},
}
# What gives each person the score that the page says.
HISTORY: dict[str, dict[str, Any]] = {
    "Ann": {"interest": 9.0, "interest_mails": 9.0, "interest_at": NOW, "last_interest_at": NOW},
    "Bob": {"consent_at": NOW - timedelta(days=20)},
    "Cy": {},
}


@pytest.fixture
def the_list(either_database: Database) -> Database:
    with either_database.write() as session:
        session.execute(insert(Subscriber), [_row(person) for person in PEOPLE])
        for number in (1, 2):
            campaign_id = create(session, NEW, now=NOW, sandbox=True).id
            assert campaign_id == number
            session.execute(insert(EmailSend), [_send(person, campaign_id) for person in PEOPLE])
    return either_database


def _row(person: dict[str, Any]) -> dict[str, Any]:
    address = normalise(person["email"])
    return {
        **{name: person[name] for name in ("first_name", "last_name", "tags", "attributes")},
        "consent_source": person["consent_source"],
        "email": address.email,
        "email_key": address.key,
        "email_hash": address.key.encode()[:16],
        "status": SubscriberStatus(person["status"]),
        "mailbox_provider": address.mailbox_provider,
        "tier": person["tier"] and EngagementTier(person["tier"]),
        "created_at": datetime.fromisoformat(person["created_at"]).replace(tzinfo=UTC),
        "updated_at": NOW,
        **dict.fromkeys(("interest", "interest_mails"), 0.0),
        **dict.fromkeys(("interest_at", "last_interest_at", "consent_at")),
        **HISTORY[person["first_name"]],
    }


def _send(person: dict[str, Any], campaign_id: int) -> dict[str, Any]:
    return {
        "campaign_id": campaign_id,
        "email_key": person["email"],
        "mailbox_provider": "other",
        "status": SendStatus.ACCEPTED,
        "delivery": Delivery.NONE,
        "opened": False,
        "clicked": False,
        **SENDS[person[f"campaign {campaign_id}"]],
    }


def test_every_row_selects_whom_it_says(the_list: Database) -> None:
    told, found = {}, {}
    with the_list.read() as session:
        for filter_, names in SELECTING:
            told[filter_] = names
            chosen = selects(parse(json.loads(filter_)), NOW)
            people = session.scalars(select(Subscriber.first_name).where(chosen)).all()
            found[filter_] = ", ".join(sorted(map(str, people))) or "nobody"
    assert found == told
    assert len(told) == 40


def test_every_refusal_is_as_it_says(the_list: Database) -> None:
    for filter_, words in REFUSED:
        with the_list.read() as session, pytest.raises(InvalidFilter) as refused:
            check_campaigns(session, parse(json.loads(filter_)))
        assert str(refused.value) == words.replace("`", "")
    assert len(REFUSED) == 4


def test_the_people_have_the_scores_that_the_page_says(the_list: Database) -> None:
    with the_list.read() as session:
        scores = {one.first_name: score_of(one, NOW) for one in session.scalars(select(Subscriber))}
    assert scores == {person["first_name"]: person["score"] for person in PEOPLE}


def test_the_page_names_every_word_and_every_limit() -> None:
    words = {word for fields in FIELDS.values() for word in fields}
    for name in (*FIELDS, *BEHAVIOURS, *words):
        assert f"`{name}`" in PAGE or f'"{name}": ' in PAGE, name
    assert f"at most {MAX_NODES} conditions and combinations, {MAX_DEPTH} levels" in PAGE
    assert f"{MAX_LIST:,} values in a list and {MAX_VALUES:,} in all" in PAGE
    assert f"texts of {MAX_TEXT} characters" in PAGE
