"""Segments over HTTP: kept, looked at, sent to; and tags for many people."""

from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from database.models import Campaign, Subscriber
from services.system import System
from tests.openapi import Description
from tests.people import add
from tests.segment_reference import VIP
from tests.test_api_sending import client as sending_client
from tests.test_api_sending import simulator
from tests.web import KEY, call, client, problem, system

__all__ = ["client", "sending_client", "simulator", "system"]  # fixtures

MAILING = {"subject": "Hello", "text": "Hello {{ first_name }}"}
WITH_KEY = {**KEY, "Idempotency-Key": "one"}


@pytest.fixture
def people(system: System) -> None:
    for n in range(5):
        add(system.database, f"vip{n}@example.com", tags=frozenset({"vip"}))
        add(system.database, f"reader{n}@example.com")


def pointers(response: Any) -> list[tuple[str, str]]:
    assert response.status_code == 422
    return [(one["pointer"], one["detail"]) for one in problem(response)["errors"]]


def test_a_segment_is_made_replaced_read_and_deleted(client: FlaskClient) -> None:
    said = Description(client)
    path = "/segments/our readers"
    made = call(client, "PUT", path, json={"filter": VIP})
    again = call(client, "PUT", path, json={"filter": {"not": VIP}})
    assert (made.status_code, again.status_code) == (201, 200)
    found = call(client, "GET", path)
    said.check("GET", "/segments/{name}", found)
    assert found.get_json() == {
        "name": "our readers",
        "filter": {"not": VIP},
        "created_at": "2026-11-24T12:00:00Z",
        "updated_at": "2026-11-24T12:00:00Z",
    }
    listed = call(client, "GET", "/segments")
    said.check("GET", "/segments", listed)
    assert listed.get_json() == {"segments": [found.get_json()]}
    gone = call(client, "DELETE", path)
    assert (gone.status_code, gone.data) == (204, b"")
    for method in ("GET", "DELETE"):
        assert problem(call(client, method, path))["status"] == 404


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [("/filter", "is required")]),
        ({"filter": []}, [("/filter", "must be an object")]),
        ({"filter": VIP, "name": "x"}, [("/name", "is not a field of this call")]),
        (
            {"filter": {"and": [{"tags": {"any": []}}, {"a/b~c": {}}]}},
            [
                ("/filter/and/0/tags/any", "must be a list of 1 to 1000 values"),
                ("/filter/and/1/a~1b~0c", "is not one of: and, or, not, "),
            ],
        ),
        ({"filter": {"opened": 7}}, [("/filter/opened", "there is no campaign 7")]),
    ],
)
def test_what_is_wrong_in_a_filter_is_a_422_that_points_to_it(
    client: FlaskClient, body: Any, expected: list[tuple[str, str]]
) -> None:
    for method, path in (("PUT", "/segments/x"), ("POST", "/segments/preview")):
        told = pointers(call(client, method, path, json=body))
        assert [place for place, _ in told] == [place for place, _ in expected]
        for (_, words), (_, begin) in zip(told, expected, strict=True):
            assert words.startswith(begin)
    assert call(client, "GET", "/segments").get_json() == {"segments": []}


def test_a_name_is_checked(client: FlaskClient) -> None:
    for path in (
        "/segments/%20x",
        "/segments/a%00b",
        "/segments/%3Cb%3E",
        f"/segments/{'a' * 101}",
    ):
        response = call(client, "PUT", path, json={"filter": VIP})
        assert [error["parameter"] for error in problem(response)["errors"]] == ["name"]
    assert problem(call(client, "PUT", "/segments/a/b", json={"filter": VIP}))["status"] == 404


@pytest.mark.usefixtures("people")
def test_a_preview_counts_and_shows_some(client: FlaskClient) -> None:
    response = call(client, "POST", "/segments/preview", json={"filter": VIP})
    Description(client).check("POST", "/segments/preview", response)
    assert response.get_json() == {
        "count": 5,
        "is_estimate": False,
        "sample": [f"vip{n}@example.com" for n in range(5)],
    }


# campaigns


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("audience", [{"segment": "vips"}, {"filter": VIP}])
def test_a_campaign_to_a_segment_or_a_filter_keeps_the_filter(
    sending_client: FlaskClient, system: System, audience: Any
) -> None:
    call(sending_client, "PUT", "/segments/vips", json={"filter": VIP})
    body = {**MAILING, "audience": audience}
    dry = call(sending_client, "POST", "/send-campaign", json={**body, "dry_run": True}).get_json()
    assert (dry["planned"], dry["counts"]["queued"]) == (5, 5)
    sent = call(sending_client, "POST", "/send-campaign", json=body)
    assert sent.status_code == 200
    assert (sent.get_json()["status"], sent.get_json()["counts"]["accepted"]) == ("sent", 5)
    with system.database.read() as session:
        kept = session.get_one(Campaign, sent.get_json()["campaign_id"])
        assert kept.audience == {"filter": VIP}
    other = {"segment": "vips"} if "filter" in audience else {"filter": VIP}
    same = call(sending_client, "POST", "/send-campaign", json={**body, "audience": other})
    assert problem(same)["type"] == "/problems/possible-duplicate"


@pytest.mark.parametrize(
    ("audience", "place", "words"),
    [
        ({"segment": "nobody"}, "/audience/segment", "is no segment of yours"),
        ({"segment": "a/b"}, "/audience/segment", "must be 1 to 100 letters"),
        ({"filter": {"status": {"eq": "x"}}}, "/audience/filter/status/eq", "must be one of: "),
        ({"filter": {"received": 9}}, "/audience/filter/received", "there is no campaign 9"),
        ({"filter": VIP, "tags": ["a"]}, "/audience", "give exactly one of `tags`, `segment`, "),
        ({"segment": "a", "emails": []}, "/audience", "give exactly one of `tags`, `segment`, "),
        ({}, "/audience", "give exactly one of `tags`, `segment`, "),
    ],
)
@pytest.mark.parametrize("more", [{}, {"dry_run": True}])
def test_an_audience_that_cannot_be_is_a_422(
    sending_client: FlaskClient, audience: Any, place: str, words: str, more: Any
) -> None:
    body = {**MAILING, "audience": audience, **more}
    [(found, told)] = pointers(call(sending_client, "POST", "/send-campaign", json=body))
    assert found == place
    assert told.startswith(words)
    assert call(sending_client, "GET", "/campaigns").get_json()["campaigns"] == []


@pytest.mark.usefixtures("people")
def test_a_request_that_is_repeated_finds_its_campaign_when_the_segment_is_gone(
    sending_client: FlaskClient,
) -> None:
    call(sending_client, "PUT", "/segments/vips", json={"filter": VIP})
    body = {**MAILING, "audience": {"segment": "vips"}}
    once = call(sending_client, "POST", "/send-campaign", json=body, headers=WITH_KEY)
    call(sending_client, "DELETE", "/segments/vips")
    gone = call(sending_client, "POST", "/send-campaign", json=body, headers=WITH_KEY)
    assert (once.status_code, gone.status_code) == (200, 200)
    assert once.get_json()["campaign_id"] == gone.get_json()["campaign_id"]


# tags


def tags_of(system: System) -> dict[str, list[str]]:
    with system.database.read() as session:
        rows = session.execute(select(Subscriber.email_key, Subscriber.tags))
        return {key.partition("@")[0]: tags for key, tags in rows if tags}


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    "whom",
    [
        {"filter": VIP},
        {"segment": "vips"},
        {"emails": [*(f"VIP{n}@example.com" for n in range(5)), "nobody@example.com"]},
    ],
)
def test_tags_are_changed_for_a_filter_a_segment_or_addresses(
    client: FlaskClient, system: System, whom: Any
) -> None:
    call(client, "PUT", "/segments/vips", json={"filter": VIP})
    body = {"add": [" gold ", "old"], "remove": ["vip"], **whom}
    response = call(client, "POST", "/subscribers/tag", json=body)
    Description(client).check("POST", "/subscribers/tag", response)
    assert response.get_json() == {"changed": 5}
    assert tags_of(system) == {f"vip{n}": ["gold", "old"] for n in range(5)}


@pytest.mark.parametrize(
    ("body", "place", "words"),
    [
        ({"filter": VIP}, "", "give tags to `add`, to `remove`, or both"),
        ({"add": ["a"], "remove": ["a"], "filter": VIP}, "", "'a' cannot be both added and"),
        ({"add": ["a"]}, "", "give exactly one of `filter`, `segment` and `emails`"),
        ({"add": ["a"], "filter": VIP, "emails": []}, "", "give exactly one of `filter`, "),
        ({"add": ["a,b"], "filter": VIP}, "/add", "a tag must not contain commas"),
        ({"add": ["a"], "segment": "none"}, "/segment", "is no segment of yours"),
        ({"add": ["a"], "filter": {"opened": 1}}, "/filter/opened", "there is no campaign 1"),
        ({"add": ["a"], "filter": {"x": 1}}, "/filter/x", "is not one of: "),
        ({"add": ["a"], "emails": ["a@b.co", "no"]}, "/emails/1", "An email address must have"),
    ],
)
def test_a_change_of_tags_that_cannot_be_is_a_422(
    client: FlaskClient, body: Any, place: str, words: str
) -> None:
    [(found, told)] = pointers(call(client, "POST", "/subscribers/tag", json=body))
    assert found == place
    assert told.startswith(words)


def test_the_description_of_a_filter_names_every_field(client: FlaskClient) -> None:
    spec = call(client, "GET", "/openapi.json").get_json()
    described = spec["components"]["schemas"]["Filter"]
    assert {"and", "or", "not", "status", "tags", "domain", "not_opened"} <= set(
        described["properties"]
    )
    assert described["properties"]["status"]["properties"]["in"]["items"]["enum"][1] == "active"
    assert "gte" in described["additionalProperties"]["properties"]
