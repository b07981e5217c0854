"""SendGrid, v3 API. One call carries up to 1,000 recipients, merged by SendGrid.

All or nothing: one bad address refuses the whole call, and nothing was sent.
https://www.twilio.com/docs/sendgrid/api-reference/mail-send
"""

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from http.client import responses
from io import BytesIO
from typing import Any

from python_http_client import Client
from python_http_client.client import Response
from python_http_client.exceptions import HTTPError, handle_error
from sendgrid import SendGridAPIClient

from config.esp_config import EspName, SendGridConfig
from services.base import (
    CONNECT_TIMEOUT_S,
    READ_TIMEOUT_S,
    Account,
    Batch,
    BatchAnswer,
    EspAdapter,
    EspError,
    EspUnavailable,
    MessageRejected,
    Outcome,
    OutcomeUnknown,
    SendResult,
    Throttled,
)
from services.http_transport import CutAnswer, Transport
from services.sendgrid_merge import call_of, first_whole, sizes
from services.wire import check_headers, how_many, json_body, reason

# At DEBUG the SDK logs the key.
logging.getLogger("python_http_client").setLevel(logging.WARNING)

MAX_PERSONALIZATIONS = SendGridConfig.largest_batch
MAX_CALL_BYTES = 25_000_000
"""SendGrid's limit is 30 MB, for what it makes of the call."""
MAX_RETRY_AFTER_S = 3600.0

QUOTA_TEXT = "Maximum credits exceeded"

# https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/responses
# A status missing here is OutcomeUnknown: a gateway may answer after SendGrid has accepted.
# So is a 2xx that is not 202 with an id. (200 means "valid, not sent" in sandbox mode, which
# we never ask for; believing it would send twice if a proxy made it up.)
STATUS_ERRORS: dict[int, type[EspError]] = {
    401: EspUnavailable,  # bad key, or QUOTA_TEXT
    403: EspUnavailable,  # scope missing, sender not verified, IP not allowed
    404: EspUnavailable,  # wrong host
    405: EspUnavailable,  # wrong host
    406: MessageRejected,  # our bug
    408: OutcomeUnknown,
    413: MessageRejected,
    415: MessageRejected,  # our bug
    429: Throttled,
    451: EspUnavailable,  # the key belongs to another data region
    500: OutcomeUnknown,
    502: OutcomeUnknown,
    503: OutcomeUnknown,
    504: OutcomeUnknown,
}
BAD_RECIPIENT = re.compile(r"personalizations\.(\d{1,4})\.(?:to|cc|bcc)(?:\.|$)")


class SendGridAdapter(EspAdapter):
    name = EspName.SENDGRID
    max_batch = MAX_PERSONALIZATIONS

    def __init__(
        self,
        config: SendGridConfig,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        transport = Transport(
            connections=config.concurrency,
            hide=(config.api_key,),
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
        )
        self._clock = clock
        self._sdk = sdk_over(transport, config)

    def fit(self, batch: Batch) -> int:
        whole = first_whole(batch)
        if whole == 0:
            return 1
        shared, each = sizes(batch.message)
        most = MAX_PERSONALIZATIONS if whole is None else min(whole, MAX_PERSONALIZATIONS)
        return how_many(
            batch,
            most=most,
            limit=MAX_CALL_BYTES,
            shared=shared,
            each=each,
            measure=lambda texts: len(json_body(texts)),
        )

    def send(self, batch: Batch) -> BatchAnswer:
        check_headers(batch)
        try:
            response = self._sdk.client.mail.send.post(request_body=call_of(batch))
        except CutAnswer as error:
            if error.status != 202:
                raise
            # The body of a 202 is empty: what counts has come.
            return _accepted(batch, error.status, error.headers)
        except HTTPError as error:
            return self._refused(error, batch)
        return _accepted(batch, response.status_code, response.headers)

    def account(self) -> Account:
        try:
            credits = parsed(self._sdk.client.user.credits.get().body)
        except HTTPError as error:
            raise call_error(error, self._clock()) from error
        if not isinstance(credits, dict):
            raise OutcomeUnknown("the answer about credits is not an object", http_status=200)
        total, remain = credits.get("total"), credits.get("remain")
        frequency = credits.get("reset_frequency")
        if not (isinstance(total, int) and isinstance(remain, int)):
            return Account(detail="no credit limit told")
        detail = f"credits: {remain} of {total}, reset {frequency}"
        if frequency == "daily":
            return Account(daily_limit=total, daily_used=total - remain, detail=detail)
        if frequency == "monthly":
            return Account(monthly_limit=total, monthly_used=total - remain, detail=detail)
        return Account(detail=detail)

    def _refused(self, error: HTTPError, batch: Batch) -> BatchAnswer:
        if error.status_code == 400:
            return _invalid(_errors(error.body), batch)
        raise call_error(error, self._clock()) from error


def sdk_over(transport: Transport, config: SendGridConfig) -> SendGridAPIClient:
    """The SDK, each call of which makes one request through `transport`."""
    sdk = SendGridAPIClient(config.api_key, host=config.base_url.rstrip("/"))
    old = sdk.client
    sdk.client = _KeptAliveClient(
        transport, host=old.host, request_headers=old.request_headers, version=3
    )
    return sdk


def call_error(error: HTTPError, now: float) -> EspError:
    """What an answer that is no success says about the whole call."""
    words = "; ".join(str(one.get("message")) for one in _errors(error.body)) or error.reason
    why = reason(error.status_code, words)
    kind = STATUS_ERRORS.get(error.status_code, OutcomeUnknown)
    if error.status_code == 401 and QUOTA_TEXT in words:
        why = f"quota: {why}"
    return kind(why, http_status=error.status_code, retry_after_s=_wait(error, now))


def _wait(error: HTTPError, now: float) -> float | None:
    reset = str(error.headers.get("X-RateLimit-Reset", ""))
    if error.status_code != 429 or not re.fullmatch(r"\d{1,12}", reset):
        return None
    return min(max(float(reset) - now, 0.0), MAX_RETRY_AFTER_S)


class _KeptAliveClient(Client):  # type: ignore[misc] # the SDK has no types
    """The SDK's client over our transport.

    Its own opens a connection per call, follows redirects with the key, and on Python 3.12
    reads all CA certificates for each call (20 ms).
    """

    def __init__(self, transport: Transport, **options: Any) -> None:
        super().__init__(**options)
        self._transport = transport

    def _build_client(self, name: str | None = None) -> "_KeptAliveClient":
        return _KeptAliveClient(
            self._transport,
            host=self.host,
            version=self._version,
            request_headers=self.request_headers,
            url_path=[*self._url_path, name] if name else self._url_path,
        )

    def get(self, query_params: Mapping[str, Any] | None = None) -> Response:
        return self._call("GET", None, query_params)

    def post(self, request_body: bytes | dict[str, Any]) -> Response:
        """With a document, or with its JSON."""
        if not isinstance(request_body, bytes):
            request_body = json_body(request_body)
        return self._call("POST", request_body)

    def delete(self) -> Response:
        return self._call("DELETE", None)

    def _call(
        self, method: str, body: bytes | None, query: Mapping[str, Any] | None = None
    ) -> Response:
        headers = {**self.request_headers, "Content-Type": "application/json"}
        answer = self._transport.exchange(method, self._build_url(query), headers, body)
        reply = _Reply(answer.body)
        reply.code, reply.hdrs = answer.status, answer.headers
        reply.reason = responses.get(answer.status, "")
        if not 200 <= answer.status < 300:
            raise handle_error(reply)
        return Response(reply)


class _Reply(BytesIO):
    """An answer in the form of urllib's, which the SDK reads."""

    code: int
    reason: str
    hdrs: Any

    def getcode(self) -> int:
        return self.code

    def info(self) -> Any:
        return self.hdrs


def _accepted(batch: Batch, status: int, headers: Mapping[str, str]) -> BatchAnswer:
    message_id = headers.get("X-Message-Id")
    if status != 202 or not message_id:
        why = reason(status, "not SendGrid's 202 with an X-Message-Id")
        raise OutcomeUnknown(why, http_status=status)
    # One id for the whole call; what tells the recipients apart is `custom_args`.
    result = SendResult(outcome=Outcome.ACCEPTED, message_id=message_id)
    return BatchAnswer(http_status=status, results=(result,) * len(batch.recipients))


def _invalid(errors: list[dict[str, Any]], batch: Batch) -> BatchAnswer:
    """A 400 says for certain that nothing was sent; whom to blame is in its fields."""
    if not errors:
        raise OutcomeUnknown("400: without SendGrid's list of errors", http_status=400)
    reasons: dict[int, str] = {}
    for error in errors:
        why = reason(400, f"{error.get('field')}: {error.get('message')}")
        match = BAD_RECIPIENT.match(str(error.get("field")))
        if match is None or int(match[1]) >= len(batch.recipients):
            raise MessageRejected(why, http_status=400)
        reasons.setdefault(int(match[1]), why)
    not_taken = SendResult(outcome=Outcome.NOT_TAKEN, reason="400: others in the call were bad")
    results = tuple(
        SendResult(outcome=Outcome.RECIPIENT_REJECTED, reason=reasons[n])
        if n in reasons
        else not_taken
        for n in range(len(batch.recipients))
    )
    return BatchAnswer(http_status=400, results=results)


def _errors(body: bytes) -> list[dict[str, Any]]:
    """The `errors` of an answer; empty when it is not SendGrid's."""
    document = parsed(body)
    errors = document.get("errors") if isinstance(document, dict) else None
    if not isinstance(errors, list) or not all(isinstance(one, dict) for one in errors):
        return []
    return errors


def parsed(body: bytes) -> Any:
    """The JSON of an answer; `None` when it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
