"""The account-level suppression list of Amazon SES.

Unsubscribes are not on it: they are no matter of SES's unless its contact lists are used.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_ListSuppressedDestinations.html
https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_PutSuppressedDestination.html
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from config.esp_config import EspName, SesConfig
from services.amazon_ses import BadRequest, call_ses
from services.amazon_ses_client import aws_client
from services.base import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, OutcomeUnknown
from services.events import SuppressionReason
from services.http_transport import Transport
from services.suppression_lists import (
    MAX_PAGE_BYTES,
    EspSuppression,
    NotPushed,
    PushResult,
    SuppressionList,
    patiently,
)

PAGE = 1000

REASONS: dict[str, SuppressionReason] = {
    "BOUNCE": SuppressionReason.HARD_BOUNCE,
    "COMPLAINT": SuppressionReason.COMPLAINT,
}
"""A reason missing here is ESP_INACTIVE: SES drops what is sent there, whatever it calls it."""


class SesSuppressions(SuppressionList):
    name = EspName.SES

    def __init__(
        self,
        config: SesConfig,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        transport = Transport(
            connections=1,
            hide=(config.access_key_id, config.secret_access_key),
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
            max_answer_bytes=MAX_PAGE_BYTES,
        )
        self._client = aws_client(config, "sesv2", transport, endpoint_url=config.base_url)
        self._sleep = sleep

    def pull(self, since: datetime | None) -> Iterator[Sequence[EspSuppression]]:
        query: dict[str, Any] = {"PageSize": PAGE, **({"StartDate": since} if since else {})}
        while True:
            answer = self._call("list_suppressed_destinations", query)
            page = answer.get("SuppressedDestinationSummaries")
            if not isinstance(page, list):
                # Of a body that is no JSON botocore makes an empty answer.
                raise OutcomeUnknown("200: no list of suppressions", http_status=200)
            yield [_entry(item or {}) for item in page]
            token = answer.get("NextToken")
            if not token:
                return
            if token == query.get("NextToken"):
                raise OutcomeUnknown("the same page twice", http_status=200)
            query["NextToken"] = token

    def push(self, wanted: Sequence[tuple[str, SuppressionReason]]) -> PushResult:
        """One address per call. SES knows two reasons; all but a complaint are a BOUNCE."""
        pushed, failed = 0, []
        for address, why in wanted:
            word = "COMPLAINT" if why is SuppressionReason.COMPLAINT else "BOUNCE"
            try:
                self._call("put_suppressed_destination", {"EmailAddress": address, "Reason": word})
            except BadRequest as error:
                failed.append(NotPushed(address=address, why=error.reason))
            else:
                pushed += 1
        return PushResult(pushed=pushed, failed=tuple(failed))

    def _call(self, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return patiently(lambda: call_ses(self._client, operation, arguments), self._sleep)


def _entry(item: Mapping[str, Any]) -> EspSuppression:
    word, at = str(item.get("Reason")), item.get("LastUpdateTime")
    return EspSuppression(
        address=str(item.get("EmailAddress") or ""),
        reason=REASONS.get(word, SuppressionReason.ESP_INACTIVE),
        list_name=word,
        at=at if isinstance(at, datetime) else None,
    )
