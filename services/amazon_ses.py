"""Amazon SES, v2 API. One call carries up to 50 recipients, merged by SES; each entry has
its own status in the answer.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendBulkEmail.html
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from threading import Lock, local
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
)

from config.esp_config import EspName, SesConfig
from services.amazon_ses_client import aws_client
from services.amazon_ses_merge import (
    SLOT_BYTES,
    bulk_call,
    entries,
    first_whole,
    is_mergeable,
    whole_call,
)
from services.base import (
    CONNECT_TIMEOUT_S,
    READ_TIMEOUT_S,
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
    Skeleton,
    Throttled,
)
from services.http_transport import Transport
from services.wire import check_headers, how_many, json_body, json_size, reason, values_of


class BadRequest(MessageRejected):
    """SES's BadRequestException: in a call with one recipient perhaps about the address."""


MAX_ENTRIES = SesConfig.largest_batch
MAX_CALL_BYTES = 1_000_000
ENTRY_BYTES = 400
"""More than the keys and brackets of one entry."""

QUOTA_TEXT = "Daily message quota exceeded"
NOT_VERIFIED_TEXT = "not verified"
QUOTA_CODES = frozenset({"LimitExceededException", "ACCOUNT_DAILY_QUOTA_EXCEEDED"})

# https://docs.aws.amazon.com/ses/latest/APIReference-V2/CommonErrors.html and the errors
# of SendBulkEmail. A code missing here is looked up by its HTTP status below, and is
# OutcomeUnknown when it is missing there too: the body had been sent.
CODE_ERRORS: dict[str, type[EspError]] = {
    "TooManyRequestsException": Throttled,
    "ThrottlingException": Throttled,
    "Throttling": Throttled,
    "LimitExceededException": EspUnavailable,  # quota
    "AccountSuspendedException": EspUnavailable,
    "SendingPausedException": EspUnavailable,
    "MailFromDomainNotVerifiedException": EspUnavailable,
    "MessageRejected": MessageRejected,  # or NOT_VERIFIED_TEXT
    "BadRequestException": BadRequest,
    "NotFoundException": EspUnavailable,  # no such configuration set
    "AccessDeniedException": EspUnavailable,
    "InvalidClientTokenId": EspUnavailable,
    "SignatureDoesNotMatch": EspUnavailable,
    "UnrecognizedClientException": EspUnavailable,
    "ExpiredTokenException": EspUnavailable,
    "InvalidSignatureException": EspUnavailable,
    "RequestEntityTooLarge": MessageRejected,
    "InternalServiceErrorException": OutcomeUnknown,
}
# 500, 502, 503 and 504 may come from a gateway after SES has accepted: not here, so unknown.
STATUS_ERRORS: dict[int, type[EspError]] = {
    403: EspUnavailable,
    404: EspUnavailable,
    413: MessageRejected,
    429: Throttled,
}

# https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_BulkEmailEntryResult.html, in
# both spellings in use. A status missing here is UNKNOWN, and so is FAILED ("SES was unable
# to process your request"): it says neither that nothing left nor that the address is to
# blame, and calling it a rejection would drop a reader for good.
ENTRY_OUTCOMES: dict[str, Outcome] = {
    "MESSAGE_REJECTED": Outcome.MESSAGE_REJECTED,  # or NOT_VERIFIED_TEXT; see _blamed
    "INVALID_PARAMETER": Outcome.RECIPIENT_REJECTED,  # see _blamed
    "INVALID_PARAMETER_VALUE": Outcome.RECIPIENT_REJECTED,
    "MAIL_FROM_DOMAIN_NOT_VERIFIED": Outcome.ESP_UNAVAILABLE,
    "CONFIGURATION_SET_NOT_FOUND": Outcome.ESP_UNAVAILABLE,
    "CONFIGURATION_SET_DOES_NOT_EXIST": Outcome.ESP_UNAVAILABLE,
    "INVALID_SENDING_POOL_NAME": Outcome.ESP_UNAVAILABLE,
    "ACCOUNT_SUSPENDED": Outcome.ESP_UNAVAILABLE,
    "ACCOUNT_SENDING_PAUSED": Outcome.ESP_UNAVAILABLE,
    "CONFIGURATION_SET_SENDING_PAUSED": Outcome.ESP_UNAVAILABLE,
    "ACCOUNT_DAILY_QUOTA_EXCEEDED": Outcome.ESP_UNAVAILABLE,
    "TEMPLATE_NOT_FOUND": Outcome.MESSAGE_REJECTED,
    "TEMPLATE_DOES_NOT_EXIST": Outcome.MESSAGE_REJECTED,
    "ACCOUNT_THROTTLED": Outcome.THROTTLED,
    "TRANSIENT_FAILURE": Outcome.THROTTLED,
    "FAILED": Outcome.UNKNOWN,
}
# What botocore raises instead of a call. Anything else of its is OutcomeUnknown; failures
# of the network have their class from the transport.
LIBRARY_ERRORS: dict[type[BotoCoreError], type[EspError]] = {
    NoCredentialsError: EspUnavailable,
    ParamValidationError: MessageRejected,
}
# Raised by botocore's parser over an answer that is JSON of another shape than SES's.
GARBAGE = (TypeError, AttributeError, KeyError, ValueError, RecursionError)

LONE_INVALIDS = 3
"""So many in a row, with none accepted between, and the content is to blame."""


class SesAdapter(EspAdapter):
    name = EspName.SES
    max_batch = MAX_ENTRIES

    def __init__(
        self,
        config: SesConfig,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        transport = Transport(
            connections=config.concurrency,
            hide=(config.access_key_id, config.secret_access_key),
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
        )
        self._configuration_set = config.configuration_set
        self._client = aws_client(config, "sesv2", transport, endpoint_url=config.base_url)
        self._client.meta.events.register("before-call.sesv2.SendBulkEmail", self._add_entries)
        self._own = local()
        """What a thread's next call carries."""
        self._invalid_in_a_row: Counter[Skeleton] = Counter()
        self._lock = Lock()

    def fit(self, batch: Batch) -> int:
        message = batch.message
        shared = json_size(bulk_call(message, self._configuration_set))
        if shared > MAX_CALL_BYTES or not is_mergeable(message):
            return 1
        whole = first_whole(batch)
        if whole == 0:
            return 1
        return how_many(
            batch,
            most=MAX_ENTRIES if whole is None else min(whole, MAX_ENTRIES),
            limit=MAX_CALL_BYTES,
            shared=shared,
            each=ENTRY_BYTES + len(values_of(batch.recipients[0])) * SLOT_BYTES,
            measure=lambda texts: len(json_body(json_body(texts).decode())),
        )

    def send(self, batch: Batch) -> BatchAnswer:
        check_headers(batch)
        message, recipients = batch.message, batch.recipients
        if not is_mergeable(message) or first_whole(batch) is not None:
            return self._send_whole(batch)
        call = bulk_call(message, self._configuration_set)
        self._own.entries = entries(batch)
        if len(recipients) == 1 and json_size(call) + len(self._own.entries) > MAX_CALL_BYTES:
            return self._send_whole(batch)
        answer = self._call("send_bulk_email", call)
        status = answer["ResponseMetadata"]["HTTPStatusCode"]
        found = answer.get("BulkEmailEntryResults")
        if not isinstance(found, list) or len(found) != len(recipients):
            why = reason(status, "not one result for each entry")
            raise OutcomeUnknown(why, http_status=status)
        results = [_result(entry or {}) for entry in found]
        return BatchAnswer(http_status=status, results=self._blamed(message, results))

    def _add_entries(self, params: dict[str, Any], **_: Any) -> None:
        """botocore would take a third of a call's time to write them."""
        params["body"] = params["body"].replace(
            b'"BulkEmailEntries": []', b'"BulkEmailEntries": %b' % self._own.entries
        )

    def account(self) -> Account:
        answer = self._call("get_account", {})
        quota = answer.get("SendQuota") or {}
        limit, used = quota.get("Max24HourSend"), quota.get("SentLast24Hours")
        standing, enabled = answer.get("EnforcementStatus"), answer.get("SendingEnabled")
        is_sandbox = answer.get("ProductionAccessEnabled") is False
        return Account(
            per_second=quota.get("MaxSendRate"),
            # -1 is unlimited.
            daily_limit=None if limit is None or limit < 0 else int(limit),
            daily_used=None if used is None else int(used),
            sending_enabled=None if enabled is None else enabled and standing != "SHUTDOWN",
            detail=f"{standing or 'standing not told'}{', SES sandbox' if is_sandbox else ''}",
        )

    def _send_whole(self, batch: Batch) -> BatchAnswer:
        """One mail without a template, for what SES's merge would misread or not take."""
        message, recipients = batch.message, batch.recipients
        if len(recipients) != 1:
            raise ValueError("the batch does not fit one call")
        try:
            call = whole_call(message, recipients[0], self._configuration_set)
            answer = self._call("send_email", call)
        except BadRequest as error:
            # The only address of the call may be what is bad about it.
            result = SendResult(outcome=Outcome.RECIPIENT_REJECTED, reason=error.reason)
            results = self._blamed(message, [result])
            return BatchAnswer(http_status=error.http_status or 400, results=results)
        status = answer["ResponseMetadata"]["HTTPStatusCode"]
        result = _result(answer)
        if result.outcome is not Outcome.ACCEPTED:
            raise OutcomeUnknown(reason(status, "no MessageId"), http_status=status)
        return BatchAnswer(http_status=status, results=self._blamed(message, [result]))

    def _blamed(self, message: Message, results: list[SendResult]) -> tuple[SendResult, ...]:
        """Decide whether entries were refused for their address or for the content.

        Once SES has taken this very content for somebody, the entry is to blame. Without
        that proof MESSAGE_REJECTED ("it contained a virus") is about the content, and
        INVALID_PARAMETER about the entry: address, tags and headers are its parameters.
        But a content that is an invalid parameter must not use up the list one by one, so
        `LONE_INVALIDS` of them with nothing accepted between stop the campaign; a single
        bad address, alone in its batch, does not.
        """
        worse, better = Outcome.MESSAGE_REJECTED, Outcome.RECIPIENT_REJECTED
        if not any(result.outcome is Outcome.ACCEPTED for result in results):
            worse, better = better, worse
            if not self._is_content_bad(message, sum(one.outcome is worse for one in results)):
                return tuple(results)
        else:
            with self._lock:
                self._invalid_in_a_row.pop(message.subject, None)
        return tuple(
            replace(result, outcome=better) if result.outcome is worse else result
            for result in results
        )

    def _is_content_bad(self, message: Message, invalid: int) -> bool:
        if not invalid:
            return False
        with self._lock:
            self._invalid_in_a_row[message.subject] += invalid
            if self._invalid_in_a_row[message.subject] < LONE_INVALIDS:
                return False
            del self._invalid_in_a_row[message.subject]
            return True

    def _call(self, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return call_ses(self._client, operation, arguments)


def call_ses(client: Any, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of one call of the client; raises an `EspError` for everything else."""
    try:
        answer: dict[str, Any] = getattr(client, operation)(**arguments)
    except ClientError as error:
        raise _refusal(error.response) from error
    except BotoCoreError as error:
        kind = LIBRARY_ERRORS.get(type(error), OutcomeUnknown)
        raise kind(reason(type(error).__name__, error)) from error
    except GARBAGE as error:
        raise OutcomeUnknown(reason("not an answer of SES", error)) from error
    return answer


def _result(entry: Mapping[str, Any]) -> SendResult:
    message_id = entry.get("MessageId")
    if message_id and isinstance(message_id, str):
        # Whatever else it says.
        return SendResult(outcome=Outcome.ACCEPTED, message_id=message_id)
    status, words = str(entry.get("Status")), str(entry.get("Error") or "")
    outcome, why = ENTRY_OUTCOMES.get(status, Outcome.UNKNOWN), reason(status, words)
    if status in QUOTA_CODES or QUOTA_TEXT in words:
        outcome, why = Outcome.ESP_UNAVAILABLE, reason("quota", why)
    elif status == "MESSAGE_REJECTED" and NOT_VERIFIED_TEXT in words:
        outcome = Outcome.ESP_UNAVAILABLE
    return SendResult(outcome=outcome, reason=why)


def _refusal(response: Mapping[str, Any]) -> EspError:
    error = response["Error"]
    code, words = str(error.get("Code")), str(error.get("Message") or "")
    status = response["ResponseMetadata"]["HTTPStatusCode"]
    kind = CODE_ERRORS.get(code) or STATUS_ERRORS.get(status, OutcomeUnknown)
    why = reason(code, words)
    if code in QUOTA_CODES or QUOTA_TEXT in words:
        return EspUnavailable(reason("quota", why), http_status=status)
    if code == "MessageRejected" and NOT_VERIFIED_TEXT in words:
        kind = EspUnavailable
    return kind(why, http_status=status)
