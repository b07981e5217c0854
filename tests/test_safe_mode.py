"""Safe mode as people and ESPs meet it: over HTTP, and by command from backup to confirmation."""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient
from sqlalchemy import select

from app import create_app
from cli import cli
from config.esp_config import EspName
from database.models import Subscriber, WebhookEvent
from database.restore_guard import CONFIRM, RestoreGuard
from database.session import Database
from services import self_test
from services.system import System
from tests.conftest import NOW
from tests.postgres import drop_tables, dump, own_database, restore
from tests.signing import SendGridSigner, sendgrid_body, sendgrid_listening
from tests.test_commands import Run
from tests.test_commands import run as command
from tests.web import call, problem, system
from utils.tokens import UnsubscribeLink, email_hash, unsubscribe_token

__all__ = ["command", "system"]

HELD = (
    "safe mode: the database was restored from b.db. Nothing is sent until "
    "`python3 cli.py confirm-restore` says that it may"
)
MAILING = {"subject": "News", "text": "Hello"}
SIGNER = SendGridSigner()


def hold(database: Database) -> None:
    guard = RestoreGuard(database)
    guard.hold("was restored from b.db")
    guard.close()


@pytest.fixture
def client(system: System) -> Iterator[FlaskClient]:
    """Of a server in safe mode, with Ann on its list."""
    hold(system.database)
    system.start()
    system.esps = {EspName.SENDGRID: sendgrid_listening(SIGNER)}
    system._webhooks = None
    client = create_app(system=system).test_client()
    call(client, "POST", "/add-subscriber", json={"email": "ann@example.net"})
    yield client
    system.close()


def test_nothing_is_sent_and_it_is_said_why_and_what_to_do(client: FlaskClient) -> None:
    for more in ({}, {"test_to": ["me@example.net"]}):
        refused = call(client, "POST", "/send-campaign", json={**MAILING, **more})
        said = problem(refused)
        assert (refused.status_code, said["type"]) == (503, "/problems/unavailable")
        assert said["detail"] == f"This process cannot send now: {HELD}."
    assert call(client, "GET", "/campaigns").get_json()["campaigns"] == []
    dry = call(client, "POST", "/send-campaign", json={**MAILING, "dry_run": True})
    assert (dry.status_code, dry.get_json()["planned"]) == (200, 1)


def test_who_watches_sees_it_and_it_goes_on_taking_calls(client: FlaskClient) -> None:
    ready = call(client, "GET", "/readyz", headers={})
    assert (ready.status_code, ready.get_json()) == (200, {"status": "safe-mode", "reason": HELD})
    assert call(client, "GET", "/esp-status").get_json()["safe_mode"] == HELD
    assert "\nemail_engine_sends 0.0\n" in call(client, "GET", "/metrics").text
    assert call(client, "GET", "/healthz", headers={}).get_json() == {"status": "ok"}


def test_events_and_unsubscribes_are_taken(client: FlaskClient, system: System) -> None:
    event = {
        "email": "ann@example.net",
        "timestamp": int(NOW.timestamp()),
        "event": "delivered",
        "sg_event_id": "e1",
    }
    body = sendgrid_body([event])
    told = client.post("/engagement-webhook/sendgrid", headers=SIGNER.headers(body), data=body)
    assert (told.status_code, told.get_json()["new"]) == (200, 1)
    link = UnsubscribeLink(
        email_hash=email_hash(system.hash_key, "ann@example.net"), subscriber_id=1, send_id=0
    )
    url = f"/unsubscribe?token={unsubscribe_token(system.link_keys[0], link)}"
    assert call(client, "POST", url, headers={}).status_code == 200
    with system.database.read() as session:
        assert session.scalars(select(WebhookEvent.event_key)).one() == "e1"
        assert session.scalars(select(Subscriber.status)).one() == "unsubscribed"


def test_the_self_test_tells_it_too(system: System) -> None:
    hold(system.database)
    findings = itertools.islice(self_test.run(system), 3)
    assert [one.found for one in findings if one.remedy == CONFIRM] == [HELD]


def test_a_database_that_may_send_is_ready(system: System) -> None:
    client = create_app(system=system).test_client()
    assert call(client, "GET", "/readyz").get_json() == {"status": "ready", "reason": None}
    assert call(client, "GET", "/esp-status").get_json()["safe_mode"] is None


# by command


@pytest.fixture
def run(command: Run, tmp_path: Path) -> Run:
    with_two_people(command, tmp_path)
    return command


def with_two_people(run: Run, tmp_path: Path) -> None:
    """On its list."""
    people = tmp_path / "people.csv"
    people.write_text("email\nann@example.com\nbob@example.com\n")
    assert run("import", str(people)).exit_code == 0
    (tmp_path / "mail.txt").write_text("Hello")


def send(run: Run, tmp_path: Path, subject: str) -> Result:
    return run("send", "--subject", subject, "--text", str(tmp_path / "mail.txt"), "--json")


def test_from_backup_to_confirmation(run: Run, tmp_path: Path) -> None:
    assert send(run, tmp_path, "First").exit_code == 0
    backup = json.loads(run("backup", "--json").stdout)["path"]
    assert send(run, tmp_path, "Second").exit_code == 0

    told = run("restore", backup)
    assert told.exit_code == 0, told.output
    kept = re.search(r"What was there is kept: (\S+)", told.stdout)
    assert kept is not None
    assert Path(kept[1]).stat().st_mode & 0o777 == 0o600
    listed = json.loads(run("campaigns", "list", "--json").stdout)
    assert [one["subject"] for one in listed] == ["First"]

    refused = send(run, tmp_path, "Third")
    assert (refused.exit_code, "safe mode: the database was restored" in refused.stderr) == (
        1,
        True,
    )
    moved = run("confirm-restore", "--moved", "--yes")
    assert (moved.exit_code, "not merely moved" in moved.stderr) == (1, True)
    asked = CliRunner().invoke(cli, ["confirm-restore"], input="n\n")
    assert (asked.exit_code, "the only copy" in asked.output) == (1, True)
    assert send(run, tmp_path, "Third").exit_code == 1

    assert run("confirm-restore", "--yes").exit_code == 0
    third = json.loads(send(run, tmp_path, "Third").stdout)
    assert (third["status"], third["counts"]["accepted"]) == ("sent", 2)
    again = run("confirm-restore", "--yes")
    assert (again.exit_code, "not in safe mode" in again.stderr) == (1, True)


def test_a_backup_was_not_merely_moved_until_it_is_confirmed(run: Run, tmp_path: Path) -> None:
    """Although nothing was sent after it: what people ordered since is not in it."""
    assert send(run, tmp_path, "First").exit_code == 0
    backup = json.loads(run("backup", "--json").stdout)["path"]
    assert run("restore", backup).exit_code == 0
    moved = run("confirm-restore", "--moved", "--yes")
    assert (moved.exit_code, "not merely moved" in moved.stderr) == (1, True)
    assert run("confirm-restore", "--yes").exit_code == 0
    mark = tmp_path / "email.db.mark"
    mark.write_text(json.dumps({**json.loads(mark.read_text()), "machine": "another"}))
    assert run("confirm-restore", "--moved", "--yes").exit_code == 0


def test_a_file_that_is_no_backup_changes_nothing(run: Run, tmp_path: Path) -> None:
    before = (tmp_path / "email.db").read_bytes()
    told = run("restore", str(tmp_path / "people.csv"))
    assert (told.exit_code, "cannot be restored" in told.stderr) == (1, True)
    assert (tmp_path / "email.db").read_bytes() == before
    assert send(run, tmp_path, "First").exit_code == 0


def test_a_restore_wants_the_server_stopped(run: Run, tmp_path: Path) -> None:
    backup = json.loads(run("backup", "--json").stdout)["path"]
    database = Database(f"sqlite:///{tmp_path}/email.db")
    with database.read() as session:
        assert session.scalars(select(Subscriber.id)).all() == [1, 2]
    told = run("restore", backup)
    assert (told.exit_code, "a process has the database open" in told.stderr) == (1, True)
    database.close()
    assert send(run, tmp_path, "First").exit_code == 0


def test_from_a_dump_to_confirmation(
    command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL, whose own programs make the dump and restore it."""
    with own_database() as database:
        url = database.url.set(drivername="postgresql").render_as_string(False)
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
        with_two_people(command, tmp_path)
        assert send(command, tmp_path, "First").exit_code == 0
        assert (tmp_path / "data" / "postgresql.mark").stat().st_mode & 0o777 == 0o600
        database.close()
        dump(database, tmp_path / "dump.sql")
        assert send(command, tmp_path, "Second").exit_code == 0
        drop_tables(database)
        restore(database, tmp_path / "dump.sql")

        refused = send(command, tmp_path, "Third")
        assert (refused.exit_code, "safe mode: the database was restored" in refused.stderr) == (
            1,
            True,
        )
        moved = command("confirm-restore", "--moved", "--yes")
        assert (moved.exit_code, "not merely moved" in moved.stderr) == (1, True)
        assert command("confirm-restore", "--yes").exit_code == 0
        third = json.loads(send(command, tmp_path, "Third").stdout)
        assert (third["status"], third["counts"]["accepted"]) == ("sent", 2)
        assert third["campaign_id"] > 1_000
