"""The people on the list over HTTP: adding, finding, importing, counting."""

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select

from api import imports
from database.models import Subscriber, SuppressionReason
from list_manager import suppress
from services.system import System
from tests.conftest import NOW, Clock
from tests.people import assert_counters_are_true, who
from tests.web import KEY, call, client, problem, system

__all__ = ["client", "system"]  # fixtures

ADD = "/add-subscriber"
ANN = {
    "email": "Ann@Example.com",
    "first_name": " Ann ",
    "last_name": "Lee",
    "attributes": {"city": "Oslo", "deep": {"a": [1, 2.5, None, True]}},
    "tags": ["vip", "news", "vip"],
    "consent": {"source": "shop", "ip": "2001:DB8::1", "at": "2026-11-01T10:00:00+01:00"},
}


def add(client: FlaskClient, **said: Any) -> Any:
    return call(client, "POST", ADD, json={"email": "ann@example.com", **said})


def upload(client: FlaskClient, text: str | bytes, **said: Any) -> Any:
    said.setdefault("content_type", "text/csv")
    return call(client, "POST", "/subscribers/import", data=text, **said)


def number_of_people(system: System) -> int:
    with system.database.read() as session:
        return session.scalar(select(func.count()).select_from(Subscriber)) or 0


def test_a_new_person_is_answered_201_and_found_again(client: FlaskClient) -> None:
    added = add(client, **ANN)
    fields = {
        "email": "Ann@example.com",
        "status": "active",
        "engagement_score": 37,
        "tier": "cooling",
        "first_name": "Ann",
        "last_name": "Lee",
        "attributes": ANN["attributes"],
        "tags": ["news", "vip"],
        "mailbox_provider": "other",
        "consent": {"source": "shop", "ip": "2001:db8::1", "at": "2026-11-01T09:00:00Z"},
        "suppression": None,
        "created_at": "2026-11-24T12:00:00Z",
        "updated_at": "2026-11-24T12:00:00Z",
    }
    told: dict[str, Any] = {
        "subscriber": fields,
        "suggestion": None,
        "confirmation": None,
        "warnings": [],
    }
    assert (added.status_code, added.json) == (201, told)
    for address in ("ann@example.com", "ANN@EXAMPLE.COM", " ann@example.com "):
        found = call(client, "GET", f"/subscribers/{address}")
        assert (found.status_code, found.json) == (200, {"subscriber": fields})


def test_a_known_person_is_answered_200_and_merged(client: FlaskClient, clock: Clock) -> None:
    add(client, **ANN)
    clock.forward(hours=1)
    merged = add(client, last_name="New", attributes={"city": "Rome"}, tags=["x"])
    assert merged.status_code == 200
    found = merged.json["subscriber"]
    assert (found["first_name"], found["last_name"], found["tags"]) == (
        "Ann",
        "New",
        ["news", "vip", "x"],
    )
    assert found["attributes"] == {**ANN["attributes"], "city": "Rome"}  # type: ignore[dict-item]
    assert found["consent"]["source"] == "shop"
    assert (found["created_at"], found["updated_at"]) == (
        "2026-11-24T12:00:00Z",
        "2026-11-24T13:00:00Z",
    )


def test_an_address_with_a_slash_can_be_found(client: FlaskClient) -> None:
    add(client, email="a/b%c@example.com")
    for path in ("/subscribers/a%2Fb%25c@example.com", "/subscribers/a/b%25c@example.com"):
        assert call(client, "GET", path).status_code == 200


@pytest.mark.parametrize("address", ["bob@example.com", "bob", "b\x00b@example.com", "..", "%ff"])
def test_whoever_is_not_on_the_list_is_not_found(client: FlaskClient, address: str) -> None:
    assert problem(call(client, "GET", f"/subscribers/{address}"))["status"] == 404


def test_a_slip_is_pointed_out_and_taken_as_typed(client: FlaskClient) -> None:
    added = add(client, email="ann@gmial.com")
    assert (added.status_code, added.json["suggestion"]) == (201, "ann@gmail.com")
    assert added.json["subscriber"]["email"] == "ann@gmial.com"


def test_an_invalid_address_is_422_with_reason_and_suggestion(client: FlaskClient) -> None:
    found = problem(add(client, email="ann@gmail"))
    assert found["status"] == 422
    assert found["errors"] == [
        {
            "pointer": "/email",
            "detail": "The part after the @-sign is not valid. It should have a period",
        }
    ]
    assert found["suggestion"] == "ann@gmail.com"


@pytest.mark.parametrize("reason", [SuppressionReason.UNSUBSCRIBED, SuppressionReason.COMPLAINT])
def test_whoever_left_is_409_and_stays_as_they_are(
    client: FlaskClient, system: System, reason: SuppressionReason
) -> None:
    add(client, **ANN)
    with system.database.write() as session:
        suppress(session, who("ann@example.com"), reason=reason, source="page", now=NOW)
    before = call(client, "GET", "/subscribers/ann@example.com").json
    found = problem(add(client, first_name="Eve"))
    assert (found["status"], found["type"], found["reason"]) == (
        409,
        "/problems/suppressed",
        reason.value,
    )
    after: Any = call(client, "GET", "/subscribers/ann@example.com").json
    assert after == before
    assert after["subscriber"]["suppression"] == {
        "reason": reason.value,
        "source": "page",
        "since": "2026-11-24T12:00:00Z",
        "until": None,
    }


_DEEP: Any = "x"
for _ in range(5):
    _DEEP = [_DEEP]
_HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "a header injection": ({"email": "a@example.com\nBcc: b@example.com"}, "/email"),
    "an encoded word": ({"email": "=?utf-8?q?a=40evil.com=3E?=@good.com"}, "/email"),
    "a long address": ({"email": "a" * 100_000 + "@example.com"}, "/email"),
    "a list of addresses": ({"email": ["a@example.com"]}, "/email"),
    "a line break in a name": ({"first_name": "Ann\r\nBcc: x"}, "/first_name"),
    "a name of 201": ({"last_name": "x" * 201}, "/last_name"),
    "a number as name": ({"first_name": 7}, "/first_name"),
    "a hidden attribute": ({"attributes": {"__class__": 1}}, "/attributes"),
    "an attribute no template can say": ({"attributes": {"a b": 1}}, "/attributes"),
    "an attribute nested 5 deep": ({"attributes": {"a": _DEEP}}, "/attributes"),
    "51 attributes": ({"attributes": {f"a{n}": 1 for n in range(51)}}, "/attributes"),
    "32 kB of attributes": ({"attributes": {"a": "x" * 32_000}}, "/attributes"),
    "attributes in a list": ({"attributes": [1]}, "/attributes"),
    "51 tags": ({"tags": [f"t{n}" for n in range(51)]}, "/tags"),
    "an empty tag": ({"tags": [" "]}, "/tags"),
    "a tag with a comma": ({"tags": ["a,b"]}, "/tags"),
    "a tag with a semicolon": ({"tags": ["a;b"]}, "/tags"),
    "a tag of 65": ({"tags": ["x" * 65]}, "/tags"),
    "a tag that is no text": ({"tags": [None]}, "/tags/0"),
    "an IP that is none": ({"consent": {"ip": "999.1.1.1"}}, "/consent/ip"),
    "a time without zone": ({"consent": {"at": "2026-01-01T00:00:00"}}, "/consent/at"),
    "a time before e-mail": ({"consent": {"at": "0001-01-01T00:00:00+14:00"}}, "/consent/at"),
    "a time as number": ({"consent": {"at": 5}}, "/consent/at"),
    "a status of one's own": ({"status": "active"}, "/status"),
    "a wish that is no yes or no": ({"double_opt_in": "yes"}, "/double_opt_in"),
}


def test_what_stands_behind_an_ip_is_not_kept(client: FlaskClient) -> None:
    """A zone is any text, of any length; PostgreSQL has room for 45 characters."""
    added = add(client, email="ann@example.com", consent={"ip": "fe80::1%<b>" + "x" * 1000})
    assert added.json["subscriber"]["consent"]["ip"] == "fe80::1"


@pytest.mark.parametrize("name", _HOSTILE)
def test_hostile_fields_are_422_and_nothing_is_stored(
    client: FlaskClient, system: System, name: str
) -> None:
    said, pointer = _HOSTILE[name]
    found = problem(add(client, **said))
    assert found["status"] == 422
    assert [error["pointer"] for error in found["errors"]] == [pointer]
    assert number_of_people(system) == 0


def test_what_looks_like_code_is_only_text(client: FlaskClient) -> None:
    texts = ["'; DROP TABLE subscribers; --", "{{ 7*7 }}", "<script>alert(1)</script>", "=cmd()"]
    added = add(client, first_name=texts[0], last_name=texts[1], attributes={"a": texts[2:]})
    found = added.json["subscriber"]
    assert [found["first_name"], found["last_name"], *found["attributes"]["a"]] == texts


def test_a_file_is_imported_and_told_line_by_line(
    client: FlaskClient, system: System, clock: Clock
) -> None:
    answer = upload(
        client,
        "email,first_name,tags,city\nann@example.com,Ann,news;vip,Oslo\nnobody\n"
        "ANN@example.com,Ann,,\nbob@example.com\n",
    )
    assert answer.status_code == 200
    told = dict(answer.json)
    url = told.pop("refused_url")
    assert told == {
        "rows": 4,
        "created": 2,
        "updated": 0,
        "suppressed": 0,
        "duplicates": 1,
        "invalid": 1,
        "refused": [
            {"row": 3, "email": "nobody", "reason": "An email address must have an @-sign"}
        ],
    }
    assert problem(call(client, "GET", url, headers={}))["status"] == 401
    with call(client, "GET", url) as file:
        assert file.mimetype == "text/csv"
        assert file.get_data(as_text=True).splitlines() == [
            "row,email,reason",
            "3,nobody,An email address must have an @-sign",
        ]
    assert number_of_people(system) == 2
    assert_counters_are_true(system.database)
    clock.now += timedelta(days=365 * 100)
    assert problem(call(client, "GET", url))["status"] == 404


def test_no_refusals_no_file(client: FlaskClient) -> None:
    assert upload(client, "email\nann@example.com\n").json["refused_url"] is None


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"content_type": "application/json"}, 415),
        ({"content_type": None}, 415),
        ({"content_type": "text/csv; charset=latin-1"}, 415),
        ({"content_type": "text/csv", "headers": {**KEY, "Content-Encoding": "gzip"}}, 415),
        ({"content_type": "text/csv; charset=utf-8"}, 200),
        ({"content_type": "text/csv; charset=UTF-8; header=present"}, 200),
    ],
)
def test_only_csv_in_utf_8_is_imported(
    client: FlaskClient, system: System, said: dict[str, Any], status: int
) -> None:
    answer = upload(client, "email\nann@example.com\n", **said)
    assert (answer.status_code, number_of_people(system)) == (status, int(status == 200))


def test_a_file_without_header_is_422(client: FlaskClient, system: System) -> None:
    found = problem(upload(client, "ann@example.com\nbob@example.com\n"))
    assert (found["status"], number_of_people(system)) == (422, 0)
    assert "`email`" in found["detail"]


def test_a_file_may_be_larger_than_other_bodies_but_not_without_limit(
    client: FlaskClient, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "".join(f"reader{n}@example.com,{'x' * 500}\n" for n in range(2500))
    assert upload(client, f"email,note\n{lines}").json["created"] == 2500
    monkeypatch.setattr(imports, "MAX_BYTES", 1_000_000)
    assert problem(upload(client, f"email,note\n{lines}"))["status"] == 413
    chunked = {
        "input_stream": io.BytesIO(f"email,note\n{lines}".encode()),
        "environ_overrides": {"wsgi.input_terminated": True},
        "data": None,
    }
    assert problem(call(client, "POST", "/subscribers/import", content_type="text/csv", **chunked))


def test_bytes_that_are_not_text_are_told_in_printable_form(client: FlaskClient) -> None:
    answer = upload(client, b"email\n\xff\xfe@example.com\n")
    assert answer.json["refused"][0]["email"] == "??@example.com"


def test_the_stats_are_the_kept_counters(client: FlaskClient, system: System, clock: Clock) -> None:
    clock.now = NOW - timedelta(days=29)
    add(client, email="old@example.com")
    clock.now = NOW - timedelta(days=30)
    add(client, email="older@example.com")
    clock.now = NOW
    upload(client, "email\nann@example.com\nbob@example.com\n")
    with system.database.write() as session:
        for name, reason in (("ann", "unsubscribed"), ("bob", "hard_bounce")):
            suppress(
                session,
                who(f"{name}@example.com"),
                reason=SuppressionReason(reason),
                source="x",
                now=NOW,
            )
    told: Any = call(client, "GET", "/subscriber-stats").json
    assert (told["total"], told["by_status"]) == (
        4,
        {
            "pending": 0,
            "active": 2,
            "unsubscribed": 1,
            "bounced": 1,
            "complained": 0,
            "sunset": 0,
        },
    )
    tiers = {"hot": 0, "warm": 2, "cooling": 0, "re_engage": 0, "sunset": 0}
    assert (told["engagement"], told["bounces"]) == (tiers, {"hard": 0, "soft": 0, "blocked": 0})
    assert (told["complaints"], told["suppressions"]) == (
        0,
        {
            "unsubscribed": 1,
            "hard_bounce": 1,
            "soft_bounce": 0,
            "complaint": 0,
            "esp_inactive": 0,
            "manual": 0,
        },
    )
    quiet = dict.fromkeys(
        ("joined", "confirmed", "unsubscribed", "bounced", "complained", "net"), 0
    )
    assert len(told["growth"]) == 30
    assert told["growth"][0] == {"day": "2026-10-26", **quiet, "joined": 1, "net": 1}
    assert told["growth"][-1] == {
        "day": "2026-11-24",
        **quiet,
        "joined": 2,
        "unsubscribed": 1,
        "bounced": 1,
    }
    assert all(day == {"day": day["day"], **quiet} for day in told["growth"][1:-1])
    assert_counters_are_true(system.database)


def test_the_description_shows_how_to_import(client: FlaskClient) -> None:
    spec = json.loads(call(client, "GET", "/openapi.json", headers={}).text)
    body = spec["paths"]["/subscribers/import"]["post"]["requestBody"]
    assert list(body["content"]) == ["text/csv"]
