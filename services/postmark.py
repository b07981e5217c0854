"""Postmark. One call carries up to 500 complete mails, merged by us; each has its own result.

https://postmarkapp.com/developer/api/email-api#send-batch-emails
"""

import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from config.esp_config import EspName, PostmarkConfig
from services.base import (
    CONNECT_TIMEOUT_S,
    READ_TIMEOUT_S,
    SEND_REF_KEY,
    Account,
    Batch,
    BatchAnswer,
    EspAdapter,
    EspError,
    EspUnavailable,
    Message,
    MessageRejected,
    Outcome,
    OutcomeUnknown,
    SendResult,
    Throttled,
)
from services.http_transport import Transport
from services.json_forms import SLOT, Names, headers_with_slots, json_array
from services.postmark_client import Client, Refused
from services.wire import (
    check_headers,
    header_list,
    how_many,
    json_body,
    json_size,
    mailbox,
    parts,
    reason,
)

MAX_MESSAGES = PostmarkConfig.largest_batch
MAX_CALL_BYTES = 45_000_000
"""Postmark's limit is 50 MB, for what it makes of the call."""
MAX_TAG_CHARS = 1000
MESSAGE_BYTES = 100
"""More than the brackets of one message and its Metadata."""

# https://postmarkapp.com/developer/api/overview#error-codes (numbers of its own: 405 is not
# HTTP's 405). A code missing here is UNKNOWN: it came after the body had been sent.
CODE_OUTCOMES: dict[int, Outcome] = {
    10: Outcome.ESP_UNAVAILABLE,  # bad or missing token
    100: Outcome.ESP_UNAVAILABLE,  # maintenance
    300: Outcome.MESSAGE_REJECTED,  # or ABOUT_RECIPIENT
    400: Outcome.ESP_UNAVAILABLE,  # no such sender signature
    401: Outcome.ESP_UNAVAILABLE,  # sender signature not confirmed
    402: Outcome.MESSAGE_REJECTED,  # invalid JSON: our bug
    403: Outcome.MESSAGE_REJECTED,  # invalid field: our bug
    405: Outcome.ESP_UNAVAILABLE,  # quota: no credits left
    406: Outcome.RECIPIENT_REJECTED,  # inactive on this stream
    409: Outcome.MESSAGE_REJECTED,  # not JSON: our bug
    410: Outcome.MESSAGE_REJECTED,  # over 500 messages: our bug
    411: Outcome.MESSAGE_REJECTED,  # forbidden attachment
    412: Outcome.ESP_UNAVAILABLE,  # account pending approval
    413: Outcome.ESP_UNAVAILABLE,  # account may not send
    429: Outcome.THROTTLED,
    1101: Outcome.MESSAGE_REJECTED,  # no such template
    1226: Outcome.ESP_UNAVAILABLE,  # no such stream
    1235: Outcome.ESP_UNAVAILABLE,  # no such stream
    1236: Outcome.ESP_UNAVAILABLE,  # not a stream that sends
}
INACTIVE, QUOTA, MAINTENANCE, SEVERAL = 406, 405, 100, 11
# 300 is about the recipient, the sender or the content; only the text tells.
ABOUT_RECIPIENT = re.compile(r"(?:Invalid|Error\s+parsing)\s+'(?:To|Cc|Bcc)'", re.IGNORECASE)
# Several errors in one item: the first of these that occurs is what it comes to.
GRAVEST_FIRST = (
    Outcome.UNKNOWN,
    Outcome.MESSAGE_REJECTED,
    Outcome.ESP_UNAVAILABLE,
    Outcome.THROTTLED,
    Outcome.RECIPIENT_REJECTED,
)

# For an answer without an ErrorCode of the above, so perhaps not of Postmark's making. A status missing
# here is OutcomeUnknown: 408 and all of 5xx may come after the mails were queued.
STATUS_OUTCOMES: dict[int, Outcome] = {
    401: Outcome.ESP_UNAVAILABLE,
    # "A 403 that doesn't look like a Postmark error": blocked in front of the API.
    403: Outcome.ESP_UNAVAILABLE,
    404: Outcome.ESP_UNAVAILABLE,
    413: Outcome.MESSAGE_REJECTED,
    415: Outcome.MESSAGE_REJECTED,
    429: Outcome.THROTTLED,
}
ERRORS: dict[Outcome, type[EspError]] = {
    Outcome.ESP_UNAVAILABLE: EspUnavailable,
    Outcome.MESSAGE_REJECTED: MessageRejected,
    Outcome.THROTTLED: Throttled,
    Outcome.UNKNOWN: OutcomeUnknown,
}


class PostmarkAdapter(EspAdapter):
    name = EspName.POSTMARK
    max_batch = MAX_MESSAGES

    def __init__(
        self,
        config: PostmarkConfig,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self._config = config
        self._transport = Transport(
            connections=config.concurrency,
            hide=(config.api_key,),
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
        )
        # A requests session is not made for several threads; the connections are shared.
        self._threads = threading.local()

    def fit(self, batch: Batch) -> int:
        message = batch.message
        literals = [one.literals for one in (message.subject, message.html, message.text) if one]
        return how_many(
            batch,
            most=MAX_MESSAGES,
            limit=MAX_CALL_BYTES,
            shared=2,
            each=MESSAGE_BYTES
            + json_size(self._common(message))
            + json_size(header_list(message.headers))
            + json_size(literals),
            measure=lambda texts: len(json_body(texts)),
        )

    def send(self, batch: Batch) -> BatchAnswer:
        check_headers(batch)
        count = len(batch.recipients)
        mails = _mails(batch, self._common(batch.message))
        try:
            answer = self._client().call("POST", "email/batch", data=mails)
        except Refused as refused:
            return _refusal(refused, count)
        except (ValueError, RecursionError) as error:
            raise OutcomeUnknown("200: not JSON", http_status=200) from error
        if not isinstance(answer, list) or len(answer) != count:
            raise OutcomeUnknown("200: not one result for each message", http_status=200)
        return BatchAnswer(http_status=200, results=tuple(map(_result, answer)))

    def account(self) -> Account:
        """Checks key and stream; Postmark has no call that tells a quota.

        `detail` says who handles unsubscribes on the stream: unless it is "Custom", Postmark
        puts its own link beside ours.
        """
        server = self._look("server")
        stream = self._look(f"message-streams/{self._config.message_stream}")
        handling = stream.get("SubscriptionManagementConfiguration") or {}
        return Account(
            detail=(
                f"delivery type {server.get('DeliveryType')}; stream {stream.get('ID')} "
                f"({stream.get('MessageStreamType')}), unsubscribes handled by "
                f"{handling.get('UnsubscribeHandlingType')}"
            )
        )

    def _look(self, path: str) -> dict[str, Any]:
        return call_postmark(self._client(), "GET", path)

    def _common(self, message: Message) -> dict[str, Any]:
        config = self._config
        common = {
            "From": mailbox(message.from_name, message.from_email),
            "MessageStream": (
                config.transactional_stream if message.transactional else config.message_stream
            ),
            "TrackOpens": message.track_opens,
            "TrackLinks": "HtmlAndText" if message.track_clicks else "None",
        }
        if message.reply_to:
            common["ReplyTo"] = message.reply_to
        if message.tags:
            common["Tag"] = message.tags[0][:MAX_TAG_CHARS]
        return common

    def _client(self) -> Client:
        client: Client | None = getattr(self._threads, "client", None)
        if client is None:
            client = self._threads.client = Client(self._config, self._transport)
        return client


def call_postmark(
    client: Client, method: str, path: str, data: Any = None, **query: str
) -> dict[str, Any]:
    """The object that one call answers; empty for anything else. Raises an `EspError`.

    `token_type` "account" in `query` is for the SDK: the account's token goes along.
    """
    try:
        found = client.call(method, path, data=data, **query)
    except Refused as refused:
        result = _judged(refused)
        kind = ERRORS.get(result.outcome, OutcomeUnknown)
        raise kind(result.reason or "", http_status=refused.status) from refused
    except (ValueError, RecursionError) as error:
        raise OutcomeUnknown("200: not JSON", http_status=200) from error
    return found if isinstance(found, dict) else {}


def _mails(batch: Batch, common: Mapping[str, Any]) -> bytes:
    """The whole request, as JSON: a mail for each."""
    message = batch.message
    form = {name: SLOT.join(skeleton.literals) for name, skeleton in parts(message).items()}

    def shape(own: Names) -> dict[str, Any]:
        mail = {
            **common,
            "To": SLOT,
            "Subject": form["subject"],
            "Metadata": {SEND_REF_KEY: SLOT},
            "Headers": header_list(headers_with_slots(message.headers, own)),
        }
        if "html" in form:
            mail["HtmlBody"] = form["html"]
        if "text" in form:
            mail["TextBody"] = form["text"]
        return mail

    def texts(run: Batch) -> Iterable[Sequence[str]]:
        slots, n = run.slot_values, message.subject.slots
        refs, addresses = run.columns.send_ref, run.columns.address
        return (addresses, *slots[:n], refs, *run.header_values, *slots[n:])

    return b"".join(json_array(batch, shape, texts))


def _result(item: Any) -> SendResult:
    item = item if isinstance(item, Mapping) else {}
    message_id = item.get("MessageID")
    if message_id and isinstance(message_id, str):
        # Also without an ErrorCode ("Message accepted, but delivery may be delayed").
        return SendResult(outcome=Outcome.ACCEPTED, message_id=message_id)
    code, words = item.get("ErrorCode"), str(item.get("Message") or "")
    if code == SEVERAL:
        return _gravest(item)
    outcome = CODE_OUTCOMES.get(code, Outcome.UNKNOWN) if isinstance(code, int) else Outcome.UNKNOWN
    why = reason(code, words)
    if code == 300 and ABOUT_RECIPIENT.match(words):
        outcome = Outcome.RECIPIENT_REJECTED
    if code == QUOTA:
        why = reason("quota", why)
    return SendResult(outcome=outcome, reason=why, suppress=code == INACTIVE)


def _gravest(item: Mapping[str, Any]) -> SendResult:
    errors = item.get("Errors")
    inner = [
        _result(one)
        for one in (errors if isinstance(errors, list) else [])
        if isinstance(one, Mapping) and one.get("ErrorCode") != SEVERAL
    ]
    inner.sort(key=lambda result: GRAVEST_FIRST.index(result.outcome))
    unknown = SendResult(outcome=Outcome.UNKNOWN, reason=reason(SEVERAL, item.get("Message")))
    return inner[0] if inner else unknown


def _judged(refused: Refused) -> SendResult:
    """What an answer other than 200 says about the whole call."""
    code = refused.item.get("ErrorCode")
    is_maintenance = refused.status == 503 and code == MAINTENANCE
    if refused.status >= 500 and not is_maintenance:
        # Whatever the code: "the message may or may not have been queued".
        outcome = Outcome.UNKNOWN
    elif code == SEVERAL or code in CODE_OUTCOMES:
        return _result(refused.item)
    else:
        outcome = STATUS_OUTCOMES.get(refused.status, Outcome.UNKNOWN)
    return SendResult(outcome=outcome, reason=reason(refused.status, refused.item.get("Message")))


def _refusal(refused: Refused, count: int) -> BatchAnswer:
    result = _judged(refused)
    if result.outcome is Outcome.RECIPIENT_REJECTED and count == 1:
        return BatchAnswer(http_status=refused.status, results=(result,))
    # Of several it does not tell which: Postmark documents no such answer to a batch.
    kind = ERRORS.get(result.outcome, OutcomeUnknown)
    raise kind(result.reason or "", http_status=refused.status) from refused
