"""Amazon SNS, through which SES tells: its topic, who subscribed to it, and its signed calls.

https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
https://docs.aws.amazon.com/sns/latest/api/API_ConfirmSubscription.html
"""

import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl
from uuid import uuid4

from services.simulator.http1 import Request, Response
from services.simulator.records import Post
from services.simulator.secrets import CERTIFICATE_URL, TOPIC, WebhookSecrets

PATH = "/"
"""Of every call of its API; in the simulator it has no address of its own, but that of SES."""

_XMLNS = "http://sns.amazonaws.com/doc/2010-03-31/"
_ERRORS = {
    "InvalidAction": (400, "The action or operation requested is invalid."),
    "InvalidParameter": (400, "Invalid parameter: Token"),
    "MissingAuthenticationToken": (403, "Request is missing Authentication Token"),
    "NotFound": (404, "Topic does not exist"),
}


class Topic:
    """Tells one subscriber, once that has confirmed with the token that it was sent.

    The courier's thread asks, and the listener's hears the answer.
    """

    def __init__(self) -> None:
        self.is_confirmed = False
        self._token: str | None = None

    def ask(self, signer: WebhookSecrets) -> Post:
        """The call that asks a new subscriber; whoever was asked before is none any more."""
        self.is_confirmed, self._token = False, secrets.token_hex(64)
        return signed_call(
            {
                "Type": "SubscriptionConfirmation",
                "MessageId": str(uuid4()),
                "Token": self._token,
                "Message": f"You have chosen to subscribe to the topic {TOPIC}.\n"
                "To confirm the subscription, visit the SubscribeURL included in this message.",
                "SubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription"
                f"&TopicArn={TOPIC}&Token={self._token}",
            },
            signer,
        )

    def answer(self, request: Request) -> Response:
        """To a call of the API, which may come twice."""
        asked = dict(parse_qsl(request.body.decode("latin-1")))
        if asked.get("Action") != "ConfirmSubscription":
            return refusal("InvalidAction")
        if asked.get("TopicArn") != TOPIC:
            return refusal("NotFound")
        if self._token is None or asked.get("Token") != self._token:
            return refusal("InvalidParameter")
        self.is_confirmed = True
        return _xml(
            200,
            f'<ConfirmSubscriptionResponse xmlns="{_XMLNS}"><ConfirmSubscriptionResult>'
            f"<SubscriptionArn>{TOPIC}:{self._token[:32]}</SubscriptionArn>"
            f"</ConfirmSubscriptionResult><ResponseMetadata><RequestId>{uuid4()}</RequestId>"
            "</ResponseMetadata></ConfirmSubscriptionResponse>",
        )


def signed_call(message: Mapping[str, str], signer: WebhookSecrets) -> Post:
    """With topic and time, and signature version 2 over all of it in the order of the names."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    envelope = {**message, "TopicArn": TOPIC, "Timestamp": now}
    signed = "".join(f"{name}\n{envelope[name]}\n" for name in sorted(envelope)).encode()
    envelope |= {
        "SignatureVersion": "2",
        "Signature": signer.sign_sns(signed),
        "SigningCertURL": CERTIFICATE_URL,
    }
    return {
        "Content-Type": "text/plain; charset=UTF-8",
        "x-amz-sns-message-type": envelope["Type"],
        "x-amz-sns-message-id": envelope["MessageId"],
        "x-amz-sns-topic-arn": TOPIC,
    }, json.dumps(envelope, separators=(",", ":")).encode()


def refusal(code: str) -> Response:
    """An error as AWS's query protocol writes it, so that SDKs raise it by its code."""
    status, words = _ERRORS[code]
    return _xml(
        status,
        f'<ErrorResponse xmlns="{_XMLNS}"><Error><Type>Sender</Type><Code>{code}</Code>'
        f"<Message>{words}</Message></Error><RequestId>{uuid4()}</RequestId></ErrorResponse>",
    )


def _xml(status: int, document: str) -> Response:
    return Response(status=status, headers={"Content-Type": "text/xml"}, body=document.encode())
