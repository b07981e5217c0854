"""The account-level suppression list of Amazon SES.

Unsubscribes are not on it: they are no matter of SES's unless its contact lists are used.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_ListSuppressedDestinations.html
https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_PutSuppressedDestination.html
https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_DeleteSuppressedDestination.html
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Unpack

from config.esp_config import EspName, SesConfig
from services.amazon_ses import BadRequest, call_ses
from services.amazon_ses_client import aws_client
from services.base import EspUnavailable, OutcomeUnknown
from services.events import SuppressionReason
from services.suppression_calls import CalledList, Ways
from services.suppression_lists import (
    A_COMPLAINT,
    EspSuppression,
    NotPushed,
    PushResult,
    Released,
)

PAGE = 1000
ABSENT = "NotFoundException"

REASONS: dict[str, SuppressionReason] = {
    "BOUNCE": SuppressionReason.HARD_BOUNCE,
    "COMPLAINT": SuppressionReason.COMPLAINT,
}
"""A reason missing here is ESP_INACTIVE: SES drops what is sent there, whatever it calls it."""


class SesSuppressions(CalledList):
    name = EspName.SES

    def __init__(self, config: SesConfig, **ways: Unpack[Ways]) -> None:
        super().__init__((config.access_key_id, config.secret_access_key), ways)
        self._client = aws_client(config, "sesv2", self._transport, endpoint_url=config.base_url)

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

    def release(self, address: str) -> Released:
        """The entry is read before it is taken off: SES would let go of a complaint too."""
        entry = {"EmailAddress": address}
        try:
            found = self._call("get_suppressed_destination", entry).get("SuppressedDestination")
        except BadRequest as error:
            return Released(kept=error.reason)
        except EspUnavailable as error:
            if error.reason.startswith(ABSENT):
                return Released()
            raise
        if not isinstance(found, dict):
            raise OutcomeUnknown("200: no entry of the list", http_status=200)
        word = str(found.get("Reason"))
        if REASONS.get(word) is SuppressionReason.COMPLAINT:
            return Released(kept=A_COMPLAINT)
        self._call("delete_suppressed_destination", entry)
        return Released(off=(word,))

    def _call(self, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return self._patiently(lambda: call_ses(self._client, operation, arguments))


def _entry(item: Mapping[str, Any]) -> EspSuppression:
    word, at = str(item.get("Reason")), item.get("LastUpdateTime")
    return EspSuppression(
        address=str(item.get("EmailAddress") or ""),
        reason=REASONS.get(word, SuppressionReason.ESP_INACTIVE),
        list_name=word,
        at=at if isinstance(at, datetime) else None,
    )
