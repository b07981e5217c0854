"""Whoever is suppressed is never mailable again, whatever is done to them in whatever order."""

import io
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from database.models import Subscriber, SubscriberStatus, SuppressionReason
from database.session import Database
from list_manager import Change, change_subscriber, erase, find_traces, import_csv, suppress
from list_manager import suppressed as is_suppressed
from tests.conftest import NOW
from tests.people import HASH_KEY, add, assert_counters_are_true, who
from utils.addresses import normalise

ANN = "ann@example.com"
STEPS = ("import", "add", "patch", "erase", "erase for good", "suppress")


def do(database: Database, step: str, folder: Path) -> None:
    address = normalise(ANN)
    if step == "import":
        raw = io.BytesIO(f"email,tags\n{ANN},x\n".encode())
        import_csv(database, raw, hash_key=HASH_KEY, now=NOW, refusals=folder)
    elif step == "add":
        add(database, ANN)
    elif step == "patch":
        with database.write() as session:
            wanted = Change(names={"first_name": "A"}, attributes={"a": 1})
            change_subscriber(session, address.key, wanted, NOW)
    elif step == "suppress":
        with database.write() as session:
            reason = SuppressionReason.COMPLAINT
            suppress(session, who(ANN), reason=reason, source="ses", now=NOW)
    else:
        with database.read() as session:
            traces = find_traces(session, address.key, NOW)
        with database.write() as session:
            good = step == "erase for good"
            erase(session, address, traces, hash_key=HASH_KEY, now=NOW, for_good=good)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(st.sampled_from(STEPS), min_size=2, max_size=8))
def test_no_sequence_makes_a_suppressed_address_mailable(
    migrated_file: Path, steps: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "email.db"
        shutil.copy(migrated_file, path)
        database = Database(f"sqlite:///{path}")
        was = False
        for step in steps:
            do(database, step, Path(folder))
            was = was or step in ("suppress", "erase for good")
            with database.read() as session:
                mailable = session.scalars(
                    select(Subscriber.id).where(
                        Subscriber.status == SubscriberStatus.ACTIVE,
                        ~is_suppressed(Subscriber.email_hash, NOW),
                    )
                ).all()
                active = session.scalars(
                    select(Subscriber.id).where(Subscriber.status == SubscriberStatus.ACTIVE)
                ).all()
            assert not (was and (mailable or active)), (step, steps)
            assert_counters_are_true(database)
        database.close()
