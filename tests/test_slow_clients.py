"""The real server, over raw sockets: who is slow, who says two lengths, who says nonsense."""

import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from api.errors import PROBLEMS
from api.slow_clients import ANSWER_BYTES, MOST_GATHERED, expected_bytes
from api.unreadable import ALWAYS
from tests.environment import API_KEY, live_environment
from tests.faults.driver import Server, free_port

LIMIT_S = 2.0
"""Instead of 30, so that the test need not wait."""
SERVE = f"import app\nfrom api import slow_clients\nslow_clients.LONGEST_READ_S = {LIMIT_S}\napp.serve()"
PATIENT = "import app; app.serve()"
"""With its own limits."""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    yield from _server(SERVE, tmp_path_factory)


@pytest.fixture(scope="module")
def patient_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    yield from _server(PATIENT, tmp_path_factory)


def _server(code: str, folders: pytest.TempPathFactory) -> Iterator[int]:
    folder = folders.mktemp("slow")
    number = free_port()
    environ = live_environment(number, folder / "email.db", POSTMARK_API_KEY="pm-key-0123456789")
    environ["POSTMARK_BASE_URL"] = "http://127.0.0.1:9"
    server = Server((sys.executable, "-c", code), environ, folder / "log")
    server.start()
    yield number
    server.kill()


def answer_to(port: int, *parts: bytes) -> tuple[bytes, float]:
    """What the server says to parts that come without a break, until it closes; and after how
    many seconds. The last part is all that ever comes."""
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        for part in parts:
            client.sendall(part)
        said = b""
        while more := client.recv(65536):
            said += more
    return said, time.monotonic() - begin


KEY = f"Authorization: Bearer {API_KEY}\r\n".encode()
POST = b"POST /unsubscribe?token=x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
HALF = {
    "half a request line": (b"GET /heal", b""),
    "half a header": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ", b""),
    "half a body": (POST + b"Content-Length: 100\r\n\r\nabc", b"HTTP/1.1 400"),
    "half a chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", b"HTTP/1.1 400"),
}


@pytest.mark.parametrize("name", HALF)
def test_a_slow_client_is_let_go(port: int, name: str) -> None:
    sent, begins = HALF[name]
    said, seconds = answer_to(port, sent)
    assert said.startswith(begins)
    assert seconds < 10


HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
LARGE = b"POST /engagement-webhook/sendgrid HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
HOLDING = {
    "nothing": b"",
    "half a header": HALF["half a header"][0],
    "half a body": HALF["half a body"][0],
    "a chunk": HALF["half a chunk"][0],
    "a large body": LARGE + b"Content-Length: 900000\r\n\r\n" + b"x" * MOST_GATHERED,
    "a word to go on": LARGE + b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n",
    "a whole request, and never closes": HEALTH,
    "a whole request, and never reads": HEALTH.replace(b"healthz", b"openapi.json"),
    "what is no request, and never closes": b"no request\r\n\r\n",
}


@pytest.mark.parametrize("name", HOLDING)
def test_clients_that_hold_on_keep_nobody_waiting(patient_port: int, name: str) -> None:
    """More of them than there are threads. Twice a second the server looks for who is late."""
    with ExitStack() as held:
        for _ in range(100):
            client = held.enter_context(socket.socket())
            client.settimeout(20)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            # As over the internet: on loopback the system keeps much more by itself.
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
            client.connect(("127.0.0.1", patient_port))
            client.sendall(HOLDING[name])
        for _ in range(3):
            said, seconds = answer_to(patient_port, HEALTH)
            assert said.startswith(b"HTTP/1.1 200")
            assert seconds < 2


def test_an_answer_without_a_key_is_no_larger_than_what_the_system_keeps(port: int) -> None:
    """The kernel counts more than the bytes, so that half of it is safe."""
    said, _ = answer_to(port, HOLDING["a whole request, and never reads"])
    assert 50_000 < len(said) < ANSWER_BYTES / 2


def test_large_bodies_in_good_time_are_answered_while_slow_ones_hold_on(patient_port: int) -> None:
    with ExitStack() as held:
        for _ in range(40):
            client = socket.create_connection(("127.0.0.1", patient_port), timeout=20)
            held.enter_context(client).sendall(HOLDING["a large body"])
        body = b"x" * 900_000
        said, seconds = answer_to(patient_port, LARGE + b"Content-Length: 900000\r\n\r\n", body)
        assert said.startswith(b"HTTP/1.1 503")  # SendGrid is not set up
        assert seconds < 15


def test_requests_one_after_the_other_in_one_piece_are_answered_in_turn(port: int) -> None:
    first = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    second = b"POST /unsubscribe?token=x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"
    said, _ = answer_to(port, b"\r\n" + first + second + second + HEALTH[:20], HEALTH[20:])
    assert [one[:3] for one in said.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400", b"400", b"200"]


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("came", "expected"),
    [
        (b"", 1),
        (HEAD, len(HEAD) + 1),
        (HEAD + b"\r\n", len(HEAD) + 2),
        (HEAD + b"Content-Length: 5\r\n\r\nabc", len(HEAD) + 19 + 2 + 5),
        (HEAD + b"content-length:5\r\n\r\n", len(HEAD) + 18 + 2 + 5),
        (HEAD + b"X: content-length: 5\r\n\r\n", len(HEAD) + 22 + 2),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", MOST_GATHERED + 1),
        (HEAD + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n", MOST_GATHERED + 1),
        (HEAD + b"\r\nContent-Length: 5\r\n\r\n", len(HEAD) + 2),
    ],
)
def test_the_size_of_a_request_is_told_from_its_head(came: bytes, expected: int) -> None:
    assert expected_bytes(came) == expected


def test_a_length_that_nobody_can_mean_is_large() -> None:
    head = HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n"
    assert expected_bytes(head) > MOST_GATHERED


def test_who_has_the_key_may_be_slow(port: int) -> None:
    """An import from a slow line takes as long as it takes."""
    head = b"POST /subscribers/import HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + KEY
    rows = b"email\r\nann@example.com\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(head + b"Content-Type: text/csv\r\nContent-Length: %d\r\n\r\n" % len(rows))
        client.sendall(rows[:7])
        time.sleep(LIMIT_S + 1.5)  # who is late is looked for every second
        client.sendall(rows[7:])
        said = b""
        while more := client.recv(65536):
            said += more
    assert said.startswith(b"HTTP/1.1 200")
    assert b'"created":1' in said


@pytest.mark.parametrize(
    "lengths",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: -3\r\n",
        b"Content-Length: 0x3\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding : chunked\r\n",
    ],
)
def test_a_body_of_two_lengths_is_no_second_request(port: int, lengths: bytes) -> None:
    """A proxy in front may read the other one, and take what follows for another's request."""
    hidden = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    head = b"POST /unsubscribe?token=x HTTP/1.1\r\nHost: x\r\n" + lengths + b"\r\n"
    said, _ = answer_to(port, head + b"0\r\n\r\n" + hidden)
    assert said.count(b"HTTP/1.1 ") == 1
    assert b"HTTP/1.1 200" not in said


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 70 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 9000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["long line", "many headers", "long header", "TLS", "NUL", "HTTP/2"],
)
def test_what_is_no_request_is_turned_away(port: int, sent: bytes) -> None:
    said, seconds = answer_to(port, sent)
    assert not said.startswith(b"HTTP/1.1 2")
    assert b"Traceback" not in said
    assert seconds < 10


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"GET  /m4rk?token=m4rk HTTP/1.1\r\nHost: x\r\n\r\n", "bad-request"),
        (b"GET /m4rk HTTP/1.1\r\nm4rk\x01: m4rk\r\n\r\n", "bad-request"),
        (b"GET /" + b"m4rk" * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", "address-too-long"),
        (b"GET / HTTP/1.1\r\n" + b"m4rk: b\r\n" * 70 + b"\r\n", "headers-too-large"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: m4rk\r\n\r\n", "not-implemented"),
    ],
)
def test_what_is_no_request_is_answered_in_the_form_of_every_error(
    port: int, sent: bytes, kind: str
) -> None:
    head, _, body = answer_to(port, sent)[0].partition(b"\r\n\r\n")
    status, title = PROBLEMS[kind]
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    told = json.loads(body)
    assert first.startswith(f"HTTP/1.1 {status} ")
    assert headers.items() >= {**ALWAYS, "Content-Type": "application/problem+json"}.items()
    assert (told["type"], told["title"], told["status"]) == (f"/problems/{kind}", title, status)
    assert b"m4rk" not in head + body


def test_the_server_is_well_after_all_that(port: int) -> None:
    said, _ = answer_to(port, b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_import_that_is_cut_off_brings_no_half_address(port: int, is_chunked: bool) -> None:
    """`cut@example.co` is somebody else than `cut@example.com`."""
    rows = b"email\r\nwhole@example.com\r\ncut@example.co"
    head = b"POST /subscribers/import HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + KEY
    head += b"Content-Type: text/csv\r\n"
    if is_chunked:
        sent = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % (len(rows) + 10) + rows
    else:
        sent = head + b"Content-Length: %d\r\n\r\n" % (len(rows) + 10) + rows
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        said = client.recv(65536)
    assert said.startswith(b"HTTP/1.1 400"), said
    get = b"GET /subscribers/cut@example.co HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + KEY
    assert answer_to(port, get + b"\r\n")[0].startswith(b"HTTP/1.1 404")
