"""The suppressions of the Postmark stream that we send through; each stream has its own.

https://postmarkapp.com/developer/api/suppressions-api
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Unpack

from config.esp_config import EspName, PostmarkConfig
from services.base import OutcomeUnknown
from services.events import SuppressionReason
from services.postmark import call_postmark
from services.postmark_client import Client
from services.suppression_calls import CalledList, Ways
from services.suppression_lists import EspSuppression, NotPushed, PushResult, Released

PUSH = 50
"""Addresses that one call may carry (documented)."""
MAX_DUMP_BYTES = 100_000_000
"""A dump has no pages: 150 bytes for each address of the days asked for."""
DUMP_TIMEOUT_S = 120.0
FIRST_YEAR = 2020
"""Before it there were no streams; what is older comes in one dump."""

REASONS: dict[str, SuppressionReason] = {
    "HardBounce": SuppressionReason.HARD_BOUNCE,
    "SpamComplaint": SuppressionReason.COMPLAINT,
    "ManualSuppression": SuppressionReason.UNSUBSCRIBED,  # by the recipient; see _entry
}
"""A reason missing here is ESP_INACTIVE: Postmark refuses mail to that address."""


class PostmarkSuppressions(CalledList):
    name = EspName.POSTMARK
    read_timeout_s = DUMP_TIMEOUT_S
    max_answer_bytes = MAX_DUMP_BYTES

    def __init__(self, config: PostmarkConfig, **ways: Unpack[Ways]) -> None:
        super().__init__((config.api_key,), ways)
        self._client = Client(config, self._transport)
        self._stream = config.message_stream
        self._path = f"message-streams/{self._stream}/suppressions"

    def pull(self, since: datetime | None) -> Iterator[Sequence[EspSuppression]]:
        """A year at a time, so that a list of any length is never whole in memory."""
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        for days in _spans(since.date() if since else None, today):
            yield [_entry(item) for item in self._call("GET", f"{self._path}/dump", **days)]

    def push(self, wanted: Sequence[tuple[str, SuppressionReason]]) -> PushResult:
        """All reasons become a manual suppression by the customer, the only one there is."""
        pushed, failed = 0, []
        for start in range(0, len(wanted), PUSH):
            some = [address for address, _ in wanted[start : start + PUSH]]
            told = self._call(
                "POST", self._path, {"Suppressions": [{"EmailAddress": one} for one in some]}
            )
            refused = [_refused(item) for item in told if _status(item) == "Failed"]
            if len(told) != len(some) or len(refused) + _suppressed(told) != len(some):
                raise OutcomeUnknown("200: not one result for each address", http_status=200)
            pushed += len(some) - len(refused)
            failed += refused
        return PushResult(pushed=pushed, failed=tuple(failed))

    def release(self, address: str) -> Released:
        """Postmark itself refuses to let go of a complaint."""
        told = self._call(
            "POST", f"{self._path}/delete", {"Suppressions": [{"EmailAddress": address}]}
        )
        match [_status(item) for item in told]:
            case ["Deleted"]:
                return Released(off=(self._stream,))
            case ["Failed"]:
                return Released(kept=_refused(told[0]).why)
        raise OutcomeUnknown("200: not one result for the address", http_status=200)

    def _call(self, method: str, path: str, data: Any = None, **query: str) -> list[Any]:
        answer = self._patiently(lambda: call_postmark(self._client, method, path, data, **query))
        found = answer.get("Suppressions")
        if not isinstance(found, list):
            raise OutcomeUnknown("200: no list of suppressions", http_status=200)
        return found


def _spans(since: date | None, today: date) -> Iterator[dict[str, str]]:
    """Days to ask for, year by year; both ends count. The last has none: its clock is not ours.

    A day is earlier at Postmark than in UTC, so the first one is the day before.
    """
    first = since - timedelta(days=1) if since else date(FIRST_YEAR, 1, 1)
    if since is None:
        yield {"todate": f"{FIRST_YEAR - 1}-12-31"}
    for year in range(first.year, today.year):
        yield {"fromdate": max(first, date(year, 1, 1)).isoformat(), "todate": f"{year}-12-31"}
    yield {"fromdate": max(first, date(today.year, 1, 1)).isoformat()}


def _entry(item: Any) -> EspSuppression:
    item = item if isinstance(item, dict) else {}
    word, origin = str(item.get("SuppressionReason")), str(item.get("Origin"))
    reason = REASONS.get(word, SuppressionReason.ESP_INACTIVE)
    if reason is SuppressionReason.UNSUBSCRIBED and origin != "Recipient":
        # Whoever has the account, or Postmark, put it there: the person said nothing.
        reason = SuppressionReason.ESP_INACTIVE
    return EspSuppression(
        address=str(item.get("EmailAddress") or ""),
        reason=reason,
        list_name=word,
        at=_time(item.get("CreatedAt")),
        detail=f"by {origin}",
    )


def _time(text: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _status(item: Any) -> str:
    return str(item.get("Status")) if isinstance(item, dict) else ""


def _suppressed(told: list[Any]) -> int:
    return sum(_status(item) == "Suppressed" for item in told)


def _refused(item: dict[str, Any]) -> NotPushed:
    return NotPushed(
        address=str(item.get("EmailAddress")), why=str(item.get("Message") or "not said")
    )
