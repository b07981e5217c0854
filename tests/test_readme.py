"""The README holds: its first session runs as it stands, and it names all that there is."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from app import create_app
from cli import COMMANDS, cli
from config.esp_config import EspName
from config.settings import ROOT
from services.system import System
from tests.faults.driver import Server
from tests.web import API_KEY, SECRET_KEY, system

__all__ = ["system"]

README = (ROOT / "README.md").read_text()
PORT = 14_913
"""Below the ports that the kernel gives out, and not among those of tests/faults."""

ESP_SETTINGS = re.compile(
    rf"^({'|'.join(esp.upper() for esp in EspName)})"
    r"(_(?:PRIORITY|PER_SECOND|DAILY_LIMIT|MONTHLY_LIMIT|BATCH_SIZE|CONCURRENCY))$"
)


def block_after(heading: str) -> str:
    """The first shell block after a heading."""
    rest = README[README.index(f"\n{heading}\n") :]
    found = re.search(r"```sh\n(.*?)```", rest, re.DOTALL)
    assert found is not None
    return found.group(1)


@contextmanager
def serving(tmp_path: Path, port: int) -> Iterator[Server]:
    """`python3 app.py`, as the README starts it."""
    environ = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "API_KEY": API_KEY,
        "SECRET_KEY": SECRET_KEY,
        "PORT": str(port),
        "PUBLIC_BASE_URL": f"http://127.0.0.1:{port}",
        "DATABASE_URL": f"sqlite:///{tmp_path}/email.db",
        "SENDING_MODE": "sandbox",
    }
    server = Server((sys.executable, "app.py"), environ, tmp_path / "log")
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path, PORT) as server:
        yield server


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_first_campaign_is_sent_as_the_readme_says(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"API_KEY={API_KEY}\n")
    session = block_after("## Your first campaign").replace(":5000", f":{PORT}")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", session],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert '"status":"sent"' in done.stdout
    assert '"planned":3' in done.stdout
    assert '"type": "/problems/' not in done.stdout


def test_every_setting_is_in_the_readme() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    settings = [line.split("=")[0] for line in lines if re.match(r"[A-Z_0-9]+=", line)]
    unnamed = []
    for setting in settings:
        of_an_esp = ESP_SETTINGS.match(setting)
        name = f"`…{of_an_esp.group(2)}`" if of_an_esp else f"`{setting}`"
        if name not in README:
            unnamed.append(setting)
    assert unnamed == []


def test_every_command_is_in_the_readme_and_has_help() -> None:
    for name in COMMANDS:
        assert f"`{name}" in README, name
    listed = CliRunner().invoke(cli, ["--help"])
    assert listed.exit_code == 0
    for name in COMMANDS:
        line = next(line for line in listed.output.splitlines() if line.split()[:1] == [name])
        assert len(line.split()) > 2, f"{name} has no help"


def test_every_call_is_in_the_readme(system: System) -> None:
    rules = {
        re.sub(r"<(?:int:|path:)?(\w+)>", r"<\1>", rule.rule)
        for rule in create_app(system=system).url_map.iter_rules()
    }
    own = {"/docs/<name>", "/openapi.json", "/docs"}
    said = README.replace("/campaigns/<id>", "/campaigns/<campaign_id>")
    assert sorted(rule for rule in rules - own if not _is_said(rule, said)) == []


def _is_said(rule: str, said: str) -> bool:
    """A path in full, or its last part beside a longer one: `/campaigns`, `/campaigns/<id>`."""
    return rule in said or (rule.count("/") > 2 and f"/{rule.rsplit('/', 1)[1]}" in said)
