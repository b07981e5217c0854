"""Whatever is sent, the answer is one of ours: no 5xx, no trace of the inside, nothing echoed."""

import json
from typing import Any

from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.web import KEY, call, client, problem, system

__all__ = ["client", "system"]  # fixtures

_FEW = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner),
    max_leaves=12,
)
_TEXT = st.text(st.characters(codec=None), max_size=60)
_PERSON = st.fixed_dictionaries(
    {"email": st.emails() | _TEXT},
    optional={
        "first_name": _TEXT | _JSON,
        "attributes": st.dictionaries(st.from_regex(r"[A-Za-z_]\w{0,5}", fullmatch=True), _JSON),
        "tags": st.lists(_TEXT, max_size=5) | _JSON,
        "consent": st.fixed_dictionaries(
            {}, optional={"source": _TEXT, "ip": _TEXT, "at": st.datetimes().map(str) | _TEXT}
        ),
    },
)


def _is_ours(response: Any, *statuses: int) -> None:
    assert response.status_code in statuses, response.text
    if response.status_code >= 400:
        problem(response)
    assert "Traceback" not in response.text


@_FEW
@given(body=_PERSON | _JSON)
def test_any_json_to_add_subscriber(client: FlaskClient, body: Any) -> None:
    sent = json.dumps(body)
    response = call(client, "POST", "/add-subscriber", data=sent, content_type="application/json")
    _is_ours(response, 200, 201, 400, 422)


@_FEW
@given(body=st.binary(max_size=200))
def test_any_bytes_to_add_subscriber(client: FlaskClient, body: bytes) -> None:
    response = call(client, "POST", "/add-subscriber", data=body, content_type="application/json")
    _is_ours(response, 201, 400, 422)


@_FEW
@given(body=st.binary(max_size=300), header=st.sampled_from([b"", b"email,a\n", b"a,email,tags\n"]))
def test_any_bytes_to_import(client: FlaskClient, body: bytes, header: bytes) -> None:
    response = call(
        client, "POST", "/subscribers/import", data=header + body, content_type="text/csv"
    )
    _is_ours(response, 200, 422)
    if response.status_code == 200:
        told = response.get_json()
        parts = ("created", "updated", "suppressed", "duplicates", "invalid")
        assert told["rows"] == sum(told[part] for part in parts)


@_FEW
@given(address=st.text(min_size=1, max_size=80))
def test_any_address_to_subscribers(client: FlaskClient, address: str) -> None:
    response = client.get("/subscribers/" + address.replace("?", "%3F"), headers=KEY)
    _is_ours(response, 200, 301, 308, 404, 405)


@_FEW
@given(token=st.text(max_size=200), body=st.binary(max_size=50))
def test_any_token_to_unsubscribe(client: FlaskClient, token: str, body: bytes) -> None:
    for method in ("GET", "POST"):
        response = client.open(
            "/unsubscribe", method=method, query_string={"token": token}, data=body
        )
        assert (response.status_code, response.mimetype) == (400, "text/html")
