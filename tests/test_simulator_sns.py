"""The simulator's SNS: it asks to be confirmed, takes the confirmation, and tells only then."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import select

from app import serving
from config.esp_config import EspName, SesConfig
from database.models import WebhookEvent
from services.amazon_ses_subscribing import confirm_subscription
from services.base import MessageRejected
from services.simulator.secrets import TOPIC
from services.simulator.server import Simulator
from services.system import System, utc_now
from tests.canned_esp import ses_config
from tests.faults.http_client import wait_until
from tests.simulator_calls import KEYS, call, send
from tests.test_simulator_webhooks import Receiver, receiving
from tests.web import system

__all__ = ["system"]  # fixture

SES = EspName.SES
CONFIRM = {"Action": "ConfirmSubscription", "TopicArn": TOPIC, "Token": "a token of nobody"}


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


def config_of(sim: Simulator) -> SesConfig:
    return replace(ses_config(sim.base_urls[SES]), **sim.webhook_settings[SES])


def told(receiver: Receiver, calls: int) -> list[Any]:
    """The envelopes, once there are so many."""
    wait_until(lambda: len(receiver.calls) >= calls, f"{calls} calls", within_s=20)
    return [json.loads(body) for _, body in receiver.calls]


def test_nothing_is_told_before_the_topic_is_confirmed(sim: Simulator) -> None:
    with receiving() as receiver:
        sim.post_webhooks_to(f"http://127.0.0.1:{receiver.server_port}", delay_s=0.0)
        send(sim, SES, ["ann@example.net"])
        (asked,) = told(receiver, 1)
        assert (asked["Type"], asked["TopicArn"]) == ("SubscriptionConfirmation", TOPIC)
        with pytest.raises(MessageRejected, match="InvalidParameter"):
            confirm_subscription(config_of(sim), TOPIC, "a token of nobody")
        assert not sim.courier.is_done
        for _ in range(2):  # one who is not sure may confirm again
            arn = confirm_subscription(config_of(sim), TOPIC, asked["Token"])
            assert arn.startswith(f"{TOPIC}:")
        kinds = [one["Type"] for one in told(receiver, 3)]
        assert kinds == ["SubscriptionConfirmation", "Notification", "Notification"]


def test_another_address_is_asked_anew(sim: Simulator) -> None:
    with receiving() as first, receiving() as second:
        tokens = []
        for receiver in (first, second):
            sim.post_webhooks_to(f"http://127.0.0.1:{receiver.server_port}", delay_s=0.0)
            (asked,) = told(receiver, 1)
            tokens.append(asked["Token"])
        with pytest.raises(MessageRejected, match="InvalidParameter"):
            confirm_subscription(config_of(sim), TOPIC, tokens[0])
        confirm_subscription(config_of(sim), TOPIC, tokens[1])
        send(sim, SES, ["ann@example.net"])
        assert [one["Type"] for one in told(second, 3)][1:] == ["Notification"] * 2
        assert len(first.calls) == 1


@pytest.mark.parametrize(
    ("headers", "form", "status", "code"),
    [
        ({}, CONFIRM, 403, "MissingAuthenticationToken"),
        (KEYS[SES], {}, 400, "InvalidAction"),
        (KEYS[SES], CONFIRM | {"Action": "Publish"}, 400, "InvalidAction"),
        (KEYS[SES], CONFIRM | {"TopicArn": f"{TOPIC}-2"}, 404, "NotFound"),
        (KEYS[SES], CONFIRM, 400, "InvalidParameter"),
    ],
)
def test_refusal_is_in_the_words_of_sns(
    sim: Simulator, headers: dict[str, str], form: dict[str, str], status: int, code: str
) -> None:
    answer = call(sim, SES, urlencode(form).encode(), path="/", headers=headers)
    assert (answer.status, answer.headers["Content-Type"]) == (status, "text/xml")
    assert f"<Code>{code}</Code>".encode() in answer.body


def test_the_app_confirms_and_then_hears_of_its_mails(system: System) -> None:
    system.clock = utc_now  # signatures are of now

    def kinds() -> list[str]:
        with system.database.read() as session:
            return sorted(kind.value for kind in session.scalars(select(WebhookEvent.kind)))

    sim = system.start_simulator()
    with serving(system) as address:
        sim.post_webhooks_to(address, delay_s=0.0)
        send(sim, SES, ["ann@example.net"])
        wait_until(lambda: sim.courier.is_done, "the events of SES", within_s=20)
        # The request, and its token, is forgotten once it is confirmed.
        wait_until(lambda: kinds() == ["delivered", "processed"], "its end", within_s=20)
    system.close()
