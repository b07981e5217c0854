"""Keys that may do less than API_KEY: each opens its own calls, and no other."""

from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from api.auth import LESSER, PUBLIC_RULES
from app import create_app
from services.system import System
from tests.web import API_KEY, call, client, problem, system

__all__ = ["client", "system"]

KEYS = {
    "read": "a-key-that-reads-0123",
    "read (the newer)": "another-that-reads-45",
    "sign-up": "a-key-that-signs-up-6",
    "send": "a-key-that-sends-7890",
}
FIGURES = {
    "GET /campaigns",
    "GET /campaigns/<int:campaign_id>",
    "GET /subscriber-stats",
    "GET /esp-status",
    "GET /dns-check",
    "GET /dns-instructions",
    "GET /metrics",
}
OPENS = {
    "read": FIGURES,
    "read (the newer)": FIGURES,
    "sign-up": {"POST /add-subscriber"},
    "send": {
        *FIGURES,
        "POST /send-campaign",
        "POST /campaigns/<int:campaign_id>/pause",
        "POST /campaigns/<int:campaign_id>/resume",
        "POST /campaigns/<int:campaign_id>/cancel",
    },
}


@pytest.fixture(autouse=True)
def lesser_keys(system: System) -> None:
    system.settings = replace(
        system.settings,
        read_api_keys=(KEYS["read"], KEYS["read (the newer)"]),
        sign_up_api_keys=(KEYS["sign-up"],),
        send_api_keys=(KEYS["send"],),
    )


def routes(client: FlaskClient) -> dict[str, tuple[str, str]]:
    """Every call that needs a key, by its name: its method, and a path of it."""
    found = {}
    for rule in client.application.url_map.iter_rules():
        if rule.rule not in PUBLIC_RULES:
            _, path = rule.build(dict.fromkeys(rule.arguments, "1")) or ("", rule.rule)
            for method in rule.methods or ():
                found[f"{method} {rule.rule}"] = (method, path)
    return found


@pytest.mark.parametrize("kind", KEYS)
def test_a_lesser_key_opens_its_calls_and_no_other(client: FlaskClient, kind: str) -> None:
    heads = {name.replace("GET", "HEAD") for name in OPENS[kind] if name.startswith("GET")}
    opened = set()
    for name, (method, path) in routes(client).items():
        headers = {"Authorization": f"Bearer {KEYS[kind]}"}
        answer = call(client, method, path, headers=headers, json={})
        assert answer.status_code != 401
        if answer.status_code != 403:
            opened.add(name)
        elif method != "HEAD":
            assert problem(answer)["type"] == "/problems/forbidden"
    assert opened == OPENS[kind] | heads


def test_every_call_that_a_lesser_key_opens_is_there(client: FlaskClient) -> None:
    assert set(LESSER) <= set(routes(client))


def test_each_key_has_a_limit_of_its_own(system: System) -> None:
    system.settings = replace(system.settings, api_calls_per_minute=1)
    client = create_app(system=system).test_client()
    for key in (API_KEY, KEYS["read"], KEYS["send"]):
        headers = {"Authorization": f"Bearer {key}"}
        said = [call(client, "GET", "/campaigns", headers=headers) for _ in range(2)]
        assert [one.status_code for one in said] == [200, 429]
