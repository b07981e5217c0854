"""The simulator's own HTTP/1.1: what it reads, what it turns away, what stays open."""

import http.client
import json
import re
import socket
from collections.abc import Iterator

import pytest

from config.esp_config import EspName
from services.simulator.http1 import MAX_BODY_BYTES, MAX_HEAD_BYTES
from services.simulator.server import Simulator
from tests.simulator_calls import JSON, KEYS, people, sendgrid_batch

POST = b"POST /v3/mail/send HTTP/1.1\r\nHost: x\r\n"
KEY = b"Authorization: Bearer SG.any\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def wire(sim: Simulator) -> Iterator[socket.socket]:
    port = int(sim.base_urls[EspName.SENDGRID].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        yield connection


def answer_to(wire: socket.socket, request: bytes) -> tuple[int, bytes]:
    wire.sendall(request)
    response = http.client.HTTPResponse(wire)
    response.begin()
    try:
        return response.status, response.read()
    finally:
        response.close()


def is_closed(wire: socket.socket) -> bool:
    return wire.recv(1) == b""


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET  /v3/scopes HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET scopes HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"G(T /v3/scopes HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /v3/scopes HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET /v3/scopes HTTP/1.1\r\n\r\n", 400),
        (b"GET /v3/scopes HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        (b"GET /v3/scopes HTTP/1.1\r\nHost: x\r\n folded: x\r\n\r\n", 400),
        (b"GET /v3/scopes HTTP/1.1\r\nHost: x\r\nName : x\r\n\r\n", 400),
        (b"GET /v3/scopes HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nXYZ\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n", 400),
        (POST + b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1), 413),
        (POST + b"Content-Length: " + b"9" * 50 + b"\r\n\r\n", 413),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFF\r\n", 413),
        (POST + b"X: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n", 431),
        (POST + b"X: " + b"x" * 2_000_000, 431),
    ],
)
def test_malformed_request_is_turned_away_and_the_connection_closed(
    wire: socket.socket, request_bytes: bytes, status: int
) -> None:
    answered, body = answer_to(wire, request_bytes)
    assert answered == status
    assert list(json.loads(body)) == ["message"]
    assert is_closed(wire)


@pytest.mark.parametrize(
    ("body", "framing"),
    [
        (b"{}", b"Content-Length: 2"),
        (b"2\r\n{}\r\n0\r\n\r\n", b"Transfer-Encoding: chunked"),
        (b"1;ext=1\r\n{\r\n1\r\n}\r\n0\r\nTrailer: x\r\n\r\n", b"Transfer-Encoding: chunked"),
    ],
)
def test_body_is_read_by_length_or_by_chunks(
    wire: socket.socket, body: bytes, framing: bytes
) -> None:
    status, answer = answer_to(wire, POST + KEY + framing + b"\r\n\r\n" + body)
    assert (status, json.loads(answer)["errors"][0]["field"]) == (400, "from.email")


def test_connection_serves_one_request_after_another(sim: Simulator) -> None:
    before = sim.connections(EspName.SENDGRID)
    connection = http.client.HTTPConnection(
        sim.base_urls[EspName.SENDGRID].removeprefix("http://"), timeout=20
    )
    body = json.dumps(sendgrid_batch(people(1)))
    statuses = []
    for _ in range(3):
        connection.request("POST", "/v3/mail/send", body, KEYS[EspName.SENDGRID] | JSON)
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
    connection.close()
    assert (statuses, sim.connections(EspName.SENDGRID) - before) == ([202, 202, 202], 1)


def test_requests_that_come_together_are_answered_in_order(wire: socket.socket) -> None:
    scopes = b"GET /v3/scopes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\n\r\n"
    nowhere = b"GET /nowhere HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\n"
    wire.sendall(scopes + nowhere + b"Connection: close\r\n\r\n")
    with wire.makefile("rb") as answers:
        said = re.findall(rb"HTTP/1.1 \d+|Connection: [a-z-]+", answers.read())
    assert said == [
        b"HTTP/1.1 200",
        b"Connection: keep-alive",
        b"HTTP/1.1 404",
        b"Connection: close",
    ]


@pytest.mark.parametrize(
    ("start", "connection"),
    [
        (b"GET /v3/scopes HTTP/1.1\r\nHost: x\r\n", b"Connection: close"),
        (b"GET /v3/scopes HTTP/1.0\r\n", b"X: x"),
    ],
)
def test_connection_closes_when_the_client_wants_it(
    wire: socket.socket, start: bytes, connection: bytes
) -> None:
    status, _ = answer_to(wire, start + b"Authorization: Bearer k\r\n" + connection + b"\r\n\r\n")
    assert (status, is_closed(wire)) == (200, True)


def test_client_that_waits_for_100_continue_gets_it(wire: socket.socket) -> None:
    wire.sendall(POST + KEY + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert wire.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    status, _ = answer_to(wire, b"{}")
    assert status == 400


def test_client_that_leaves_within_its_request_harms_nobody(
    sim: Simulator, wire: socket.socket
) -> None:
    wire.sendall(POST + KEY + b"Content-Length: 100\r\n\r\n{")
    wire.close()
    with socket.create_connection(("127.0.0.1", int(sim.control_url.rpartition(":")[2]))) as other:
        status, _ = answer_to(other, b"GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert status == 200
