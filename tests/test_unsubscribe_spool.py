"""Who was told that they are off the list is off it, also when the database could not be
written at that moment: spooled, replayed before anybody is claimed, or an honest 503."""

import errno
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import event, select, text
from sqlalchemy.exc import OperationalError

import email_sender
from config.settings import ROOT
from database.models import (
    Campaign,
    CampaignStatus,
    EmailSend,
    Subscriber,
    SubscriberDay,
    Suppression,
)
from database.session import Database
from lists.leaving import Unsubscribe
from services import unsubscribe_spool
from services.ledger.plan import plan_chunk
from services.system import System
from services.unsubscribe_spool import UnsubscribeSpool, line_of, read_line
from tests.conftest import NOW, Clock
from tests.ledgers import Ledgers
from tests.opting_in import ask, links
from tests.people import add, assert_counters_are_true, reasons, who
from tests.rig import Rig, rig
from tests.statements import counted
from tests.unwritable import UNWRITABLE, failing_disk, filled, hurry, locked, small_disk
from tests.web import call, client, system
from utils.tokens import UnsubscribeLink, confirm_token, email_hash, unsubscribe_token

__all__ = ["client", "system"]  # fixtures

ANN, BOB = "ann@example.com", "bob@example.com"
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


def link_of(email: str = ANN, **said: Any) -> UnsubscribeLink:
    return UnsubscribeLink(**{"email_hash": who(email), "subscriber_id": 1, "send_id": 0, **said})


def asked_by(email: str = ANN, **said: Any) -> Unsubscribe:
    return Unsubscribe(link=link_of(email, **said), source="one_click", at=NOW)


def spool_file(database: Database) -> Path:
    assert database.path is not None
    return database.path.with_name("email.db.unsubscribes")


def spooled(database: Database) -> list[Unsubscribe]:
    return [read_line(line) for line in spool_file(database).read_bytes().splitlines()]


def status(database: Database) -> list[str]:
    with database.read() as session:
        return [one.value for one in session.scalars(select(Subscriber.status))]


def put(database: Database, *asked: Unsubscribe) -> None:
    """As an earlier process left it."""
    spool_file(database).write_bytes(b"".join(line_of(one) for one in asked))


@pytest.fixture
def token(system: System) -> str:
    """Of Ann, who is on the list."""
    hurry(system.database)
    add(system.database, ANN, first_name="Ann")
    return unsubscribe_token(system.link_keys[0], link_of())


def leave(client: FlaskClient, token: str) -> Any:
    return call(client, "POST", f"/unsubscribe?token={token}", headers={}, data=ONE_CLICK)


# Kept


@pytest.mark.parametrize("trouble", UNWRITABLE)
def test_an_unsubscribe_is_kept_while_the_database_cannot_be_written(
    client: FlaskClient, system: System, token: str, trouble: str
) -> None:
    database = system.database
    with UNWRITABLE[trouble](database):
        answer = leave(client, token)
        assert (answer.status_code, "off the list" in answer.text) == (200, True)
        assert (status(database), reasons(database)) == (["active"], [])
        assert spooled(database) == [asked_by()]
        assert stat.S_IMODE(spool_file(database).stat().st_mode) == 0o600
        system.unsubscribes.replay()  # in vain, and nothing is lost
        assert spooled(database) == [asked_by()]
    system.unsubscribes.replay()
    with database.read() as session:
        row = session.scalars(select(Suppression)).one()
        assert (row.source, row.created_at) == ("one_click", NOW)
    assert (status(database), reasons(database)) == (["unsubscribed"], ["unsubscribed"])
    assert spool_file(database).read_bytes() == b""
    assert_counters_are_true(database)


def test_the_line_says_what_is_needed_to_repeat_it_and_nothing_more() -> None:
    line = line_of(asked_by(send_id=7)).decode()
    said = f"{who(ANN).hex()} 1 7 one_click 2026-11-24T12:00:00+00:00"
    assert line.rpartition(" ")[0] == said
    assert read_line(line.rstrip().encode()) == asked_by(send_id=7)


def test_those_who_come_after_the_first_do_not_wait_for_the_database(
    client: FlaskClient, system: System, token: str
) -> None:
    with locked(system.database):
        assert leave(client, token).status_code == 200
    begun: list[object] = []
    event.listen(system.database.writer, "begin", begun.append)
    assert leave(client, token).status_code == 200
    assert (begun, len(spooled(system.database))) == ([], 2)
    system.unsubscribes.replay()
    assert leave(client, token).status_code == 200
    assert (reasons(system.database), spooled(system.database)) == (["unsubscribed"], [])


def test_without_an_engine_the_next_one_to_leave_brings_what_was_spooled(
    client: FlaskClient, system: System, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsubscribe_spool, "TRY_AGAIN_AFTER_S", 0)
    add(system.database, BOB)
    put(system.database, asked_by(BOB, subscriber_id=2))
    assert leave(client, token).status_code == 200
    assert (status(system.database), spooled(system.database)) == (["unsubscribed"] * 2, [])


def test_the_last_button_of_the_preferences_is_kept_too(
    client: FlaskClient, system: System, token: str
) -> None:
    url = f"/preferences?token={token}"
    with locked(system.database):
        answer = call(client, "POST", url, headers={}, data={"do": "unsubscribe"})
    assert (answer.status_code, "off the list" in answer.text) == (200, True)
    assert [asked.source for asked in spooled(system.database)] == ["page"]


# Not kept


def assert_says_sorry(answer: Any) -> None:
    assert (answer.status_code, answer.mimetype) == (503, "text/html")
    assert answer.headers["Retry-After"] == "60"
    assert "<h1>Please try again later</h1>" in answer.text
    assert "nothing was changed" in answer.text


def test_what_can_be_kept_nowhere_is_a_503(client: FlaskClient, system: System, token: str) -> None:
    for largest_file in (0, 40):  # not a byte of a line, or half of it
        with failing_disk(system.database, largest_file=largest_file):
            assert_says_sorry(leave(client, token))
        assert (spool_file(system.database).read_bytes(), status(system.database)) == (
            b"",
            ["active"],
        )
    assert leave(client, token).status_code == 200
    assert status(system.database) == ["unsubscribed"]


def test_what_is_not_flushed_to_the_disk_is_a_503(
    client: FlaskClient, system: System, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "the disk is gone")

    with locked(system.database):
        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", fail)
            assert_says_sorry(leave(client, token))
        assert spooled(system.database) == []
        assert leave(client, token).status_code == 200


@pytest.mark.parametrize("was_empty_once", [True, False])
def test_a_full_disk_has_room_for_those_who_leave(
    tmp_path: Path, migrated_file: Path, was_empty_once: bool
) -> None:
    """The room is taken while there is some; a file that was never there has none: a 503."""
    with small_disk(tmp_path / "disk") as disk:
        shutil.copy(migrated_file, disk / "email.db")
        database = Database(f"sqlite:///{disk / 'email.db'}")
        add(database, ANN)
        spool = UnsubscribeSpool(database)
        if was_empty_once:
            with spool.write():
                pass
        empty_wal(database)
        with filled(disk):
            if was_empty_once:
                for number in range(600):
                    link = link_of(send_id=number)
                    assert not spool.leave(link, source="one_click", now=NOW)
            else:
                with pytest.raises(OSError, match="No space left"):
                    spool.leave(link_of(), source="one_click", now=NOW)
            assert (status(database), len(spooled(database))) == (
                ["active"],
                600 if was_empty_once else 0,
            )
        spool.leave(link_of(), source="one_click", now=NOW)
        spool.replay()
        assert (status(database), reasons(database)) == (["unsubscribed"], ["unsubscribed"])
        with database.read() as session:
            assert session.scalar(text("PRAGMA integrity_check")) == "ok"
        database.close()


def empty_wal(database: Database) -> None:
    """Else a full disk has room where old pages are written over."""
    assert status(database) == ["active"]  # by a connection that stays, as a server's do
    with closing(sqlite3.connect(str(database.path))) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/preferences", {"do": "names", "first_name": "Anna"}),
        ("/preferences", {"do": "pause-30"}),
        ("/confirm", {}),
    ],
)
def test_what_may_be_done_later_is_a_503_that_reads_well(
    client: FlaskClient, system: System, token: str, path: str, form: dict[str, str]
) -> None:
    if path == "/confirm":
        token = confirm_token_of(system)
    with locked(system.database):
        assert_says_sorry(call(client, "POST", f"{path}?token={token}", headers={}, data=form))
    assert call(client, "POST", f"{path}?token={token}", headers={}, data=form).status_code == 200


@pytest.mark.parametrize("path", ["/preferences", "/confirm"])
def test_a_page_that_cannot_be_read_is_a_503_that_reads_well(
    client: FlaskClient, system: System, token: str, path: str
) -> None:
    if path == "/confirm":
        token = confirm_token_of(system)

    def away(_: object) -> None:
        raise OperationalError("BEGIN", {}, Exception("unable to open database file"))

    event.listen(system.database.reader, "begin", away)
    answer = call(client, "GET", f"{path}?token={token}", headers={})
    assert_says_sorry(answer)
    assert "database" not in answer.text


def confirm_token_of(system: System) -> str:
    """Of Bob, who signed up."""
    ask(system.database, BOB, NOW)
    return confirm_token(system.link_keys[0], links(system.database)[-1])


def test_postgresql_has_no_spool() -> None:
    """Its unsubscribes are a 503 while it is away: another machine may be the one that claims."""
    database = Database("postgresql+psycopg://nobody@127.0.0.1:1/none")
    spool = UnsubscribeSpool(database)
    assert spool.is_empty
    with pytest.raises(OperationalError):
        spool.leave(link_of(), source="one_click", now=NOW)
    database.close()


# The file after a crash


def test_a_line_that_was_cut_off_is_dropped_and_the_others_hold(database: Database) -> None:
    """It was never acknowledged: the fsync comes before the answer."""
    first, second = asked_by(), asked_by(BOB, subscriber_id=2)
    spool = UnsubscribeSpool(database)
    for cut in range(len(line_of(second))):
        put(database, first)
        with spool_file(database).open("ab") as file:
            file.write(line_of(second)[:cut])
        with spool.write() as session:
            assert session.scalars(select(Suppression.email_hash)).all() == [who(ANN)]
            session.rollback()


def test_who_comes_after_a_line_that_was_cut_off_has_their_own(database: Database) -> None:
    first, second = asked_by(), asked_by(BOB, subscriber_id=2)
    spool_file(database).write_bytes(line_of(first) + line_of(second)[:-9])
    hurry(database)
    with locked(database):
        assert not UnsubscribeSpool(database).leave(second.link, source="one_click", now=NOW)
    assert spooled(database) == [first, second]


def test_a_line_that_the_disk_spoilt_is_kept_for_a_person(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    spoilt = line_of(asked_by()).replace(b"one_click", b"one_clock")
    spool_file(database).write_bytes(spoilt + line_of(asked_by(BOB, subscriber_id=2)))
    UnsubscribeSpool(database).replay()
    with database.read() as session:
        assert session.scalars(select(Suppression.email_hash)).all() == [who(BOB)]
    assert spool_file(database).read_bytes() == b""
    assert spool_file(database).with_name("email.db.unsubscribes.damaged").read_bytes() == spoilt
    assert "is damaged" in caplog.text


_LEAVE_AND_DIE = """
import os, signal, sys
from datetime import datetime, UTC
from database.session import Database
from services.unsubscribe_spool import UnsubscribeSpool
from tests.test_unsubscribe_spool import NOW, hurry, link_of
database = Database(sys.argv[1])
hurry(database)
spool = UnsubscribeSpool(database)
print(spool.leave(link_of(sys.argv[2], send_id=int(sys.argv[3])), source="one_click", now=NOW), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
_REPLAY_AND_DIE = """
import os, signal, sys
from database.session import Database
from services import unsubscribe_spool
unsubscribe_spool.os.ftruncate = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
unsubscribe_spool.UnsubscribeSpool(Database(sys.argv[1])).replay()
"""


def dies(script: str, *said: object) -> str:
    """What a process of its own prints until it is killed with -9."""
    ran = subprocess.run(
        (sys.executable, "-c", script, *map(str, said)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    return ran.stdout


def test_kills_between_the_answer_the_replay_and_the_end_of_the_file_lose_and_double_nothing(
    system: System,
) -> None:
    at = Ledgers(system.database)
    campaign = at.planned(1)
    send = at.claimed(campaign, 1).sends[0]
    url = system.database.url
    with locked(system.database):
        assert dies(_LEAVE_AND_DIE, url, send.email, send.send_id) == "False\n"
    assert spooled(system.database) == [asked_by(send.email, send_id=send.send_id)]
    for _ in range(2):
        assert dies(_REPLAY_AND_DIE, url) == ""
        assert status(system.database) == ["unsubscribed"]
    opened = System.open(system.settings)  # any process, at its start
    assert (spooled(opened.database), reasons(opened.database)) == ([], ["unsubscribed"])
    with opened.database.read() as session:
        assert session.get_one(Campaign, campaign).unsubscribed == 1
    opened.close()


# A long file


@pytest.fixture
def in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line a transaction."""
    monkeypatch.setattr(unsubscribe_spool, "PER_TRANSACTION", 1)


@pytest.mark.usefixtures("in_small_parts")
def test_a_long_file_keeps_nobody_waiting_for_all_of_it(database: Database) -> None:
    """The last transaction is the claim's, so nothing is passed over."""
    everybody = [asked_by(f"p{number}@example.com", subscriber_id=number) for number in range(5)]
    put(database, *everybody)
    commits: list[object] = []
    event.listen(database.writer, "commit", commits.append)
    with UnsubscribeSpool(database).write() as session:
        assert len(commits) == 5
        left = session.scalars(select(Suppression.email_hash).order_by(Suppression.id)).all()
        assert left == [one.link.email_hash for one in reversed(everybody)]
    assert spool_file(database).read_bytes() == b""


@pytest.mark.usefixtures("in_small_parts")
def test_what_is_brought_in_of_a_long_file_is_cut_off_and_the_rest_waits(
    database: Database,
) -> None:
    first, second = asked_by(), asked_by(BOB, subscriber_id=2)
    put(database, first, second)

    def fail(_: object) -> None:
        if reasons(database):
            raise OperationalError("COMMIT", {}, Exception("disk full"))

    event.listen(database.writer, "commit", fail)
    UnsubscribeSpool(database).replay()
    event.remove(database.writer, "commit", fail)
    assert (spooled(database), reasons(database)) == ([first], ["unsubscribed"])
    UnsubscribeSpool(database).replay()
    assert (spooled(database), reasons(database)) == ([], ["unsubscribed"] * 2)


def test_many_lines_are_one_change(database: Database) -> None:
    """A statement for each would stop claims for a minute after an hour without a disk."""
    at = Ledgers(database)
    at.claimed(at.planned(200), 200)
    with database.read() as session:
        sends = session.execute(
            select(EmailSend.id, Subscriber.id, Subscriber.email_hash).join(
                Subscriber, Subscriber.id == EmailSend.subscriber_id
            )
        ).all()
    links = [
        UnsubscribeLink(email_hash=who, subscriber_id=person, send_id=send)
        for send, person, who in sends
    ]
    put(database, *(Unsubscribe(link=link, source="page", at=NOW) for link in links))
    with counted(database, "") as statements:
        UnsubscribeSpool(database).replay()
    assert len(statements) < 25
    assert (spooled(database), reasons(database)) == ([], ["unsubscribed"] * 200)
    with database.read() as session:
        assert session.scalars(select(Campaign.unsubscribed)).all() == [200]
    assert status(database) == ["unsubscribed"] * 200


def test_each_line_says_when_and_counts_on_its_day(database: Database) -> None:
    add(database, ANN)
    add(database, BOB)
    late = NOW + timedelta(days=1)
    put(database, asked_by(), replace(asked_by(BOB, subscriber_id=2), at=late))
    UnsubscribeSpool(database).replay()
    with database.read() as session:
        assert session.scalars(select(Suppression.created_at)).all() == [NOW, late]
        left = session.execute(
            select(SubscriberDay.day, SubscriberDay.n)
            .where(SubscriberDay.kind == "unsubscribed")
            .order_by(SubscriberDay.day)
        )
        assert [tuple(row) for row in left] == [(NOW.date(), 1), (late.date(), 1)]


# Order


@pytest.mark.parametrize("per_transaction", [48_000, 1])
def test_who_came_back_since_stays(
    client: FlaskClient,
    system: System,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    per_transaction: int,
) -> None:
    """Their yes is newer than what lies in the spool, now and when it is read twice."""
    monkeypatch.setattr(unsubscribe_spool, "PER_TRANSACTION", per_transaction)
    token = confirm_token_of(system)
    put(system.database, replace(asked_by(BOB), at=NOW + timedelta(minutes=1)))
    left = spool_file(system.database).read_bytes()
    clock.forward(minutes=5)
    answer = call(client, "POST", f"/confirm?token={token}", headers={})
    assert (answer.status_code, "<h1>Confirmed</h1>" in answer.text) == (200, True)
    for _ in range(2):
        assert status(system.database) == ["active"]
        assert reasons(system.database) == ["unsubscribed", "lifted"]
        spool_file(system.database).write_bytes(left)  # killed before it was forgotten
        system.unsubscribes.replay()
    assert_counters_are_true(system.database)
    again = replace(asked_by(BOB), at=NOW + timedelta(minutes=9))  # and left once more
    spool_file(system.database).write_bytes(left + line_of(again))
    system.unsubscribes.replay()
    assert status(system.database) == ["unsubscribed"]
    assert reasons(system.database) == ["unsubscribed", "lifted", "unsubscribed"]


def test_nobody_is_acknowledged_while_somebody_claims(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the claim could have passed over them, and be made after the answer."""
    monkeypatch.setattr(unsubscribe_spool, "PATIENCE_S", 0)
    hurry(database)
    spool = UnsubscribeSpool(database)
    with spool.write(), pytest.raises(BlockingIOError):
        spool._append(asked_by())
    assert spool.is_empty


# The engine


@pytest.fixture
def at(database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(email_sender, "RETRY_DATABASE_S", 0.02)
    with rig(database, clock) as made:
        made.add_people(30)
        yield made


def person(at: Rig, number: int) -> Unsubscribe:
    key = f"person{number}@example.net"
    link = UnsubscribeLink(
        email_hash=email_hash(at.installation.hash_key, key), subscriber_id=number + 1, send_id=0
    )
    return Unsubscribe(link=link, source="one_click", at=NOW)


def until(at: Rig, is_so: Any) -> None:
    assert at.engine is not None
    for _ in range(1500):
        if is_so():
            return
        at.engine.wait_for_stand(0.02)
    raise AssertionError("never so")


def test_nobody_is_claimed_whose_unsubscribe_lies_in_the_spool(at: Rig) -> None:
    campaign = at.create()
    with at.database.write() as session:
        planned = session.get_one(Campaign, campaign)
        while planned.status is CampaignStatus.PLANNING:
            plan_chunk(session, planned, NOW)
    assert at.report(campaign)["counts"]["queued"] == 30
    put(at.database, *(person(at, number) for number in range(0, 30, 2)))
    at.start()
    told = at.wait(campaign)
    assert (told["status"], told["counts"]["accepted"]) == ("sent", 15)
    assert told["skipped"] == {"suppressed": 15}
    took = {recipient for _, recipient, _ in at.simulator.accepted_sends()}
    assert took == {f"person{number}@example.net" for number in range(1, 30, 2)}
    assert spooled(at.database) == []


def test_nobody_is_claimed_while_the_spool_cannot_be_read(at: Rig) -> None:
    spool_file(at.database).mkdir()
    engine = at.start()
    campaign = at.create()
    until(at, lambda: engine.cannot_write)
    assert sum(at.simulator.accepted().values()) == 0
    spool_file(at.database).rmdir()
    put(at.database, person(at, 3))
    told = at.wait(campaign)
    assert (told["status"], told["counts"]["accepted"]) == ("sent", 29)


def test_the_engine_looks_without_a_campaign_too(at: Rig) -> None:
    at.start()
    put(at.database, person(at, 3))
    until(at, lambda: reasons(at.database) == ["unsubscribed"])
