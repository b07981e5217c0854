"""What SendGrid tells of a campaign: signed calls with events of random sends."""

import base64
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.ledgers import NOW, SENT_AT
from services.base import SEND_REF_KEY
from utils.tokens import send_ref

SHARES = (
    ("deferred", 0.02),
    ("open", 0.30),
    ("click", 0.05),
    ("spamreport", 0.002),
    ("unsubscribe", 0.004),
)
"""Of the mails delivered; one in fifty bounces, half of them for good."""
BOUNCES = 0.02
_SIGNATURE = "X-Twilio-Email-Event-Webhook-Signature"
_TIMESTAMP = "X-Twilio-Email-Event-Webhook-Timestamp"


@dataclass(frozen=True, slots=True)
class Call:
    body: bytes
    headers: dict[str, str]
    events: int


@dataclass(slots=True)
class Traffic:
    """Events of a ledger's first campaign, in random order; each send is told of once."""

    hash_key: bytes
    sends: int
    rng: random.Random = field(default_factory=lambda: random.Random(4))
    _key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    _events: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for send in range(1, self.sends + 1):
            self._events += self._of(send)
        self.rng.shuffle(self._events)

    @property
    def public_key(self) -> str:
        der = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(der).decode()

    @property
    def left(self) -> int:
        return len(self._events)

    def calls(self, n: int, size: int) -> list[Call]:
        """The next `n` calls of `size` events each; `ValueError` when too little is left."""
        if self.left < n * size:
            raise ValueError(f"{self.left} events left for {n} calls of {size}: more --people")
        return [self._call([self._events.pop() for _ in range(size)]) for _ in range(n)]

    def _call(self, events: list[dict[str, Any]]) -> Call:
        body = json.dumps(events, separators=(",", ":")).encode() + b"\r\n"
        timestamp = str(int(NOW.timestamp()))
        signature = self._key.sign(timestamp.encode() + body, ec.ECDSA(SHA256()))
        headers = {
            "Content-Type": "application/json",
            _SIGNATURE: base64.b64encode(signature).decode(),
            _TIMESTAMP: timestamp,
        }
        return Call(body, headers, len(events))

    def _of(self, send: int) -> Iterator[dict[str, Any]]:
        yield self._event(send, "processed", 1)
        if self.rng.random() < BOUNCES:
            is_hard = self.rng.random() < 0.5
            status, words = ("5.1.1", "550 no such user") if is_hard else ("4.2.2", "mailbox full")
            said = {"type": "bounce", "status": status, "reason": words}
            yield self._event(send, "bounce", 5, **said)
            return
        yield self._event(send, "delivered", 10, response="250 2.0.0 OK queued")
        for name, share in SHARES:
            if self.rng.random() < share:
                yield self._event(send, name, self.rng.randrange(600, 9000), **self._by(name))

    def _by(self, name: str) -> dict[str, str]:
        """Of what a reader does: from where; no two of them look like one scanner."""
        if name not in ("open", "click"):
            return {}
        place = ".".join(str(self.rng.randrange(1, 224)) for _ in range(4))
        agent = f"Mozilla/5.0 (Windows NT 10.0) Firefox/{self.rng.randrange(90, 140)}.0"
        link = {"url": "https://example.com/offer"} if name == "click" else {}
        return {"ip": place, "useragent": agent, **link}

    def _event(self, send: int, name: str, after_s: int, **more: str) -> dict[str, Any]:
        return {
            "email": f"person{send}@example.net",
            "timestamp": int((SENT_AT + timedelta(seconds=after_s)).timestamp()),
            "smtp-id": f"<{send}.call1@geopod.example>",
            "event": name,
            "sg_event_id": base64.b64encode(self.rng.randbytes(16)).decode().rstrip("="),
            "sg_message_id": f"call1.recvd-5f5c-{send}.0",
            "category": ["news"],
            SEND_REF_KEY: send_ref(self.hash_key, campaign_id=1, send_id=send, attempt=1),
            **more,
        }
