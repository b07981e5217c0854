"""Amazon SES: how a subscription is confirmed, and what each refusal of Amazon's means."""

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import parse_qs

import boto3
import pytest

from services import amazon_ses_subscribing
from services.amazon_ses_subscribing import CODE_ERRORS, confirm_subscription
from services.base import EspError, EspUnavailable, MessageRejected, OutcomeUnknown, Throttled
from tests.canned_esp import AWS_SECRET, Act, CannedEsp, answer, close, cut, garbage_line, hang
from tests.sns_signing import TOPIC, listening

TOKEN = "2336412f37"
CONFIRMED = f"""<ConfirmSubscriptionResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/">
<ConfirmSubscriptionResult><SubscriptionArn>{TOPIC}:1</SubscriptionArn></ConfirmSubscriptionResult>
<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></ConfirmSubscriptionResponse>"""


def refusal(status: int, code: str, words: str = "no") -> Act:
    text = f"""<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error>
<Type>Sender</Type><Code>{code}</Code><Message>{words}</Message></Error></ErrorResponse>"""
    return answer(status, text.encode(), {"Content-Type": "text/xml"})


@pytest.fixture
def sns() -> Iterator[CannedEsp]:
    with CannedEsp() as sns:
        sns.act = answer(200, CONFIRMED.encode(), {"Content-Type": "text/xml"})
        yield sns


def failure(sns: CannedEsp, act: Act) -> EspError:
    sns.act = act
    with pytest.raises(EspError) as raised:
        confirm_subscription(listening(None, url=sns.url), TOPIC, TOKEN)
    assert len(sns.requests) == 1
    return raised.value


def test_the_whole_request(sns: CannedEsp) -> None:
    topic = "arn:aws:sns:us-east-2:123456789012:other-region"
    assert confirm_subscription(listening(None, topic, url=sns.url), topic, TOKEN) == f"{TOPIC}:1"
    (request,) = sns.requests
    assert (request.method, request.path) == ("POST", "/")
    assert parse_qs(request.body.decode()) == {
        "Action": ["ConfirmSubscription"],
        "Version": ["2010-03-31"],
        "TopicArn": [topic],
        "Token": [TOKEN],
        "AuthenticateOnUnsubscribe": ["true"],
    }
    assert "/us-east-2/sns/aws4_request" in request.headers["authorization"]
    assert AWS_SECRET not in str(request)


def test_topic_that_is_not_ours_is_not_asked_for(sns: CannedEsp) -> None:
    with pytest.raises(MessageRejected, match="SES_SNS_TOPIC_ARNS"):
        confirm_subscription(listening(None, url=sns.url), TOPIC + "-2", TOKEN)
    assert sns.connections == 0


@pytest.mark.parametrize("base_url", [None, "https://ses-proxy.example.com"])
@pytest.mark.parametrize("region", ["eu-west-1", "cn-north-1"])
def test_real_subscriptions_go_to_amazon_in_the_region_of_the_topic(
    monkeypatch: pytest.MonkeyPatch, base_url: str | None, region: str
) -> None:
    seen: list[object] = []

    class Network:
        def __init__(self, **options: object) -> None:
            seen.append({one: options[one] for one in ("connect_timeout_s", "read_timeout_s")})

        def exchange(self, method: str, url: str, headers: object, body: object) -> object:
            seen.append(url)
            raise EspUnavailable("no network here")

    monkeypatch.setattr(amazon_ses_subscribing, "Transport", Network)
    partition, end = ("aws-cn", ".cn") if region == "cn-north-1" else ("aws", "")
    topic = f"arn:{partition}:sns:{region}:123456789012:t"
    with pytest.raises(EspUnavailable, match="no network here"):
        confirm_subscription(listening(None, topic, url=base_url), topic, TOKEN)
    assert seen == [
        {"connect_timeout_s": 5.0, "read_timeout_s": 5.0},
        f"https://sns.{region}.amazonaws.com{end}/",
    ]


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "InvalidParameter", MessageRejected),
        (404, "NotFound", MessageRejected),
        (403, "AuthorizationError", EspUnavailable),
        (403, "SubscriptionLimitExceeded", EspUnavailable),
        (403, "FilterPolicyLimitExceeded", EspUnavailable),
        (403, "ReplayLimitExceeded", EspUnavailable),
        (403, "InvalidClientTokenId", EspUnavailable),
        (500, "InternalError", EspUnavailable),
        (503, "ServiceUnavailable", EspUnavailable),
        (400, "Throttling", Throttled),
        (429, "Throttled", Throttled),
        (429, "SomethingNew", Throttled),
        (400, "SomethingNew", EspUnavailable),
    ],
)
def test_refusal_says_what_to_do_next(
    sns: CannedEsp, status: int, code: str, expected: type[EspError]
) -> None:
    error = failure(sns, refusal(status, code))
    assert (type(error), error.reason, error.http_status) == (expected, f"{code}: no", status)


def test_each_error_of_the_service_is_known() -> None:
    model = boto3.client("sns", region_name="eu-west-1").meta.service_model
    shapes = model.operation_model("ConfirmSubscription").error_shapes
    assert {shape.metadata["error"]["code"] for shape in shapes} <= CODE_ERRORS.keys()


@pytest.mark.parametrize(
    "act",
    [
        answer(200, b"<html>", {"Content-Type": "text/html"}),
        answer(200, b"", {"Content-Type": "text/xml"}),
        answer(200, b"<ConfirmSubscriptionResponse/>", {"Content-Type": "text/xml"}),
        answer(200, b"\xff{", {"Content-Type": "application/json"}),
        *(cut(200), close, garbage_line),
    ],
    ids=range(7),
)
def test_answer_that_cannot_be_read_may_have_confirmed(sns: CannedEsp, act: Act) -> None:
    assert type(failure(sns, act)) in (OutcomeUnknown, *OutcomeUnknown.__subclasses__())


@pytest.mark.parametrize("status", [301, 302, 307])
def test_redirect_is_not_followed(sns: CannedEsp, status: int) -> None:
    where = {"Location": f"{sns.url}/elsewhere"}
    assert isinstance(failure(sns, answer(status, b"", where)), EspUnavailable)


def test_silence_ends_the_call(sns: CannedEsp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amazon_ses_subscribing, "TIMEOUT_S", 0.05)
    assert isinstance(failure(sns, hang), OutcomeUnknown)


def test_nobody_there_confirmed_nothing(sns: CannedEsp) -> None:
    with CannedEsp() as gone:
        url = gone.url
    with pytest.raises(EspUnavailable):
        confirm_subscription(replace(listening(None), base_url=url), TOPIC, TOKEN)
