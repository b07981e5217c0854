"""What the tests of the API share: an app on a database of its own, and calls with the key."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from config.settings import load_settings
from database.session import Database
from services.system import System
from tests.conftest import Clock
from tests.environment import API_KEY, SECRET_KEY
from utils.tokens import link_key

__all__ = ["API_KEY", "SECRET_KEY"]  # from here too

KEY = {"Authorization": f"Bearer {API_KEY}"}


@pytest.fixture
def system(database: Database, clock: Clock) -> System:
    return system_on(database, clock)


def system_on(database: Database, clock: Clock) -> System:
    settings = load_settings(
        {
            "API_KEY": API_KEY,
            "SECRET_KEY": SECRET_KEY,
            "DATABASE_URL": str(database.url),
            # The clock stands still, so no minute ends.
            **dict.fromkeys(("API_CALLS_PER_MINUTE", "PUBLIC_CALLS_PER_MINUTE"), "0"),
        },
        None,
    )
    return System(
        settings=settings,
        database=database,
        hash_key=b"k" * 32,
        link_keys=(link_key(SECRET_KEY),),
        clock=clock,
    )


@pytest.fixture
def client(system: System) -> Iterator[FlaskClient]:
    """Sends the API key with every call; `headers={}` sends none."""
    app = create_app(system=system)
    with app.test_client() as client:
        yield client


def call(client: FlaskClient, method: str, path: str, **said: Any) -> TestResponse:
    said.setdefault("headers", KEY)
    return client.open(path, method=method, **said)


def problem(response: TestResponse) -> dict[str, Any]:
    """The problem+json of an error, checked for what every one of them has."""
    assert response.content_type == "application/problem+json", response.data
    body: dict[str, Any] = response.get_json(force=True)
    assert body["status"] == response.status_code
    assert body["instance"] == f"urn:uuid:{response.headers['X-Request-Id']}"
    assert body["title"]
    assert body["detail"]
    return body
