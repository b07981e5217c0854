"""Leaving over HTTP: a GET changes nothing, a POST of any kind does, again and again."""

from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from database.models import Subscriber, Suppression
from services.system import System
from tests.people import add, assert_counters_are_true, reasons, who
from tests.web import call, client, problem, system
from utils.tokens import UnsubscribeLink, link_key, unsubscribe_token

__all__ = ["client", "system"]  # fixtures


def token(system: System, **said: Any) -> str:
    link = {"email_hash": who("ann@example.com"), "subscriber_id": 1, "send_id": 0, **said}
    return unsubscribe_token(system.link_keys[0], UnsubscribeLink(**link))


def status(system: System) -> str:
    with system.database.read() as session:
        return session.scalars(select(Subscriber.status)).one().value


@pytest.fixture
def url(system: System) -> str:
    add(system.database, "ann@example.com")
    return f"/unsubscribe?token={token(system)}"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_looking_changes_nothing(
    client: FlaskClient, system: System, url: str, method: str
) -> None:
    for _ in range(100):
        assert call(client, method, url, headers={}).status_code == 200
    assert (status(system), reasons(system.database)) == ("active", [])


def test_the_page_has_one_button_and_loads_nothing(client: FlaskClient, url: str) -> None:
    page = call(client, "GET", url, headers={})
    assert page.content_type == "text/html; charset=utf-8"
    assert page.text.count("<button") == 1
    assert '<form method="post">' in page.text
    assert "width=device-width" in page.text
    assert "<script" not in page.text
    assert "http" not in page.text
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; form-action 'self'")
    assert page.headers["Referrer-Policy"] == "no-referrer"


_CALLS: dict[str, dict[str, Any]] = {
    "RFC 8058": {"data": {"List-Unsubscribe": "One-Click"}},
    "RFC 8058 as multipart": {
        "data": {"List-Unsubscribe": "One-Click"},
        "content_type": "multipart/form-data",
    },
    "the button": {"data": b"", "content_type": "application/x-www-form-urlencoded"},
    "nothing at all": {},
    "JSON that is none": {"data": b"{", "content_type": "application/json"},
    "bytes": {"data": b"\xff\x00" * 500_000, "content_type": "application/octet-stream"},
    "two megabytes": {"data": b"x" * 2_000_000},
    "another token in the body": {"data": {"token": "x"}},
    "a mail program": {"headers": {"User-Agent": "Mozilla/5.0 (compatible; Google-One-Click)"}},
    "no user agent": {"headers": {"User-Agent": ""}},
    "a strange user agent": {"headers": {"User-Agent": "\u00e9" * 200, "Accept": "image/png"}},
    "the API key beside it": {"headers": {"Authorization": "Bearer wrong"}},
}


@pytest.mark.parametrize("name", _CALLS)
def test_any_post_unsubscribes(client: FlaskClient, system: System, url: str, name: str) -> None:
    said = {"headers": {}, **_CALLS[name]}
    for _ in range(3):
        assert call(client, "POST", url, **said).status_code == 200
    assert (status(system), reasons(system.database)) == ("unsubscribed", ["unsubscribed"])
    assert_counters_are_true(system.database)


@pytest.mark.parametrize("more", ["&token=x", "&token=", "&List-Unsubscribe=One-Click", "&utm=a"])
def test_the_first_token_of_the_address_counts_whatever_follows(
    client: FlaskClient, system: System, url: str, more: str
) -> None:
    assert call(client, "POST", url + more, headers={}).status_code == 200
    assert status(system) == "unsubscribed"


@pytest.mark.parametrize("first", ["token=x", "token="])
def test_a_first_token_that_is_not_ours_is_not_made_good_by_a_second(
    client: FlaskClient, system: System, url: str, first: str
) -> None:
    twice = url.replace("?", f"?{first}&")
    assert call(client, "POST", twice, data={"token": "x"}, headers={}).status_code == 400
    assert (status(system), reasons(system.database)) == ("active", [])


def test_a_token_in_the_body_alone_is_none(client: FlaskClient, system: System, url: str) -> None:
    path, _, token = url.partition("?token=")
    assert call(client, "POST", path, data={"token": token}, headers={}).status_code == 400
    assert (status(system), reasons(system.database)) == ("active", [])


@pytest.mark.parametrize(
    ("data", "source"), [({"List-Unsubscribe": "One-Click"}, "one_click"), (b"", "page")]
)
def test_it_is_kept_who_said_so(
    client: FlaskClient, system: System, url: str, data: Any, source: str
) -> None:
    call(client, "POST", url, data=data, headers={})
    with system.database.read() as session:
        assert session.scalars(select(Suppression.source)).one() == source


def test_a_link_works_when_the_person_is_gone(client: FlaskClient, system: System) -> None:
    url = f"/unsubscribe?token={token(system, subscriber_id=999, send_id=999)}"
    assert call(client, "POST", url, headers={}).status_code == 200
    assert reasons(system.database) == ["unsubscribed"]
    refused = call(client, "POST", "/add-subscriber", json={"email": "ann@example.com"})
    assert problem(refused)["type"] == "/problems/suppressed"


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda good: "", id="empty"),
        pytest.param(lambda good: good[:-1], id="cut off"),
        pytest.param(lambda good: good + "A", id="longer"),
        pytest.param(lambda good: "B" + good[1:], id="changed"),
        pytest.param(lambda good: good[:-1] + "%00", id="a NUL"),
        pytest.param(lambda good: '"><svg/onload=1>', id="markup"),
        pytest.param(lambda good: "x" * 3000, id="long"),
        pytest.param(lambda good: "%ff%fe", id="not UTF-8"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_bad_token_is_a_page_that_says_what_to_do(
    client: FlaskClient, system: System, url: str, method: str, make: Any
) -> None:
    good = url.partition("=")[2]
    answer = call(client, method, f"/unsubscribe?token={make(good)}", headers={})
    assert (answer.status_code, answer.mimetype) == (400, "text/html")
    assert "from the mail again" in answer.text
    assert "onload" not in answer.text
    assert (status(system), reasons(system.database)) == ("active", [])


def test_a_key_that_was_rotated_out_of_use_still_verifies(
    client: FlaskClient, system: System, url: str
) -> None:
    system.link_keys = (
        link_key("A-N3w-Secret-That-Signs-From-Now-On-0123456789"),
        *system.link_keys,
    )
    assert call(client, "POST", url, headers={}).status_code == 200
    assert status(system) == "unsubscribed"
