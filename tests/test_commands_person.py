"""`people`: one person, from the command line."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import cli
from tests.test_commands import Run, people, run

__all__ = ["people", "run"]  # fixtures

ANN = "ann@example.com"


def erased(typed: str) -> Result:
    return CliRunner().invoke(cli, ["people", "erase", ANN], input=f"{typed}\n")


@pytest.mark.usefixtures("people")
def test_a_person_is_shown_exported_and_suppressed(run: Run) -> None:
    assert json.loads(run("people", "show", ANN, "--json").stdout)["status"] == "active"
    assert run("people", "suppress", ANN, "--evidence", "by phone").stdout == "suppressed\n"
    assert run("people", "suppress", ANN).stdout == "was suppressed already\n"
    told = json.loads(run("people", "export", ANN).stdout)
    assert (told["profile"]["status"], told["suppressions"][0]["evidence"]) == (
        "unsubscribed",
        "by phone",
    )


def test_to_erase_takes_the_address_twice_or_yes(run: Run, people: Path) -> None:
    refused = erased("no")
    assert (refused.exit_code, "nothing was erased" in refused.stderr) == (1, True)
    assert run("people", "show", ANN).exit_code == 0
    assert erased(ANN).exit_code == 0
    assert run("people", "show", ANN).exit_code == 1
    assert run("people", "erase", ANN, "--yes").exit_code == 1
    assert run("people", "erase", "bob@example.com", "--yes", "--suppress").stdout == "erased\n"
    assert json.loads(run("import", str(people), "--json").stdout)["suppressed"] == 1
    assert run("people", "show", "nobody").exit_code == 2
