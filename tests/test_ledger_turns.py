"""On PostgreSQL nobody who moves sends waits in a circle with the engine."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text, update

from database.ledger_lock import lock_ledger
from database.models import Campaign, CampaignStatus, EmailSend
from database.session import Database
from list_manager import unsubscribe
from lists.erasing import erase
from lists.footprint import find_traces
from tests.conftest import NOW
from tests.faults.http_client import wait_until
from tests.ledgers import HASH_KEY, Ledgers
from tests.people import postgres
from utils.addresses import normalise
from utils.tokens import UnsubscribeLink, email_hash

__all__ = ["postgres"]  # fixtures

WHO = "person0@example.net"


def leave(database: Database) -> bool:
    with database.read() as session:
        send = session.scalars(select(EmailSend).where(EmailSend.email_key == WHO)).one()
        whose = email_hash(HASH_KEY, WHO), send.subscriber_id or 0
    link = UnsubscribeLink(email_hash=whose[0], subscriber_id=whose[1], send_id=send.id)
    with database.write() as session:
        return unsubscribe(session, link, source="page", now=NOW)


def forget(database: Database) -> bool:
    address = normalise(WHO)
    with database.read() as session:
        traces = find_traces(session, address.key, NOW)
    with database.write() as session:
        return erase(session, address, traces, hash_key=HASH_KEY, now=NOW)


@pytest.mark.parametrize("act", [leave, forget])
def test_who_leaves_or_is_erased_waits_for_a_step_of_the_engine(
    act: Callable[[Database], bool], postgres: Database
) -> None:
    """The step holds the campaign and then moves the send: a deadlock, if the other one has
    locked the send meanwhile and waits for the campaign."""
    at = Ledgers(postgres)
    campaign_id = at.planned(1)
    with postgres.write() as session:
        session.get_one(Campaign, campaign_id).status = CampaignStatus.PLANNING
    with ThreadPoolExecutor() as others:
        with postgres.write() as session:
            lock_ledger(session, alone=True)
            session.get_one(Campaign, campaign_id, with_for_update={"key_share": True})
            acting = others.submit(act, postgres)
            wait_until(lambda: acting.done() or somebody_waits(postgres), "the other one to wait")
            session.execute(update(EmailSend).values(reason="moved"))
        assert acting.result() is True


def somebody_waits(database: Database) -> bool:
    waiting = (
        "SELECT COUNT(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with database.read() as session:
        return bool(session.scalar(text(waiting)))
