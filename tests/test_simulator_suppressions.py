"""The simulator's suppression lists, called without an SDK: what each ESP answers to whom."""

from collections.abc import Iterator
from typing import Any

import pytest

from config.esp_config import EspName
from services.simulator.server import Simulator
from tests.conftest import Clock
from tests.simulator_calls import call, look_up, results, send

SENDGRID, SES, POSTMARK = EspName.SENDGRID, EspName.SES, EspName.POSTMARK
GLOBAL = "/v3/asm/suppressions/global"
SES_LIST = "/v2/email/suppression/addresses"
STREAM = "/message-streams/broadcast/suppressions"


@pytest.fixture
def sim(clock: Clock) -> Iterator[Simulator]:
    with Simulator(clock=clock) as sim:
        yield sim


def test_a_bounce_is_told_in_each_esps_own_form(sim: Simulator) -> None:
    for esp in (SENDGRID, SES, POSTMARK):
        send(sim, esp, ["bounce@example.net", "reader@example.net"])
    assert look_up(sim, SENDGRID, "/v3/suppression/bounces").document == [
        {
            "created": 1795521600,
            "email": "bounce@example.net",
            "reason": "550 5.1.1 The email account bounce@example.net does not exist",
            "status": "5.1.1",
        }
    ]
    assert look_up(sim, SES, SES_LIST).document == {
        "SuppressedDestinationSummaries": [
            {"EmailAddress": "bounce@example.net", "Reason": "BOUNCE", "LastUpdateTime": 1795521600}
        ]
    }
    assert look_up(sim, POSTMARK, f"{STREAM}/dump").document == {
        "Suppressions": [
            {
                "EmailAddress": "bounce@example.net",
                "SuppressionReason": "HardBounce",
                "Origin": "Recipient",
                "CreatedAt": "2026-11-24T07:00:00-05:00",
            }
        ]
    }


def test_the_second_mail_to_a_bounced_address_is_refused_by_postmark(sim: Simulator) -> None:
    people = ["bounce@example.net", "reader@example.net"]
    assert results(POSTMARK, send(sim, POSTMARK, people)) == ["0", "0"]
    assert results(POSTMARK, send(sim, POSTMARK, people)) == ["406", "0"]
    assert results(SES, send(sim, SES, people)) == ["SUCCESS", "SUCCESS"]
    assert results(SES, send(sim, SES, people)) == ["SUCCESS", "SUCCESS"]


def test_a_call_that_took_nothing_lists_nobody(sim: Simulator) -> None:
    send(sim, SENDGRID, ["bounce@example.net", "invalid@example.net"])
    assert look_up(sim, SENDGRID, "/v3/suppression/bounces").document == []


def test_a_reset_empties_the_lists(sim: Simulator) -> None:
    call(sim, SENDGRID, {"recipient_emails": ["ann@example.net"]}, path=GLOBAL)
    assert len(look_up(sim, SENDGRID, "/v3/suppression/unsubscribes").document) == 1
    sim.reset()
    assert look_up(sim, SENDGRID, "/v3/suppression/unsubscribes").document == []


@pytest.mark.parametrize(
    ("esp", "path", "status"),
    [
        (SENDGRID, "/v3/suppression/bounces?limit=-1", 400),
        (SENDGRID, "/v3/suppression/bounces?offset=x", 400),
        (SENDGRID, f"/v3/suppression/bounces?start_time={'9' * 5000}", 400),
        (SENDGRID, "/v3/suppression/blocks", 404),
        (SENDGRID, "/v3/suppression/unsubscribes/ann@example.net", 404),
        (SENDGRID, f"{GLOBAL}/ann@example.net", 200),
        (SENDGRID, "/v3/suppression/bounces/ann@example.net", 200),
        (SES, f"{SES_LIST}/ann@example.net", 404),
        (SES, f"{SES_LIST}/bounce@example.net", 200),
        (SENDGRID, GLOBAL, 405),
        (SES, f"{SES_LIST}?StartDate=today", 400),
        (SES, f"{SES_LIST}?StartDate=2026-01-01", 200),
        (SES, f"{SES_LIST}?PageSize=many", 400),
        (SES, f"{SES_LIST}?NextToken={'9' * 5000}", 400),
        (POSTMARK, f"{STREAM}/dump?fromdate=today", 422),
        (POSTMARK, "/message-streams/nowhere/suppressions/dump", 404),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(
    sim: Simulator, esp: EspName, path: str, status: int
) -> None:
    call(sim, SENDGRID, {"recipient_emails": ["ann@example.net"]}, path=GLOBAL)
    send(sim, SES, ["bounce@example.net"])
    assert look_up(sim, esp, path).status == status


@pytest.mark.parametrize(
    ("esp", "path", "payload", "status"),
    [
        (SENDGRID, GLOBAL, {"recipient_emails": ["no address"]}, 400),
        (SENDGRID, GLOBAL, {"recipient_emails": []}, 400),
        (SENDGRID, GLOBAL, {"recipient_emails": "ann@example.net"}, 400),
        (SENDGRID, GLOBAL, b"{", 400),
        (POSTMARK, STREAM, {"Suppressions": [{"EmailAddress": "a@example.net"}] * 51}, 422),
        (POSTMARK, STREAM, {"Suppressions": [7]}, 422),
        (POSTMARK, f"{STREAM}/delete", {"Suppressions": [{"EmailAddress": "a@b.de"}] * 51}, 422),
        (POSTMARK, f"{STREAM}/delete", {"Suppressions": [7]}, 422),
    ],
)
def test_a_push_that_makes_no_sense_is_refused(
    sim: Simulator, esp: EspName, path: str, payload: Any, status: int
) -> None:
    assert call(sim, esp, payload, path=path).status == status


def test_a_call_without_a_key_is_refused(sim: Simulator) -> None:
    for esp, path in ((SENDGRID, GLOBAL), (POSTMARK, STREAM)):
        assert call(sim, esp, {}, path=path, headers={}).status == 401
