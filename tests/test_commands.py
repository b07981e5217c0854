"""The commands, run as a person does: what they print, what they change, how they exit."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import cli
from config.settings import load_settings
from tests.web import API_KEY, SECRET_KEY

LIST = "email,first_name,tags,city\nann@example.com,Ann,reader;vip,=Oslo\nbob@example.com,Bob,,\nbad,,,\n"
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command in an installation of its own."""
    for name, value in {
        "SENDING_MODE": "sandbox",
        "API_KEY": API_KEY,
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": f"sqlite:///{tmp_path}/email.db",
    }.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, list(arguments))

    return run


@pytest.fixture
def people(run: Run, tmp_path: Path) -> Path:
    file = tmp_path / "people.csv"
    file.write_text(LIST)
    told = run("import", str(file), "--json")
    assert json.loads(told.stdout) == {
        "rows": 3,
        "created": 2,
        "updated": 0,
        "suppressed": 0,
        "duplicates": 0,
        "invalid": 1,
        "refused": [{"row": 4, "email": "bad", "reason": "An email address must have an @-sign"}],
    }
    return file


@pytest.fixture
def html(tmp_path: Path) -> str:
    file = tmp_path / "mail.html"
    file.write_text("<p>Hello {{ first_name }}</p>")
    return str(file)


def test_init_may_be_run_again(run: Run) -> None:
    for _ in range(2):
        told = run("init")
        assert (told.exit_code, told.stdout.startswith("Database ready: sqlite:///")) == (0, True)


def test_what_was_imported_is_exported_and_no_cell_is_a_formula(run: Run, people: Path) -> None:
    told = run("export")
    assert told.exit_code == 0
    assert told.stdout.splitlines() == [
        "email,first_name,last_name,tags,city",
        "ann@example.com,Ann,,reader;vip,'=Oslo",
        "bob@example.com,Bob,,,",
    ]


@pytest.mark.parametrize(
    ("options", "exported"),
    [
        ((), ["ann@example.com", "bob@example.com"]),
        (("--tag", "vip"), ["ann@example.com"]),
        (("--tag", "vi"), []),
        (("--tag", "vip", "--status", "bounced"), []),
    ],
)
def test_an_export_has_whom_status_and_tag_both_name(
    run: Run, people: Path, options: tuple[str, ...], exported: list[str]
) -> None:
    told = run("export", *options)
    assert told.exit_code == 0
    assert [line.split(",")[0] for line in told.stdout.splitlines()[1:]] == exported
    assert told.stderr == f"{len(exported)} people\n"


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ((), ["ann@example.com"]),
        (("--allow-role",), ["ann@example.com", "support@example.com"]),
        (("--allow-disposable",), ["ann@example.com", "eve@mailinator.com"]),
        (
            ("--allow-role", "--allow-disposable"),
            ["ann@example.com", "support@example.com", "eve@mailinator.com"],
        ),
    ],
)
def test_an_import_takes_tasks_and_throw_away_mailboxes_only_where_that_is_said(
    run: Run, tmp_path: Path, options: tuple[str, ...], taken: list[str]
) -> None:
    lines = ["ann@example.com", "support@example.com", "eve@mailinator.com", "abuse@example.com"]
    file = tmp_path / "risky.csv"
    file.write_text("\n".join(["email", *lines]))
    told = json.loads(run("import", str(file), *options, "--json").stdout)
    assert [one["email"] for one in told["refused"]] == [
        line for line in lines if line not in taken
    ]
    exported = run("export").stdout.splitlines()[1:]
    assert sorted(line.split(",")[0] for line in exported) == sorted(taken)


def test_a_file_without_the_column_email_is_refused(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "other.csv"
    file.write_text("name\nAnn\n")
    told = run("import", str(file))
    assert told.exit_code == 1
    assert "email" in told.stderr


def test_a_campaign_is_sent_listed_and_shown(run: Run, people: Path, html: str) -> None:
    sent = run("send", "--subject", "Hello", "--html", html, "--json")
    assert sent.exit_code == 0, sent.output
    assert json.loads(sent.stdout)["counts"]["accepted"] == 2
    shown = json.loads(run("campaigns", "show", "1", "--json").stdout)
    assert (shown["status"], shown["planned"]) == ("sent", 2)
    listed = json.loads(run("campaigns", "list", "--json").stdout)
    assert [one["campaign_id"] for one in listed] == [1]
    assert "│ sent " in run("campaigns", "list").stdout


def test_the_same_campaign_twice_has_to_be_asked_for(run: Run, people: Path, html: str) -> None:
    command = ("send", "--subject", "Hello", "--html", html, "--json")
    assert run(*command).exit_code == 0
    again = run(*command)
    assert (again.exit_code, "--allow-duplicate" in again.stderr) == (1, True)
    assert run(*command, "--allow-duplicate").exit_code == 0


def test_a_large_campaign_has_to_be_told_its_number(
    run: Run, people: Path, html: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONFIRM_COUNT_OVER", "1")
    command = ("send", "--subject", "Hello", "--html", html)
    told = run(*command)
    assert (told.exit_code, "2 people: --confirm-count 2" in told.stderr) == (1, True)
    monkeypatch.setenv("MAX_RECIPIENTS_PER_CAMPAIGN", "1")
    told = run(*command, "--confirm-count", "2")
    assert (told.exit_code, "MAX_RECIPIENTS_PER_CAMPAIGN is 1" in told.stderr) == (1, True)
    assert json.loads(run("campaigns", "list", "--json").stdout) == []
    monkeypatch.setenv("MAX_RECIPIENTS_PER_CAMPAIGN", "2")
    assert run(*command, "--confirm-count", "2").exit_code == 0


def test_a_dry_run_stores_nothing(run: Run, people: Path, html: str) -> None:
    told = run("send", "--subject", "Hello", "--html", html, "--tag", "vip", "--dry-run", "--json")
    assert json.loads(told.stdout)["by_esp"] == {"sendgrid": 1}
    assert json.loads(run("campaigns", "list", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (("send", "--subject", "x"), 2, "give --html, --text or both"),
        (("campaigns", "show", "9"), 1, "there is no campaign 9"),
        (("campaigns", "pause", "9"), 1, "there is no campaign 9"),
        (("campaigns", "resolve", "9", "accept"), 2, "--expect"),
        (("import", "/no/such/file"), 2, "does not exist"),
        (("nothing",), 2, "No such command"),
    ],
)
def test_a_mistake_is_one_clear_line(
    run: Run, arguments: tuple[str, ...], exit_code: int, words: str
) -> None:
    told = run(*arguments)
    assert told.exit_code == exit_code
    assert words in told.stderr
    assert "Traceback" not in told.output


def test_a_bad_template_names_its_part(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "bad.html"
    file.write_text("{{ nobody }}")
    told = run("send", "--subject", "x", "--html", str(file))
    assert (told.exit_code, told.stderr.startswith("Error: html: ")) == (1, True)


def test_orders_about_an_ended_campaign_are_refused(run: Run, people: Path, html: str) -> None:
    run("send", "--subject", "Hello", "--html", html)
    for order in ("pause", "resume", "cancel"):
        told = run("campaigns", order, "1")
        assert (told.exit_code, "it has ended" in told.stderr) == (1, True)
    told = run("campaigns", "resolve", "1", "accept", "--expect", "2")
    assert (told.exit_code, "has 0 sends" in told.stderr) == (1, True)


def test_the_esps_are_told_and_checked_without_sending(run: Run) -> None:
    status = json.loads(run("esp", "status", "--json").stdout)
    assert [(one["esp"], one["available"]) for one in status] == [
        ("sendgrid", True),
        ("ses", True),
        ("postmark", True),
    ]
    checked = run("esp", "check", "--json")
    assert checked.exit_code == 0
    assert all(one["ok"] for one in json.loads(checked.stdout))


def test_the_silent_are_told_and_only_left_alone_when_that_is_ordered(
    run: Run, people: Path, tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "email.db") as database:
        database.execute("UPDATE subscribers SET created_at = '2020-01-01 00:00:00.000000'")
    database.close()
    told = [
        json.loads(run("list", "sunset", *options, "--json").stdout)
        for options in ([], ["--apply"], [])
    ]
    assert told == [
        {"silent": 2, "stopped": 0, "ask": 0},
        {"silent": 2, "stopped": 2, "ask": 0},
        {"silent": 0, "stopped": 0, "ask": 0},
    ]
    assert "0 silent for too long" in run("list", "sunset").stdout


def test_new_keys_keep_old_links_working(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.keys.ROOT", tmp_path)
    env = tmp_path / ".env"
    env.write_text("PORT=5000\nAPI_KEY=old-key\nSECRET_KEY=old-secret\n")
    api = CliRunner().invoke(cli, ["keys", "api"]).stdout.strip()
    CliRunner().invoke(cli, ["keys", "links"])
    lines = dict(line.split("=", 1) for line in env.read_text().splitlines())
    assert (lines["PORT"], lines["API_KEY"]) == ("5000", api)
    first, old = lines["SECRET_KEY"].split(",")
    assert (len(first) >= 48, old) == (True, "old-secret")
    assert env.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("read", "READ_API_KEYS"),
        ("send", "SEND_API_KEYS"),
        ("sign-up", "SIGN_UP_API_KEYS"),
    ],
)
def test_new_keys_that_may_do_less_stand_beside_the_old_ones_or_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, name: str
) -> None:
    monkeypatch.setattr("commands.keys.ROOT", tmp_path)
    env = tmp_path / ".env"
    before = {"API_KEY": "abcdefghijklmnopqrstuvwxyz012345", "SECRET_KEY": "abcdefgh" * 8}
    env.write_text("".join(f"{one}={value}\n" for one, value in before.items()))

    def make(*said: str) -> str:
        made = CliRunner().invoke(cli, ["keys", command, *said])
        assert made.exit_code == 0
        return made.stdout.strip()

    def held() -> dict[str, str]:
        return dict(line.split("=", 1) for line in env.read_text().splitlines())

    first, second = make(), make()
    assert held() == {**before, name: f"{second},{first}"}
    assert getattr(load_settings({}, env), name.lower()) == (second, first)
    third = make("--only")
    assert held() == {**before, name: third}
    assert len({first, second, third}) == 3
    assert env.stat().st_mode & 0o777 == 0o600


def test_wrong_settings_are_told_line_by_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "many")
    monkeypatch.setenv("API_KEY", "short")
    told = run("init")
    assert told.exit_code == 1
    assert {line.split(":")[-2].strip() for line in told.stderr.splitlines()} >= {"PORT"}
