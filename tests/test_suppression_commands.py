"""`cli.py suppressions`, run as a person does."""

import json
from typing import Any

import pytest

from tests.test_commands import Run, people, run

__all__ = ["people", "run"]


def told(run: Run, *arguments: str) -> Any:
    done = run("suppressions", *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_an_address_is_added_checked_and_listed(run: Run, people: Any) -> None:
    added = ("add", "Ann@Example.com", "--evidence", "letter of 3 May")
    assert told(run, *added) == {"email": "Ann@example.com", "new": True}
    assert told(run, *added) == {"email": "Ann@example.com", "new": False}
    told(run, "add", "stranger@example.com", "--reason", "hard_bounce")
    checked = told(run, "check", "ann@example.com")
    [row] = checked.pop("history")
    since = row.pop("since")
    assert checked == {"email": "ann@example.com", "suppressed": True}
    assert row == {
        "id": 1,
        "reason": "manual",
        "source": "operator",
        "until": None,
        "evidence": "letter of 3 May",
    }
    assert since.endswith("+00:00")
    listed = told(run, "list")
    assert [(one["id"], one["reason"], one["email"]) for one in listed] == [
        (2, "hard_bounce", None),
        (1, "manual", "ann@example.com"),
    ]
    assert [one["id"] for one in told(run, "list", "--limit", "1")] == [2]
    assert [one["id"] for one in told(run, "list", "--before", "2")] == [1]
    assert "suppressed\n" in run("suppressions", "check", "ann@example.com").stdout
    assert "letter of 3 May" in run("suppressions", "check", "ann@example.com").stdout


def test_who_was_never_suppressed_is_told_so(run: Run) -> None:
    assert told(run, "check", "bob@example.com") == {
        "email": "bob@example.com",
        "suppressed": False,
        "history": [],
    }
    assert run("suppressions", "check", "bob@example.com").stdout == (
        "bob@example.com: not suppressed\nNothing\n"
    )


def test_a_pull_and_a_push_are_told_by_esp(run: Run) -> None:
    nothing = {"seen": 0, "new": 0, "known": 0, "back": 0, "invalid": 0, "error": None}
    assert told(run, "pull") == [{"esp": esp, **nothing} for esp in ("sendgrid", "ses", "postmark")]
    assert told(run, "push", "--esp", "ses") == [
        {"esp": "ses", "pushed": 0, "failed": 0, "error": None, "failures": []}
    ]
    table = run("suppressions", "pull", "--full")
    assert (table.exit_code, "│ postmark │ 0 " in table.stdout) == (0, True)


def test_a_failed_esp_is_told_with_the_others_and_by_the_exit_code(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "SENDING_MODE": "live",
        "PUBLIC_BASE_URL": "http://127.0.0.1:5000",
        "FROM_EMAIL": "news@example.com",
        "POSTAL_ADDRESS": "1 Example Street",
        "SENDGRID_API_KEY": "SG.a-key-made-up-for-tests",
        "SENDGRID_BASE_URL": "http://127.0.0.1:1",
        "POSTMARK_API_KEY": "a-token-made-up-for-tests",
        "POSTMARK_BASE_URL": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    done = run("suppressions", "pull", "--json")
    assert done.exit_code == 1
    reports = json.loads(done.stdout)
    assert [one["esp"] for one in reports] == ["sendgrid", "postmark"]
    assert all(one["error"].startswith("cannot connect") for one in reports)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (("add", "nobody"), 1, "must have an @-sign"),
        (("check", "a b@example.com"), 1, "a b@example.com"),
        (("add", "ann@example.com", "--reason", "lifted"), 2, "'lifted' is not one of"),
        (("pull", "--esp", "acme"), 2, "'acme' is not one of"),
        (("list", "--before", "0"), 2, "0 is not in the range"),
    ],
)
def test_a_mistake_is_one_clear_line(
    run: Run, arguments: tuple[str, ...], exit_code: int, words: str
) -> None:
    done = run("suppressions", *arguments)
    assert (done.exit_code, words in done.stderr) == (exit_code, True), done.output
    assert "Traceback" not in done.output
