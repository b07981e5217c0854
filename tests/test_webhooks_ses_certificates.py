"""Amazon SES: where the certificate of a signature may come from, and how often it is asked for.

`facts/reliability_security.md` 4, T3 and T4.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from services import amazon_ses_certificates
from services.amazon_ses_certificates import (
    FETCHES_PER_REST,
    MAX_CERT_BYTES,
    REST,
    Certificates,
    fetch,
)
from services.amazon_ses_webhooks import SesWebhooks
from services.base import EspError, EspUnavailable, OutcomeUnknown
from services.events import NotReachable
from tests.canned_esp import CannedEsp, answer
from tests.conftest import NOW
from tests.sns_signing import (
    CERT_NAME,
    CERT_URL,
    HOST,
    Asked,
    Signer,
    amazon,
    iso,
    listening,
    posted,
    refused,
    signed,
    unsigned,
)


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def reader(asked: Asked) -> SesWebhooks:
    return SesWebhooks(listening(None), fetch=asked)


@pytest.fixture
def sink() -> Iterator[CannedEsp]:
    with CannedEsp() as sink:
        sink.act = answer(200, amazon().pem)
        yield sink


# from the directory, and from Amazon


@pytest.mark.parametrize("days", [-1, 1])
def test_certificate_must_be_valid_when_it_signs(days: int) -> None:
    signer = Signer.new(valid_from=NOW + timedelta(days=days - 0.5), days=1)
    reader = SesWebhooks(listening(None), fetch=Asked(signer.pem))
    assert refused(reader, posted(signer.sign(unsigned()))) == "the certificate was not valid then"


def test_certificate_may_have_ended_since_it_signed() -> None:
    signer = Signer.new(valid_from=NOW - timedelta(days=1), days=2)
    reader = SesWebhooks(listening(None), fetch=Asked(signer.pem))
    call = posted(signer.sign(unsigned(Timestamp=iso(NOW + timedelta(hours=23)))))
    assert reader.receive(replace(call, received_at=NOW + timedelta(hours=25))).events


def test_certificate_of_the_directory_needs_no_fetch(tmp_path: Path, asked: Asked) -> None:
    reader = SesWebhooks(listening(amazon().write(tmp_path)), fetch=asked)
    assert reader.receive(posted(signed())).events
    assert asked.urls == []


def test_certificate_that_the_directory_lacks_is_fetched_once(tmp_path: Path, asked: Asked) -> None:
    reader = SesWebhooks(listening(tmp_path), fetch=asked)
    for hours in (0, 1, 30):
        when = NOW + timedelta(hours=hours)
        assert reader.receive(posted(signed(Timestamp=iso(when)), received_at=when)).events
    assert asked.urls == [CERT_URL]


def test_certificate_put_in_the_directory_later_is_found(tmp_path: Path) -> None:
    asked = Asked(b"nothing yet")
    reader = SesWebhooks(listening(tmp_path), fetch=asked)
    with pytest.raises(NotReachable):
        reader.receive(posted(signed()))
    amazon().write(tmp_path)
    assert reader.receive(posted(signed())).events
    assert asked.urls == [CERT_URL]


def test_broken_certificate_of_the_directory_is_not_replaced_by_a_fetch(
    tmp_path: Path, asked: Asked
) -> None:
    (tmp_path / CERT_NAME).write_text("-----BEGIN CERTIFICATE-----")
    with pytest.raises(NotReachable, match="SNS_CERT_DIR"):
        SesWebhooks(listening(tmp_path), fetch=asked).receive(posted(signed()))
    assert asked.urls == []


def elliptic() -> bytes:
    """A certificate with a key of a kind that SNS has none of."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    "pem",
    [
        b"<html>no such certificate</html>",
        amazon().pem[:300],
        amazon().pem + b" " * MAX_CERT_BYTES,
        elliptic(),
    ],
    ids=["none", "cut", "large", "elliptic"],
)
def test_what_is_no_certificate_is_asked_for_once_a_minute(pem: bytes) -> None:
    asked = Asked(pem)
    certificates = Certificates(None, asked)
    for seconds in (0, 1, REST.total_seconds() - 1, REST.total_seconds()):
        with pytest.raises(NotReachable, match="no certificate at"):
            certificates.get(CERT_URL, CERT_NAME, NOW + timedelta(seconds=seconds))
    assert asked.urls == [CERT_URL] * 2


@pytest.mark.parametrize("error", [EspUnavailable("down"), OutcomeUnknown("slow")])
def test_certificate_that_cannot_be_fetched_is_had_after_a_rest(error: EspError) -> None:
    """Amazon tries again each 20 s: its event is not lost."""
    answers: list[bytes | EspError] = [error, amazon().pem]

    def flaky(url: str) -> bytes:
        found = answers.pop(0)
        if isinstance(found, EspError):
            raise found
        return found

    reader = SesWebhooks(listening(None), fetch=flaky)
    for seconds in (0, 20, 40):
        with pytest.raises(NotReachable):
            reader.receive(posted(signed(), received_at=NOW + timedelta(seconds=seconds)))
    assert reader.receive(posted(signed(), received_at=NOW + REST)).events


def test_made_up_names_do_not_make_us_ask_without_end(asked: Asked) -> None:
    asked.pem = b"no such certificate"
    certificates = Certificates(None, asked)
    names = [f"SimpleNotificationService-{n:032x}.pem" for n in range(3 * FETCHES_PER_REST)]
    for name in names:
        with pytest.raises(NotReachable):
            certificates.get(f"{HOST}/{name}", name, NOW)
    assert asked.urls == [f"{HOST}/{name}" for name in names[:FETCHES_PER_REST]]
    asked.pem = amazon().pem
    assert certificates.get(CERT_URL, CERT_NAME, NOW + REST).key == amazon().key.public_key()


def test_certificate_that_we_have_is_used_while_others_are_made_up(asked: Asked) -> None:
    certificates = Certificates(None, asked)
    ours = certificates.get(CERT_URL, CERT_NAME, NOW)
    asked.pem = b"no such certificate"
    for n in range(3 * FETCHES_PER_REST):
        with pytest.raises(NotReachable):
            certificates.get(f"{HOST}/{n}", str(n), NOW)
    assert certificates.get(CERT_URL, CERT_NAME, NOW) is ours


@pytest.mark.parametrize("pem", [amazon().pem, b"no such certificate"], ids=["had", "not had"])
def test_threads_that_want_the_same_certificate_make_one_fetch(pem: bytes) -> None:
    threads = 8
    asked, all_here = Asked(pem), threading.Barrier(threads)
    certificates = Certificates(None, asked)

    def want(_: int) -> bool:
        all_here.wait()
        try:
            return certificates.get(CERT_URL, CERT_NAME, NOW) is not None
        except NotReachable:
            return False

    with ThreadPoolExecutor(threads) as pool:
        assert set(pool.map(want, range(threads))) == {pem == amazon().pem}
    assert asked.urls == [CERT_URL]


def test_nobody_waits_long_for_the_fetch_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amazon_ses_certificates, "PATIENCE_S", 0.01)
    begun, may_end = threading.Event(), threading.Event()

    def slow(url: str) -> bytes:
        begun.set()
        may_end.wait(10)
        return amazon().pem

    certificates = Certificates(None, slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(certificates.get, CERT_URL, CERT_NAME, NOW)
        assert begun.wait(10)
        with pytest.raises(NotReachable, match="being fetched"):
            certificates.get(CERT_URL, CERT_NAME, NOW)
        may_end.set()
        assert first.result(10) is certificates.get(CERT_URL, CERT_NAME, NOW)


# the fetch itself


def test_fetch_returns_what_is_there(sink: CannedEsp) -> None:
    sink.act = answer(200, amazon().pem)
    assert fetch(f"{sink.url}/{CERT_NAME}") == amazon().pem


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_answer_that_is_an_error_is_no_certificate(sink: CannedEsp, status: int) -> None:
    sink.act = answer(status, amazon().pem)
    certificates = Certificates(None)
    with pytest.raises(NotReachable):
        certificates.get(f"{sink.url}/{CERT_NAME}", CERT_NAME, NOW)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(sink: CannedEsp, status: int) -> None:
    sink.act = answer(status, headers={"Location": f"{sink.url}/elsewhere"})
    with pytest.raises(EspUnavailable):
        fetch(f"{sink.url}/{CERT_NAME}")
    assert [request.path for request in sink.requests] == [f"/{CERT_NAME}"]
