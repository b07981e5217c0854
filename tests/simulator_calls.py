"""Calls that each ESP would take, for the tests of the simulator; no SDK between."""

import http.client
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from config.esp_config import EspName
from services.base import EspUnavailable, OutcomeUnknown, Throttled
from services.simulator.modes import Mode
from services.simulator.server import SIMULATED, Simulator

SENDER = "news@example.com"

BATCH_PATHS = {
    EspName.SENDGRID: "/v3/mail/send",
    EspName.SES: "/v2/email/outbound-bulk-emails",
    EspName.POSTMARK: "/email/batch",
}
LOOKUP_PATHS = {
    EspName.SENDGRID: "/v3/user/credits",
    EspName.SES: "/v2/email/account",
    EspName.POSTMARK: "/server",
}
KEYS = {
    EspName.SENDGRID: {"Authorization": "Bearer SG.any"},
    EspName.SES: {"Authorization": "AWS4-HMAC-SHA256 Credential=any/20260101/eu-west-1/ses"},
    EspName.POSTMARK: {"X-Postmark-Server-Token": "any"},
}
JSON = {"Content-Type": "application/json"}

EVERY_FAILURE = pytest.mark.parametrize(
    ("mode", "kind"),
    [
        (Mode.UNAUTHORIZED, EspUnavailable),
        (Mode.REFUSE, EspUnavailable),
        (Mode.REDIRECT, EspUnavailable),
        (Mode.THROTTLE, Throttled),
        (Mode.ERROR_500, OutcomeUnknown),
        (Mode.ERROR_503, OutcomeUnknown),
        (Mode.GARBAGE, OutcomeUnknown),
        (Mode.EMPTY, OutcomeUnknown),
        (Mode.RESET_AFTER, OutcomeUnknown),
        (Mode.CUT, OutcomeUnknown),
    ],
)
"""What an ESP does wrong, and the error that a call which only reads makes of it."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def sim(running: Simulator) -> Simulator:
    """As after its start; the clients of a module may keep their connections."""
    running.reset()
    for esp in SIMULATED:
        running.limit(esp)
    return running


def people(count: int, first: int = 0) -> list[str]:
    return [f"reader{number}@example.net" for number in range(first, first + count)]


def sendgrid_batch(addresses: Sequence[str], **more: Any) -> dict[str, Any]:
    return {
        "from": {"email": SENDER, "name": "News"},
        "subject": "Hello -n-",
        "content": [
            {"type": "text/plain", "value": "Dear -n-"},
            {"type": "text/html", "value": "<p>Dear -n-</p>"},
        ],
        "personalizations": [
            {
                "to": [{"email": address}],
                "substitutions": {"-n-": f"N{place}"},
                "custom_args": {"cx_send_id": f"s_{address}"},
            }
            for place, address in enumerate(addresses)
        ],
        **more,
    }


def ses_batch(addresses: Sequence[str], **more: Any) -> dict[str, Any]:
    return {
        "FromEmailAddress": f"News <{SENDER}>",
        "DefaultContent": {
            "Template": {
                "TemplateContent": {
                    "Subject": "Hello {{n}}",
                    "Text": "Dear {{n}}",
                    "Html": "<p>Dear {{n}}</p>",
                },
                "TemplateData": "{}",
            }
        },
        "BulkEmailEntries": [
            {
                "Destination": {"ToAddresses": [address]},
                "ReplacementTags": [{"Name": "cx_send_id", "Value": f"s_{place}"}],
                "ReplacementEmailContent": {
                    "ReplacementTemplate": {"ReplacementTemplateData": f'{{"n": "N{place}"}}'}
                },
            }
            for place, address in enumerate(addresses)
        ],
        **more,
    }


def ses_simple(address: str, **more: Any) -> dict[str, Any]:
    return {
        "FromEmailAddress": SENDER,
        "Destination": {"ToAddresses": [address]},
        "Content": {
            "Simple": {"Subject": {"Data": "Hello {{n}}"}, "Body": {"Text": {"Data": "Dear {{n}}"}}}
        },
        "EmailTags": [{"Name": "cx_send_id", "Value": "s_0"}],
        **more,
    }


def postmark_message(address: str, **more: Any) -> dict[str, Any]:
    return {
        "From": f"News <{SENDER}>",
        "To": address,
        "Subject": "Hello N",
        "TextBody": "Dear N",
        "HtmlBody": "<p>Dear N</p>",
        "MessageStream": "broadcast",
        "Metadata": {"cx_send_id": f"s_{address}"},
        **more,
    }


def postmark_batch(addresses: Sequence[str], **more: Any) -> list[dict[str, Any]]:
    return [postmark_message(address, **more) for address in addresses]


BATCHES = {
    EspName.SENDGRID: sendgrid_batch,
    EspName.SES: ses_batch,
    EspName.POSTMARK: postmark_batch,
}


def call(
    sim: Simulator,
    esp: EspName,
    payload: Any = None,
    *,
    path: str | None = None,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    timeout_s: float = 20.0,
) -> Answer:
    """One call on a connection of its own; `headers` stand in for the key and the type."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    connection = http.client.HTTPConnection(
        sim.base_urls[esp].removeprefix("http://"), timeout=timeout_s
    )
    try:
        connection.request(
            method,
            path or BATCH_PATHS[esp],
            body if method == "POST" else None,
            KEYS[esp] | JSON if headers is None else headers,
        )
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def send(sim: Simulator, esp: EspName, addresses: Sequence[str], **more: Any) -> Answer:
    return call(sim, esp, BATCHES[esp](addresses, **more))


def look_up(sim: Simulator, esp: EspName, path: str | None = None) -> Answer:
    return call(sim, esp, method="GET", path=path or LOOKUP_PATHS[esp])


def results(esp: EspName, answer: Answer) -> list[str]:
    """What a batch's answer says of each message: the ESP's own code."""
    if esp is EspName.SES:
        return [result["Status"] for result in answer.document["BulkEmailEntryResults"]]
    return [str(result["ErrorCode"]) for result in answer.document]
