"""Counters that a block adds up come to the same as those that are written at once; on both
databases."""

from contextlib import nullcontext

import pytest
from sqlalchemy.orm import Session

from database.models import TallyKind
from database.upsert import summed
from services.ledger.counters import move, tallies, tally
from tests.conftest import NOW
from tests.ledgers import Ledgers, at
from tests.people import either_database, postgres
from tests.statements import counted

__all__ = ["at", "either_database", "postgres"]  # fixtures

KEPT = ("queued", "sending", "accepted")


def count(session: Session, campaign_id: int) -> None:
    """As two calls of a step do, and one that gives all back."""
    for n in (4, 3):
        move(session, campaign_id, NOW, {"queued": -n, "sending": n})
        tally(session, campaign_id, TallyKind.CLAIMED, {"ses": n})
    move(session, campaign_id, NOW, {"sending": -3, "accepted": 2, "queued": 1})
    tally(session, campaign_id, TallyKind.CLAIMED, {"ses": -1, "postmark": 1})
    tally(session, campaign_id, TallyKind.ACCEPTED, {})


@pytest.mark.parametrize(("how", "statements"), [(summed, 2), (nullcontext, 6)])
def test_each_counter_is_written_once(at: Ledgers, how: type, statements: int) -> None:
    campaign_id = at.planned(10)
    with at.database.write() as session:
        with counted(at.database, "UPDATE") as said, how(session):
            count(session, campaign_id)
        assert len(said) == statements
        found = tallies(session, campaign_id, TallyKind.CLAIMED)
    assert found == {"ses": 6, "postmark": 1}
    campaign = at.campaign(campaign_id)
    assert [getattr(campaign, name) for name in KEPT] == [4, 4, 2]
    assert campaign.last_step_at == NOW


def test_who_reads_counters_in_the_block_sees_what_it_added(at: Ledgers) -> None:
    campaign_id = at.planned(10)
    with at.database.write() as session, summed(session):
        for n in (1, 2):
            tally(session, campaign_id, TallyKind.CLAIMED, {"ses": 1})
            assert tallies(session, campaign_id, TallyKind.CLAIMED) == {"ses": n}


def break_off(session: Session, campaign_id: int) -> None:
    with summed(session):
        tally(session, campaign_id, TallyKind.CLAIMED, {"ses": 5})
        raise ZeroDivisionError


def test_a_block_that_breaks_off_leaves_nothing_to_the_next(at: Ledgers) -> None:
    campaign_id = at.planned(10)
    with at.database.write() as session:
        with pytest.raises(ZeroDivisionError):
            break_off(session, campaign_id)
        with summed(session):
            pass
        tally(session, campaign_id, TallyKind.CLAIMED, {"ses": 1})
    with at.database.read() as session:
        assert tallies(session, campaign_id, TallyKind.CLAIMED) == {"ses": 1}
