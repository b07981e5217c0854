"""The commands about segments, run as a person does."""

import json
from pathlib import Path

import pytest

from tests.test_commands import LIST, Run, html, run

__all__ = ["html", "run"]  # fixtures

READERS = '{"tags": {"any": ["reader"]}}'


@pytest.fixture
def filter_file(run: Run, tmp_path: Path) -> str:
    people, file = tmp_path / "people.csv", tmp_path / "filter.json"
    people.write_text(LIST)
    file.write_text(READERS)
    assert run("import", str(people)).exit_code == 0
    return str(file)


def test_a_segment_is_saved_listed_shown_and_deleted(run: Run, filter_file: str) -> None:
    assert run("segment", "save", "our readers", filter_file).stdout == "our readers: saved\n"
    assert run("segment", "save", "our readers", filter_file).stdout == "our readers: replaced\n"
    listed = run("segment", "list", "--json")
    assert json.loads(listed.stdout) == [{"name": "our readers", "filter": json.loads(READERS)}]
    assert "our readers" in run("segment", "list").stdout
    assert json.loads(run("segment", "show", "our readers").stdout) == json.loads(READERS)
    assert run("segment", "delete", "our readers").stdout == "our readers: deleted\n"
    told = run("segment", "show", "our readers")
    assert (told.exit_code, told.stderr) == (
        1,
        "Error: there is no segment our readers: segment list\n",
    )


def test_a_preview_tells_how_many_and_who(run: Run, filter_file: str) -> None:
    assert (
        run("segment", "preview", "--file", filter_file).stdout == "1 selected\n  ann@example.com\n"
    )
    run("segment", "save", "readers", filter_file)
    told = run("segment", "preview", "readers", "--json")
    assert json.loads(told.stdout) == {
        "count": 1,
        "is_estimate": False,
        "sample": ["ann@example.com"],
    }
    assert run("segment", "preview").exit_code == 2


@pytest.mark.parametrize(
    ("name", "said", "words"),
    [
        ("a/b", READERS, "must be 1 to 100 letters"),
        ("a", "{", "is not JSON"),
        ("a", "[" * 100_000, "is not JSON"),
        ("a", '{"status": {"eq": "x"}}', "/status/eq: must be one of: pending, active"),
        ("a", '{"attributes.a": {"eq": NaN}}', "/attributes.a/eq: must be a text"),
        ("a", '{"opened": 3}', "/opened: there is no campaign 3"),
    ],
)
def test_what_cannot_be_saved_is_a_line(
    run: Run, tmp_path: Path, name: str, said: str, words: str
) -> None:
    file = tmp_path / "filter.json"
    file.write_text(said)
    told = run("segment", "save", name, str(file))
    assert told.exit_code == 1
    assert words in told.stderr
    assert "Traceback" not in told.output


def test_a_campaign_goes_to_a_segment(run: Run, filter_file: str, html: str) -> None:
    run("segment", "save", "readers", filter_file)
    mailing = ("send", "--subject", "Hello", "--html", html, "--json")
    told = run(*mailing, "--segment", "readers", "--dry-run")
    assert json.loads(told.stdout)["planned"] == 1
    told = run(*mailing, "--segment", "readers")
    assert (told.exit_code, json.loads(told.stdout)["counts"]["accepted"]) == (0, 1)
    for more in ((), ("--dry-run",)):
        told = run(*mailing, "--segment", "none", *more)
        assert (told.exit_code, told.stderr) == (
            1,
            "Error: there is no segment none: segment list\n",
        )
    assert run(*mailing, "--segment", "readers", "--tag", "x").exit_code == 2
