"""What SendGrid tells through its signed event webhook: shown to be genuine, then read.

https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
"""

import base64
import json
import logging
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from config.esp_config import EspName, SendGridConfig
from services.base import REASON_CHARS, SEND_REF_KEY
from services.events import (
    CODE_CHARS,
    Event,
    EventKind,
    NotConfigured,
    NotGenuine,
    Received,
    WebhookCall,
    WebhookReader,
)
from services.sendgrid_words import EVENTS, bounce, drop, status_of
from services.webhook_fields import (
    ID_CHARS,
    OTHER,
    RECEIVED_KEY,
    Meaning,
    Payload,
    hashed,
    text,
    timed,
)
from utils.outside_json import clean_text, cleaned

SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
KEY_VARIABLE = "SENDGRID_WEBHOOK_PUBLIC_KEY"

_ALGORITHM = ECDSA(SHA256())
# At most 100 characters, and never an address; what looks different is hashed.
_EVENT_ID = re.compile(r"[A-Za-z0-9._=+/-]{1,100}")
# What tells apart two events without an id.
_IDENTITY = ("sg_message_id", SEND_REF_KEY, "event", "timestamp", "email", "url")
# On other events `ip` is SendGrid's own.
_BY_READER = frozenset(
    {EventKind.OPENED, EventKind.CLICKED, EventKind.UNSUBSCRIBED, EventKind.RESUBSCRIBED}
)

_PLAIN = frozenset({str, int, bool, type(None)})

log = logging.getLogger(__name__)


class SendGridWebhooks(WebhookReader):
    """Several keys may be set, so that one can follow another; any of them may have signed.

    A signature does not grow old: SendGrid tries again for a day, and an event that comes
    again is known by its key, so that a replay changes nothing.
    """

    name = EspName.SENDGRID

    def __init__(self, config: SendGridConfig) -> None:
        self._keys = tuple(_keys(config.webhook_public_keys))

    def receive(self, call: WebhookCall) -> Received:
        self._check(call)
        return Received(events=tuple(_read(call.body, call.received_at)))

    def read(self, payload: Mapping[str, Any]) -> tuple[Event, ...]:
        return (_event(payload, None),)

    def _check(self, call: WebhookCall) -> None:
        if not self._keys:
            raise NotConfigured(f"{KEY_VARIABLE} is not set, or no key in it can be read")
        timestamp = call.headers.get(TIMESTAMP, "")
        signature = _signature(call.headers.get(SIGNATURE, ""))
        if not re.fullmatch(r"[0-9]{1,20}", timestamp):
            raise NotGenuine("without a timestamp")
        signed = timestamp.encode() + call.body
        if not any(_has_signed(key, signature, signed) for key in self._keys):
            raise NotGenuine("not signed by a key of ours")


def _keys(configured: tuple[str, ...]) -> Iterator[EllipticCurvePublicKey]:
    for number, one in enumerate(configured, 1):
        try:
            key = load_der_public_key(base64.b64decode(one))
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
            yield key
        else:
            log.error("%s: key %d is not a P-256 key of SendGrid's", KEY_VARIABLE, number)


def _signature(header: str) -> bytes:
    try:
        return base64.b64decode(header, validate=True)
    except ValueError as error:
        raise NotGenuine("the signature is not base64") from error


def _has_signed(key: EllipticCurvePublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed, _ALGORITHM)
    except InvalidSignature:
        return False
    return True


def _read(body: bytes, received_at: datetime) -> Iterator[Event]:
    written = body.decode("utf-8-sig", "replace")
    try:
        found = json.loads(written)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        log.warning("SendGrid signed %d bytes that are no list of events", len(body))
        return
    # Only an escape can make a NUL or a lone surrogate.
    is_plain = "\\u" not in written
    for one in found:
        if isinstance(one, dict):
            try:
                payload = _storable(one, is_plain)
            except ValueError:
                log.warning("an event of SendGrid is too deep to be stored")
                continue
            payload.pop(RECEIVED_KEY, None)
            yield _event(payload, received_at)


def _storable(one: dict[str, Any], is_plain: bool) -> dict[str, Any]:
    """`cleaned`, which takes as long as all else together, only where there is need."""
    if not is_plain:
        return {clean_text(name): cleaned(value) for name, value in one.items()}
    for name, value in one.items():
        if type(value) not in _PLAIN:
            one[name] = cleaned(value)
    return one


def _event(payload: Payload, received_at: datetime | None) -> Event:
    name = text(payload.get("event")) or ""
    payload, occurred_at = timed(payload, _time(payload.get("timestamp")), received_at)
    meaning, code, detail = _judged(name, payload)
    message_id, _, _ = (text(payload.get("sg_message_id"), ID_CHARS) or "").partition(".")
    by_reader = meaning.kind in _BY_READER
    return Event(
        key=_key(payload),
        kind=meaning.kind,
        occurred_at=occurred_at,
        payload=payload,
        send_ref=text(payload.get(SEND_REF_KEY), ID_CHARS),
        address=text(payload.get("email")),
        # One id for each call that sent, as the answer had it, and a part for each mail.
        message_id=message_id or None,
        bounce_class=meaning.bounce_class,
        suppress=meaning.suppress,
        code=code,
        detail=detail,
        is_machine=payload.get("sg_machine_open") is True,
        url=text(payload.get("url")),
        user_agent=text(payload.get("useragent")),
        ip=text(payload.get("ip"), CODE_CHARS) if by_reader else None,
    )


def _judged(name: str, payload: Payload) -> tuple[Meaning, str | None, str | None]:
    """What it means, the status and what was said."""
    words = text(payload.get("reason")) or text(payload.get("response")) or ""
    detail = words[:REASON_CHARS] or None
    if name not in ("bounce", "dropped", "deferred"):
        return EVENTS.get(name, OTHER), None, detail
    code = status_of(text(payload.get("status"), CODE_CHARS), words)
    if name != "bounce":
        return EVENTS.get(name) or drop(words), code, detail
    kind = text(payload.get("type"), CODE_CHARS) or name
    classification = text(payload.get("bounce_classification"), CODE_CHARS)
    if classification:
        detail = f"{classification}: {words}"[:REASON_CHARS]
    return bounce(kind, classification, code, words), code or kind, detail


def _key(payload: Payload) -> str:
    told = payload.get("sg_event_id")
    if not isinstance(told, str) or not told:
        return hashed(*map(payload.get, _IDENTITY))
    return told if _EVENT_ID.fullmatch(told) else hashed(told)


def _time(seconds: object) -> datetime | None:
    if not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
