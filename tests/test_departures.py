"""A wave of unsubscribes is told, and neither a quiet list nor a large mailing is taken for one."""

from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from config.esp_config import EspName
from database.models import EspPerformanceDay, SubscriberDay
from database.session import Database
from lists.departures import wave_of_unsubscribes
from services.housekeeping import Housekeeper
from services.reputation import ALL_PROVIDERS
from services.system import System
from tests.conftest import NOW
from tests.people import either_database, postgres
from tests.web import call, client, system

__all__ = ["client", "either_database", "postgres", "system"]

DAY = timedelta(days=1)
WARNING = (
    "20 people unsubscribed today, 2.0 a day in the week before, and 0 mails went out in three "
    "days: if none of yours explains it, `cli.py suppressions list` tells by what they left"
)


def people_left(database: Database, numbers: dict[int, int]) -> None:
    """`numbers`: how many, by how many days ago."""
    with database.write() as session:
        session.add_all(
            SubscriberDay(day=NOW.date() - ago * DAY, kind="unsubscribed", n=n)
            for ago, n in numbers.items()
        )


def mails_went_out(database: Database, n: int, *, days_ago: int) -> None:
    day = NOW.date() - days_ago * DAY
    with database.write() as session:
        for provider in (ALL_PROVIDERS, "gmail"):
            session.add(
                EspPerformanceDay(esp=EspName.SES, mailbox_provider=provider, day=day, accepted=n)
            )


@pytest.mark.parametrize(
    ("left", "mails", "is_a_wave"),
    [
        ({0: 20}, (0, 0), True),
        ({0: 19}, (0, 0), False),
        ({}, (0, 0), False),
        ({0: 20, 1: 14}, (0, 0), True),
        ({0: 20, 7: 15}, (0, 0), False),
        ({0: 20, 8: 1_000}, (0, 0), True),
        ({0: 20, -1: 1_000}, (0, 0), True),
        ({0: 20}, (999, 0), True),
        ({0: 20}, (1_000, 0), False),
        ({0: 20}, (1_000, 3), False),
        ({0: 20}, (1_000, 4), True),
        ({0: 200, **dict.fromkeys(range(1, 8), 20)}, (9_000, 1), True),
        ({0: 200, **dict.fromkeys(range(1, 8), 21)}, (9_000, 1), False),
        ({0: 180, **dict.fromkeys(range(1, 8), 10)}, (9_000, 1), False),
    ],
)
def test_a_wave_is_ten_times_the_usual_and_more_than_the_mail_explains(
    either_database: Database, left: dict[int, int], mails: tuple[int, int], is_a_wave: bool
) -> None:
    people_left(either_database, left)
    if mails[0]:
        mails_went_out(either_database, mails[0], days_ago=mails[1])
    with either_database.read() as session:
        assert (wave_of_unsubscribes(session, NOW) is not None) == is_a_wave


def test_a_wave_is_in_the_log_once_an_hour_and_in_the_figures(
    system: System, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    assert call(client, "GET", "/subscriber-stats").get_json()["warnings"] == []
    people_left(system.database, {0: 20, 3: 14})
    keeper = Housekeeper(system)
    for minutes in (0, 1, 59, 60):
        keeper.turn(NOW + timedelta(minutes=minutes))
    told = [one.getMessage() for one in caplog.records if "unsubscribed" in one.getMessage()]
    assert told == [WARNING, WARNING]
    assert call(client, "GET", "/subscriber-stats").get_json()["warnings"] == [WARNING]
