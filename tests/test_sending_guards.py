"""What stops a stolen key, or a slip, before a mailing goes out: senders, and how many people."""

from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import event
from werkzeug.test import TestResponse

from api.limits import TEST_MAIL
from database.models import Campaign, CampaignStatus
from database.rate_limits import RateLimits
from services.system import System
from tests.test_api_sending import add_people, client, simulator
from tests.web import KEY, call, problem, system

__all__ = ["client", "simulator", "system"]

MAILING = {"subject": "Hello", "text": "Hello"}
REFUSED = "is none of ALLOWED_SENDERS, the setting for this"


def post(client: FlaskClient, path: str = "/send-campaign", **said: Any) -> TestResponse:
    return call(client, "POST", path, json={**MAILING, **said})


def campaigns(client: FlaskClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = call(client, "GET", "/campaigns").get_json()["campaigns"]
    return found


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
    assert campaigns(client) == []


def test_a_paused_campaign_stays_paused_while_its_sender_is_not_allowed(
    client: FlaskClient, system: System
) -> None:
    made = post(client, from_email="ceo@example.com", audience={"tags": ["nobody"]}).get_json()
    campaign_id = made["campaign_id"]
    with system.database.write() as session:
        session.get_one(Campaign, campaign_id).status = CampaignStatus.PAUSED
    anybody = system.settings
    system.settings = replace(anybody, allowed_senders=("news@example.com",))
    path = f"/campaigns/{campaign_id}"
    told = problem(call(client, "POST", f"{path}/resume"))
    assert (told["type"], told["status"], told["detail"]) == (
        "/problems/conflict",
        409,
        f"Campaign {campaign_id} stays paused: its sender ceo@example.com is none of "
        "ALLOWED_SENDERS, the setting for this; add it there and restart, or cancel the campaign "
        "and send it from another.",
    )
    assert call(client, "GET", path).get_json()["status"] == "paused"
    system.settings = anybody
    assert call(client, "POST", f"{path}/resume").status_code == 200


def test_a_campaign_to_more_people_than_the_setting_is_refused_before_anything_is_stored(
    client: FlaskClient, system: System
) -> None:
    system.settings = replace(system.settings, max_recipients_per_campaign=2)
    add_people(client, 3)
    told = problem(post(client, confirm_count=3))
    words = "is 3 people; the setting MAX_RECIPIENTS_PER_CAMPAIGN is 2"
    assert (told["status"], told["recipients"], told["errors"]) == (
        422,
        3,
        [{"pointer": "/audience", "detail": words}],
    )
    assert campaigns(client) == []
    two = [f"person{number}@example.com" for number in (0, 1, 1)]
    told = post(client, audience={"emails": [*two, "nobody@example.com"]}).get_json()
    assert (told["planned"], told["counts"]["accepted"]) == (4, 2)


def test_a_large_campaign_needs_the_number_that_a_dry_run_tells(
    client: FlaskClient, system: System
) -> None:
    system.settings = replace(system.settings, confirm_count_over=2)
    add_people(client, 3)
    call(client, "POST", "/subscribers/person0@example.com/suppress", json={"reason": "manual"})
    assert post(client, name="two are not many").status_code == 200
    call(client, "POST", "/add-subscriber", json={"email": "another@example.com"})
    wrong: list[dict[str, Any]] = [{}, {"confirm_count": 4}, {"confirm_count": 2}]
    for said in wrong:
        told = problem(post(client, allow_duplicate=True, **said))
        assert (told["type"], told["status"], told["recipients"]) == (
            "/problems/count-not-confirmed",
            409,
            3,
        )
    assert len(campaigns(client)) == 1
    number = post(client, dry_run=True).get_json()["counts"]["queued"]
    told = post(client, allow_duplicate=True, confirm_count=number).get_json()
    assert (number, told["counts"]["accepted"]) == (3, 3)


def test_a_wrong_number_is_refused_whatever_the_settings(client: FlaskClient) -> None:
    add_people(client, 1)
    assert problem(post(client, confirm_count=2))["recipients"] == 1
    assert post(client, confirm_count=1).status_code == 200


def test_others_write_while_people_are_counted_and_who_joins_meanwhile_is_not_written_to(
    client: FlaskClient, system: System
) -> None:
    system.settings = replace(system.settings, max_recipients_per_campaign=2)
    add_people(client, 2)
    joined: list[int] = []

    def join(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "anon_1.reason" in statement:
            added = call(client, "POST", "/add-subscriber", json={"email": "new@example.com"})
            joined.append(added.status_code)

    event.listen(system.database.reader, "after_cursor_execute", join)
    told = post(client).get_json()
    assert joined == [201]
    assert (told["planned"], told["counts"]["accepted"]) == (2, 2)


def test_a_repeated_key_is_answered_the_same_whatever_has_become_of_the_number(
    client: FlaskClient, system: System
) -> None:
    system.settings = replace(system.settings, confirm_count_over=1)
    add_people(client, 2)
    headers = {**KEY, "Idempotency-Key": "monday"}

    def ask(**said: Any) -> TestResponse:
        return call(client, "POST", "/send-campaign", json={**MAILING, **said}, headers=headers)

    assert problem(ask())["status"] == 409  # and the key is still free
    first = ask(confirm_count=2)
    call(client, "POST", "/add-subscriber", json={"email": "third@example.com"})
    system.settings = replace(system.settings, max_recipients_per_campaign=1)
    assert (first.status_code, ask(confirm_count=2).get_json()) == (200, first.get_json())
    assert len(campaigns(client)) == 1


def test_a_hundred_test_mails_an_hour_are_enough(client: FlaskClient, system: System) -> None:
    """They go to any address, so a stolen key could mail the world as tests."""
    ten = [f"anybody{n}@example.net" for n in range(10)]
    counts = RateLimits(system.database, system.hash_key)
    for _ in range(89):
        assert counts.take(TEST_MAIL, "all", system.clock()) is None
    assert post(client, test_to=ten).status_code == 200
    refused = post(client, test_to=ten)
    assert problem(refused)["type"] == "/problems/too-many-requests"
    assert refused.headers["Retry-After"] == "36"
    assert len(system.start_simulator().mails()) == 10
