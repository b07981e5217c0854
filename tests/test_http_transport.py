"""One request, one deadline, and whether the mails may be on their way."""

import gzip
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from services.base import MAX_ANSWER_BYTES, EspError, EspUnavailable, OutcomeUnknown
from services.http_transport import MAX_IDLE_S, Answer, CutAnswer, Transport
from tests.canned_esp import (
    Act,
    CannedEsp,
    answer,
    close,
    cut,
    drip,
    endless,
    garbage_line,
    hang,
    head,
    reset,
)
from tests.certificates import certificate, server_context

SHORT_S = 0.3


@pytest.fixture
def esp() -> Iterator[CannedEsp]:
    with CannedEsp() as server:
        yield server


def transport(**options: float) -> Transport:
    timeouts: dict[str, Any] = {"connect_timeout_s": 0.3, "read_timeout_s": SHORT_S, **options}
    return Transport(connections=2, hide=("a-key-of-20-characters",), **timeouts)


def post(url: str, body: bytes = b"{}", **options: float) -> Answer:
    return transport(**options).exchange("POST", f"{url}/v3/send?a=1", {"X-Key": "k"}, body)


def test_a_whole_answer(esp: CannedEsp) -> None:
    esp.act = answer(202, b"ok", {"X-Message-Id": "m1"})
    got = post(esp.url)
    assert (got.status, got.body, got.headers["x-message-id"]) == (202, b"ok", "m1")
    (request,) = esp.requests
    assert (request.method, request.path, request.body) == ("POST", "/v3/send?a=1", b"{}")
    assert request.headers["x-key"] == "k"


def test_an_answer_until_the_end_of_the_connection_is_whole(esp: CannedEsp) -> None:
    def act(sock: socket.socket) -> bool:
        sock.sendall(head(200) + b"[]")
        return False

    esp.act = act
    assert post(esp.url).body == b"[]"


def test_a_chunked_answer_is_whole(esp: CannedEsp) -> None:
    def act(sock: socket.socket) -> bool:
        sock.sendall(head(200, {"Transfer-Encoding": "chunked"}) + b"2\r\n[]\r\n0\r\n\r\n")
        return True

    esp.act = act
    client = transport()
    for _ in range(2):
        assert client.exchange("POST", esp.url, {}, b"").body == b"[]"
    assert esp.connections == 1


@pytest.mark.parametrize(
    "act",
    [close, reset, hang, garbage_line, drip(b"HTTP/1.1 200 OK\r\nX: "), drip(b"HTTP/1.1 2")],
    ids=["close", "reset", "hang", "not HTTP", "drip in a header", "drip in the status line"],
)
def test_without_an_answer_the_outcome_is_unknown(esp: CannedEsp, act: Act) -> None:
    esp.act = act
    with pytest.raises(OutcomeUnknown, match=r"^no answer: "):
        post(esp.url)
    assert len(esp.requests) == 1


@pytest.mark.parametrize(
    "act",
    [
        cut(202),
        endless,
        drip(head(202)),
        drip(head(202, {"Content-Length": "9000"})),
        drip(head(202, {"Transfer-Encoding": "chunked"}) + b"ffff\r\n"),
        answer(202, b" " * (MAX_ANSWER_BYTES + 1)),
        answer(202, b"2\r\nok", {"Transfer-Encoding": "chunked"}),
        answer(202, gzip.compress(b" " * 10_000_000), {"Content-Encoding": "gzip"}),
    ],
    ids=[
        "cut",
        "endless",
        "drip",
        "drip of a length",
        "drip of a chunk",
        "too large",
        "no chunk",
        "a gzip bomb",
    ],
)
def test_the_status_line_is_told_when_the_body_is_not_whole(esp: CannedEsp, act: Act) -> None:
    esp.act = act
    with pytest.raises(CutAnswer, match="the answer is not whole") as raised:
        post(esp.url)
    assert isinstance(raised.value, OutcomeUnknown)
    assert raised.value.status == raised.value.http_status
    assert len(esp.requests) == 1


def test_the_largest_answer_is_read(esp: CannedEsp) -> None:
    esp.act = answer(200, b" " * MAX_ANSWER_BYTES)
    assert len(post(esp.url, read_timeout_s=5).body) == MAX_ANSWER_BYTES


@pytest.mark.parametrize("begin", [b"", head(200), b"HTTP/1.1 200 OK\r\nX: "])
def test_dripping_does_not_put_the_deadline_off(esp: CannedEsp, begin: bytes) -> None:
    esp.act = drip(begin) if begin else hang
    began = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        post(esp.url)
    assert SHORT_S <= time.monotonic() - began < SHORT_S + 1


def test_a_peer_that_reads_nothing_does_not_hold_us() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown, match="timed out"):
            post(url, body=b" " * 30_000_000)
        assert time.monotonic() - began < SHORT_S + 1


def test_the_body_has_the_read_timeout_and_not_the_connect_timeout(esp: CannedEsp) -> None:
    esp.act = answer(202)
    slow = {"connect_timeout_s": 0.05, "read_timeout_s": 5.0}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=_take_slowly, args=(listener,))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert post(url, body=b" " * 10_000_000, **slow).status == 202
        thread.join()


def _take_slowly(listener: socket.socket) -> None:
    sock, _ = listener.accept()
    with sock:
        time.sleep(0.2)  # four connect timeouts
        left = 10_000_000
        while left > 0:
            left -= len(sock.recv(1_000_000))
        sock.sendall(head(202, {"Content-Length": "0"}))


def test_an_answer_before_the_body_was_read_counts() -> None:
    """A 413 comes early, and the connection breaks under our writing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=_refuse_early, args=(listener,))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert post(url, body=b" " * 20_000_000, read_timeout_s=5).status == 413
        thread.join()


def _refuse_early(listener: socket.socket) -> None:
    sock, _ = listener.accept()
    with sock:
        sock.sendall(head(413, {"Content-Length": "0"}))
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1_000_000):
            pass


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_is_definite_and_not_followed(esp: CannedEsp, status: int) -> None:
    with CannedEsp() as elsewhere:
        elsewhere.act = answer(202, b"", {"X-Message-Id": "m1"})
        esp.act = answer(status, b"", {"Location": f"{elsewhere.url}/v3/send"})
        with pytest.raises(EspUnavailable) as raised:
            post(esp.url)
        assert raised.value.http_status == status
        assert (len(esp.requests), elsewhere.requests) == (1, [])


def test_a_refused_connection_sent_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(EspUnavailable, match=r"^cannot connect: .*refused"):
        post(f"http://127.0.0.1:{port}")


def test_a_name_that_does_not_resolve_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(EspUnavailable, match=r"^cannot connect: .*not known"):
        post("http://api.example.com")


def test_a_connect_timeout_sent_nothing() -> None:
    # A full backlog drops further SYNs.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        place = listener.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        try:
            for sock in waiting:
                sock.setblocking(False)
                sock.connect_ex(place)
            with pytest.raises(EspUnavailable, match=r"^cannot connect: .*timed out"):
                post(f"http://127.0.0.1:{place[1]}")
        finally:
            for sock in waiting:
                sock.close()


@pytest.mark.parametrize("act", [garbage_line, close, hang])
def test_a_tls_failure_sent_nothing(act: Act) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=_no_tls, args=(listener, act))
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(EspUnavailable, match=r"^cannot connect: "):
            post(url)
        thread.join()


def _no_tls(listener: socket.socket, act: Act) -> None:
    sock, _ = listener.accept()
    with sock:
        sock.recv(10_000)
        act(sock)


def test_tls_is_kept_alive_and_has_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = certificate(tmp_path, "localhost")
    monkeypatch.setattr("services.http_transport.DEFAULT_CA_BUNDLE_PATH", str(path))
    with CannedEsp(server_context(path)) as esp:
        client = transport()
        esp.act = answer(200, b"ok")
        for _ in range(3):
            assert client.exchange("POST", esp.url, {}, b"{}").body == b"ok"
        assert esp.connections == 1
        esp.act = drip(head(202))
        began = time.monotonic()
        with pytest.raises(CutAnswer):
            client.exchange("POST", esp.url, {}, b"{}")
        assert time.monotonic() - began < SHORT_S + 1


@pytest.mark.parametrize(
    ("name", "is_trusted", "words"),
    [("localhost", False, "self-signed certificate"), ("example.com", True, "Hostname mismatch")],
)
def test_a_certificate_that_does_not_prove_the_host_sent_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_trusted: bool, words: str
) -> None:
    path = certificate(tmp_path, name)
    if is_trusted:
        monkeypatch.setattr("services.http_transport.DEFAULT_CA_BUNDLE_PATH", str(path))
    with CannedEsp(server_context(path)) as esp, pytest.raises(EspUnavailable, match=words):
        post(esp.url, connect_timeout_s=5)
    assert esp.requests == []


def test_connections_are_kept_alive(esp: CannedEsp) -> None:
    esp.act = answer(200, b"ok")
    client = transport()
    for _ in range(5):
        client.exchange("POST", esp.url, {}, b"{}")
    assert (len(esp.requests), esp.connections) == (5, 1)


def test_a_connection_that_the_esp_closed_is_replaced(esp: CannedEsp) -> None:
    client = transport()
    esp.act = answer(200, b"ok", {"Connection": "close"})
    client.exchange("POST", esp.url, {}, b"{}")
    esp.act = answer(200, b"ok")
    client.exchange("POST", esp.url, {}, b"{}")
    assert esp.connections == 2


def test_a_connection_that_was_idle_for_long_is_replaced(
    esp: CannedEsp, monkeypatch: pytest.MonkeyPatch
) -> None:
    esp.act = answer(200, b"ok")
    client = transport()
    client.exchange("POST", esp.url, {}, b"{}")
    later = time.monotonic() + MAX_IDLE_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    client.exchange("POST", esp.url, {}, b"{}")
    assert esp.connections == 2


def test_proxies_of_the_environment_are_not_used(
    esp: CannedEsp, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    esp.act = answer(200, b"ok")
    assert post(esp.url).body == b"ok"


def test_an_echo_of_a_key_is_blotted_out(esp: CannedEsp) -> None:
    esp.act = answer(400, b"bad key: a-key-of-20-characters!")
    assert post(esp.url).body == b"bad key: [hidden]!"


@pytest.mark.parametrize("key", ["", " padded", "line\nbreak", "ключ", "nul\0"])
def test_a_key_that_cannot_be_one_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ValueError, match="an ESP key is empty or holds characters") as raised:
        Transport(connections=1, hide=(key,))
    assert key.strip() == "" or key not in str(raised.value)


def test_failures_are_the_contracts_own(esp: CannedEsp) -> None:
    esp.act = close
    with pytest.raises(EspError):
        post(esp.url)
