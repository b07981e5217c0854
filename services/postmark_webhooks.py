"""What Postmark tells by webhook: shown to be genuine, then read. One record for each call.

https://postmarkapp.com/developer/webhooks/webhooks-overview
"""

import base64
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from hmac import compare_digest
from typing import Any

from config.esp_config import EspName, PostmarkConfig
from services.base import REASON_CHARS, SEND_REF_KEY
from services.events import (
    CODE_CHARS,
    Event,
    NotConfigured,
    NotGenuine,
    Received,
    SuppressionReason,
    WebhookCall,
    WebhookReader,
)
from services.postmark_words import BOUNCES, RECORDS, SUPPRESSIONS
from services.webhook_fields import (
    ID_CHARS,
    OTHER,
    RECEIVED_KEY,
    RESUBSCRIBED,
    SOFT,
    UNSUBSCRIBED,
    Meaning,
    Payload,
    hashed,
    moment,
    text,
    timed,
)
from utils.outside_json import read_json

_TIMES = ("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt")

log = logging.getLogger(__name__)


class PostmarkWebhooks(WebhookReader):
    """Postmark signs nothing: user and password in the webhook's address are the proof."""

    name = EspName.POSTMARK

    def __init__(self, config: PostmarkConfig) -> None:
        self._user = (config.webhook_user or "").encode()
        self._password = (config.webhook_password or "").encode()

    def receive(self, call: WebhookCall) -> Received:
        self._check(call)
        try:
            payload = read_json(call.body.decode("utf-8-sig", "replace"))
        except ValueError:
            payload = None
        if not isinstance(payload, dict):
            log.warning("Postmark sent %d bytes that are no record", len(call.body))
            return Received()
        payload.pop(RECEIVED_KEY, None)
        return Received(events=(_event(payload, call.received_at),))

    def read(self, payload: Mapping[str, Any]) -> tuple[Event, ...]:
        return (_event(payload, None),)

    def _check(self, call: WebhookCall) -> None:
        if not self._user or not self._password:
            raise NotConfigured("POSTMARK_WEBHOOK_USER and POSTMARK_WEBHOOK_PASSWORD are not set")
        user, password = _credentials(call.headers.get("authorization", ""))
        # Both, always: how long it takes must not tell which of them was right.
        is_user = compare_digest(user, self._user)
        is_password = compare_digest(password, self._password)
        if not (is_user and is_password):
            raise NotGenuine("not our user and password")


def _credentials(header: str) -> tuple[bytes, bytes]:
    """User and password of basic authentication (RFC 7617); both empty when it is none."""
    scheme, _, encoded = header.partition(" ")
    try:
        decoded = base64.b64decode(encoded.strip(" "), validate=True)
    except ValueError:
        decoded = b""
    if scheme.lower() != "basic":
        decoded = b""
    user, _, password = decoded.partition(b":")
    return user, password


def _event(payload: Payload, received_at: datetime | None) -> Event:
    record = text(payload.get("RecordType")) or ""
    told = next(filter(None, (moment(payload.get(name)) for name in _TIMES)), None)
    payload, occurred_at = timed(payload, told, received_at)
    meaning, code = _judged(record, payload)
    return Event(
        key=_key(record, payload),
        kind=meaning.kind,
        occurred_at=occurred_at,
        payload=payload,
        send_ref=text(_dict(payload.get("Metadata")).get(SEND_REF_KEY), ID_CHARS),
        address=_address(payload),
        message_id=text(payload.get("MessageID"), ID_CHARS),
        bounce_class=meaning.bounce_class,
        suppress=meaning.suppress,
        code=code,
        detail=_detail(payload),
        url=text(payload.get("OriginalLink")),
        user_agent=text(payload.get("UserAgent")),
        ip=text(_dict(payload.get("Geo")).get("IP"), CODE_CHARS),
    )


def _judged(record: str, payload: Payload) -> tuple[Meaning, str | None]:
    """What it means, and Postmark's own type of it."""
    if record == "SubscriptionChange":
        return _subscription(payload), text(payload.get("SuppressionReason"), CODE_CHARS)
    code = text(payload.get("Type"), CODE_CHARS)
    if record != "Bounce":
        return RECORDS.get(record, OTHER), code
    meaning = BOUNCES.get(code or "", SOFT)
    if payload.get("Inactive") is True and meaning.suppress is None:
        # Whatever the type: Postmark no longer delivers to this address.
        meaning = replace(meaning, suppress=SuppressionReason.ESP_INACTIVE)
    return meaning, code


def _subscription(payload: Payload) -> Meaning:
    is_suppressed = payload.get("SuppressSending")
    if is_suppressed is True:
        return SUPPRESSIONS.get(text(payload.get("SuppressionReason")) or "", UNSUBSCRIBED)
    return RESUBSCRIBED if is_suppressed is False else OTHER


def _address(payload: Payload) -> str | None:
    return text(payload.get("Recipient")) or text(payload.get("Email"))


def _detail(payload: Payload) -> str | None:
    said = (text(payload.get(name)) for name in ("Description", "Details"))
    return ": ".join(filter(None, said))[:REASON_CHARS] or None


def _key(record: str, payload: Payload) -> str:
    own = payload.get("ID")
    if record in ("Bounce", "SpamComplaint") and type(own) is int and 0 < own < 2**63:
        return f"{record}:{own}"
    told = (payload.get(name) for name in ("MessageID", *_TIMES, "OriginalLink"))
    return hashed(record, _address(payload), *told)


def _dict(given: object) -> Payload:
    return given if isinstance(given, dict) else {}
