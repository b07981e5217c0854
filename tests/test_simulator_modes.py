"""What each mode does: to the client, and to the mails."""

import http.client
import socket
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from config.esp_config import EspName
from services import simulator as package
from services.simulator.fates import FATES
from services.simulator.modes import ERRORS, TAKEN_OPTIONAL, Mode, Scope, modes_of
from services.simulator.server import SIMULATED, Simulator
from tests.simulator_calls import (
    BATCHES,
    Answer,
    call,
    look_up,
    people,
    results,
    running,
    send,
    ses_batch,
    sim,
)

__all__ = ["running", "sim"]  # fixtures

SENDGRID, SES, POSTMARK = SIMULATED
SHORT_S = 0.2
"""How long a client waits for an answer that never comes."""

ALL, NONE = 6, 0
SUCCESS = {SENDGRID: 202, SES: 200, POSTMARK: 200}


def observe(sim: Simulator, esp: EspName, **how: Any) -> int | type[Exception]:
    """The status that a client sees, or how it fails."""
    try:
        return call(sim, esp, BATCHES[esp](people(ALL)), **how).status
    except (OSError, http.client.HTTPException) as error:
        return type(error)


# Per mode: what the client sees at SendGrid, SES and Postmark, and how many of `ALL` are taken.
SEEN: dict[Mode, tuple[tuple[int | type[Exception] | None, ...], tuple[int, ...]]] = {
    Mode.OK: ((202, 200, 200), (ALL, ALL, ALL)),
    Mode.UNAUTHORIZED: ((401, 403, 401), (NONE, NONE, NONE)),
    Mode.SUSPENDED: ((403, 400, 200), (NONE, NONE, NONE)),
    Mode.UNVERIFIED: ((403, 400, 200), (NONE, NONE, NONE)),
    Mode.THROTTLE: ((429, 429, 429), (NONE, NONE, NONE)),
    Mode.QUOTA: ((401, 200, 200), (NONE, NONE, NONE)),
    Mode.MESSAGE_REJECTED: ((400, 400, 200), (NONE, NONE, NONE)),
    Mode.TOO_LARGE: ((413, 413, 413), (NONE, NONE, NONE)),
    Mode.ERROR_500: ((500, 500, 500), (NONE, NONE, NONE)),
    Mode.ERROR_502: ((502, 502, 502), (NONE, NONE, NONE)),
    Mode.ERROR_503: ((503, 503, 503), (NONE, NONE, NONE)),
    Mode.ERROR_504: ((504, 504, 504), (NONE, NONE, NONE)),
    Mode.MAINTENANCE: ((None, None, 503), (NONE, NONE, NONE)),
    Mode.RESET_BEFORE: ((ConnectionResetError,) * 3, (NONE, NONE, NONE)),
    Mode.RESET_AFTER: ((ConnectionResetError,) * 3, (ALL, ALL, ALL)),
    Mode.CLOSE_BEFORE: ((http.client.RemoteDisconnected,) * 3, (NONE, NONE, NONE)),
    Mode.CLOSE_AFTER: ((http.client.RemoteDisconnected,) * 3, (ALL, ALL, ALL)),
    Mode.HANG_BEFORE: ((TimeoutError,) * 3, (NONE, NONE, NONE)),
    Mode.HANG_AFTER: ((TimeoutError,) * 3, (ALL, ALL, ALL)),
    Mode.REFUSE: ((ConnectionRefusedError,) * 3, (NONE, NONE, NONE)),
    Mode.GARBAGE: ((202, 200, 200), (ALL, ALL, ALL)),
    Mode.EMPTY: ((200, 200, 200), (ALL, ALL, ALL)),
    Mode.CUT: ((http.client.IncompleteRead,) * 3, (ALL, ALL, ALL)),
    Mode.SHORT_RESULTS: ((None, 200, 200), (NONE, ALL, ALL)),
    Mode.PARTIAL: ((400, 200, 200), (NONE, 4, 4)),
    Mode.REDIRECT: ((302, 302, 302), (NONE, NONE, NONE)),
    Mode.DRIP: ((202, 200, 200), (ALL, ALL, ALL)),
}


@pytest.mark.parametrize(("mode", "esp"), [(mode, esp) for mode in Mode for esp in SIMULATED])
def test_mode_is_seen_by_the_client_and_in_the_ledger(
    sim: Simulator, mode: Mode, esp: EspName
) -> None:
    place = SIMULATED.index(esp)
    seen, taken = (row[place] for row in SEEN[mode])
    if mode not in modes_of(esp):
        with pytest.raises(ValueError, match=f"{esp} has no mode {mode}"):
            sim.behave(esp, mode)
        assert seen is None
        return
    sim.behave(esp, mode, **({"latency_s": 0.0001} if mode is Mode.DRIP else {}))
    timeout_s = SHORT_S if mode in (Mode.HANG_BEFORE, Mode.HANG_AFTER) else 20
    assert observe(sim, esp, timeout_s=timeout_s) == seen
    assert sim.accepted() == {**dict.fromkeys(SIMULATED, 0), esp: taken}


@pytest.mark.parametrize("esp", SIMULATED)
@pytest.mark.parametrize("mode", sorted(TAKEN_OPTIONAL))
@pytest.mark.parametrize("taken", [True, False])
def test_order_may_say_whether_an_ambiguous_answer_has_taken(
    sim: Simulator, esp: EspName, mode: Mode, taken: bool
) -> None:
    sim.behave(esp, mode, taken=taken)
    observe(sim, esp)
    assert sim.accepted()[esp] == (ALL if taken else NONE)


@pytest.mark.parametrize("esp", SIMULATED)
@pytest.mark.parametrize("mode", sorted(ERRORS))
def test_error_may_be_a_page(sim: Simulator, esp: EspName, mode: Mode) -> None:
    sim.behave(esp, mode, html=True)
    answer = send(sim, esp, people(1))
    status = int(mode.value.removeprefix("error_"))
    assert (answer.status, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert answer.body.startswith(b"<html><head><title>%d " % status)


@pytest.mark.parametrize("esp", SIMULATED)
def test_garbage_is_a_success_that_is_not_json(sim: Simulator, esp: EspName) -> None:
    sim.behave(esp, Mode.GARBAGE)
    answer = send(sim, esp, people(1))
    assert answer.status == SUCCESS[esp]
    assert not answer.body.startswith((b"{", b"["))
    assert "X-Message-Id" not in answer.headers


@pytest.mark.parametrize("esp", SIMULATED)
def test_drip_ends_as_the_true_answer(sim: Simulator, esp: EspName) -> None:
    def without_ids(answer: Answer) -> tuple[int, int, list[str]]:
        return answer.status, len(answer.body), sorted(answer.headers)

    well = send(sim, esp, people(1))
    sim.behave(esp, Mode.DRIP, latency_s=0.0001)
    assert without_ids(send(sim, esp, people(1))) == without_ids(well)


@pytest.mark.parametrize("esp", SIMULATED)
def test_after_lets_it_fail_half_way(sim: Simulator, esp: EspName) -> None:
    sim.behave(esp, Mode.UNAUTHORIZED, after=15)
    statuses = [send(sim, esp, people(10, first)).status for first in (0, 10, 20, 30)]
    assert [status == SUCCESS[esp] for status in statuses] == [True, True, False, False]
    assert sim.accepted()[esp] == 20


@pytest.mark.parametrize("esp", SIMULATED)
def test_count_lets_it_recover(sim: Simulator, esp: EspName) -> None:
    sim.behave(esp, Mode.THROTTLE, after=1, count=2)
    statuses = [send(sim, esp, people(1)).status for _ in range(5)]
    assert statuses == [SUCCESS[esp], 429, 429, SUCCESS[esp], SUCCESS[esp]]


@pytest.mark.parametrize("esp", SIMULATED)
@pytest.mark.parametrize(
    ("scope", "sent", "looked_up"),
    [(Scope.SEND, 500, 200), (Scope.LOOKUP, None, 500), (Scope.ALL, 500, 500)],
)
def test_scope_says_which_calls_are_meant(
    sim: Simulator, esp: EspName, scope: Scope, sent: int | None, looked_up: int
) -> None:
    sim.behave(esp, Mode.ERROR_500, scope=scope)
    statuses = send(sim, esp, people(1)).status, look_up(sim, esp).status
    assert statuses == (sent or SUCCESS[esp], looked_up)


def test_call_without_a_key_does_not_use_the_count_up(sim: Simulator) -> None:
    sim.behave(SENDGRID, Mode.THROTTLE, count=1)
    statuses = [
        call(sim, SENDGRID, {}, headers={}).status,
        call(sim, SENDGRID, {}, path="/nowhere").status,
        send(sim, SENDGRID, people(1)).status,
    ]
    assert statuses == [401, 404, 429]


@pytest.mark.parametrize("esp", SIMULATED)
def test_latency_comes_after_the_mails_are_taken(sim: Simulator, esp: EspName) -> None:
    sim.behave(esp, latency_s=30)
    assert observe(sim, esp, timeout_s=SHORT_S) is TimeoutError
    assert sim.accepted()[esp] == ALL


def test_esps_behave_apart(sim: Simulator) -> None:
    sim.behave(SENDGRID, Mode.REFUSE)
    sim.behave(SES, Mode.THROTTLE)
    seen = [observe(sim, esp) for esp in SIMULATED]
    assert seen == [ConnectionRefusedError, 429, 200]


@pytest.mark.parametrize("esp", SIMULATED)
def test_bad_call_is_refused_before_its_answer_goes_astray(sim: Simulator, esp: EspName) -> None:
    sim.behave(esp, Mode.GARBAGE)
    answer = call(sim, esp, b"{")
    assert answer.status in (400, 422)
    assert sim.accepted()[esp] == 0


def test_reset_before_strikes_while_the_body_is_still_coming(sim: Simulator) -> None:
    sim.behave(SENDGRID, Mode.RESET_BEFORE)
    port = int(sim.base_urls[SENDGRID].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
        wire.sendall(b"POST /v3/mail/send HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{")
        with pytest.raises(ConnectionResetError):
            wire.recv(1)
    (met,) = sim.calls(SENDGRID)
    assert (met.mode, met.status, met.recipients, met.taken) == ("reset_before", None, 0, 0)


def test_hanging_call_ends_when_the_client_leaves(sim: Simulator) -> None:
    sim.behave(POSTMARK, Mode.HANG_AFTER, count=1)
    seen = [observe(sim, POSTMARK, timeout_s=SHORT_S), observe(sim, POSTMARK)]
    assert seen == [TimeoutError, 200]


def test_refusing_esp_drops_idle_connections_and_comes_back_at_its_port(sim: Simulator) -> None:
    port = int(sim.base_urls[SES].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as idle:
        idle.sendall(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(12) == b"HTTP/1.1 403"
        sim.behave(SES, Mode.REFUSE)
        while idle.recv(4096):
            pass  # the rest of the answer, then the end
    seen = [observe(sim, SES)]
    sim.behave(SES)
    assert [*seen, observe(sim, SES)] == [ConnectionRefusedError, 200]


def test_refusing_begins_when_enough_is_taken(sim: Simulator) -> None:
    sim.behave(SES, Mode.REFUSE, after=10)
    assert [observe(sim, SES) for _ in range(3)] == [200, 200, ConnectionRefusedError]
    sim.reset()
    assert observe(sim, SES) == 200


def test_follower_of_a_redirect_is_counted(sim: Simulator) -> None:
    sim.behave(SENDGRID, Mode.REDIRECT)
    place = send(sim, SENDGRID, people(1)).headers["Location"]
    assert (place, sim.followed_redirects) == (f"{sim.control_url}/elsewhere", 0)
    host, _, path = place.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.request("GET", f"/{path}")
    status = connection.getresponse().status
    connection.close()
    assert (status, sim.followed_redirects) == (200, 1)
    sim.reset()
    assert sim.followed_redirects == 0


@pytest.mark.parametrize(
    ("esp", "how", "problem"),
    [
        (SES, {"mode": "asleep"}, "'asleep' is not a valid Mode"),
        (SES, {"scope": "some"}, "'some' is not a valid Scope"),
        (SES, {"often": 1}, "unknown fields: often"),
        (SES, {"after": "1"}, "after is of the wrong type"),
        (SES, {"after": -1}, "cannot be negative"),
        (SES, {"count": 0}, "cannot be negative"),
        (SES, {"every": 0}, "cannot be negative"),
        (SES, {"latency_s": -1}, "cannot be negative"),
        (SES, {"mode": "throttle", "taken": True}, "taken cannot be chosen for throttle"),
        (SES, {"mode": "throttle", "html": True}, "throttle has no html variant"),
        (SES, {"mode": "garbage", "per_message": True}, "garbage cannot be said per message"),
        (SENDGRID, {"mode": "throttle", "per_message": True}, "sendgrid answers without results"),
        (SENDGRID, {"mode": "throttle", "codes": ["1"]}, "sendgrid answers without results"),
        (POSTMARK, {"mode": "partial", "codes": ["x"]}, "the codes of postmark are numbers"),
        (SES, {"mode": "refuse", "count": 1}, "refused connections cannot be counted"),
        (SES, {"mode": "refuse", "latency_s": 1}, "refused connections cannot be counted"),
    ],
)
def test_order_that_makes_no_sense_is_refused_and_changes_nothing(
    sim: Simulator, esp: EspName, how: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        sim.behave(esp, **how)
    assert observe(sim, esp) == SUCCESS[esp]


@pytest.mark.parametrize(
    ("mode", "raised", "taken"),
    [
        (Mode.REFUSE, EndpointConnectionError, NONE),
        (Mode.RESET_BEFORE, ConnectionClosedError, NONE),
        (Mode.RESET_AFTER, ConnectionClosedError, ALL),
        (Mode.CLOSE_AFTER, ConnectionClosedError, ALL),
        (Mode.HANG_AFTER, ReadTimeoutError, ALL),
    ],
)
def test_boto3_sees_a_broken_wire(
    sim: Simulator, mode: Mode, raised: type[BotoCoreError], taken: int
) -> None:
    client = boto3.client(
        "sesv2",
        region_name="eu-west-1",
        endpoint_url=sim.base_urls[SES],
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=SHORT_S),
    )
    sim.behave(SES, mode)
    with pytest.raises(raised):
        client.send_bulk_email(**ses_batch(people(ALL)))
    client.close()
    assert sim.accepted()[SES] == taken


@pytest.mark.parametrize(
    ("address", "codes"),
    [
        ("reader", (202, "SUCCESS", "0")),
        ("bounce", (202, "SUCCESS", "0")),
        ("soft", (202, "SUCCESS", "0")),
        ("block", (202, "SUCCESS", "0")),
        ("defer", (202, "SUCCESS", "0")),
        ("complaint", (202, "SUCCESS", "0")),
        ("open", (202, "SUCCESS", "0")),
        ("click", (202, "SUCCESS", "0")),
        ("unsubscribe", (202, "SUCCESS", "0")),
        ("inactive+7", (202, "SUCCESS", "406")),
        ("INVALID+7", (400, "INVALID_PARAMETER", "300")),
    ],
)
def test_address_tells_whether_it_is_taken(
    sim: Simulator, address: str, codes: tuple[int, str, str]
) -> None:
    to = [f"{address}@example.net"]
    seen = (
        send(sim, SENDGRID, to).status,
        *results(SES, send(sim, SES, to)),
        *results(POSTMARK, send(sim, POSTMARK, to)),
    )
    assert seen == codes


def test_documentation_names_every_mode_and_address() -> None:
    page = package.__doc__ or ""
    errors = [mode for mode in Mode if f"    {mode} " not in page and mode not in ERRORS]
    addresses = [local for local in FATES if f"{local}@" not in page]
    assert (errors, addresses) == ([], [])
