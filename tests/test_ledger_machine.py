"""Any order of what can happen to a ledger, held against a model of a few dictionaries.

Plan, claim, answer, crash, events (early, late, twice, of strangers), unsubscribes, sign-ups that
are to be confirmed, people who are erased, orders of a person and the clock, as chance has them.
After each: every send is as the model says, every counter equals its recount, nobody is carried
twice (a mail to confirm: once more, when it is not known), nobody who left is claimed, and nothing
names who was erased.

LEDGER_MACHINE_EXAMPLES=2000 looks further: `LEDGER_MACHINE_EXAMPLES=2000 ./setup.sh test
tests/test_ledger_machine.py`.
"""

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from database.session import Database
from services.ledger import plan as planning
from tests.ledger_machine.checks import Checks
from tests.ledger_machine.coming_and_going import ComingAndGoing
from tests.ledger_machine.events import Events
from tests.ledger_machine.orders import Orders
from tests.ledger_machine.sending import Sending
from tests.ledger_machine.start import started
from tests.people import either_database, postgres

__all__ = ["either_database", "postgres"]  # fixtures

EXAMPLES = int(os.environ.get("LEDGER_MACHINE_EXAMPLES") or 50)
STEPS = 40


class LedgerMachine(Sending, Events, ComingAndGoing, Orders, Checks):
    """All of it at once."""


@pytest.fixture
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "IDS_PER_CHUNK", 3)
    monkeypatch.setattr(planning, "EMAILS_PER_CHUNK", 2)


@pytest.mark.usefixtures("_small_chunks")
@pytest.mark.timeout(120 + 4 * EXAMPLES)
def test_whatever_happens_the_ledger_is_what_the_model_says(
    either_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(either_database) as start:
        monkeypatch.setattr(LedgerMachine, "start", start, raising=False)
        run_state_machine_as_test(
            LedgerMachine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
