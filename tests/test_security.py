"""Secrets are shown to nobody, every answer has its headers, and the code keeps the house rules.

docs/security.md says which threat each test is for.
"""

import ast
import io
import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from flask.testing import FlaskClient
from packaging.version import Version
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

import app as web
from api.auth import PUBLIC_RULES
from api.slow_clients import LONGEST_READ_S, PatientWorker
from app import create_app
from config.settings import ROOT, load_settings, secrets_of
from database.session import Database
from services.system import System
from tests.conftest import NOW
from tests.web import KEY, call, client, problem, system
from utils import logs
from utils.tokens import NOBODY_LINK, link_key, unsubscribe_token

__all__ = ["client", "system"]

SECRETS = {
    "API_KEY": "m4rk-Of-The-Api-Key-0123456789",
    "READ_API_KEYS": "m4rk-Of-The-Reading-Key-012345",
    "SIGN_UP_API_KEYS": "m4rk-Of-The-Sign-Up-Key-012345",
    "SEND_API_KEYS": "m4rk-Of-The-Sending-Key-012345",
    "SECRET_KEY": "m4rk-Of-The-First-Secret-0123456789-abc,m4rk-Of-The-Second-Secret-0123456789-ab",
    "SENDGRID_API_KEY": "SG.m4rk-Of-SendGrid",
    "AWS_ACCESS_KEY_ID": "AKIAM4RKOFAMAZON",
    "AWS_SECRET_ACCESS_KEY": "m4rk/Of/Amazon+Secret",
    "POSTMARK_API_KEY": "m4rk-of-postmark-server",
    "POSTMARK_ACCOUNT_TOKEN": "m4rk-of-postmark-account",
    "POSTMARK_WEBHOOK_USER": "m4rk-Of-Webhook-User",
    "POSTMARK_WEBHOOK_PASSWORD": "m4rk-Of-Webhook-Password-01",
}
LIVE = {
    **SECRETS,
    "SENDING_MODE": "live",
    "AWS_REGION": "eu-west-1",
    "PUBLIC_BASE_URL": "https://mail.example.com",
    "FROM_EMAIL": "news@example.com",
    "POSTAL_ADDRESS": "Example Ltd, 1 Example Street",
    **dict.fromkeys(("API_CALLS_PER_MINUTE", "PUBLIC_CALLS_PER_MINUTE"), "0"),
    "WRONG_KEYS_PER_MINUTE": "0",
}
MARK = re.compile("m4rk", re.IGNORECASE)
RIGHT = {"Authorization": f"Bearer {SECRETS['API_KEY']}"}


@pytest.fixture
def live(database: Database) -> System:
    """With all that can be secret; nothing is sent, since it is not started."""
    settings = load_settings({**LIVE, "DATABASE_URL": str(database.url)}, None)
    return System(
        settings=settings,
        database=database,
        hash_key=b"m4rk-of-the-hash-key-0123456789ab",
        link_keys=tuple(link_key(secret) for secret in settings.secret_keys),
        clock=lambda: NOW,
        esps=settings.esps,
    )


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """What this process would write to standard error, for the settings of `live`."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    structlog.contextvars.clear_contextvars()
    logs.set_up(logging.DEBUG)
    stream = io.StringIO()
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    yield stream
    root.handlers[:], root.level = handlers, level
    logs.keep_secret(())


def calls_of(client: FlaskClient) -> list[tuple[str, str, str]]:
    """Every route with each method of its own: method, path, endpoint."""
    found = []
    for rule in client.application.url_map.iter_rules():
        _, path = rule.build(dict.fromkeys(rule.arguments, "1")) or ("", rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            found.append((method, path, rule.endpoint))
    return found


# secrets


def test_every_secret_is_known_to_the_log() -> None:
    assert secrets_of(load_settings(LIVE, None)) == {
        *SECRETS["SECRET_KEY"].split(","),
        *(value for name, value in SECRETS.items() if name != "SECRET_KEY"),
    }
    url = "postgresql://mail:p%40ss-word@db.example/mail"
    hidden = secrets_of(load_settings({**LIVE, "DATABASE_URL": url}, None))
    assert {"p%40ss-word", "p@ss-word"} <= hidden
    assert url not in hidden


def test_no_repr_shows_a_secret(live: System) -> None:
    for one in (live, live.settings, live.identity, live.esps, *live.esps.values()):
        assert MARK.search(repr(one)) is None
        assert MARK.search(str(one)) is None
    password = Database("postgresql://mail:m4rk-of-the-database@db.example/mail")
    assert MARK.search(f"{password.url!r} {password.url} {password.writer!r}") is None
    password.close()


def test_no_fault_in_a_setting_shows_a_secret() -> None:
    with pytest.raises(Exception, match="API_KEY") as error:
        load_settings({**LIVE, "API_KEY": "m4rk", "SECRET_KEY": "m4rk", "PORT": "0"}, None)
    assert MARK.search(str(error.value)) is None


def test_nobody_is_shown_a_secret_by_any_call(
    live: System, log_lines: io.StringIO, tmp_path: Path
) -> None:
    """With the right key, a wrong one and none; with a body that cannot be. None is in the
    database either, so none is in a backup."""
    logs.keep_secret(secrets_of(live.settings))
    client = create_app(system=live).test_client()
    wrong = {"Authorization": f"Bearer {SECRETS['API_KEY']}x"}
    basic = {"Authorization": "Basic bTRyazptNHJr"}
    for method, path, _ in calls_of(client):
        for headers in (RIGHT, wrong, basic, {}):
            for body in (b"", b"{", b'{"email": "x"}', SECRETS["API_KEY"].encode()):
                with client.open(
                    f"{path}?token=m4&domain=localhost",
                    method=method,
                    headers=headers,
                    data=body,
                    content_type="application/json",
                ) as answer:
                    assert MARK.search(f"{answer.headers} {answer.get_data()!r}") is None, path
    kept = [one.read_bytes() for one in tmp_path.iterdir() if one.name.startswith("email.db")]
    assert len(kept) > 2
    assert [one for one in kept if MARK.search(one.decode("latin-1"))] == []
    assert log_lines.getvalue().count("\n") > 500
    assert MARK.search(log_lines.getvalue()) is None


def test_what_breaks_in_any_view_shows_no_secret(live: System, log_lines: io.StringIO) -> None:
    """The worst that a library can do: an error that repeats all it was given."""
    logs.keep_secret(secrets_of(live.settings))
    app = create_app(system=live)
    client = app.test_client()
    everything = f"{json.dumps(SECRETS)} {SECRETS} at /home/somebody/app"

    def broken(**_: object) -> Any:
        raise RuntimeError(everything)

    for method, path, endpoint in calls_of(client):
        app.view_functions[endpoint] = broken
        answer = call(client, method, path, headers=RIGHT)
        assert answer.status_code == 500, path
        assert MARK.search(answer.text) is None
        assert "/home/" not in answer.text
        assert "Traceback" not in answer.text
    written = log_lines.getvalue()
    assert "RuntimeError" in written
    assert "[secret]" in written
    # `SECRET_KEY` is two, and neither is there by itself or in the pair.
    assert MARK.search(written) is None


def test_no_log_line_holds_a_link(live: System, log_lines: io.StringIO) -> None:
    client = create_app(system=live).test_client()
    token = unsubscribe_token(live.link_keys[0], NOBODY_LINK)
    for path in ("/unsubscribe", "/preferences", "/confirm"):
        for method in ("GET", "POST"):
            client.open(f"{path}?token={token}", method=method)
    assert '"route": "/unsubscribe"' in log_lines.getvalue()
    assert token[:10] not in log_lines.getvalue()


@pytest.mark.parametrize(
    ("mode", "warnings"), [(0o600, 0), (0o400, 0), (0o640, 1), (0o604, 1), (0o620, 1)]
)
def test_a_file_of_secrets_that_others_can_read_is_told(
    tmp_path: Path, mode: int, warnings: int
) -> None:
    env = tmp_path / ".env"
    assert list(web.open_to_others(env)) == []
    env.write_text("API_KEY=m4rk")
    env.chmod(mode)
    said = list(web.open_to_others(env))
    assert said == [f"{env} can be read or written by others: chmod 600 {env}"] * warnings


def test_debug_mode_shows_nothing_either(live: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_DEBUG", "1")
    app = create_app(system=live)
    assert app.debug

    def broken() -> Any:
        return 1 / 0

    app.view_functions[next(one for one in app.view_functions if "healthz" in one)] = broken
    answer = app.test_client().get("/healthz")
    assert (answer.status_code, problem(answer)["type"]) == (500, "/problems/internal")
    assert "ZeroDivisionError" not in answer.text
    assert app.test_client().get("/console").status_code == 404


def test_an_error_of_the_database_names_no_value(database: Database) -> None:
    with database.write() as session, pytest.raises(OperationalError) as error:
        session.execute(text("SELECT * FROM nothing WHERE email = :email"), {"email": "ann@a.de"})
    assert "ann@a.de" not in str(error.value)


@pytest.mark.parametrize("hostile", ["a\nb", "a\r\n{}", "\x1b[31mred", "\x00", "\u2028", "\x85"])
def test_whatever_is_logged_is_one_line_without_control_characters(
    hostile: str, log_lines: io.StringIO
) -> None:
    logging.getLogger("x").warning("said %s", hostile, extra={"why": hostile})
    written = log_lines.getvalue()
    assert written.endswith("}\n")
    assert written[:-1].isprintable()
    assert json.loads(written)["why"] == hostile


def test_no_call_takes_a_field_that_it_does_not_name(client: FlaskClient) -> None:
    """T37: not a status, a time or an id of ours either."""
    told = call(client, "GET", "/openapi.json", headers={}).get_json()
    kinds = told["components"]["schemas"]
    bodies = {
        f"{method} {path}": said["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        for path, methods in told["paths"].items()
        for method, said in methods.items()
        if "application/json" in said.get("requestBody", {}).get("content", {})
    }
    assert {"post /send-campaign", "post /add-subscriber"} <= set(bodies)
    taken = {
        name: kinds[kind.rpartition("/")[2]].get("additionalProperties")
        for name, kind in bodies.items()
    }
    assert {name for name, more in taken.items() if more is not False} == set()


# headers

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Strict-Transport-Security": "max-age=31536000",
}
NO_SCRIPT = "default-src 'none'; frame-ancestors 'none'"


def test_every_answer_of_every_route_has_the_headers(live: System) -> None:
    """What works, what is refused and what is not there; pages, files of /docs and JSON."""
    client = create_app(system=live).test_client()
    seen = set()
    routes = [(method, path) for method, path, _ in calls_of(client)]
    files = [("GET", "/docs/js/swagger-ui-bundle.js"), ("GET", "/docs/start.js")]
    others = [("GET", "/nothing"), ("PUT", "/add-subscriber"), ("OPTIONS", "/campaigns")]
    large = b"x" * 1_000_001
    for method, path in [*routes, *files, *others]:
        for headers, body in ((RIGHT, b""), ({}, b""), (RIGHT, large)):
            with client.open(
                path, method=method, headers=headers, data=body, content_type="application/json"
            ) as answer:
                seen.add(answer.status_code)
                told = {name: answer.headers.get(name) for name in ALWAYS}
                assert (path, told) == (path, ALWAYS)
                policy = answer.headers["Content-Security-Policy"]
                assert policy.startswith("default-src 'none';")
                assert "frame-ancestors 'none'" in policy
                assert "base-uri 'none'" in policy or policy == NO_SCRIPT
                assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
                assert "Server" not in answer.headers
                assert "Set-Cookie" not in answer.headers
                assert "Access-Control-Allow-Origin" not in answer.headers
    assert {200, 400, 401, 404, 405, 413} <= seen


def test_https_is_only_asked_for_where_it_is(client: FlaskClient) -> None:
    answer = call(client, "GET", "/healthz", headers={})
    assert "Strict-Transport-Security" not in answer.headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", 'x"><script>'])
def test_no_answer_repeats_the_host_that_was_asked_for(live: System, host: str) -> None:
    client = create_app(system=live).test_client()
    for method, path, _ in calls_of(client):
        headers = {**RIGHT, "Host": host, "X-Forwarded-Host": host}
        for spelled in (path, f"{path}/", "/" + path[1:].replace("/", "//")):
            with client.open(spelled, method=method, headers=headers) as answer:
                text = answer.get_data(as_text=True)
                assert "evil" not in f"{answer.headers} {text}", spelled
                assert "<script>" not in text.replace("<script src", ""), spelled
                assert answer.status_code not in (301, 302, 307, 308), spelled


def test_only_pages_are_led_to_https() -> None:
    """An API key that was sent in the clear must be noticed, not carried on (ASVS 4.1.2)."""
    page = (ROOT / "docs" / "operations.md").read_text()
    plain = page.partition("listen 80;")[2].partition("listen 443")[0]
    redirect = re.search(r"location ~ (\S+) {[^}]*return 301 https://mail.example.com", plain)
    assert redirect is not None
    assert "return 403" in plain
    for path in PUBLIC_RULES:
        is_a_page = path in ("/unsubscribe", "/confirm", "/preferences")
        assert (re.match(redirect[1], path) is not None) == is_a_page


# limits of time


def test_a_request_that_does_not_come_to_its_end_is_ended() -> None:
    """A thread that waits for the rest is let go; the answer can still be written."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
    ):
        server, _ = listener.accept()
        with server:
            client.sendall(b"POST / HTTP/1.1\r\nContent-Le")
            worker = PatientWorker
            now = time.monotonic()
            worker.reading[server] = now
            worker.end_slow_reads(now + LONGEST_READ_S - 1, threads=64)
            assert list(worker.reading) == [server]
            worker.end_slow_reads(now + LONGEST_READ_S + 1, threads=64)
            assert worker.reading == {}
            server.settimeout(5)
            assert server.recv(100) == b"POST / HTTP/1.1\r\nContent-Le"
            assert server.recv(100) == b""
            server.sendall(b"HTTP/1.1 400 Bad Request\r\n")
            assert client.recv(100) == b"HTTP/1.1 400 Bad Request\r\n"


@pytest.mark.parametrize(
    ("path", "headers", "is_trusted"),
    [
        ("/campaigns", KEY, True),
        ("/campaigns", {}, False),
        ("/healthz", KEY, False),
        ("/bounce-webhook", KEY, False),
        ("/nothing", KEY, False),
    ],
)
def test_only_who_has_the_key_may_take_longer(
    client: FlaskClient, path: str, headers: dict[str, str], is_trusted: bool
) -> None:
    connection = object()
    PatientWorker.reading[connection] = 1.0
    try:
        client.get(path, headers=headers, environ_base={"gunicorn.socket": connection})
        assert (connection not in PatientWorker.reading) == is_trusted
    finally:
        PatientWorker.reading.pop(connection, None)


# rules of the house, as far as a program can see them

FOLDERS = ("api", "commands", "config", "database", "lists", "services", "utils")
SOURCES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in sorted(
        [*ROOT.glob("*.py"), *(one for name in FOLDERS for one in (ROOT / name).rglob("*.py"))]
    )
    if "simulator" not in path.parts and not path.name.startswith("test_")
}
SECRET_NAME = re.compile(
    r"(^|_)(secret|password|passwd|signature|mac|digest|api_key)s?$", re.IGNORECASE
)


def compared_plainly(source: str) -> Iterator[str]:
    """`==` and `!=` on something whose name says that it is secret."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and any(
            isinstance(one, ast.Eq | ast.NotEq) for one in node.ops
        ):
            sides = (node.left, *node.comparators)
            if any(isinstance(one, ast.Constant) for one in sides):
                continue  # "is there any?"
            for side in sides:
                name = getattr(side, "attr", "") or getattr(side, "id", "")
                if SECRET_NAME.search(str(name)):
                    yield ast.unparse(node)


def test_secrets_are_compared_in_constant_time() -> None:
    found = {path: list(compared_plainly(source)) for path, source in SOURCES.items()}
    assert {path: lines for path, lines in found.items() if lines} == {}
    assert list(compared_plainly("if given == self._password: pass"))
    assert not list(compared_plainly("if compare_digest(given, self._password): pass"))


def built_sql(source: str) -> Iterator[str]:
    """SQL made of pieces: its text is not one that stands in the source."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and node.args):
            continue
        name = getattr(node.func, "attr", None) or getattr(node.func, "id", "")
        made = isinstance(node.args[0], ast.JoinedStr | ast.BinOp) or (
            isinstance(node.args[0], ast.Call)
            and getattr(node.args[0].func, "attr", "") in ("format", "join")
        )
        if made and name in ("exec_driver_sql", "execute", "executemany", "text", "literal_column"):
            yield ast.unparse(node.args[0])


def test_no_value_is_written_into_sql() -> None:
    """What is made of pieces below is made of names and marks of our own."""
    found = {
        path: set(built_sql(source)) for path, source in SOURCES.items() if "sqlalchemy" in source
    }
    assert {path: lines for path, lines in found.items() if lines} == OF_OUR_OWN_PIECES
    assert list(built_sql("c.execute(f'SELECT {x}')"))


OF_OUR_OWN_PIECES = {
    "database/migrations/versions/0002_events_engagement_opt_ins.py": {
        "f'ALTER TABLE subscribers DROP COLUMN engagement_{name}'"
    },
    "database/origin_sqlite.py": {"f'PRAGMA user_version = {_SENT_FROM}'"},
    "database/rate_limits.py": {
        "_CREATE.format(kind=kind, binary=binary)",
        "f'SELECT pg_advisory_xact_lock({_LOCK})'",
    },
    "database/session.py": {"f'PRAGMA {pragma}'"},
    "lists/importing.py": {"f'INSERT INTO import_page VALUES ({marks})'"},
    "lists/personal_data.py": {"""f"'{kind.value}'\""""},
}

FORBIDDEN = {
    r"verify\s*=\s*False": "TLS is verified",
    r"\|\s*safe\b": "what is not ours in a page is escaped",
    r"\bpickle\b|\bmarshal\b|yaml\.load": "nothing from outside is made an object",
    r"shell\s*=\s*True|os\.system": "no shell",
    r"(?<![\w.])(eval|exec)\(": "no text is run",
    r"\bapp\.run\(|run_simple": "no development server",
    r"request\.(host|host_url|base_url|url_root)\b": "links come from PUBLIC_BASE_URL",
    r"request\.values": "a token is read from the address alone",
}


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_what_the_house_does_without(pattern: str) -> None:
    found = [path for path, source in SOURCES.items() if re.search(pattern, source)]
    assert found == [], FORBIDDEN[pattern]


@pytest.mark.parametrize(
    ("package", "first_good"),
    [
        ("flask", "3.1.1"),  # CVE-2025-47278
        ("werkzeug", "3.0.6"),  # CVE-2024-49767
        ("jinja2", "3.1.6"),  # CVE-2025-27516
    ],
)
def test_packages_are_newer_than_their_known_holes(package: str, first_good: str) -> None:
    pinned = (ROOT / "requirements.txt").read_text()
    found = re.search(rf"^{package}==([\d.]+)", pinned, re.MULTILINE)
    assert found is not None
    assert Version(found[1]) >= Version(first_good)


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_package_is_pinned_with_its_hashes(name: str) -> None:
    wanted = re.split(r"\n(?=\S)", (ROOT / name).read_text())
    packages = [one for one in wanted if re.match(r"[A-Za-z0-9]", one)]
    assert len(packages) > 20
    assert [one.split()[0] for one in packages if "==" not in one or "--hash=" not in one] == []
    assert "--require-hashes" in (ROOT / "setup.sh").read_text()


def test_no_secret_is_in_the_repository() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {".env", "data/"} <= {line.strip("/") + "/" * line.endswith("/") for line in ignored}
    example = (ROOT / ".env.example").read_text()
    for name in SECRETS:
        value = re.search(rf"^{name}=(.*)$", example, re.MULTILINE)
        assert value is not None
        assert re.fullmatch(r"|your_\w+_here", value[1]), name


def test_a_hostile_database_runs_nothing_of_its_own(database: Database) -> None:
    for engine in (database.writer, database.reader, database.counter):
        with engine.begin() as connection:
            assert connection.exec_driver_sql("PRAGMA trusted_schema").scalar() == 0
            with pytest.raises(OperationalError, match="not authorized"):
                connection.exec_driver_sql("SELECT load_extension('x')")


# the page about all this

PAGE = ROOT / "docs" / "security.md"


def rows() -> dict[str, list[str]]:
    """Threat → its cells."""
    lines = PAGE.read_text().splitlines()
    cells = [[one.strip() for one in line.strip("|").split(" | ")] for line in lines]
    return {one[0].strip("| "): one for one in cells if re.fullmatch(r"T\d+", one[0].strip("| "))}


def test_every_threat_has_a_row_with_a_test_or_a_reason() -> None:
    found = rows()
    assert list(found) == [f"T{number}" for number in range(1, 72)]
    for name, cells in found.items():
        assert len(cells) == 4, name
        assert all(cells), name
        assert "test_" in cells[3] or cells[3].startswith("none: "), name


def test_every_test_that_the_page_names_exists() -> None:
    tests = {
        path.stem: set(re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE))
        for path in Path(ROOT / "tests").rglob("test_*.py")
    }
    named = re.findall(r"`(?:(test_\w+)\.py )?(test_\w+)`", PAGE.read_text())
    assert len(named) > 60
    assert [
        (module, name)
        for module, name in named
        if name not in (tests[module] if module else set().union(*tests.values()))
    ] == []
