"""The simulator's webhooks are genuine to the real readers, and mean what the address says."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from config.esp_config import EspName
from services.adapters import build_webhook_reader
from services.base import SEND_REF_KEY
from services.events import BounceClass, Event, EventKind, WebhookCall
from services.simulator.happenings import Happening, Rates, Taken, happenings
from services.simulator.secrets import WebhookSecrets
from services.simulator.server import SIMULATED, Simulator
from services.simulator.wordings import posts
from tests.rig import configs_at
from tests.simulator_calls import send

AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
NOTHING: set[tuple[EspName, str]] = set()


def taken(recipient: str, esp: EspName = EspName.SENDGRID, **more: Any) -> Taken:
    known = {"id": 1, "send_ref": "7-1-abc", "message_id": "m-1", "rendering_failure": False}
    return Taken(esp=esp, recipient=recipient, at=AT, **{**known, **more})


def read(esp: EspName, what: Happening) -> list[Event]:
    """What the real reader makes of the simulator's real call."""
    secrets = WebhookSecrets()
    config = replace(
        configs_at(dict.fromkeys(EspName, "http://127.0.0.1:9"))[esp], **secrets.settings[esp]
    )
    reader = build_webhook_reader(config)
    found: list[Event] = []
    for headers, body in posts(esp, [(taken("ann@example.net", esp), what)], secrets, "run"):
        low = {name.lower(): value for name, value in headers.items()}
        call = WebhookCall(headers=low, body=body, received_at=datetime.now(UTC))
        found += reader.receive(call).events
    secrets.close()
    return found


MEANINGS: dict[Happening, tuple[EventKind, BounceClass | None, str | None]] = {
    Happening.PROCESSED: (EventKind.PROCESSED, None, None),
    Happening.DEFERRED: (EventKind.DEFERRED, None, None),
    Happening.DELIVERED: (EventKind.DELIVERED, None, None),
    Happening.HARD_BOUNCE: (EventKind.BOUNCED, BounceClass.HARD, "hard_bounce"),
    Happening.SOFT_BOUNCE: (EventKind.BOUNCED, BounceClass.SOFT, None),
    Happening.BLOCK: (EventKind.BOUNCED, BounceClass.BLOCKED, None),
    Happening.DROPPED: (EventKind.DROPPED, BounceClass.HARD, "esp_inactive"),
    Happening.RENDERING_FAILURE: (EventKind.DROPPED, None, None),
    Happening.MACHINE_OPEN: (EventKind.OPENED, None, None),
    Happening.OPEN: (EventKind.OPENED, None, None),
    Happening.CLICK: (EventKind.CLICKED, None, None),
    Happening.UNSUBSCRIBE: (EventKind.UNSUBSCRIBED, None, "unsubscribed"),
    Happening.COMPLAINT: (EventKind.COMPLAINED, None, "complaint"),
}
UNSAID: dict[EspName, set[Happening]] = {
    EspName.SENDGRID: {Happening.RENDERING_FAILURE},
    EspName.SES: set(),
    EspName.POSTMARK: {Happening.PROCESSED, Happening.DROPPED, Happening.RENDERING_FAILURE},
}
"""What an ESP has no event for, or answers before it takes the mail."""


@pytest.mark.parametrize("esp", SIMULATED)
@pytest.mark.parametrize("what", Happening)
def test_what_happened_is_read_as_it_was_meant(esp: EspName, what: Happening) -> None:
    found = read(esp, what)
    if what in UNSAID[esp]:
        assert found == []
        return
    (event,) = found
    assert (event.kind, event.bounce_class, event.suppress) == MEANINGS[what]
    assert (event.address, event.send_ref) == ("ann@example.net", "7-1-abc")
    assert AT <= event.occurred_at <= AT + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("recipient", "then"),
    [
        ("ann@example.net", ["delivered"]),
        ("bounce+1@example.net", ["hard_bounce"]),
        ("soft@example.net", ["soft_bounce"]),
        ("block@example.net", ["block"]),
        ("defer@example.net", ["deferred", "delivered"]),
        ("complaint@example.net", ["delivered", "complaint"]),
        ("open@example.net", ["delivered", "open"]),
        ("click@example.net", ["delivered", "open", "click"]),
        ("unsubscribe@example.net", ["delivered", "unsubscribe"]),
        ("inactive@example.net", ["dropped"]),
        ("ann@gmail.com", ["block"]),
        ("ann@googlemail.com", ["block"]),
    ],
)
def test_the_address_tells_what_happens(recipient: str, then: list[str]) -> None:
    blocks = {(EspName.SENDGRID, "gmail")}
    found = happenings(taken(recipient), Rates(), blocks)
    assert [one.value for one in found] == ["processed", *then]


def test_rates_hold_and_always_for_the_same_people() -> None:
    rates = Rates(bounce=0.1, complaint=0.05, machine_open=0.2, open=0.4, click=0.1)
    mails = [taken(f"reader{n}@example.net") for n in range(4000)]
    first = [happenings(mail, rates, NOTHING) for mail in mails]
    assert first == [happenings(mail, rates, NOTHING) for mail in mails]
    share = {what: sum(what in one for one in first) / 4000 for what in Happening}
    assert share[Happening.HARD_BOUNCE] == pytest.approx(0.1, abs=0.02)
    assert share[Happening.OPEN] == pytest.approx(0.9 * 0.4, abs=0.03)
    assert share[Happening.CLICK] == pytest.approx(0.9 * 0.1, abs=0.02)


class Receiver(http.server.ThreadingHTTPServer):
    """Takes webhooks, after refusing as often as told."""

    def __init__(self, refusals: int = 0, refuses: str = "", passes_over: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refusals, self.refuses = refusals, refuses
        self.passes_over = passes_over
        self.calls: list[tuple[str, bytes]] = []
        self.enough = threading.Event()
        self.wanted = 1


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.passes_over and self.path.endswith(self.server.passes_over):
            self.send_response(200)  # SNS asks each new address to be confirmed, whoever sends
        elif self.server.refuses and self.path.endswith(self.server.refuses):
            self.send_response(401)
        elif self.server.refusals:
            self.server.refusals -= 1
            self.send_response(503)
        else:
            self.server.calls.append((self.path, body))
            self.send_response(200)
            if len(self.server.calls) >= self.server.wanted:
                self.server.enough.set()
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


@contextmanager
def receiving(refusals: int = 0, refuses: str = "", passes_over: str = "") -> Iterator[Receiver]:
    with Receiver(refusals, refuses, passes_over) as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        yield receiver
        receiver.shutdown()


def test_a_mail_that_was_taken_is_told_until_the_call_is_taken() -> None:
    with receiving(refusals=2, passes_over="/ses") as receiver, Simulator() as simulator:
        simulator.post_webhooks_to(f"http://127.0.0.1:{receiver.server_port}", delay_s=0.0)
        send(simulator, EspName.SENDGRID, ["ann@example.net"])
        assert receiver.enough.wait(20)
        assert [path for path, _ in receiver.calls] == ["/engagement-webhook/sendgrid"]
        assert SEND_REF_KEY.encode() in receiver.calls[0][1]


def test_an_esp_whose_webhooks_are_refused_keeps_no_other_from_telling() -> None:
    with receiving(refuses="sendgrid", passes_over="/ses") as receiver, Simulator() as simulator:
        receiver.wanted = 1
        simulator.post_webhooks_to(f"http://127.0.0.1:{receiver.server_port}", delay_s=0.0)
        send(simulator, EspName.SENDGRID, ["ann@example.net"])
        send(simulator, EspName.POSTMARK, ["bob@example.net"])
        assert receiver.enough.wait(20)
        assert [path for path, _ in receiver.calls] == ["/engagement-webhook/postmark"]


@pytest.mark.parametrize(
    "order",
    [
        {"to": "http://198.51.100.1"},
        {"to": "https://example.com"},
        {"repeat": "x"},
        {"rates": {"open": "often"}},
        {"rates": {"nothing": 1}},
        {"else": 1},
    ],
)
def test_an_order_that_cannot_be_is_refused(order: dict[str, Any]) -> None:
    with Simulator() as simulator, pytest.raises((ValueError, TypeError)):
        simulator.put_webhooks(order)
