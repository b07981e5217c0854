"""A mailbox provider that refuses mail for its sender's DNS has that DNS checked."""

from typing import Any

import pytest
from sqlalchemy import select

from database.models import DnsDue
from services.events import BounceClass, EventKind
from tests.ledgers import Ledgers, at
from tests.people import either_database, postgres
from tests.test_event_recorder import Hook
from utils.dns.blame import blamed, checks_of

__all__ = ["at", "either_database", "postgres"]  # fixtures

GMAIL = (
    "550 5.7.26 This mail has been blocked because the sender is unauthenticated. Gmail requires "
    "all senders to authenticate with either SPF or DKIM."
)
MICROSOFT = (
    "550 5.7.515 Access denied, sending domain EXAMPLE.COM does not meet the required "
    "authentication level."
)


@pytest.mark.parametrize(
    ("code", "words", "told"),
    [
        ("5.7.26", None, "5.7.26"),
        ("5.7.1", GMAIL, "5.7.26"),
        ("550", MICROSOFT, "5.7.515"),
        ("4.7.27", "421-4.7.27 your SPF did not pass", "4.7.27"),
        (None, "451 4.7.31 no DMARC record", "4.7.31"),
        ("4.7.28", "421-4.7.28 unusual rate", None),
        ("5.1.1", "no such user 15.7.26.1", None),
        ("5.7.1", "version 5.7.260", None),
        ("2.7.26", None, None),
        (None, None, None),
    ],
)
def test_codes_that_blame_dns_are_known_wherever_they_stand(
    code: str | None, words: str | None, told: str | None
) -> None:
    assert blamed(code, words) == told


@pytest.mark.parametrize(
    ("code", "checks"),
    [("5.7.26", "dmarc"), ("4.7.27", "spf"), ("5.7.30", "dkim"), ("5.7.25", "ptr")],
)
def test_a_code_names_its_checks(code: str, checks: str) -> None:
    assert checks_of(code) == checks


def due(at: Ledgers) -> dict[str, str]:
    with at.database.read() as session:
        return {row.domain: row.reason for row in session.scalars(select(DnsDue))}


BLOCKED: dict[str, Any] = {"bounce_class": BounceClass.BLOCKED, "code": "5.7.1", "detail": GMAIL}


def test_a_refusal_asks_for_a_check_of_the_domain_it_came_from(at: Ledgers) -> None:
    hook = Hook(at)
    hook.tell(hook.event(EventKind.BOUNCED, 0, **BLOCKED))
    hook.tell(
        hook.event(EventKind.DEFERRED, 1, code="4.7.27"),
        hook.event(EventKind.BOUNCED, 2, **BLOCKED),
    )
    assert due(at) == {"example.com": "a refusal with 5.7.26"}


def test_other_bounces_and_foreign_mail_ask_for_none(at: Ledgers) -> None:
    hook = Hook(at)
    hook.tell(
        hook.event(EventKind.BOUNCED, 0, bounce_class=BounceClass.HARD, code="5.1.1"),
        hook.event(EventKind.BOUNCED, 1, send_ref="1-1-foreign", **BLOCKED),
        hook.event(EventKind.DELIVERED, 2, detail=GMAIL),
    )
    assert due(at) == {}
