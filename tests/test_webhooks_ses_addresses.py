"""Amazon SES: at which addresses a certificate may lie, and that no other is ever visited.

`facts/reliability_security.md` 4, T3 and T4.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.session import Session

from services.amazon_ses_webhooks import SesWebhooks
from tests.canned_esp import CannedEsp, answer
from tests.sns_signing import (
    CERT_NAME,
    CERT_URL,
    HOST,
    KINDS,
    Asked,
    amazon,
    listening,
    posted,
    refused,
    signed,
)
from utils.sns_signature import DOMAINS


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def reader(asked: Asked) -> SesWebhooks:
    return SesWebhooks(listening(None), fetch=asked)


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


def test_domains_are_those_that_amazon_names() -> None:
    partitions = Session().get_component("data_loader").load_data("partitions")["partitions"]
    assert {
        one["id"]: one["outputs"]["dnsSuffix"] for one in partitions if "-iso" not in one["id"]
    } == DOMAINS


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
