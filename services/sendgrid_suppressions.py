"""SendGrid's suppression lists.

Bounces, invalid addresses, spam reports and global unsubscribes are read; mail to any of them
is dropped. Not the blocks, which SendGrid itself goes on writing to, nor the unsubscribe groups,
which our mails belong to none of.

https://www.twilio.com/docs/sendgrid/api-reference/bounces-api/retrieve-all-bounces
https://www.twilio.com/docs/sendgrid/api-reference/bounces-api/delete-a-bounce
https://www.twilio.com/docs/sendgrid/api-reference/suppressions-global-suppressions
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Unpack
from urllib.parse import quote

from python_http_client.client import Response
from python_http_client.exceptions import HTTPError

from config.esp_config import EspName, SendGridConfig
from services.base import MessageRejected, OutcomeUnknown
from services.events import SuppressionReason
from services.sendgrid import call_error, parsed, sdk_over
from services.suppression_calls import CalledList, Ways
from services.suppression_lists import (
    A_COMPLAINT,
    EspSuppression,
    NotPushed,
    PushResult,
    Released,
)

PAGE = 500
"""The most that one call gives (documented)."""
PUSH = 500
"""Addresses in one call; SendGrid documents no limit."""

LISTS: dict[str, SuppressionReason] = {
    "bounces": SuppressionReason.HARD_BOUNCE,  # or a temporary one; see _reason
    "invalid_emails": SuppressionReason.HARD_BOUNCE,
    "spam_reports": SuppressionReason.COMPLAINT,
    "unsubscribes": SuppressionReason.UNSUBSCRIBED,
}
"""The names in `GET /v3/suppression/<name>`."""


class SendGridSuppressions(CalledList):
    name = EspName.SENDGRID

    def __init__(self, config: SendGridConfig, **ways: Unpack[Ways]) -> None:
        super().__init__((config.api_key,), ways)
        self._client = sdk_over(self._transport, config).client

    def pull(self, since: datetime | None) -> Iterator[Sequence[EspSuppression]]:
        for list_name in LISTS:
            for page in self._pages(list_name, since):
                yield [_entry(list_name, item) for item in page]

    def push(self, wanted: Sequence[tuple[str, SuppressionReason]]) -> PushResult:
        """All reasons become a global unsubscribe, the only list that can be added to.

        A call is taken as a whole or not. One that is refused is made again in two halves,
        until what is left is the address to blame.
        """
        addresses = [address for address, _ in wanted]
        pushed, failed = 0, []
        for start in range(0, len(addresses), PUSH):
            some = addresses[start : start + PUSH]
            refused = self._refused(some)
            pushed += len(some) - len(refused)
            failed += refused
        return PushResult(pushed=pushed, failed=tuple(failed))

    def release(self, address: str) -> Released:
        """Each list is asked for the address before it is taken off there."""
        try:
            held = [name for name in LISTS if self._holds(name, address)]
            off = [name for name in held if LISTS[name] is not SuppressionReason.COMPLAINT]
            for name in off:
                self._call(self._entry_of(name, address).delete)
        except MessageRejected as error:
            return Released(kept=error.reason)
        return Released(off=tuple(off), kept=A_COMPLAINT if len(off) < len(held) else None)

    def _holds(self, list_name: str, address: str) -> bool:
        """`[]`, or `{}` of the global unsubscribes, when the address is not there."""
        found = parsed(self._call(self._entry_of(list_name, address).get).body)
        if not isinstance(found, list | dict):
            raise OutcomeUnknown(f"{list_name}: not an entry of it", http_status=200)
        return bool(found)

    def _entry_of(self, list_name: str, address: str) -> Any:
        if list_name == "unsubscribes":
            entries = self._client.asm.suppressions._("global")
        else:
            entries = self._client.suppression._(list_name)
        return entries._(quote(address, safe=""))

    def _refused(self, addresses: list[str]) -> list[NotPushed]:
        try:
            told = parsed(self._call(lambda: self._add(addresses)).body)
        except MessageRejected as error:
            if len(addresses) == 1:
                return [NotPushed(address=addresses[0], why=error.reason)]
            half = len(addresses) // 2
            return [*self._refused(addresses[:half]), *self._refused(addresses[half:])]
        if not isinstance(told, dict) or not isinstance(told.get("recipient_emails"), list):
            raise OutcomeUnknown("not SendGrid's answer to a push", http_status=200)
        return []

    def _add(self, addresses: list[str]) -> Response:
        return self._client.asm.suppressions._("global").post(
            request_body={"recipient_emails": addresses}
        )

    def _pages(self, list_name: str, since: datetime | None) -> Iterator[list[Any]]:
        """By number, so what comes on the list meanwhile moves the rest on, and is told twice;
        what somebody takes off it meanwhile may hide another entry until a full pull.
        """
        query = {"limit": PAGE, **({"start_time": int(since.timestamp())} if since else {})}
        before: list[Any] = []
        for offset in range(0, 2**62, PAGE):
            page = self._page(list_name, {**query, "offset": offset})
            if page and page == before:
                raise OutcomeUnknown(f"{list_name}: the same page twice", http_status=200)
            yield page
            if len(page) < PAGE:
                return
            before = page

    def _page(self, list_name: str, query: dict[str, int]) -> list[Any]:
        lists = self._client.suppression._(list_name)
        page = parsed(self._call(lambda: lists.get(query_params=query)).body)
        if not isinstance(page, list):
            raise OutcomeUnknown(f"{list_name}: the answer is not a list", http_status=200)
        return page

    def _call(self, call: Callable[[], Response]) -> Response:
        def once() -> Response:
            try:
                return call()
            except HTTPError as error:
                if error.status_code == 400:
                    why = call_error(error, self._clock()).reason
                    raise MessageRejected(why, http_status=400) from error
                raise call_error(error, self._clock()) from error

        return self._patiently(once)


def _entry(list_name: str, item: Any) -> EspSuppression:
    """`{"created", "email"}`, with `reason` and `status` where the list has them."""
    item = item if isinstance(item, dict) else {}
    status, words = str(item.get("status") or ""), str(item.get("reason") or "")
    return EspSuppression(
        address=str(item.get("email") or ""),
        reason=_reason(list_name, status),
        list_name=list_name,
        at=_time(item.get("created")),
        detail=words or status or None,
    )


def _reason(list_name: str, status: str) -> SuppressionReason:
    if list_name == "bounces" and status.startswith("4"):
        # No proof that the mailbox is gone, but SendGrid drops what is sent there.
        return SuppressionReason.ESP_INACTIVE
    return LISTS[list_name]


def _time(created: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(created, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
