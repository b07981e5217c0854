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
from botocore.session import Session
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

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
    KINDS,
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
from utils.sns_signature import DOMAINS


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def reader(asked: Asked) -> SesWebhooks:
    return SesWebhooks(listening(None), fetch=asked)


# where the certificate is

HOSTILE = [
    # another scheme
    CERT_URL.replace("https", "http"),
    CERT_URL.replace("https", "HTTPS"),
    CERT_URL.replace("https", "ftp"),
    CERT_URL.replace("https:", ""),
    "file:///SimpleNotificationService-0123456789abcdef.pem",
    f"data:text/plain,{CERT_NAME}",
    # another host
    f"https://evil.example/{CERT_NAME}",
    f"https://sns.eu-west-1.amazonaws.com.evil.example/{CERT_NAME}",
    f"https://evil-sns.eu-west-1.amazonaws.com/{CERT_NAME}",
    f"https://x.sns.eu-west-1.amazonaws.com/{CERT_NAME}",
    f"https://sns.us-east-1.amazonaws.com/{CERT_NAME}",
    f"https://sns.eu-west-1.amazonaws.com.cn/{CERT_NAME}",
    f"https://sns.amazonaws.com/{CERT_NAME}",
    f"https://sns-eu-west-1.amazonaws.com/{CERT_NAME}",
    f"https://snsxeu-west-1xamazonawsxcom/{CERT_NAME}",
    f"https://bucket.s3.amazonaws.com/{CERT_NAME}",
    f"https://sns.eu-west-1.s3.amazonaws.com/{CERT_NAME}",
    f"https://s3.eu-west-1.amazonaws.com/bucket/{CERT_NAME}",
    f"https://SNS.EU-WEST-1.AMAZONAWS.COM/{CERT_NAME}",
    f"https://sns.eu-west-1.amazonaws.com./{CERT_NAME}",
    f"https://sns.eu-west-1.amazonaws。com/{CERT_NAME}",
    f"https://\N{CYRILLIC SMALL LETTER DZE}ns.eu-west-1.amazonaws.com/{CERT_NAME}",
    f"https://127.0.0.1/{CERT_NAME}",
    f"https://[::1]/{CERT_NAME}",
    f"https://169.254.169.254/{CERT_NAME}",
    # somebody's name, a port
    f"https://evil.example@sns.eu-west-1.amazonaws.com/{CERT_NAME}",
    f"https://sns.eu-west-1.amazonaws.com@evil.example/{CERT_NAME}",
    f"https://sns.eu-west-1.amazonaws.com:x@evil.example/{CERT_NAME}",
    f"https://@sns.eu-west-1.amazonaws.com/{CERT_NAME}",
    f"https://sns.eu-west-1.amazonaws.com:443/{CERT_NAME}",
    f"https://sns.eu-west-1.amazonaws.com:/{CERT_NAME}",
    # what one parser reads otherwise than the next
    f"https://evil.example\\@sns.eu-west-1.amazonaws.com/{CERT_NAME}",
    f"https://sns.eu-west-1.amazonaws.com\\.evil.example/{CERT_NAME}",
    f"https://evil.example#@sns.eu-west-1.amazonaws.com/{CERT_NAME}",
    f"https://evil.example?@sns.eu-west-1.amazonaws.com/{CERT_NAME}",
    f"https:/sns.eu-west-1.amazonaws.com/{CERT_NAME}",
    f"https:///sns.eu-west-1.amazonaws.com/{CERT_NAME}",
    f"https:\\\\sns.eu-west-1.amazonaws.com\\{CERT_NAME}",
    f"https://sns.eu-west-1.amazonaws.com%2eevil.example/{CERT_NAME}",
    f" {CERT_URL}",
    f"{CERT_URL} ",
    f"{CERT_URL}\n",
    f"{CERT_URL}\r\nHost: evil.example",
    f"{CERT_URL}\0",
    f"\t{CERT_URL}",
    f"ht\ttps://sns.eu-west-1.amazonaws.com/{CERT_NAME}",
    f"https://sns.eu-west-1.\namazonaws.com/{CERT_NAME}",
    # another path of the right host
    f"{HOST}/?Action=GetTopicAttributes&x=/{CERT_NAME}",
    f"{CERT_URL}?x=1",
    f"{CERT_URL}?",
    f"{CERT_URL}#x",
    f"{CERT_URL}#",
    f"{CERT_URL};x",
    f"{CERT_URL}/",
    f"{HOST}//{CERT_NAME}",
    f"{HOST}/x/{CERT_NAME}",
    f"{HOST}/x/../{CERT_NAME}",
    f"{HOST}/./{CERT_NAME}",
    f"{HOST}/%2e%2e/{CERT_NAME}",
    f"{HOST}/SimpleNotificationService-.pem",
    f"{HOST}/SimpleNotificationService-../../x.pem",
    f"{HOST}/SimpleNotificationService-é.pem",
    f"{HOST}/SimpleNotificationService-\N{ARABIC-INDIC DIGIT ZERO}.pem",
    f"{HOST}/SimpleNotificationService-{'0' * 65}.pem",
    f"{HOST}/SimpleNotificationService-00xpem",
    f"{HOST}/SimpleNotificationService-00.pem.txt",
    f"{HOST}/SimpleNotificationService-00.PEM",
    f"{HOST}/simplenotificationservice-00.pem",
    f"{HOST}/evil.pem",
    f"{HOST}/",
    HOST,
    "",
    CERT_NAME,
]


@pytest.mark.parametrize("url", HOSTILE)
def test_certificate_elsewhere_is_refused_without_a_fetch(
    reader: SesWebhooks, asked: Asked, url: str
) -> None:
    assert refused(reader, posted(signed(SigningCertURL=url))) == (
        "the certificate is not at Amazon's address for the topic"
    )
    assert asked.urls == []


def test_hostile_addresses_are_many_and_different() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) >= 40


@pytest.fixture
def sink() -> Iterator[CannedEsp]:
    with CannedEsp() as sink:
        sink.act = answer(200, amazon().pem)
        yield sink


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("field", ["SubscribeURL", "UnsubscribeURL", "SigningCertURL"])
def test_no_address_in_a_call_is_visited(
    tmp_path: Path, sink: CannedEsp, kind: str, field: str
) -> None:
    """With the real fetcher, and signed by Amazon's key, so that nothing else stops it."""
    call = posted(signed(kind, **{field: f"{sink.url}/{CERT_NAME}"}))
    if field == "SigningCertURL":
        refused(SesWebhooks(listening(None)), call)
    else:
        received = SesWebhooks(listening(amazon().write(tmp_path))).receive(call)
        assert received.events or received.subscription
    assert sink.connections == 0


def test_domains_are_those_that_amazon_names() -> None:
    partitions = Session().get_component("data_loader").load_data("partitions")["partitions"]
    assert {
        one["id"]: one["outputs"]["dnsSuffix"] for one in partitions if "-iso" not in one["id"]
    } == DOMAINS


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


def test_each_of_several_topics_has_certificates_of_its_own_region(asked: Asked) -> None:
    places = {
        "arn:aws:sns:us-east-1:123456789012:a": "sns.us-east-1.amazonaws.com",
        "arn:aws-us-gov:sns:us-gov-west-1:123456789012:b": "sns.us-gov-west-1.amazonaws.com",
        "arn:aws-cn:sns:cn-north-1:123456789012:c": "sns.cn-north-1.amazonaws.com.cn",
    }
    reader = SesWebhooks(listening(None, *places), fetch=asked)
    for topic, host in places.items():
        for other in places.values():
            call = posted(signed(TopicArn=topic, SigningCertURL=f"https://{other}/{CERT_NAME}"))
            if host == other:
                assert len(reader.receive(call).events) == 1
            else:
                refused(reader, call)
    assert asked.urls == [f"https://{host}/{CERT_NAME}" for host in places.values()]


# from the directory, and from Amazon


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
