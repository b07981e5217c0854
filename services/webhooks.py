"""What comes in by webhook: shown to be genuine, read, recorded; SNS topics confirmed."""

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError

from config.esp_config import EspConfig, EspName, SesConfig
from config.failpoints import Failpoint
from database.models import WebhookEvent
from database.session import Database
from services.adapters import build_webhook_reader, confirm_subscription
from services.base import EspError, MessageRejected
from services.event_recorder import Recorded
from services.event_recorder.joint import JointRecording
from services.events import (
    Event,
    EventKind,
    NotConfigured,
    SubscriptionRequest,
    WebhookCall,
    WebhookReader,
)
from utils.failpoints import reach

log = logging.getLogger(__name__)

ASKS = "subscription:"
"""How the keys of events begin that ask for a confirmation which is still to be made."""
TOKEN_LIVES = timedelta(days=2)
PAUSES_S = (0.0, 2.0, 10.0, 60.0, 300.0)
"""Before each attempt to confirm; then only a restart tries again."""


class Webhooks:
    """The webhooks of the configured ESPs. Thread-safe."""

    def __init__(
        self,
        database: Database,
        esps: Mapping[EspName, EspConfig],
        *,
        hash_key: bytes,
        clock: Callable[[], datetime],
        confirm: Callable[[SesConfig, str, str], str] = confirm_subscription,
    ) -> None:
        self._database, self._esps = database, esps
        self._clock, self._confirm = clock, confirm
        self._recording = JointRecording(database, hash_key)
        self._readers: dict[EspName, WebhookReader] = {}
        self._stopping = threading.Event()

    def take(self, esp: EspName, headers: Mapping[str, str], body: bytes) -> Recorded | None:
        """Record what a call says; on disk when this returns. `None`: it asks to be confirmed.

        Raises `NotGenuine`, `NotConfigured`, `NotReachable`, or what the database raises.
        """
        now = self._clock()
        call = WebhookCall(headers=headers, body=body, received_at=now)
        received = self._reader(esp).receive(call)
        if received.subscription is not None:
            self._ask(received.subscription, now)
            return None
        recorded = self._recording.record(esp, received.events, now)
        reach(Failpoint.WEBHOOK_AFTER_COMMIT)
        return recorded

    def resume(self) -> None:
        """Confirm what was asked for before this process began."""
        since = self._clock() - TOKEN_LIVES
        with self._database.read() as session:
            asked = session.scalars(
                select(WebhookEvent.payload).where(
                    WebhookEvent.esp == EspName.SES,
                    WebhookEvent.event_key.startswith(ASKS, autoescape=True),
                    WebhookEvent.received_at > since,
                )
            ).all()
        for payload in asked:
            if payload is not None:
                self._start(payload)

    def close(self) -> None:
        self._stopping.set()

    def _reader(self, esp: EspName) -> WebhookReader:
        if esp not in self._readers:
            if esp not in self._esps:
                raise NotConfigured(f"{esp} has no key: see .env.example")
            if not self._esps[esp].webhooks:
                raise NotConfigured(f"nobody reads the webhooks of {esp} yet")
            self._readers[esp] = build_webhook_reader(self._esps[esp])
        return self._readers[esp]

    def _ask(self, wanted: SubscriptionRequest, now: datetime) -> None:
        payload = {"key": ASKS + wanted.key, "topic": wanted.topic_arn, "token": wanted.token}
        event = Event(key=payload["key"], kind=EventKind.OTHER, occurred_at=now, payload=payload)
        self._recording.record(EspName.SES, [event], now)
        self._start(payload)

    def _start(self, payload: Mapping[str, Any]) -> None:
        threading.Thread(
            target=self._confirm_soon, args=(payload,), name="sns-confirm", daemon=True
        ).start()

    def _confirm_soon(self, payload: Mapping[str, Any]) -> None:
        config = self._esps.get(EspName.SES)
        for pause in PAUSES_S:
            if self._stopping.wait(pause) or not isinstance(config, SesConfig):
                return
            try:
                self._confirm(config, payload["topic"], payload["token"])
            except MessageRejected as error:
                log.warning("an SNS subscription cannot be confirmed: %s", error.reason)
            except EspError as error:
                log.warning("an SNS subscription is not confirmed yet: %s", error.reason)
                continue
            else:
                log.info("an SNS subscription is confirmed", extra={"topic": payload["topic"]})
            self._settle(payload["key"])
            return

    def _settle(self, key: str) -> None:
        """Forget the request, and with it its token."""
        asked = delete(WebhookEvent).where(
            WebhookEvent.esp == EspName.SES, WebhookEvent.event_key == key
        )
        try:
            with self._database.write() as session:
                session.execute(asked)
        except SQLAlchemyError:
            log.warning("a confirmed SNS subscription is confirmed again at the next start")
