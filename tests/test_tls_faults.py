"""Faults of TLS between us and each ESP: what is broken before the request was sent was no call,
so another ESP may carry the mails; what is broken after may have been taken, so nobody may."""

import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest

from config.esp_config import EspName
from services.base import EspUnavailable, Outcome, OutcomeUnknown
from tests.canned_esp import MAKERS, Act, CannedEsp, answer, batch, close, cut, head
from tests.certificates import HOUR, certificate, server_context

RECORD = b"\x17\x03\x03\x00\x40" + b"\x5a" * 64
"""The head of a TLS record of data, and bytes that no key of the connection made."""
ALERT = b"\x15\x03\x03\x00\x1a" + b"\x5a" * 26
TAKEN = {
    EspName.SENDGRID: answer(202, b"", {"X-Message-Id": "m"}),
    EspName.SES: answer(
        200,
        {"BulkEmailEntryResults": [{"Status": "SUCCESS", "MessageId": f"m{n}"} for n in (1, 2)]},
    ),
    EspName.POSTMARK: answer(200, [{"ErrorCode": 0, "MessageID": f"m{n}"} for n in (1, 2)]),
}
every_esp = pytest.mark.parametrize("name", sorted(TAKEN))


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate of this machine that our clients believe."""
    path = certificate(tmp_path, "localhost")
    monkeypatch.setattr("services.http_transport.DEFAULT_CA_BUNDLE_PATH", str(path))
    return path


# Before the request


@contextmanager
def handshake(path: Path, change: Callable[[bytes], bytes]) -> Iterator[str]:
    """A server that says what `change` makes of the first that TLS has it say, and closes; its
    address."""

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            asked, said = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = server_context(path).wrap_bio(asked, said, server_side=True)
            asked.write(peer.recv(10_000))
            with suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            peer.sendall(change(said.read()))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=serve)
        thread.start()
        yield f"https://localhost:{listener.getsockname()[1]}"
        thread.join()


def sends_nothing(name: EspName, url: str, why: str) -> None:
    with pytest.raises(EspUnavailable, match=f"^cannot connect: .*{why}"):
        MAKERS[name](url).send(batch(2))


@every_esp
@pytest.mark.parametrize(
    ("host", "ends_in", "is_trusted", "why"),
    [
        ("example.com", HOUR, True, "Hostname mismatch"),
        ("localhost", -HOUR, True, "certificate has expired"),
        ("localhost", 3 * HOUR, True, "certificate is not yet valid"),
        ("localhost", HOUR, False, "self-signed certificate"),
    ],
)
def test_a_certificate_that_proves_nothing_is_no_call(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: EspName,
    host: str,
    ends_in: timedelta,
    is_trusted: bool,
    why: str,
) -> None:
    path = certificate(tmp_path, host, ends_in=ends_in)
    if is_trusted:
        monkeypatch.setattr("services.http_transport.DEFAULT_CA_BUNDLE_PATH", str(path))
    with CannedEsp(server_context(path)) as esp:
        sends_nothing(name, esp.url, why)
        assert esp.requests == []


@every_esp
@pytest.mark.parametrize("sent", [0, 1, 100, 700])
def test_a_handshake_that_is_cut_is_no_call(trusted: Path, name: EspName, sent: int) -> None:
    """After so many bytes of what the server has to say."""
    with handshake(trusted, lambda said: said[:sent]) as url:
        sends_nothing(name, url, "")


@every_esp
@pytest.mark.parametrize(
    "garbage",
    [RECORD, ALERT, b"HTTP/1.1 400 Bad Request\r\n\r\n"],
    ids=["record", "alert", "no TLS"],
)
def test_a_handshake_of_garbage_is_no_call(trusted: Path, name: EspName, garbage: bytes) -> None:
    with handshake(trusted, lambda said: said[:100] + garbage) as url:
        sends_nothing(name, url, "")


# After the request


def broken(said: bytes) -> Act:
    """Say this, then what is no TLS of this connection."""

    def act(sock: socket.socket) -> bool:
        if said:
            sock.sendall(said)
        os.write(sock.fileno(), RECORD)
        return False

    return act


@every_esp
@pytest.mark.parametrize(
    "act",
    [
        close,
        broken(b""),
        broken(b"HTTP/1.1 20"),
        broken(head(200, {"Content-Length": "100"})),
        broken(head(200, {"Content-Length": "100"}) + b'[{"ErrorCode": 0,'),
        broken(head(200, {"Transfer-Encoding": "chunked"}) + b"2\r\n[{\r\n"),
        cut(200),
    ],
    ids=["close", "garbage", "in the status", "in the head", "in the body", "in chunks", "cut"],
)
def test_what_breaks_after_the_mails_were_sent_is_unknown_after_one_request(
    trusted: Path, name: EspName, act: Act
) -> None:
    """Without a close_notify in each of them."""
    with CannedEsp(server_context(trusted)) as esp:
        esp.act = act
        with pytest.raises(OutcomeUnknown):
            MAKERS[name](esp.url).send(batch(2))
        assert len(esp.requests) == 1


@every_esp
@pytest.mark.parametrize("garbage", [b"", RECORD, ALERT], ids=["close", "record", "alert"])
def test_a_whole_answer_counts_whatever_the_connection_does_then(
    trusted: Path, name: EspName, garbage: bytes
) -> None:
    def act(sock: socket.socket) -> bool:
        TAKEN[name](sock)
        if garbage:
            os.write(sock.fileno(), garbage)
        return False

    with CannedEsp(server_context(trusted)) as esp:
        esp.act = act
        answered = MAKERS[name](esp.url).send(batch(2))
        assert [one.outcome for one in answered.results] == [Outcome.ACCEPTED] * 2
        assert len(esp.requests) == 1
