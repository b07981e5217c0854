"""docs/events.md: its tables are those of the code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from config.esp_config import EspName
from config.settings import ROOT
from database.models import CampaignTally, Delivery
from database.session import Database
from services import amazon_ses_words as ses
from services import postmark_words as postmark
from services import sendgrid_words as sendgrid
from services.amazon_ses_events import _READERS as SES_EVENTS
from services.base import Outcome
from services.event_recorder import record_events
from services.events import BounceClass, Event, EventKind, SuppressionReason
from tests.conftest import NOW
from tests.ledgers import HASH_KEY, Ledgers
from utils.tokens import send_ref

PAGE = (ROOT / "docs" / "events.md").read_text()

BY_FUNCTION = {
    EspName.SENDGRID: set[str](),
    EspName.SES: {"Complaint", "OnAccountSuppressionList", *SES_EVENTS},
    EspName.POSTMARK: {"SuppressSending: false"},
}
"""Words whose meaning is a function's, not a table's."""


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    [table, *_] = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    _, _, *lines = table.splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines]


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@dataclass(frozen=True)
class Row:
    kind: EventKind
    bounce_class: BounceClass | None
    suppress: SuppressionReason | None

    @classmethod
    def of(cls, meaning: Any) -> "Row":
        is_bounce = meaning.kind is EventKind.BOUNCED
        return cls(meaning.kind, meaning.bounce_class if is_bounce else None, meaning.suppress)

    @classmethod
    def told(cls, event: str, suppress: str = "") -> "Row":
        kind, *bounce_class = words(event)
        return cls(
            EventKind(kind),
            BounceClass(bounce_class[0]) if bounce_class else None,
            SuppressionReason(words(suppress)[0]) if suppress else None,
        )


def tables(esp: EspName) -> Iterator[tuple[str, Any]]:
    """Every word of an ESP that a table of ours knows, as the page spells it."""
    if esp is EspName.SENDGRID:
        yield from sendgrid.EVENTS.items()
        yield from ((f"dropped: {word}", by) for word, by in sendgrid.DROPS.items())
        yield from ((f"bounce: {w}", by) for w, by in sendgrid.CLASSIFICATIONS.items() if by)
    elif esp is EspName.SES:
        yield from (("/".join(pair), by) for pair, by in ses.BOUNCES.items())
        yield from ((f"Complaint: {word}", by) for word, by in ses.COMPLAINTS.items())
    else:
        yield from postmark.RECORDS.items()
        yield from postmark.BOUNCES.items()
        yield from ((f"SuppressSending: {w}", by) for w, by in postmark.SUPPRESSIONS.items())


@pytest.mark.parametrize(("column", "esp"), [*enumerate(EspName, 2)])
def test_every_word_of_an_esp_is_in_the_row_of_its_meaning(column: int, esp: EspName) -> None:
    told = {
        (word, Row.told(*cells[:2]))
        for cells in rows("What ESPs call it")
        for word in words(cells[column])
        if word not in BY_FUNCTION[esp]
    }
    assert told == {(word, Row.of(meaning)) for word, meaning in tables(esp)}


def test_every_event_of_ses_is_told() -> None:
    told = {
        word.split(": ")[0].split("/")[0]
        for cells in rows("What ESPs call it")
        for word in words(cells[3])
    }
    causes = {"Permanent", "Transient", "Undetermined", "OnAccountSuppressionList"}
    assert told - causes == SES_EVENTS.keys() - {"Bounce"}


PERSON = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


@pytest.mark.parametrize("cells", rows("What it does"), ids=lambda cells: cells[0])
def test_an_event_does_what_its_row_says(database: Database, cells: list[str]) -> None:
    row, by_machine = Row.told(cells[0]), "by a machine" in cells[0]
    at = Ledgers(database)
    campaign_id = at.planned(1)
    at.record(at.claimed(campaign_id), Outcome.UNKNOWN)
    [send] = at.sends(campaign_id)
    event = Event(
        key="1",
        kind=row.kind,
        occurred_at=NOW + timedelta(minutes=1),
        payload={},
        send_ref=send_ref(HASH_KEY, campaign_id=campaign_id, send_id=send.id, attempt=send.attempt),
        address=send.email_key,
        bounce_class=row.bounce_class,
        user_agent="curl/8" if by_machine else PERSON,
        url="https://example.com/",
    )
    with database.write() as session:
        record_events(session, EspName.SENDGRID, [event], hash_key=HASH_KEY, now=NOW)

    [send], report = at.sends(campaign_id), at.report(campaign_id)
    with database.read() as session:
        tallied = {
            row.kind.value
            for row in session.query(CampaignTally).filter(CampaignTally.key == "sendgrid/other")
        }
    counted = {name for name, n in report["delivery"].items() if n} | tallied - {"carried"}
    delivery = words(cells[1]) or [Delivery.NONE.value]
    assert ([send.delivery.value], counted) == (delivery, set(words(cells[2])))
    says_nothing = row.kind in (EventKind.RESUBSCRIBED, EventKind.OTHER)
    assert send.status.value == ("unknown" if says_nothing else "accepted")


def test_every_event_has_a_row() -> None:
    for heading in ("What ESPs call it", "What it does"):
        told = {Row.told(cells[0]) for cells in rows(heading)}
        assert {row.kind for row in told} == set(EventKind)
        assert {row.bounce_class for row in told} == {*BounceClass, None}


def test_deliveries_are_told_in_their_order() -> None:
    [told] = re.findall(r"`delivery` only moves on: (.*?), whatever", PAGE, re.DOTALL)
    assert re.findall(r"\w+", told) == [one.value for one in Delivery]


def test_every_class_of_bounces_has_its_policy() -> None:
    assert [words(cells[0]) for cells in rows("Bounces")] == [[one.value] for one in BounceClass]
