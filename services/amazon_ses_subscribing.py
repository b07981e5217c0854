"""Saying yes to an SNS topic that asks whether we want its messages.

https://docs.aws.amazon.com/sns/latest/api/API_ConfirmSubscription.html
"""

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from config import values
from config.esp_config import SesConfig
from services.amazon_ses_client import aws_client
from services.base import EspError, EspUnavailable, MessageRejected, OutcomeUnknown, Throttled
from services.http_transport import Transport
from services.wire import reason

TIMEOUT_S = 5.0

# By the code. One missing here is looked up by its status, and is EspUnavailable at last:
# to confirm twice does no harm.
CODE_ERRORS: dict[str, type[EspError]] = {
    "InvalidParameter": MessageRejected,  # the token is wrong, or older than two days
    "NotFound": MessageRejected,  # no such topic
    "AuthorizationError": EspUnavailable,
    "SubscriptionLimitExceeded": EspUnavailable,
    "FilterPolicyLimitExceeded": EspUnavailable,
    "ReplayLimitExceeded": EspUnavailable,
    "InternalError": EspUnavailable,
    "Throttling": Throttled,
    "Throttled": Throttled,
}
STATUS_ERRORS: dict[int, type[EspError]] = {429: Throttled}
GARBAGE = (ResponseParserError, TypeError, AttributeError, KeyError, ValueError, RecursionError)


def confirm_subscription(config: SesConfig, topic_arn: str, token: str) -> str:
    """Confirm through Amazon's API, never by the address in the message; return the
    subscription's ARN. From then on only the account itself can end the subscription.

    One call with a time-out of 5 s to connect and 5 s to answer. When SES is on loopback, so
    is SNS: the simulator and tests play both. Raises `MessageRejected` when it is of no use
    to try again, and another `EspError` when it is, `OutcomeUnknown` included.
    """
    if topic_arn not in config.sns_topic_arns:
        raise MessageRejected("the topic is not in SES_SNS_TOPIC_ARNS")
    transport = Transport(
        connections=1,
        hide=(config.access_key_id, config.secret_access_key),
        connect_timeout_s=TIMEOUT_S,
        read_timeout_s=TIMEOUT_S,
    )
    base_url = config.base_url or ""
    client = aws_client(
        config,
        "sns",
        transport,
        region=topic_arn.split(":")[3],
        endpoint_url=base_url if values.is_loopback(base_url) else None,
    )
    try:
        answer = client.confirm_subscription(
            TopicArn=topic_arn, Token=token, AuthenticateOnUnsubscribe="true"
        )
        return str(answer["SubscriptionArn"])
    except ClientError as error:
        raise _refusal(error.response) from error
    except BotoCoreError as error:
        raise OutcomeUnknown(reason(type(error).__name__, error)) from error
    except GARBAGE as error:
        raise OutcomeUnknown(reason("not an answer of SNS", error)) from error


def _refusal(response: Mapping[str, Any]) -> EspError:
    error, status = response["Error"], response["ResponseMetadata"]["HTTPStatusCode"]
    code = str(error.get("Code"))
    kind = CODE_ERRORS.get(code) or STATUS_ERRORS.get(status, EspUnavailable)
    return kind(reason(code, error.get("Message")), http_status=status)
