"""People over HTTP after they came: corrected, erased, suppressed, listed, exported."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.web import call, client, problem, system
from utils.dns.lookup import Answer, Found, Resolver

__all__ = ["client", "system"]  # fixtures

PATH = "/subscribers/ann@example.com"


@pytest.fixture(autouse=True)
def ann(client: FlaskClient) -> None:
    said = {
        "email": "ann@example.com",
        "first_name": "Ann",
        "attributes": {"city": "Oslo", "plan": "pro"},
        "tags": ["a", "b"],
        "consent": {"source": "shop", "ip": "192.0.2.7", "at": "2026-11-01T09:00:00Z"},
    }
    assert call(client, "POST", "/add-subscriber", json=said).status_code == 201


def patched(client: FlaskClient, **said: Any) -> dict[str, Any]:
    response = call(client, "PATCH", PATH, json=said)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json["subscriber"]  # type: ignore[index]
    return found


def test_a_patch_changes_what_it_names_and_null_takes_away(client: FlaskClient) -> None:
    after = patched(client, first_name=None, last_name="Lee", attributes={"plan": None, "x": 1})
    assert (after["first_name"], after["last_name"], after["attributes"], after["tags"]) == (
        None,
        "Lee",
        {"city": "Oslo", "x": 1},
        ["a", "b"],
    )
    assert patched(client, tags_add=["c"], tags_remove=["a"])["tags"] == ["b", "c"]
    assert patched(client, tags=["z"])["tags"] == ["z"]
    assert patched(client, email="ANN@example.com")["email"] == "ann@example.com"


@pytest.mark.parametrize(
    ("said", "pointer"),
    [
        ({"email": "new@example.com"}, "/email"),
        ({"status": "active"}, "/status"),
        ({"tags": ["x"], "tags_add": ["y"]}, "/tags"),
        ({"attributes": {f"a{n}": n for n in range(49)}}, ""),
    ],
)
def test_a_patch_that_cannot_be_is_refused(
    client: FlaskClient, said: dict[str, Any], pointer: str
) -> None:
    told = problem(call(client, "PATCH", PATH, json=said))
    assert (told["status"], told["errors"][0]["pointer"]) == (422, pointer)


def test_an_erased_person_is_gone_once(client: FlaskClient) -> None:
    assert call(client, "DELETE", PATH).status_code == 204
    for method, path in (("DELETE", PATH), ("GET", PATH), ("GET", f"{PATH}/export")):
        assert problem(call(client, method, path))["status"] == 404
    assert (
        call(client, "POST", "/add-subscriber", json={"email": "ann@example.com"}).status_code
        == 201
    )
    assert call(client, "DELETE", f"{PATH}?suppress=true").status_code == 204
    assert (
        call(client, "POST", "/add-subscriber", json={"email": "ann@example.com"}).status_code
        == 409
    )


def test_an_operator_suppresses_and_nothing_takes_it_back(client: FlaskClient) -> None:
    for new in (True, False):
        told = call(client, "POST", f"{PATH}/suppress", json={"evidence": "by phone"})
        assert told.json["new"] is new  # type: ignore[index]
    assert patched(client, first_name="B")["status"] == "unsubscribed"
    assert (
        call(client, "POST", "/add-subscriber", json={"email": "ann@example.com"}).status_code
        == 409
    )


def test_a_person_gets_all_that_is_held(client: FlaskClient) -> None:
    call(client, "POST", f"{PATH}/suppress", json={})
    told: Any = call(client, "GET", f"{PATH}/export").json
    assert told["profile"]["consent"] == {
        "source": "shop",
        "ip": "192.0.2.7",
        "at": "2026-11-01T09:00:00Z",
    }
    assert [one["reason"] for one in told["suppressions"]] == ["manual"]


def test_consent_stays_when_nothing_is_said_of_it(client: FlaskClient) -> None:
    call(client, "POST", "/add-subscriber", json={"email": "ann@example.com", "consent": {}})
    text = "email\nann@example.com\n"
    call(client, "POST", "/subscribers/import", data=text, content_type="text/csv")
    told: Any = call(client, "GET", PATH).json
    assert told["subscriber"]["consent"]["source"] == "shop"


def test_people_are_listed_by_page_and_filter(client: FlaskClient) -> None:
    for name in ("anna", "bob"):
        call(
            client, "POST", "/add-subscriber", json={"email": f"{name}@example.com", "tags": [name]}
        )

    def listed(query: str) -> tuple[list[str], int | None]:
        told: Any = call(client, "GET", f"/subscribers?{query}").json
        return [one["email"].partition("@")[0] for one in told["subscribers"]], told["next"]

    assert listed("limit=2") == (["ann", "anna"], 2)
    assert listed("limit=2&after=2") == (["bob"], None)
    assert listed("q=ANN") == (["ann", "anna"], None)
    assert listed("q=ann@") == (["ann"], None)
    assert listed("q=ann&after=1") == (["anna"], None)
    assert listed("tag=bob&status=active") == (["bob"], None)
    assert listed("status=bounced") == ([], None)


def test_the_list_is_a_file(client: FlaskClient) -> None:
    told = call(client, "GET", "/subscribers/export?tag=a")
    assert told.headers["Content-Disposition"] == "attachment; filename=subscribers.csv"
    assert told.text.splitlines() == [
        "email,first_name,last_name,tags,city,plan",
        "ann@example.com,Ann,,a;b,Oslo,pro",
    ]


def test_a_file_brings_roles_only_where_that_is_said(client: FlaskClient) -> None:
    def created(query: str) -> int:
        text = "email\nsupport@example.org\nabuse@example.org\n"
        path = f"/subscribers/import{query}"
        told: Any = call(client, "POST", path, data=text, content_type="text/csv").json
        return int(told["created"])

    assert [created(""), created("?allow_role=1")] == [0, 1]


@pytest.mark.parametrize(
    ("said", "status", "warned"),
    [
        ({"email": "abuse@example.com", "allow_risky": True}, 422, []),
        ({"email": "ann@mailinator.com"}, 422, []),
        ({"email": "ann@mailinator.com", "allow_risky": True}, 201, ["disposable"]),
        ({"email": "support@example.com"}, 201, ["role"]),
        ({"email": "ann@gmial.com"}, 201, ["typo"]),
        ({"email": "bob@example.com"}, 201, []),
    ],
)
def test_an_address_is_looked_at_before_it_is_taken(
    client: FlaskClient, said: dict[str, Any], status: int, warned: list[str]
) -> None:
    told: Any = call(client, "POST", "/add-subscriber", json=said)
    assert told.status_code == status
    assert [one["id"] for one in told.json.get("warnings", ())] == warned


@pytest.mark.parametrize(
    ("found", "status", "warned"),
    [
        (Answer(found=Found.OK, records=("10 mx.example.com.",)), 201, []),
        (Answer(found=Found.OK, records=("0 .",)), 422, []),
        (Answer(found=Found.NXDOMAIN), 422, []),
        (Answer(found=Found.NODATA), 422, []),
        (Answer(found=Found.TEMPFAIL), 201, ["mx-unknown"]),
    ],
)
def test_the_dns_is_asked_where_that_is_wanted(
    client: FlaskClient,
    monkeypatch: pytest.MonkeyPatch,
    found: Answer,
    status: int,
    warned: list[str],
) -> None:
    monkeypatch.setattr(Resolver, "ask", lambda *_: found)
    said = {"email": "bob@example.com", "check_mx": True}
    told: Any = call(client, "POST", "/add-subscriber", json=said)
    assert told.status_code == status
    assert [one["id"] for one in told.json.get("warnings", ())] == warned
