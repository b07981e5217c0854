"""What stops a stolen key, or a slip, before a mailing goes out: the senders that are allowed."""

from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from services.system import System
from tests.web import call, client, problem, system

__all__ = ["client", "system"]

MAILING = {"subject": "Hello", "text": "Hello"}
REFUSED = "is none of ALLOWED_SENDERS, the setting for this"


def post(client: FlaskClient, path: str = "/send-campaign", **said: Any) -> TestResponse:
    return call(client, "POST", path, json={**MAILING, **said})


@pytest.mark.parametrize(
    ("sender", "may"),
    [
        (None, True),
        ("news@example.com", True),
        ("news@EXAMPLE.com", True),
        ("News@example.com", False),
        ("ceo@example.com", False),
        ("anybody@b\u00fccher.example", True),
        ("anybody@xn--bcher-kva.example", True),
        ("anybody@mail.xn--bcher-kva.example", False),
        ("anybody@xn--bcher-kva.example.org", False),
    ],
)
def test_mail_is_from_nobody_but_the_allowed_senders(
    client: FlaskClient, system: System, sender: str | None, may: bool
) -> None:
    allowed = ("news@example.com", "@xn--bcher-kva.example")
    system.settings = replace(system.settings, allowed_senders=allowed)
    said = {} if sender is None else {"from_email": sender}
    system.start_simulator()
    for path, more in (("/send-campaign", {"dry_run": True}), ("/preview", {})):
        answer = post(client, path, **said, **more)
        if may:
            assert answer.status_code == 200
        else:
            told = problem(answer)
            assert (told["status"], told["errors"]) == (
                422,
                [{"pointer": "/from_email", "detail": REFUSED}],
            )


@pytest.mark.parametrize("more", [{}, {"test_to": ["ann@example.net"]}])
def test_nothing_is_sent_for_a_sender_that_is_not_allowed(
    client: FlaskClient, system: System, more: dict[str, Any]
) -> None:
    system.settings = replace(system.settings, allowed_senders=("news@example.com",))
    told = problem(post(client, from_email="ceo@example.com", **more))
    assert told["detail"] == f"/from_email: {REFUSED}"
    assert call(client, "GET", "/campaigns").get_json()["campaigns"] == []
