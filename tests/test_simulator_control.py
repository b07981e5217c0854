"""The control listener: orders, answers, the page for a person; and the process of its own."""

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.simulator.server import SIMULATED, Simulator
from tests.simulator_calls import JSON, Answer, people, results, running, send, sim

__all__ = ["running", "sim"]  # fixtures

SENDGRID, SES, POSTMARK = SIMULATED
ROOT = Path(__file__).parents[1]


def ask(url: str, path: str, order: Any = None, *, headers: dict[str, str] | None = None) -> Answer:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    try:
        connection.request(
            "GET" if order is None else "POST",
            path,
            None if order is None else json.dumps(order),
            JSON if headers is None else headers,
        )
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def test_behaviour_can_be_ordered_by_json(sim: Simulator) -> None:
    order = {"esp": "ses", "mode": "throttle", "after": 1, "count": 1, "per_message": True}
    assert ask(sim.control_url, "/behaviour", order).status == 200
    assert [results(SES, send(sim, SES, people(1))) for _ in range(3)] == [
        ["SUCCESS"],
        ["ACCOUNT_THROTTLED"],
        ["SUCCESS"],
    ]


def test_limits_can_be_ordered_by_json(sim: Simulator) -> None:
    assert ask(sim.control_url, "/limits", {"esp": "ses", "daily_limit": 1}).status == 200
    assert results(SES, send(sim, SES, people(2))) == ["SUCCESS", "ACCOUNT_DAILY_QUOTA_EXCEEDED"]


def test_reset_can_be_ordered_by_json(sim: Simulator) -> None:
    send(sim, SES, people(1))
    sim.behave(SENDGRID, "refuse")
    assert ask(sim.control_url, "/reset", {}).status == 200
    assert (sim.mails(), send(sim, SENDGRID, people(1)).status) == ([], 202)


@pytest.mark.parametrize(
    ("path", "order", "status", "error"),
    [
        ("/behaviour", {"esp": "mailgun"}, 400, "'mailgun' is not a valid EspName"),
        ("/behaviour", {"mode": "throttle"}, 400, "None is not a valid EspName"),
        ("/behaviour", {"esp": "ses", "mode": "asleep"}, 400, "'asleep' is not a valid Mode"),
        ("/behaviour", {"esp": "ses", "mode": "maintenance"}, 400, "ses has no mode maintenance"),
        ("/behaviour", [1], 400, "an object is expected"),
        ("/limits", {"esp": "ses", "per_second": 0}, 400, "limits are above 0, or not set"),
        ("/limits", {"esp": "ses", "per_second": "1"}, 400, None),
        ("/limits", {"esp": "ses", "often": 1}, 400, None),
        ("/nowhere", {}, 404, "no such order"),
        ("/nowhere", None, 404, "no such page"),
        ("/mails/x", None, 400, "'x' is not a number"),
        ("/mails/999999", None, 404, "no such mail"),
        ("/mails?limit=-1", None, 400, "'-1' is not a number"),
        ("/mails?esp=mailgun", None, 400, "'mailgun' is not a valid EspName"),
    ],
)
def test_order_that_makes_no_sense_is_refused(
    sim: Simulator, path: str, order: Any, status: int, error: str | None
) -> None:
    answer = ask(sim.control_url, path, order)
    assert answer.status == status
    assert list(answer.document) == ["error"]
    assert error is None or answer.document["error"] == error


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({}, 415),
        (JSON | {"Host": "evil.example"}, 421),
        (JSON | {"Host": "evil.example:8025"}, 421),
        (JSON | {"Host": "localhost:8025"}, 200),
        (JSON | {"Host": "127.0.0.1"}, 200),
    ],
)
def test_page_of_another_site_cannot_give_orders(
    sim: Simulator, headers: dict[str, str], status: int
) -> None:
    assert ask(sim.control_url, "/reset", {}, headers=headers).status == status


def test_mails_are_listed_page_by_page_without_bodies(sim: Simulator) -> None:
    for esp in SIMULATED:
        send(sim, esp, people(2))
    first = ask(sim.control_url, "/mails?limit=4").document["mails"]
    rest = ask(sim.control_url, f"/mails?before={first[-1]['id']}").document["mails"]
    assert [(mail["esp"], mail["recipient"]) for mail in first + rest] == [
        (esp, f"reader{number}@example.net")
        for esp in ("postmark", "ses", "sendgrid")
        for number in (1, 0)
    ]
    assert not {"html", "text"} & set(first[0])
    one = ask(sim.control_url, "/mails?esp=ses&to=reader1%40example.net").document["mails"]
    assert [(mail["send_ref"], mail["subject"]) for mail in one] == [("s_1", "Hello N1")]


def test_one_mail_is_told_whole(sim: Simulator) -> None:
    send(sim, SENDGRID, ["ann@example.net"])
    (mail,) = sim.mails()
    assert ask(sim.control_url, f"/mails/{mail.id}").document == {
        "id": mail.id,
        "esp": "sendgrid",
        "recipient": "ann@example.net",
        "send_ref": "s_ann@example.net",
        "message_id": mail.message_id,
        "rendering_failure": False,
        "received_at": mail.received_at.isoformat(),
        "sender": "News <news@example.com>",
        "reply_to": "",
        "subject": "Hello N0",
        "html": "<p>Dear N0</p>",
        "text": "Dear N0",
        "headers": {},
        "labels": {"cx_send_id": "s_ann@example.net"},
    }


def test_stats_tell_what_was_taken_and_how_each_esp_behaves(sim: Simulator) -> None:
    sim.limit(SES, per_second=2)
    send(sim, SES, people(5))
    sim.behave(SES, "throttle", after=7)
    stats = ask(sim.control_url, "/stats").document
    ses = stats["esps"]["ses"]
    assert (ses["accepted"], ses["requests"], ses["peak_in_flight"]) == (3, 1, 1)
    assert ses["limit_violations"] == {"per_second": 1}
    assert (ses["behaviour"]["mode"], ses["behaviour"]["after"]) == ("throttle", 7)
    assert ses["limits"]["per_second"] == 2
    assert (stats["esps"]["postmark"]["accepted"], stats["followed_redirects"]) == (0, 0)


def test_duplicates_are_told(sim: Simulator) -> None:
    send(sim, SES, people(1))
    send(sim, POSTMARK, people(2))
    answer = ask(sim.control_url, "/duplicates")
    assert answer.document == {"duplicates": {"reader0@example.net": 2}}


def test_page_escapes_what_was_sent_and_loads_nothing(sim: Simulator) -> None:
    attack = '"></iframe><script>alert(1)</script>'
    send(
        sim,
        SENDGRID,
        ["ann@example.net"],
        subject=attack,
        content=[{"type": "text/plain", "value": attack}, {"type": "text/html", "value": attack}],
        headers={"X-A": attack},
    )
    (mail,) = sim.mails()
    for path in ("/", f"/mails/{mail.id}.html"):
        page = ask(sim.control_url, path)
        assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none';")
        assert b"<script" not in page.body
        assert b"&lt;script&gt;alert(1)" in page.body
    assert b'<iframe sandbox srcdoc="&quot;&gt;&lt;/iframe&gt;' in page.body


def test_page_lists_mails_whose_content_is_gone() -> None:
    with Simulator(keep_content=False) as sim:
        send(sim, SES, people(1))
        assert b"(content no longer kept)" in ask(sim.control_url, "/").body
        assert ask(sim.control_url, "/mails/1.html").status == 200


def test_only_loopback_listens(sim: Simulator) -> None:
    urls = [sim.control_url, *sim.base_urls.values()]
    assert {url.rpartition(":")[0] for url in urls} == {"http://127.0.0.1"}
    assert len(set(urls)) == 4


def test_orders_may_come_before_the_start() -> None:
    simulator = Simulator()
    simulator.behave(SES, "throttle")
    with simulator as sim:
        assert send(sim, SES, people(1)).status == 429


def test_simulator_that_never_started_can_be_stopped_twice() -> None:
    simulator = Simulator()
    simulator.stop()
    simulator.stop()


def test_stop_ends_calls_that_hang() -> None:
    with Simulator() as sim:
        sim.behave(POSTMARK, "hang_before")
        port = int(sim.base_urls[POSTMARK].rpartition(":")[2])
        client = socket.create_connection(("127.0.0.1", port), timeout=20)
        client.sendall(
            b"POST /email HTTP/1.1\r\nHost: x\r\nX-Postmark-Server-Token: t\r\n"
            b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"{}")
    with client:
        try:
            rest = client.recv(100)
        except ConnectionResetError:
            rest = b""
    assert rest == b""


def test_port_that_is_taken_is_told_and_nothing_stays_open() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OSError, match="in use"),
    ):
        Simulator(port=taken.getsockname()[1])


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "error", "-m", "services.simulator", "--port", "0"]
    with subprocess.Popen(
        [*command, "--mailbox", str(tmp_path / "new" / "mailbox.db")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        yield started
        started.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_prints_its_urls_and_stops_on_a_signal(
    process: subprocess.Popen[str], number: signal.Signals, tmp_path: Path
) -> None:
    assert process.stdout is not None
    words = [process.stdout.readline().split() for _ in range(4)]
    urls = {line[0]: line[1] for line in words}
    assert list(urls) == ["control", "sendgrid", "ses", "postmark"]
    assert ask(urls["control"], "/stats").document["esps"]["ses"]["base_url"] == urls["ses"]
    process.send_signal(number)
    rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest, errors) == (0, "", "")
    assert (tmp_path / "new" / "mailbox.db").exists()


@pytest.mark.parametrize("why", ["port", "mailbox"])
def test_process_says_why_it_cannot_start(tmp_path: Path, why: str) -> None:
    mailbox = tmp_path / "mailbox.db"
    mailbox.write_bytes(b"no database" * 100 if why == "mailbox" else b"")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1] if why == "port" else 0)
        ended = subprocess.run(
            [sys.executable, "-m", "services.simulator", "--port", port, "--mailbox", mailbox],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("The simulator cannot start: ")
    assert ended.stderr.count("\n") == 1
