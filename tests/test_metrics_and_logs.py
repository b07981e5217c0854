"""What whoever watches an installation sees: /metrics, and logs without addresses."""

import json
import logging

import pytest
import structlog
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from tests.test_api_sending import MAILING, add_people, client, simulator
from tests.web import call, system
from utils import logs

__all__ = ["client", "simulator", "system"]


def figures(client: FlaskClient) -> dict[tuple[str, ...], float]:
    text = call(client, "GET", "/metrics").get_data(as_text=True)
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_are_what_the_database_keeps(client: FlaskClient) -> None:
    add_people(client, 2)
    call(client, "POST", "/send-campaign", json=MAILING)
    told = figures(client)
    assert {
        name: told[name]
        for name in [
            ("email_engine_sends",),
            ("email_campaigns", "sent"),
            ("email_sends_total", "sendgrid", "accepted"),
            ("email_subscribers", "active"),
            ("email_esp_available", "ses"),
            ("email_esp_quota_used", "sendgrid", "day"),
            ("http_request_seconds_count", "POST", "/send-campaign", "200"),
        ]
    } == {
        ("email_engine_sends",): 1,
        ("email_campaigns", "sent"): 1,
        ("email_sends_total", "sendgrid", "accepted"): 2,
        ("email_subscribers", "active"): 2,
        ("email_esp_available", "ses"): 1,
        ("email_esp_quota_used", "sendgrid", "day"): 2,
        ("http_request_seconds_count", "POST", "/send-campaign", "200"): 1,
    }


@pytest.mark.parametrize(
    ("said", "logged"),
    [
        ("no such user ann.b+c@mail.example.com", "no such user …@mail.example.com"),
        ("<a@b.example> and c@d.example", "<…@b.example> and …@d.example"),
        ("nobody here", "nobody here"),
    ],
)
def test_no_address_is_in_the_clear_above_debug(said: str, logged: str) -> None:
    assert logs.hide_addresses(None, "", {"level": "info", "reason": said})["reason"] == logged
    assert logs.hide_addresses(None, "", {"level": "debug", "reason": said})["reason"] == said


def test_a_log_line_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    structlog.contextvars.clear_contextvars()
    try:
        logs.set_up()
        logging.getLogger("x").warning("to %s", "a@b.example", extra={"campaign_id": 7})
        line = json.loads(capsys.readouterr().err)
    finally:
        root.handlers[:], root.level = handlers, level
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "to …@b.example", "level": "warning", "logger": "x", "campaign_id": 7}


def test_methods_that_are_made_up_are_counted_together(client: FlaskClient) -> None:
    """Each would be kept for as long as the process runs, and anybody may call."""
    for made_up in ("FOO", "BAR", "B4Z"):
        call(client, made_up, "/healthz", headers={})
    told = figures(client)
    counted = {name[1:]: n for name, n in told.items() if name[0] == "http_request_seconds_count"}
    assert counted == {("other", "none", "405"): 3}
