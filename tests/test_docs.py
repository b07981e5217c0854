"""The pages hold: what they name exists, their snippets run, their files are accepted by the
programs they are for."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import MapAdapter

import app as web
from api.auth import PUBLIC_RULES
from api.waiting import LONGEST_WAIT_S
from api.webhooks import LARGEST_BYTES
from cli import COMMANDS, cli
from config.esp_config import EspName
from config.settings import ROOT
from database.models import CampaignStatus
from services.system import System
from tests.faults.driver import free_port
from tests.faults.http_client import wait_until
from tests.web import API_KEY, SECRET_KEY, system

__all__ = ["system"]

PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
OPERATIONS = PAGES["docs/operations.md"]
every_page = pytest.mark.parametrize("page", PAGES)

SETTINGS = set(re.findall(r"^([A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
FOLDERS = {"api", "commands", "config", "database", "lists", "services", "utils"}
TO_COME = ("services/acme.py", "tests/test_acme.py", "tests/payloads/acme")
"""Files of the ESP that docs/adding-an-esp.md makes up."""


def blocks(page: str, language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", page, re.MULTILINE | re.DOTALL)
    return [re.sub(f"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def section(heading: str) -> str:
    return OPERATIONS.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def sources() -> str:
    """All of the project's own code but its tests."""
    paths = (path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] in FOLDERS)
    return "\n".join(path.read_text() for path in (*paths, *ROOT.glob("*.py")))


# what the pages name


@every_page
def test_every_setting_that_is_named_exists(page: str) -> None:
    code = "\n".join(CODE.findall(PAGES[page]))
    named = set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", code))
    # "BATCH_SIZE" is short for that of each ESP; the rest are names in the code, or systemd's.
    short = {name.partition("_")[2] for name in SETTINGS}
    known = SETTINGS | short | set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", sources()))
    assert {name for name in named - known if not name.startswith(("ACME_", "AF_"))} == set()
    ends = set(re.findall(r"`…(_[A-Z_]+)`", PAGES[page]))
    assert {end for end in ends if not any(name.endswith(end) for name in SETTINGS)} == set()


def calls(page: str) -> set[tuple[str | None, str]]:
    """Our own calls that a page names: method, if it says one, and path."""
    found: set[tuple[str | None, str]] = set()
    for code in CODE.findall(PAGES[page]):
        for method, path in re.findall(r"\b(GET|POST|PATCH|DELETE) (/(?!v\d)[\w/<>-]+)", code):
            found.add((method, path))
        for path in re.findall(
            r"(?:PUBLIC_BASE_URL|\$API|mail\.example\.com)(/[\w/<>-]+)\b[^.]", code
        ):
            found.add((None, path))
        if path := re.fullmatch(r"`(/[a-z][\w/<>-]*)(?:\?[\w=]*)?`", code):
            found.add((None, path[1]))
    return found


def is_a_call(routes: MapAdapter, method: str | None, path: str) -> bool:
    """Also the end of one, as in "/campaigns/<id>/pause, /resume"."""
    if method is None and any(rule.rule.endswith(path) for rule in routes.map.iter_rules()):
        return True
    try:
        routes.match(re.sub(r"<\w+>", "1", path), method or "GET")
    except MethodNotAllowed:
        return method is None
    except NotFound:
        return False
    return True


@every_page
def test_every_call_that_is_named_exists(system: System, page: str) -> None:
    routes = web.create_app(system=system).url_map.bind("localhost")
    missing = {path for method, path in calls(page) if not is_a_call(routes, method, path)}
    assert missing == set()


@every_page
def test_every_command_that_is_named_exists(page: str) -> None:
    for words in re.findall(r"cli\.py +([a-z][^\n`#|]*)", PAGES[page]):
        command: click.Command = cli
        rest = words.split()
        context = click.Context(cli)
        while rest and isinstance(command, click.Group):
            found = command.get_command(context, rest[0])
            if found is None:
                break
            command, rest = found, rest[1:]
        assert command is not cli, f"cli.py {words}"
        options = {name for one in command.params for name in one.opts}
        assert set(re.findall(r"--[a-z-]+", words)) <= options | {"--help", "--json", "--port"}
    for program in re.findall(r"python3 (\w+\.py)", PAGES[page]):
        assert (ROOT / program).is_file(), program
    for argument in re.findall(r"\./setup\.sh (\w+)", PAGES[page]):
        assert f"./setup.sh {argument}" in (ROOT / "setup.sh").read_text(), argument


def test_every_group_of_commands_is_told_with_its_commands() -> None:
    readme = PAGES["README.md"]
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        if isinstance(command, click.Group):
            for one in command.commands:
                assert re.search(rf"`{name} [^|]*\b{one}\b", readme), f"{name} {one}"


@every_page
def test_every_file_and_every_heading_that_is_named_exists(page: str) -> None:
    text, folder = PAGES[page], (ROOT / page).parent
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|md|json|sh|toml|txt))`", text)
    assert {path for path in named if not (ROOT / path).exists()} <= set(TO_COME)
    for target in re.findall(r"\]\(([^)#]+)\)", CODE.sub("", text)):
        assert target.startswith("https://") or (folder / target).exists(), target
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


def test_every_status_of_a_campaign_is_explained() -> None:
    table = section("What to watch").split("What a campaign's")[1]
    told = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", table, re.MULTILINE)
    named = [status for statuses in told for status in re.findall(r"`(\w+)`", statuses)]
    assert sorted(named) == sorted([*CampaignStatus, "status"])


@every_page
def test_every_json_is_json(page: str) -> None:
    for text in blocks(PAGES[page], "json"):
        json.loads(text)


# files for other programs


def test_the_service_outlives_what_is_under_way() -> None:
    [unit] = blocks(OPERATIONS, "ini")
    [seconds] = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert int(seconds) > web.GRACEFUL_TIMEOUT_S


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_takes_the_service_and_finds_it_hardened(tmp_path: Path) -> None:
    [unit] = blocks(OPERATIONS, "ini")
    (tmp_path / "data").mkdir()
    (tmp_path / ".venv").symlink_to(sys.prefix)
    file = tmp_path / "email-delivery.service"
    file.write_text(unit.replace("/srv/email-delivery", str(tmp_path)))
    verified = subprocess.run(
        ["systemd-analyze", "verify", file], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", file],
        capture_output=True,
        text=True,
        check=False,
    )
    exposure = re.search(r"Overall exposure level for .*: ([\d.]+)", judged.stdout)
    if exposure is None:
        pytest.skip("this systemd cannot judge a file: needs version 250")
    assert float(exposure[1]) < 3.0, judged.stdout


def test_nginx_waits_longer_than_a_request_may() -> None:
    [config] = blocks(OPERATIONS, "nginx")
    [seconds] = re.findall(r"proxy_read_timeout (\d+)s;", config)
    assert int(seconds) > LONGEST_WAIT_S


def test_nginx_lets_the_world_reach_what_needs_no_key() -> None:
    [config] = blocks(OPERATIONS, "nginx")
    https = config.partition("listen 443")[2]
    [(location, body)] = re.findall(r"location ~ (\S+) \{(.*?)\}", https, re.DOTALL)
    ours = ("/healthz", "/readyz", "/openapi.json", "/docs")
    for rule in PUBLIC_RULES:
        for esp in EspName:
            path = rule.replace("<esp>", esp)
            assert bool(re.search(location, path)) != rule.startswith(ours), path
    [megabytes] = re.findall(r"client_max_body_size (\d+)m;", body)
    assert int(megabytes) * 2**20 >= LARGEST_BYTES


@pytest.mark.skipif(
    not (shutil.which("nginx") and shutil.which("openssl")), reason="nginx is not installed"
)
def test_nginx_takes_the_configuration(tmp_path: Path) -> None:
    [config] = blocks(OPERATIONS, "nginx")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x"),
            *("-keyout", tmp_path / "privkey.pem", "-out", tmp_path / "fullchain.pem"),
        ],
        check=True,
        capture_output=True,
    )
    for folder in ("/etc/letsencrypt/live/mail.example.com", "/var/log/nginx"):
        config = config.replace(folder, str(tmp_path))
    file = tmp_path / "nginx.conf"
    temporary = "".join(
        f"{name}_temp_path {tmp_path}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file.write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ {temporary} {config} }}"
    )
    done = subprocess.run(
        ["nginx", "-t", "-c", file, "-p", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# an installation, operated as the page says


class Installation:
    """A clone in a folder of its own, with the packages of this one."""

    def __init__(self, root: Path) -> None:
        self.root, self.port = root, free_port()
        shutil.copytree(
            ROOT, root, ignore=shutil.ignore_patterns(".*", "data", "__pycache__", "tests", "bench")
        )
        (root / ".venv").symlink_to(sys.prefix)
        (root / "data").mkdir(mode=0o700)
        example = (ROOT / ".env.example").read_text()
        for name, value in {
            "API_KEY": API_KEY,
            "SECRET_KEY": SECRET_KEY,
            "PORT": self.port,
        }.items():
            example = re.sub(rf"^{name}=.*$", f"{name}={value}", example, flags=re.MULTILINE)
        (root / ".env").write_text(example)
        self.environ = {
            # The system's python3: it has to find its way into .venv by itself.
            "PATH": f"{os.defpath}:/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._server: subprocess.Popen[str] | None = None

    def run(self, snippet: str, **environ: str) -> str:
        """Run a block of a page in it, on its own port; what it printed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", snippet.replace(":5000", f":{self.port}")],
            cwd=self.root,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self) -> None:
        """`python3 app.py`; returns when it greets."""
        self._server = subprocess.Popen(
            ["python3", "app.py"],
            cwd=self.root,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert self._server.stdout is not None
        assert any("The mails of the sandbox" in line for line in self._server.stdout)
        wait_until(lambda: "email_engine_sends 1.0" in self.call("/metrics"), "it to send")

    def stop(self) -> None:
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(signal.SIGTERM)
            self._server.communicate(timeout=60)

    def call(self, path: str, body: object = None) -> str:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            said: str = response.read().decode()
        return said


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path / "email-delivery")
    yield made
    made.stop()


def ids(database: Path) -> dict[str, int]:
    """The last id that each table has given out."""
    connection = sqlite3.connect(database)
    try:
        return dict(connection.execute("SELECT name, seq FROM sqlite_sequence"))
    finally:
        connection.close()


@pytest.mark.timeout(300)
@pytest.mark.skipif(
    not all(map(shutil.which, ("bash", "curl", "sqlite3"))), reason="curl or sqlite3 is missing"
)
def test_what_the_page_has_people_type_works(installation: Installation) -> None:
    checks, mails = blocks(section("Going live"), "sh")
    assert "ses" in installation.run(checks)
    installation.start()

    told = installation.run(mails)
    assert told.count('"outcome":"accepted"') == 3, told
    kept = "\n" + installation.call("/metrics")
    for metric in re.findall(r"\bemail_\w+", section("What to watch")):
        assert f"\n# HELP {metric.removesuffix('_total')}" in kept, metric

    installation.call("/add-subscriber", {"email": "ann@example.com"})
    sent = json.loads(installation.call("/send-campaign", {"subject": "News", "text": "Hello"}))
    assert (sent["status"], sent["planned"]) == ("sent", 1)
    wait_until(lambda: '"delivered":1' in installation.call("/campaigns/1"), "the delivery")

    [back_up] = blocks(section("Backup"), "sh")
    assert "sound" in installation.run(back_up)
    [backup] = (installation.root / "data" / "backups").iterdir()
    installation.call("/add-subscriber", {"email": "lost@example.com"})
    installation.stop()

    [restore] = blocks(section("Restore"), "sh")
    assert restore.count("confirm-restore ") == 1
    unasked = restore.replace("confirm-restore ", "confirm-restore --yes ")
    told = installation.run(unasked, BACKUP=str(backup))
    assert re.search(r"1 .*News.*sent", told), told
    # No id that is out on a mail is given to another.
    before, after = ids(backup), ids(installation.root / "data" / "email.db")
    assert {name for name in before if before[name] < after[name]} == {"campaigns", "email_sends"}
    installation.start()
    assert json.loads(installation.call("/subscriber-stats"))["total"] == 1

    api = {"API": f"http://127.0.0.1:{installation.port}", "KEY": API_KEY}
    seen, replay = blocks(section("Do events arrive?"), "sh")
    said = installation.run(seen, **api)
    assert '"delivered":1' in said
    for name in ("delivery", "events", "last_at", "unheard", "unheard_since", "warnings"):
        assert (f'"{name}":' in said, f"`{name}`" in section("Do events arrive?")) == (True, True)
    assert re.search(r"Replayed [1-9]\d* events", installation.run(replay))
    [person] = blocks(section("A person's data"), "sh")
    assert json.loads(installation.run(person, **api))["email"] == "ann@example.com"
    assert json.loads(installation.call("/subscriber-stats"))["total"] == 0
