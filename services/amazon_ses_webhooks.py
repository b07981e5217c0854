"""What Amazon SES tells through Amazon SNS: shown to be genuine, then read.

https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
"""

import json
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from config.esp_config import EspName, SesConfig
from services.amazon_ses_certificates import Certificates, Fetch, fetch
from services.amazon_ses_events import KEY_ID_CHARS, events_of, occurred_at
from services.base import REASON_CHARS
from services.events import (
    Event,
    EventKind,
    NotConfigured,
    NotGenuine,
    NotReachable,
    Received,
    SubscriptionRequest,
    WebhookCall,
    WebhookReader,
)
from services.webhook_fields import moment
from utils.outside_json import clean_text, read_json
from utils.sns_signature import (
    HASHES,
    SIGNED_FIELDS,
    BadSignature,
    certificate_name,
    check_signature,
    signature_of,
    string_to_sign,
)

MAX_CALL_BYTES = 1_000_000
"""SNS carries 256 KB; JSON within JSON makes three times as much of some of it."""
MAX_AGE = timedelta(hours=27)
MAX_AHEAD = timedelta(minutes=5)
UNSUBSCRIBED_TYPE = "UnsubscribeConfirmation"

log = logging.getLogger(__name__)

Envelope = dict[str, Any]


class SesWebhooks(WebhookReader):
    name = EspName.SES

    def __init__(self, config: SesConfig, *, fetch: Fetch = fetch) -> None:
        self._topics = frozenset(config.sns_topic_arns)
        self._certificates = Certificates(config.sns_cert_dir, fetch)

    def receive(self, call: WebhookCall) -> Received:
        """Check in the order of cost: nothing is fetched before all else is as it should be,
        and no address that the call names is ever visited but that of the certificate."""
        try:
            envelope = self._checked(call)
        except BadSignature as error:
            raise NotGenuine(str(error)) from error
        payload = _payload(envelope)
        if envelope["Type"] == "SubscriptionConfirmation":
            return Received(subscription=_subscription(envelope, payload))
        if envelope["Type"] == UNSUBSCRIBED_TYPE:
            log.warning("SNS no longer tells us of %s: subscribe it again", payload["TopicArn"])
        return Received(events=self.read(payload))

    def read(self, payload: Mapping[str, Any]) -> tuple[Event, ...]:
        if payload.get("Type") == UNSUBSCRIBED_TYPE:
            return (_unsubscribed(payload),)
        return events_of(payload)

    def _checked(self, call: WebhookCall) -> Envelope:
        envelope = _envelope(call)
        topic = envelope.get("TopicArn")
        if not self._topics:
            raise NotConfigured("SES_SNS_TOPIC_ARNS is not set")
        if not isinstance(topic, str) or topic not in self._topics:
            # Amazon signs for everybody: anyone's topic can be pointed at us.
            raise NotGenuine("not one of our topics")
        kind = call.headers.get("x-amz-sns-message-type")
        if kind not in SIGNED_FIELDS or envelope.get("Type") != kind:
            raise NotGenuine("the header and the body are of different types, or of none")
        version = envelope.get("SignatureVersion")
        if not isinstance(version, str) or version not in HASHES:
            raise NotGenuine("not a version of signatures that we know")
        url = envelope.get("SigningCertURL")
        file_name = certificate_name(url, topic)
        signed_at = moment(envelope.get("Timestamp"))
        if signed_at is None or signed_at < call.received_at - MAX_AGE:
            raise NotGenuine("too old, or without a time")
        signed, signature = string_to_sign(envelope), signature_of(envelope)
        check_signature(
            signed,
            signature,
            version=version,
            certificate=self._certificates.get(str(url), file_name, call.received_at),
            signed_at=signed_at,
        )
        _check_clock(signed_at, call.received_at)
        return envelope


def _envelope(call: WebhookCall) -> Envelope:
    if len(call.body) > MAX_CALL_BYTES:
        raise NotGenuine(f"{len(call.body)} bytes")
    if call.headers.get("x-amz-sns-rawdelivery", "false").lower() != "false":
        raise NotGenuine("raw delivery is on, and what is raw is not signed")
    try:
        envelope = json.loads(call.body)
    except (ValueError, RecursionError) as error:
        raise NotGenuine("not JSON") from error
    if not isinstance(envelope, dict):
        raise NotGenuine("not an object")
    return envelope


def _check_clock(signed_at: datetime, now: datetime) -> None:
    """Refuse for now what Amazon has signed and only our clock says cannot be.

    SNS gives up for good at a 4xx, so an authentic event must not get one. With a delivery
    policy it tries for an hour, and `MAX_AGE` leaves a day beyond for what was kept somewhere
    and handed on: an older call is a replay, and a younger one does no harm, since its events
    are known by their keys. No replay comes from the future, so then the clock is wrong.
    """
    if signed_at > now + MAX_AHEAD:
        log.error("SNS signed at %s, which our clock has not reached: is it right?", signed_at)
        raise NotReachable("our clock is behind")


def _payload(envelope: Envelope) -> Envelope:
    """What is stored: without the signature and the addresses, and `Message` as an object."""
    kept = {name: clean_text(envelope[name]) for name in ("MessageId", "TopicArn", "Timestamp")}
    kind, message = envelope["Type"], envelope["Message"]
    if kind != "Notification":
        return {"Type": kind, **kept, "Message": clean_text(message)}
    try:
        return {**kept, "Message": read_json(message)}
    except ValueError:
        # "Successfully validated SNS topic for Amazon SES event publishing."
        return {**kept, "Message": clean_text(message)}


def _subscription(envelope: Envelope, payload: Envelope) -> SubscriptionRequest:
    return SubscriptionRequest(
        key=payload["MessageId"][:KEY_ID_CHARS],
        topic_arn=envelope["TopicArn"],
        token=clean_text(envelope["Token"]),
        payload=payload,
    )


def _unsubscribed(payload: Mapping[str, Any]) -> Event:
    return Event(
        key=str(payload.get("MessageId"))[:KEY_ID_CHARS],
        kind=EventKind.OTHER,
        occurred_at=occurred_at(payload),
        payload=payload,
        code=UNSUBSCRIBED_TYPE,
        detail=str(payload.get("Message"))[:REASON_CHARS],
    )
