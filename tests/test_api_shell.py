"""The shell round every call: the key, the form of errors, strict JSON, the description."""

import json
import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from api import subscribers
from api.auth import PUBLIC_RULES
from api.errors import PROBLEMS, Problem
from services.system import System
from tests.web import API_KEY, KEY, call, client, problem, system

__all__ = ["client", "system"]  # fixtures

ADD = "/add-subscriber"


def _routes(client: FlaskClient) -> list[tuple[str, str]]:
    """Each route with a method of its own, its parameters filled in."""
    found = []
    for rule in client.application.url_map.iter_rules():
        if rule.rule in PUBLIC_RULES:
            continue
        _, path = rule.build(dict.fromkeys(rule.arguments, "1")) or ("", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            found.append((method, path))
    return found


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": API_KEY},
        {"Authorization": f"Basic {API_KEY}"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {API_KEY}x"},
        {"Authorization": f"Bearer {API_KEY[:-1]}"},
        {"Authorization": "Bearer schl\u00fcssel"},
    ],
    ids=str,
)
def test_every_route_that_is_not_public_needs_the_key(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    routes = _routes(client)
    assert ("POST", ADD) in routes
    for method, path in routes:
        response = call(client, method, path, headers=headers)
        assert (method, path, response.status_code) == (method, path, 401)
        assert problem(response)["type"] == "/problems/unauthorized"
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_key_opens_every_route(client: FlaskClient, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {API_KEY}"}
    for method, path in _routes(client):
        assert call(client, method, path, headers=headers).status_code not in (401, 403)


@pytest.mark.parametrize("name", ["api_key", "API_KEY", "key", "access_token"])
def test_a_key_in_the_address_is_refused_even_beside_a_good_header(
    client: FlaskClient, name: str
) -> None:
    response = call(client, "GET", f"/subscribers/a@example.com?{name}={API_KEY}")
    assert problem(response)["type"] == "/problems/key-in-url"
    assert API_KEY not in response.text


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/docs", "/unsubscribe"])
def test_what_the_world_must_reach_needs_no_key(client: FlaskClient, path: str) -> None:
    assert call(client, "GET", path, headers={}).status_code in (200, 400)


_BAD_BODIES: dict[str, tuple[str | bytes, int, str, str]] = {
    "nothing": ("", 400, "malformed-json", "Expecting value"),
    "half a body": ('{"email": "a@example.com"', 400, "malformed-json", "line 1, column"),
    "a trailing comma": ('{"email": "a@example.com",}', 400, "malformed-json", "line 1"),
    "two bodies": ('{"email": "a@example.com"} {}', 400, "malformed-json", "Extra data"),
    "2,000 deep": ("[" * 2000 + "]" * 2000, 400, "malformed-json", "nested deeper"),
    "200,000 deep": ("[" * 200_000, 400, "malformed-json", "nested deeper"),
    "33 deep": ('{"a":' * 33 + "1" + "}" * 33, 400, "malformed-json", "nested deeper"),
    "not UTF-8": (b'{"email": "\xff"}', 400, "malformed-json", "byte 11 is not UTF-8"),
    "a byte order mark": (b"\xef\xbb\xbf{}", 400, "malformed-json", "BOM"),
    "UTF-16": ("{}".encode("utf-16"), 400, "malformed-json", "not UTF-8"),
    "NaN": ('{"email": NaN}', 400, "malformed-json", "NaN is not JSON"),
    "infinity": ('{"email": -Infinity}', 400, "malformed-json", "Infinity is not JSON"),
    "1e999": ('{"email": 1e999}', 400, "malformed-json", "number is too large"),
    "over 64 bits": ('{"email": 9223372036854775808}', 400, "malformed-json", "beyond 64 bits"),
    "5,000 digits": (f'{{"email": {"9" * 5000}}}', 400, "malformed-json", "beyond 64 bits"),
    "a name twice": ('{"email": "a@b.de", "email": "c@d.de"}', 400, "malformed-json", "twice"),
    "a NUL": ('{"email": "a\\u0000@example.com"}', 422, "invalid", "NUL"),
    "a raw NUL": ('{"email": "a\x00@example.com"}', 400, "malformed-json", "control character"),
    "a lone surrogate": ('{"email": "\\ud800@example.com"}', 422, "invalid", "half a character"),
    "a surrogate name": ('{"a": {"\\udc00": 1}}', 422, "invalid", "half a character"),
    "a list": ("[]", 422, "invalid", "must be an object"),
    "null": ("null", 422, "invalid", "must be an object"),
    "a text that is JSON": ('"{\\"email\\": \\"a@b.de\\"}"', 422, "invalid", "must be an object"),
    "an unknown field": ('{"email": "a@example.com", "x": 1}', 422, "invalid", "/x: is not a"),
    "a field missing": ("{}", 422, "invalid", "/email: is required"),
    "a number for a text": ('{"email": 5}', 422, "invalid", "/email"),
}


@pytest.mark.parametrize("name", _BAD_BODIES)
def test_a_bad_body_is_refused_with_words_that_help(client: FlaskClient, name: str) -> None:
    body, status, kind, words = _BAD_BODIES[name]
    response = call(client, "POST", ADD, data=body, content_type="application/json")
    found = problem(response)
    assert (response.status_code, found["type"]) == (status, f"/problems/{kind}")
    assert words.lower() in found["detail"].lower()
    if status == 422:
        assert all({"pointer", "detail"} == set(error) for error in found["errors"])


def test_the_pointer_names_the_place_and_never_repeats_what_was_sent(client: FlaskClient) -> None:
    mark = '"><svg/onload=1>'
    body = {"email": "a@example.com", "attributes": {"a": 1, mark: 2}, "tags": [mark, 1]}
    response = call(client, "POST", ADD, json=body)
    found = problem(response)
    assert [error["pointer"] for error in found["errors"]] == ["/attributes", "/tags/1"]
    assert found["detail"].endswith("(and 1 more)")


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        (None, None),
        ("text/plain", None),
        ("application/x-www-form-urlencoded", None),
        ("application/json", "gzip"),
    ],
)
def test_only_plain_json_is_taken(
    client: FlaskClient, content_type: str | None, encoding: str | None
) -> None:
    headers = {**KEY, **({"Content-Encoding": encoding} if encoding else {})}
    response = call(client, "POST", ADD, data=b"{}", content_type=content_type, headers=headers)
    assert problem(response)["type"] == "/problems/unsupported-media-type"


@pytest.mark.parametrize(
    ("method", "path", "said", "kind"),
    [
        ("GET", "/nothing", {}, "not-found"),
        ("GET", "/subscribers/", {}, "not-found"),
        ("DELETE", ADD, {}, "method-not-allowed"),
        ("GET", ADD, {}, "method-not-allowed"),
        ("POST", ADD, {"data": b" " * 1_000_001, "content_type": "application/json"}, "too-large"),
    ],
)
def test_the_frameworks_own_errors_have_the_same_form(
    client: FlaskClient, method: str, path: str, said: dict[str, Any], kind: str
) -> None:
    response = call(client, method, path, **said)
    found = problem(response)
    assert (found["type"], found["title"]) == (f"/problems/{kind}", PROBLEMS[kind][1])
    assert ("Allow" in response.headers) == (response.status_code == 405)


def test_what_breaks_in_our_code_tells_nothing_and_is_logged(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("secret detail")

    monkeypatch.setattr(subscribers, "find_subscriber", broken)
    response = call(client, "GET", "/subscribers/a@example.com")
    found = problem(response)
    assert (response.status_code, found["type"]) == (500, "/problems/internal")
    assert "secret detail" not in response.text
    assert response.headers["X-Request-Id"] in caplog.text
    assert "secret detail" in caplog.text


def test_a_database_that_cannot_be_used_is_503_with_retry_after(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object, **__: object) -> None:
        raise OperationalError("SELECT secret", {}, Exception("database is locked"))

    monkeypatch.setattr(subscribers, "find_subscriber", locked)
    response = call(client, "GET", "/subscribers/a@example.com")
    assert problem(response)["type"] == "/problems/unavailable"
    assert response.headers["Retry-After"] == "5"
    assert "secret" not in response.text


def test_readyz_fails_when_the_database_cannot_be_written(
    client: FlaskClient, system: System
) -> None:
    system.database.close()
    path = system.database.path
    assert path is not None
    path.write_bytes(b"not a database" * 100)
    assert call(client, "GET", "/healthz", headers={}).status_code == 200
    response = call(client, "GET", "/readyz", headers={})
    assert (response.status_code, problem(response)["type"]) == (503, "/problems/unavailable")


def test_every_answer_carries_the_headers_of_a_careful_server(client: FlaskClient) -> None:
    for path, headers in (("/healthz", {}), ("/nothing", KEY), ("/subscribers/x", {})):
        response = call(client, "GET", path, headers=headers)
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Request-Id"]


def test_each_kind_of_problem_has_one_status_and_title() -> None:
    for kind, (status, title) in PROBLEMS.items():
        made = Problem(kind, "why")
        assert (made.status, made.title) == (status, title)
        assert 400 <= status < 600


def test_the_description_is_openapi_3_1_and_names_every_call(client: FlaskClient) -> None:
    spec = call(client, "GET", "/openapi.json", headers={}).get_json(force=True)
    assert spec["openapi"] == "3.1.0"
    pages = {"/openapi.json", "/docs", "/docs/<path:name>"}
    pages |= {"/unsubscribe", "/preferences", "/confirm"}
    rules = {rule.rule for rule in client.application.url_map.iter_rules()} - pages
    paths = {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule) for rule in rules}
    assert paths <= set(spec["paths"])
    for path, operations in spec["paths"].items():
        for operation in operations.values():
            public = path in ("/healthz", "/readyz") or "-webhook" in path
            assert operation.get("security") == (None if public else [{"key": []}])
            for status, response in operation["responses"].items():
                is_error = status == "default" or status >= "400"
                assert ("application/problem+json" in response.get("content", {})) == is_error


def test_all_references_of_the_description_lead_somewhere(client: FlaskClient) -> None:
    text = call(client, "GET", "/openapi.json", headers={}).text
    spec = json.loads(text)
    for part in text.split('"#/components/schemas/')[1:]:
        assert part.split('"')[0] in spec["components"]["schemas"]


def test_the_docs_page_loads_nothing_from_elsewhere(client: FlaskClient) -> None:
    page = call(client, "GET", "/docs", headers={})
    assert "http" not in page.text
    assert "script-src 'self';" in page.headers["Content-Security-Policy"]
    for part in page.text.split('"'):
        if part.startswith("docs/"):
            with call(client, "GET", f"/{part}", headers={}) as file:
                assert file.status_code == 200
    assert call(client, "GET", "/docs/../app.py", headers={}).status_code == 404
    assert call(client, "GET", "/docs/%2e%2e/plugins.py", headers={}).status_code == 404
