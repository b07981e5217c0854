"""docs/adding-an-esp.md, followed to the letter: its blocks applied to a copy of the project,
and a campaign sent there, and a domain checked, for an ESP that the project has never heard of."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from config.settings import ROOT
from tests.web import API_KEY, SECRET_KEY

DOCUMENT = ROOT / "docs" / "adding-an-esp.md"
MOST_PLACES = 6

STEP = re.compile(
    r"^(?:New file `(?P<new>[^`]+)`"
    r"|At the end of `(?P<grown>[^`]+)`"
    r"|In `(?P<changed>[^`]+)`, (?P<side>above|below) the line with `(?P<line>[^`]+)`"
    r"(?P<apart>, with two empty lines between)?)"
    r":\n\n```\w+\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
NOT_COPIED = shutil.ignore_patterns(".*", "data", "__pycache__", "bench")


@dataclass(frozen=True, slots=True)
class Step:
    """One order of the document; each names the file it is about."""

    path: str
    text: str
    side: str | None = None
    line: str | None = None

    def apply(self, root: Path) -> None:
        file = root / self.path
        if self.side is None:
            before = file.read_text() if file.exists() else ""
            file.write_text(before + self.text)
            return
        lines = file.read_text().splitlines(keepends=True)
        [place] = [n for n, line in enumerate(lines) if self.line and self.line in line]
        place += self.side == "below"
        file.write_text("".join([*lines[:place], self.text, *lines[place:]]))


def steps() -> Iterator[Step]:
    for found in STEP.finditer(DOCUMENT.read_text()):
        path = found["new"] or found["grown"] or found["changed"]
        apart = "\n\n" if found["apart"] else ""
        yield Step(path, found["text"] + apart, found["side"], found["line"])


def places() -> list[str]:
    """Every file that the steps touch, once."""
    return list(dict.fromkeys(step.path for step in steps()))


@dataclass(frozen=True, slots=True)
class Project:
    """A copy of this project that has followed the document."""

    root: Path

    def run(self, *arguments: str, **environ: str) -> str:
        """Run a Python program in it; what it printed. Fails with all it said."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.root,
            # Nothing of this process's own settings.
            env={"PATH": os.environ["PATH"], "HOME": str(self.root), **environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("four-esps") / "project"
    shutil.copytree(ROOT, root, ignore=NOT_COPIED)
    shutil.copy(ROOT / ".env.example", root)
    for step in steps():
        step.apply(root)
    return Project(root)


def contents(root: Path) -> dict[str, bytes]:
    files = {path for path in root.rglob("*") if path.is_file()} | {root / ".env.example"}
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in files
        if not {"__pycache__", "data"} & set(path.relative_to(root).parts)
    }


def test_every_code_block_of_a_language_that_is_not_a_command_is_a_step() -> None:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    applied = {step.text.rstrip("\n") for step in steps()}
    [left] = [text for _, text in blocks if text.rstrip("\n") not in applied]
    assert left.startswith("./setup.sh test ")


def test_at_most_six_places_are_touched_and_the_document_lists_them(
    tmp_path: Path, project: Project
) -> None:
    pristine = tmp_path / "pristine"
    shutil.copytree(ROOT, pristine, ignore=NOT_COPIED)
    shutil.copy(ROOT / ".env.example", pristine)
    before, after = contents(pristine), contents(project.root)
    touched = {path for path, text in after.items() if before.get(path) != text}
    listed = re.findall(r"^\| `([^`]+)` \| ", DOCUMENT.read_text().split("## 1.")[0], re.MULTILINE)
    assert touched == set(places()) == set(listed)
    assert len(touched) <= MOST_PLACES


@pytest.mark.timeout(400)
def test_the_tests_that_the_document_asks_for_pass(project: Project) -> None:
    [command] = re.findall(r"^\./setup\.sh test (.*)$", DOCUMENT.read_text(), re.MULTILINE)
    said = project.run("-m", "pytest", "-q", "-p", "no:cacheprovider", *command.split())
    assert re.search(r"^\d+ passed", said, re.MULTILINE), said
    # So does what holds README and settings together.
    project.run(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_readme.py"),
        *("-k", "setting or command"),
    )


@pytest.mark.timeout(400)
@pytest.mark.skipif(not find_spec("mypy"), reason="mypy is not installed: requirements-dev.txt")
def test_what_was_written_has_types_and_the_layout_of_the_rest(project: Project) -> None:
    written = [path for path in places() if path.endswith(".py")]
    project.run("-m", "mypy", "--strict", *written)
    project.run("-m", "ruff", "check", *written)
    project.run("-m", "ruff", "format", "--check", *written)


def test_an_esp_whose_webhooks_nobody_reads_keeps_no_event_of_others_from_a_replay(
    project: Project, tmp_path: Path
) -> None:
    database = f"sqlite:///{tmp_path}/email.db"
    said = project.run(
        *("cli.py", "events", "replay"),
        **{"API_KEY": API_KEY, "SECRET_KEY": SECRET_KEY, "DATABASE_URL": database},
    )
    assert said == "Replayed 0 events.\n"


def test_the_dns_of_its_domain_is_checked_against_the_set_up_alone(
    project: Project, tmp_path: Path
) -> None:
    said = json.loads(project.run("-m", "tests.acme.domain", str(tmp_path)))
    checks = [one for one in said["checks"] if one["esp"] == "acme"]
    assert {(one["status"], one["remedy"]) for one in checks} == {("pass", "")}
    assert {"dkim.bits", "spf.rp.missing", "track.cname", "dmarc.align.acme"} <= {
        one["id"] for one in checks
    }
    assert re.findall(r"^acme: (.*)$", said["instructions"], re.MULTILINE) == [
        f"{purpose} [published]" for purpose in ("DKIM", "return path", "link tracking")
    ]


@pytest.mark.timeout(400)
def test_a_campaign_goes_through_it(project: Project, tmp_path: Path) -> None:
    said = json.loads(project.run("-m", "tests.acme.campaign", str(tmp_path)))
    told: dict[str, Any] = said["told"]
    assert (told["status"], told["planned"]) == ("sent", 252)
    assert told["counts"] == {
        **dict.fromkeys(("queued", "sending", "unknown", "cancelled"), 0),
        "accepted": 250,
        "rejected": 2,
    }
    assert told["by_esp"] == {"acme": 250}
    # Its limits were read from its account; what it refused is used up too.
    assert (told["used"], told["limit"]) == (252, 500)
    sends = {send["email"]: send for send in told["sends"]}
    assert {send["esp"] for send in sends.values()} == {"acme"}
    assert sends["wrong@example.net"]["reason"] == (
        "result: bad_address: wrong@example.net is refused"
    )
    assert sends["gone@example.net"]["status"] == "rejected"
    assert len(said["mails"]) == len({mail["to"] for mail in said["mails"]}) == 250
    assert len({mail["meta"]["cx_send_id"] for mail in said["mails"]}) == 250
    [mail] = [mail for mail in said["mails"] if mail["to"] == "reader7@example.net"]
    assert (mail["from"], mail["subject"]) == ("Example <news@example.com>", "Hello Zoë 7")
    assert mail["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["headers"]["List-Unsubscribe"].startswith("<http://127.0.0.1:5000/unsubscribe?")
    # The first call was told to come again.
    assert said["calls"] > 2
