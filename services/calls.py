"""One call to an ESP, from claimed sends to what became of each of them."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime

from services.base import (
    BatchAnswer,
    EspAdapter,
    EspError,
    MessageRejected,
    Outcome,
    SendResult,
)
from services.breaker import (
    Breaker,
    after_refusal,
    after_success,
    after_throttle,
    after_unknown,
)
from services.ledger.claim import ClaimedBatch
from services.ledger.record import BatchOutcome
from services.mailing import Mailing

NOT_FIT = SendResult(outcome=Outcome.NOT_TAKEN)


def deliver(adapter: EspAdapter, mailing: Mailing, claimed: ClaimedBatch) -> BatchAnswer:
    """Build the mails and make one call with as many as fit; the rest was not sent.

    Raises an `EspError` when one outcome holds for all.
    """
    try:
        batch = mailing.batch(claimed.sends)
    except (TypeError, ValueError, LookupError) as error:
        raise MessageRejected(f"the template cannot be filled: {error}") from error
    fit = adapter.fit(batch)
    answer = adapter.send(replace(batch, recipients=batch.recipients[:fit]))
    rest = (NOT_FIT,) * (len(batch.recipients) - fit)
    return replace(answer, results=answer.results + rest)


def outcome_of(call: "Future[BatchAnswer]", size: int) -> BatchOutcome:
    """What a finished call came to. Anything that is not a clear answer is unknown."""
    error = call.exception()
    if error is None:
        answer = call.result()
        if len(answer.results) == size:
            return BatchOutcome(
                results=answer.results,
                http_status=answer.http_status,
                detail=_detail(answer.results),
            )
        reason, status = f"{len(answer.results)} results for {size} sends", answer.http_status
        return _all(SendResult(outcome=Outcome.UNKNOWN, reason=reason), size, status)
    if isinstance(error, EspError):
        result = SendResult(
            outcome=error.outcome,
            reason=error.reason,
            retry_after_s=error.retry_after_s,
            resets_at=error.resets_at,
        )
        return _all(result, size, error.http_status)
    reason = f"the adapter failed: {type(error).__name__}"
    return _all(SendResult(outcome=Outcome.UNKNOWN, reason=reason), size, None)


def verdict(results: Sequence[SendResult]) -> SendResult:
    """The result that decides what a call says about its ESP as a whole.

    A refusal of the account comes first, then a request to wait. One accepted send shows
    that the ESP works, whatever it could not say about another.
    """
    for outcome in (
        Outcome.ESP_UNAVAILABLE,
        Outcome.THROTTLED,
        Outcome.ACCEPTED,
        Outcome.UNKNOWN,
    ):
        for result in results:
            if result.outcome is outcome:
                return result
    return results[0]


def breaker_after(
    breaker: Breaker, said: SendResult, now: datetime, *, probe: bool, jitter: float
) -> Breaker:
    """The breaker after a call whose verdict was `said`."""
    error = said.reason or said.outcome.value
    match said.outcome:
        case Outcome.ESP_UNAVAILABLE:
            return after_refusal(breaker, now, probe=probe, error=error, resets_at=said.resets_at)
        case Outcome.THROTTLED:
            return after_throttle(
                breaker, now, error=error, retry_after_s=said.retry_after_s, jitter=jitter
            )
        case Outcome.UNKNOWN:
            return after_unknown(breaker, now, probe=probe, error=error)
        case _:
            return after_success(breaker, now, probe=probe)


def _all(result: SendResult, size: int, http_status: int | None) -> BatchOutcome:
    return BatchOutcome(results=[result] * size, http_status=http_status, detail=result.reason)


def _detail(results: Sequence[SendResult]) -> str | None:
    """The commonest reason that is not an acceptance, for a person who looks at the batch."""
    reasons = Counter(result.reason for result in results if result.reason)
    return reasons.most_common(1)[0][0] if reasons else None
