"""How often: what is refused with a 429, across processes too, and what never is."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select

from app import create_app
from config.settings import ROOT
from database.models import OptIn, Subscriber
from database.rate_limits import RateLimit, RateLimits, Refusal
from database.session import Database
from services.system import System
from tests.conftest import NOW, Clock
from tests.postgres import postgres_database
from tests.web import API_KEY, KEY, call, problem, system
from utils.tokens import (
    NOBODY_LINK,
    ConfirmLink,
    UnsubscribeLink,
    confirm_token,
    unsubscribe_token,
)

__all__ = ["system"]

HUNDRED = RateLimit(name="hundred", most=100)
"""One comes back every 0.6 s."""


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, database: Database) -> Iterator[Database]:
    if request.param == "sqlite":
        yield database
    else:
        with postgres_database() as other:
            with other.writer.begin() as connection:
                connection.exec_driver_sql("DROP TABLE IF EXISTS rate_limits")
            yield other


@pytest.fixture
def limits(either: Database) -> RateLimits:
    return RateLimits(either, b"k" * 32)


def taken(limits: RateLimits, limit: RateLimit, times: int, clock: Clock) -> int:
    return [limits.take(limit, "ann", clock()) for _ in range(times)].count(None)


# the counts


def test_as_many_as_allowed_and_then_one_by_one(limits: RateLimits, clock: Clock) -> None:
    assert taken(limits, HUNDRED, 103, clock) == 100
    assert limits.take(HUNDRED, "ann", clock()) == Refusal(limit=HUNDRED, seconds=1)
    clock.forward(milliseconds=599)
    assert taken(limits, HUNDRED, 1, clock) == 0
    clock.forward(milliseconds=1)
    assert taken(limits, HUNDRED, 2, clock) == 1
    clock.forward(seconds=6)
    assert taken(limits, HUNDRED, 12, clock) == 10
    clock.forward(minutes=10)
    assert taken(limits, HUNDRED, 103, clock) == 100


def test_who_waits_as_long_as_told_may_go_on(limits: RateLimits, clock: Clock) -> None:
    hourly = RateLimit(name="hourly", most=7, within=timedelta(hours=1))
    assert taken(limits, hourly, 7, clock) == 7
    refusal = limits.take(hourly, "ann", clock())
    assert refusal == Refusal(limit=hourly, seconds=515)  # 3600 / 7, rounded up
    clock.forward(seconds=refusal.seconds)
    assert taken(limits, hourly, 2, clock) == 1


def test_each_limit_and_each_caller_counts_alone(limits: RateLimits, clock: Clock) -> None:
    one = RateLimit(name="one", most=1)
    other = RateLimit(name="other", most=1)
    said = [limits.take(*who, clock()) for who in ((one, "a"), (one, "b"), (other, "a"))]
    assert said == [None, None, None]
    assert limits.take(one, "a", clock()) == Refusal(limit=one, seconds=60)


def test_none_is_no_limit(limits: RateLimits, clock: Clock) -> None:
    assert taken(limits, RateLimit(name="none", most=0), 1000, clock) == 1000


def test_who_is_barred_by_one_limit_takes_nothing_of_another(
    limits: RateLimits, clock: Clock
) -> None:
    wrong = RateLimit(name="wrong", most=2)
    barred = (wrong, "bob")

    def said() -> Refusal | None:
        return limits.take(HUNDRED, "ann", clock(), barred=barred)

    assert [said() for _ in range(50)] == [None] * 50  # to look takes nothing
    assert [limits.take(wrong, "bob", clock()) for _ in range(2)] == [None, None]
    assert [said() for _ in range(200)] == [Refusal(limit=wrong, seconds=30)] * 200
    assert taken(limits, HUNDRED, 51, clock) == 50
    clock.forward(seconds=30)
    assert said() is None


def test_a_clock_that_is_set_back_keeps_nobody_out(limits: RateLimits, clock: Clock) -> None:
    clock.forward(days=2)
    assert taken(limits, HUNDRED, 101, clock) == 100
    clock.forward(days=-2)
    assert taken(limits, HUNDRED, 101, clock) == 100


_TAKES = """
import sys
from database.rate_limits import RateLimit, RateLimits
from database.session import Database
from tests.conftest import NOW
limits = RateLimits(Database(sys.argv[1]), b"k" * 32)
said = [limits.take(RateLimit(name="hundred", most=100), "ann", NOW) for _ in range(200)]
print(said.count(None))
"""


def test_four_processes_share_a_limit_exactly(either: Database) -> None:
    """The counts must outlive a process as well: a restart gives nothing back."""
    url = either.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", _TAKES, url]
    running = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    taken = [int(process.communicate(timeout=60)[0]) for process in running]
    assert sum(taken) == 100
    assert RateLimits(either, b"k" * 32).take(HUNDRED, "ann", NOW) is not None


def test_what_is_kept_names_nobody_and_goes_when_it_is_over(
    either: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("database.rate_limits._SWEEP_EVERY", 2)
    limits = RateLimits(either, b"k" * 32)
    for who in ("203.0.113.9", "198.51.100.1"):
        limits.take(HUNDRED, who, clock())
    with either.counter.begin() as connection:
        rows = connection.exec_driver_sql("SELECT who FROM rate_limits").scalars().all()
    assert [len(row) for row in rows] == [16, 16]
    # in time, and after a start
    for who, another in (("192.0.2.1", limits), ("192.0.2.2", RateLimits(either, b"k" * 32))):
        clock.forward(minutes=2)
        another.take(HUNDRED, who, clock())
        with either.counter.begin() as connection:
            counted = connection.exec_driver_sql("SELECT COUNT(*) FROM rate_limits").scalar()
        assert counted == 1


# the calls


def client_of(system: System, **limits: Any) -> FlaskClient:
    system.settings = replace(system.settings, **limits)
    return create_app(system=system).test_client()


def refused(response: Any) -> tuple[int, str, str]:
    """What the refusal says, after the check that it is one in the form of every error."""
    found = problem(response)
    assert found["type"] == "/problems/too-many-requests"
    return response.status_code, response.headers["Retry-After"], found["detail"]


def test_calls_with_the_key_are_counted(system: System, clock: Clock) -> None:
    client = client_of(system, api_calls_per_minute=3)
    assert [call(client, "GET", "/campaigns").status_code for _ in range(3)] == [200] * 3
    told = "There were too many calls with this key. Come back in 20 s."
    assert refused(call(client, "GET", "/campaigns")) == (429, "20", told)
    clock.forward(seconds=20)
    assert call(client, "GET", "/esp-status").status_code == 200


def test_two_processes_count_together(system: System, tmp_path: Any) -> None:
    """Two apps with nothing in common but the database, like two servers on it."""
    client_of(system)
    other = replace(system, database=Database(str(system.database.url)))
    both = [client_of(one, api_calls_per_minute=4) for one in (system, other)]
    said = [call(both[n % 2], "GET", "/campaigns").status_code for n in range(6)]
    other.database.close()
    assert said == [200, 200, 200, 200, 429, 429]


def test_too_many_wrong_keys_shut_an_address_out_whatever_it_sends_then(
    system: System, clock: Clock
) -> None:
    client = client_of(system, wrong_keys_per_minute=3)
    wrong = {"Authorization": "Bearer guess"}
    said = [call(client, "GET", "/campaigns", headers=wrong).status_code for _ in range(4)]
    assert said == [401, 401, 401, 429]
    told = "There were too many wrong keys from your address. Come back in 20 s."
    assert refused(call(client, "GET", "/campaigns")) == (429, "20", told)
    elsewhere = {"REMOTE_ADDR": "192.0.2.7"}
    assert call(client, "GET", "/campaigns", environ_base=elsewhere).status_code == 200
    clock.forward(seconds=20)
    assert call(client, "GET", "/campaigns").status_code == 200


@pytest.mark.parametrize(
    ("first", "second", "is_one_caller"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.7:4711", "192.0.2.7:4712", True),
        ("192.0.2.7:4711", "192.0.2.8:4711", False),
        ("[2001:db8:1:2::1]:4711", "[2001:db8:1:2::9]:4712", True),
        ("fe80::1%eth0", "fe80::1%other", True),
        ("unknown", "anything", True),
        ("unknown", "192.0.2.7", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("not an address", "not an address", True),
    ],
)
def test_a_caller_is_an_ipv4_address_or_64_bits_of_ipv6(
    system: System, first: str, second: str, is_one_caller: bool
) -> None:
    client = client_of(system, public_calls_per_minute=1)
    said = [
        call(client, "GET", "/openapi.json", headers={}, environ_base={"REMOTE_ADDR": address})
        for address in (first, second)
    ]
    assert [one.status_code for one in said] == [200, 429 if is_one_caller else 200]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/docs", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/nothing-here", 404),
        *(
            (method, f"{page}?token=forged", 400)
            for method in ("GET", "POST")
            for page in ("/unsubscribe", "/preferences", "/confirm")
        ),
    ],
)
def test_calls_without_key_or_link_of_ours_are_counted_by_address(
    system: System, method: str, path: str, status: int
) -> None:
    client = client_of(system, public_calls_per_minute=2)
    said = [call(client, method, path, headers={}).status_code for _ in range(2)]
    assert said == [status, status]
    assert refused(call(client, method, path, headers={}))[:2] == (429, "30")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_who_watches_is_never_refused(system: System, path: str) -> None:
    client = client_of(system, public_calls_per_minute=1)
    assert {call(client, "GET", path, headers={}).status_code for _ in range(5)} == {200}


# what must not be lost


@pytest.mark.parametrize("kind", ["bounce", "complaint", "engagement"])
@pytest.mark.parametrize("esp", ["", "/ses", "/sendgrid", "/postmark"])
def test_no_webhook_is_ever_refused_by_a_limit(system: System, kind: str, esp: str) -> None:
    """Nor counted: forged ones from the same address must not cost a genuine one its place."""
    client = client_of(system, public_calls_per_minute=1, wrong_keys_per_minute=1)
    path = f"/{kind}-webhook{esp}"
    said = {call(client, "POST", path, headers={}, data=b"[]").status_code for _ in range(5)}
    assert len(said) == 1
    assert said <= {401, 503}
    assert call(client, "GET", "/campaigns").status_code == 200


def test_two_hundred_people_leave_through_one_address(system: System) -> None:
    """A mailbox provider posts all one-click unsubscribes from a few addresses of its own."""
    client = client_of(system, public_calls_per_minute=1, wrong_keys_per_minute=1)
    call(client, "GET", "/unsubscribe?token=forged", headers={})
    for number in range(200):
        link = UnsubscribeLink(
            email_hash=number.to_bytes(16, "big"), subscriber_id=number, send_id=0
        )
        path = f"/unsubscribe?token={unsubscribe_token(system.link_keys[0], link)}"
        body = {"List-Unsubscribe": "One-Click"}
        assert call(client, "POST", path, headers={}, data=body).status_code == 200


def link_to(page: str, system: System) -> str:
    key = system.link_keys[0]
    asked = ConfirmLink(email_hash=bytes(16), opt_in_id=7, issued_at=NOW)
    token = confirm_token(key, asked) if page == "/confirm" else unsubscribe_token(key, NOBODY_LINK)
    return f"{page}?token={token}"


@pytest.mark.parametrize("page", ["/unsubscribe", "/preferences", "/confirm"])
def test_posts_with_one_link_are_counted_and_looking_is_not(
    system: System, clock: Clock, page: str
) -> None:
    client = client_of(system)
    path = link_to(page, system)
    # The same link in other letters: what it says is counted.
    spellings = [path, path.replace("token=", "token=%21"), f"{path}=="]
    said = [call(client, "POST", spellings[n % 3], headers={}).status_code for n in range(32)]
    assert 429 not in said[:30]
    assert said[30:] == [429, 429]
    assert refused(call(client, "POST", path, headers={}))[:2] == (429, "2")
    assert call(client, "GET", path, headers={}).status_code != 429
    clock.forward(seconds=2)
    assert call(client, "POST", path, headers={}).status_code == said[0]


# mails that ask for a confirmation


def sign_up(client: FlaskClient, number: int, ip: str | None = None) -> Any:
    consent = {"consent": {"ip": ip}} if ip else {}
    body = {"email": f"ann{number}@example.com", "double_opt_in": True, **consent}
    return call(client, "POST", "/add-subscriber", json=body)


def test_mails_that_ask_to_confirm_are_counted_over_all(system: System, clock: Clock) -> None:
    client = client_of(system, opt_in_mails_per_hour=3)
    assert [sign_up(client, n).status_code for n in range(3)] == [201] * 3
    told = "There were too many confirmation mails. Come back in 1200 s."
    assert refused(sign_up(client, 3)) == (429, "1200", told)
    # Nothing of it is kept, and asking again for somebody who was asked counts nothing.
    with system.database.read() as session:
        counted = (session.scalar(select(func.count(one.id))) for one in (Subscriber, OptIn))
        assert tuple(counted) == (3, 3)
    assert sign_up(client, 0).status_code == 200
    assert call(client, "POST", "/add-subscriber", json={"email": "b@b.de"}).status_code == 201
    clock.forward(seconds=1200)
    assert [sign_up(client, n).status_code for n in (3, 4)] == [201, 429]


def test_mails_that_ask_to_confirm_are_counted_by_who_signed_up(system: System) -> None:
    client = client_of(system)
    said = [sign_up(client, n, f"2001:db8::{n + 1:x}").status_code for n in range(21)]
    assert said == [201] * 20 + [429]
    assert sign_up(client, 99, "192.0.2.1").status_code == 201


# when it cannot be counted


def test_calls_are_answered_while_nothing_can_be_counted(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_of(system, api_calls_per_minute=1)
    path = system.database.path
    assert path is not None
    path.with_name(f"{path.name}.limits").write_bytes(b"not a database" * 100)
    assert [call(client, "GET", "/campaigns").status_code for _ in range(3)] == [200] * 3
    assert "calls cannot be counted" in caplog.text
    system.database.counter.dispose()
    for file in path.parent.glob(f"{path.name}.limits*"):
        file.unlink()
    assert [call(client, "GET", "/campaigns").status_code for _ in range(2)] == [200, 429]
    assert API_KEY not in caplog.text
    assert KEY["Authorization"] not in caplog.text
