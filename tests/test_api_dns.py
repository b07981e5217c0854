"""GET /dns-check and /dns-instructions: anybody's domain, kept results, and words for a person."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import create_app
from config.settings import SendingMode
from database.models import DnsCheck
from services.system import System
from tests.dns_good import DOMAIN, GOOD_SETUP, GOOD_ZONES
from tests.dns_zones import Zones, serving
from tests.web import KEY, call, problem, system

__all__ = ["system"]  # fixture


@pytest.fixture(scope="module")
def zones() -> Iterator[tuple[Any, Zones]]:
    with serving(GOOD_ZONES) as server:
        yield server


@pytest.fixture
def client(system: System, zones: tuple[Any, Zones]) -> Iterator[FlaskClient]:
    system.settings = replace(
        system.settings,
        sending_mode=SendingMode.SANDBOX,
        dns_nameservers=(zones[0],),
        domain_setups={DOMAIN: GOOD_SETUP},
    )
    with create_app(system=system).test_client() as made:
        yield made


def get(client: FlaskClient, path: str, accept: str = "application/json") -> Any:
    answer = call(client, "GET", path, headers={**KEY, "Accept": accept})
    assert answer.status_code == 200, answer.data
    return answer.get_json() if accept == "application/json" else answer.text


def test_the_sending_domain_is_checked_once_and_then_told_from_memory(
    client: FlaskClient, system: System, zones: tuple[Any, Zones]
) -> None:
    first = get(client, "/dns-check")
    assert (first["domain"], first["status"]) == (DOMAIN, "pass")
    assert first["checked_at"] == system.clock().isoformat()
    asked = len(zones[1].asked)
    assert get(client, "/dns-check?refresh=0") == first
    assert len(zones[1].asked) == asked
    assert get(client, "/dns-check?refresh=1")["checks"] == first["checks"]
    assert len(zones[1].asked) > asked
    with system.database.read() as session:
        assert [row.asked_by for row in session.query(DnsCheck)] == ["a person"] * 2


def test_any_domain_may_be_asked_for(client: FlaskClient) -> None:
    told = get(client, "/dns-check?domain=Other.Example.")
    assert (told["domain"], told["status"]) == ("other.example", "fail")
    missing = next(one for one in told["checks"] if one["id"] == "dmarc.missing")
    assert (missing["status"], missing["blocks"]) == ("fail", True)


@pytest.mark.parametrize(
    "path",
    [
        "/dns-check?domain=",
        "/dns-check?domain=no%20domain",
        f"/dns-check?domain={'a.' * 130}com",
        "/dns-check?domain=192.0.2.1",
        "/dns-check?refresh=yes",
        "/dns-check?host=example.com",
        "/dns-instructions?domain=-",
    ],
)
def test_what_is_no_domain_is_told_so(client: FlaskClient, path: str) -> None:
    answer = call(client, "GET", path)
    assert answer.status_code == 422
    [fault] = problem(answer)["errors"]
    assert fault["parameter"] in ("domain", "refresh", "host")


@pytest.mark.parametrize("path", ["/dns-check", "/dns-instructions"])
def test_both_need_the_key(client: FlaskClient, path: str) -> None:
    assert call(client, "GET", path, headers={}).status_code == 401


def test_instructions_come_as_json_text_and_zone(client: FlaskClient) -> None:
    told = get(client, "/dns-instructions")
    assert told["domain"] == DOMAIN
    assert {one["purpose"] for one in told["records"]} == {
        *("dkim", "return_path", "tracking", "spf", "dmarc"),
    }
    assert {one["status"] for one in told["records"]} == {"pass"}
    assert get(client, "/dns-instructions", "text/plain").startswith("DNS records for example.com")
    assert get(client, "/dns-instructions", "text/dns").startswith("$ORIGIN example.com.\n")
