"""What is told of ESPs' standing at mailbox providers, and of those that tell us nothing."""

import json
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

from app import create_app
from cli import cli
from config.esp_config import ESPS, EspName
from database.models import BreakerState, EspPerformance, EspPerformanceDay, EspState
from services import self_test
from services.breaker import Breaker
from services.esp_manager import webhook_setup, webhook_silence
from services.housekeeping import Housekeeper
from services.self_test import Finding, Verdict
from services.standing import Allowance, Standing
from services.system import System
from tests.conftest import NOW
from tests.web import call, client, system

__all__ = ["client", "system"]  # fixtures

SENDGRID, SES = EspName.SENDGRID, EspName.SES
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
URL = "http://127.0.0.1:5000/engagement-webhook"


def standing(unheard: int, since: datetime | None) -> Standing:
    return Standing(
        esp=SENDGRID,
        priority=1,
        breaker=Breaker(),
        day=Allowance(used=0, limit=None, resets_at=NOW),
        month=Allowance(used=0, limit=None, resets_at=NOW),
        per_second=None,
        batch_size=100,
        concurrency=4,
        unheard=unheard,
        unheard_since=since,
    )


@pytest.mark.parametrize(
    ("unheard", "since", "told"),
    [
        (0, None, None),
        (100, NOW - HOUR + MINUTE, None),
        (99, NOW - 5 * HOUR, None),
        (
            100,
            NOW - HOUR,
            "accepted 100 mails since 2026-11-24 11:00:00 UTC and told of none of them",
        ),
        (5_000, NOW + HOUR, None),
    ],
    ids=["nothing sent", "not an hour yet", "too few", "both", "a clock that was set back"],
)
def test_an_esp_is_silent_after_100_mails_and_an_hour(
    unheard: int, since: datetime | None, told: str | None
) -> None:
    assert webhook_silence(standing(unheard, since), NOW) == told


@pytest.mark.parametrize("esp", ESPS)
def test_every_esp_says_how_its_webhook_is_set_up(esp: EspName) -> None:
    setup = webhook_setup(esp, "https://mail.example.com")
    assert f"https://mail.example.com/engagement-webhook/{esp}" in setup
    variables = {
        SENDGRID: {"SENDGRID_WEBHOOK_PUBLIC_KEY"},
        SES: {"SES_SNS_TOPIC_ARNS", "SES_CONFIGURATION_SET"},
        EspName.POSTMARK: {"POSTMARK_WEBHOOK_USER", "POSTMARK_WEBHOOK_PASSWORD"},
    }[esp]
    assert {name for name in variables if name in setup} == variables


@pytest.fixture
def silent(system: System) -> System:
    """SES accepted 150 mails two hours ago, and has told of none."""
    system.start_simulator()
    state = dict.fromkeys(("failures", "cooldown_s", "throttles"), 0)
    with system.database.write() as session:
        session.add(
            EspState(
                esp=SES,
                breaker=BreakerState.CLOSED,
                unheard=150,
                unheard_since=NOW - 2 * HOUR,
                last_event_at=NOW - 30 * HOUR,
                suppressions_pushed_through=0,
                **state,
            )
        )
    return system


@pytest.fixture
def asked(silent: System) -> Iterator[FlaskClient]:
    yield create_app(system=silent).test_client()
    silent.close()


SILENCE = "accepted 150 mails since 2026-11-24 10:00:00 UTC and told of none of them"


def told_of(client: FlaskClient, esp: EspName) -> dict[str, Any]:
    esps: list[dict[str, Any]] = call(client, "GET", "/esp-status").get_json()["esps"]
    return next(one for one in esps if one["esp"] == esp)


def test_the_status_warns_of_an_esp_that_tells_nothing(asked: FlaskClient) -> None:
    ses = told_of(asked, SES)
    assert ses["events"] == {
        "last_at": "2026-11-23T06:00:00+00:00",
        "unheard": 150,
        "unheard_since": "2026-11-24T10:00:00+00:00",
    }
    [warning] = ses["warnings"]
    assert warning.startswith(f"ses {SILENCE}: is its webhook set up? An SNS topic")
    assert f"{URL}/ses," in warning
    assert told_of(asked, SENDGRID)["warnings"] == []


def test_the_log_warns_once_an_hour(silent: System, caplog: pytest.LogCaptureFixture) -> None:
    keeper = Housekeeper(silent)
    caplog.set_level(logging.WARNING, logger="services.housekeeping")
    for minutes in (0, 1, 59, 60, 61, 120):
        keeper.turn(NOW + minutes * MINUTE)
    warned = [record.getMessage() for record in caplog.records if SILENCE in record.getMessage()]
    assert len(warned) == 3
    silent.close()


def test_the_self_test_warns_too(silent: System) -> None:
    assert list(self_test.silences(silent)) == [
        Finding(
            what="ses events",
            verdict=Verdict.WARN,
            found=SILENCE,
            remedy=webhook_setup(SES, "http://127.0.0.1:5000"),
        )
    ]
    silent.close()


def test_the_command_tells_the_warning_below_its_table(
    silent: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent.close()
    for name, value in {
        "API_KEY": silent.settings.api_key,
        "SECRET_KEY": silent.settings.secret_keys[0],
        "DATABASE_URL": str(silent.database.url),
    }.items():
        monkeypatch.setenv(name, value)
    told = json.loads(CliRunner().invoke(cli, ["esp", "status", "--json"]).stdout)
    warnings = {one["esp"]: one["warning"] is not None for one in told}
    assert warnings == {"sendgrid": False, "ses": True, "postmark": False}
    page = CliRunner().invoke(cli, ["esp", "status"]).stdout
    assert "told of none of them" in " ".join(page.split())


def test_the_status_tells_how_an_esp_stands_at_each_mailbox_provider(
    system: System, client: FlaskClient
) -> None:
    system.start_simulator()
    window = dict.fromkeys(("window_claimed", "window_outcomes", "window_blocks"), 0)
    rows = [
        {"mailbox_provider": "all", "successes": 80.0, "failures": 20.0, "rest_s": 0},
        {"mailbox_provider": "other", "successes": 80.0, "rest_s": 0},
        {
            "mailbox_provider": "gmail",
            "failures": 20.0,
            "rest_s": 3600,
            "rests_until": NOW + HOUR,
            "window_from": NOW + HOUR,
        },
        {
            "mailbox_provider": "yahoo",
            "rest_s": 3600,
            "rests_until": NOW - HOUR,
            "window_from": NOW - HOUR,
            "window_claimed": 50,
        },
    ]
    figures = dict.fromkeys(
        ("calls", "accepted", "rejected", "unknown", "refused", "bounced", "soft_bounced"), 0
    )
    with system.database.write() as session:
        for row in rows:
            session.add(EspPerformance(esp=SENDGRID, decayed_at=NOW, **{**window, **row}))
        for provider, days, delivered, blocked in (
            *(("all", 0, 90, 20), ("gmail", 0, 10, 20), ("gmail", 6, 5, 1)),
            *(("gmail", 7, 1000, 1000), ("other", 1, 80, 0)),
        ):
            session.add(
                EspPerformanceDay(
                    esp=SENDGRID,
                    mailbox_provider=provider,
                    day=(NOW - timedelta(days=days)).date(),
                    delivered=delivered,
                    blocked=blocked,
                    complained=0,
                    **figures,
                )
            )
    quiet = {"delivered_7d": 0, "blocked_7d": 0, "resting_until": None, "on_trial": False}
    assert told_of(client, SENDGRID)["reputation"]["by_provider"] == {
        "gmail": {
            "score": 41.5,  # 20 mails at 0.83, 20 failures
            "delivered_7d": 15,
            "blocked_7d": 21,
            "resting_until": "2026-11-24T13:00:00+00:00",
            "on_trial": False,
        },
        "other": {**quiet, "score": 96.6, "delivered_7d": 80},
        "yahoo": {**quiet, "score": 83.0, "on_trial": True},
    }
    system.close()
