"""One call to an ESP, from claimed sends to what became of each of them."""

import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime

from services.base import (
    REASON_CHARS,
    BatchAnswer,
    EspAdapter,
    EspError,
    Outcome,
    OutcomeUnknown,
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
from utils.personalisation import TemplateError

log = logging.getLogger(__name__)

NOT_FIT = SendResult(outcome=Outcome.NOT_TAKEN)
MESSAGE_ID_CHARS = 200
"""As many as the ledger holds."""


class Delivery:
    """Builds the mails of a batch and makes one call with as many as fit."""

    def __init__(self, adapter: EspAdapter, mailing: Mailing, batch: ClaimedBatch) -> None:
        self.batch = batch
        self.carried = 0
        """The first so many sends may be on their way; 0 until the call is about to be made,
        so that whatever breaks before is known to have sent nothing."""
        self._adapter, self._mailing = adapter, mailing

    def __call__(self) -> BatchAnswer:
        """Raises an `EspError` when one outcome holds for all that the call carried."""
        batch = self._mailing.batch(self.batch.sends)
        fit = self._adapter.fit(batch)
        if fit < len(batch.recipients):
            batch = replace(batch, recipients=batch.recipients[:fit])
        self.carried = len(batch.recipients)
        answer = self._adapter.send(batch)
        if len(answer.results) != self.carried:
            raise OutcomeUnknown(
                f"{len(answer.results)} results for {self.carried} sends",
                http_status=answer.http_status,
            )
        return answer


def outcome_of(delivery: Delivery, call: "Future[BatchAnswer]") -> BatchOutcome:
    """What a finished call came to. Anything that is not a clear answer is unknown."""
    size, carried = len(delivery.batch.sends), delivery.carried
    error = None if call.cancelled() else call.exception()
    http_status: int | None = None
    if call.cancelled():
        results: Sequence[SendResult] = ()
    elif error is None:
        results, http_status = call.result().results, call.result().http_status
    elif carried == 0:
        results = (_not_built(error),) * size
    else:
        results, http_status = (_failed(error),) * carried, getattr(error, "http_status", None)
    kept = _all_storable(results)
    return BatchOutcome(
        results=kept + (NOT_FIT,) * (size - len(kept)),
        http_status=http_status,
        detail=_detail(kept),
        carried=carried,
    )


def _not_built(error: BaseException) -> SendResult:
    """Whatever went wrong before the call, nothing was sent; a person has to look."""
    if isinstance(error, TemplateError):
        why = f"{error.field}: {error}"
    else:
        log.error("the mails of a batch cannot be built", exc_info=error)
        why = f"{type(error).__name__}: {error}"
    reason = f"the mails cannot be built: {why}"
    return SendResult(outcome=Outcome.MESSAGE_REJECTED, reason=reason)


def _failed(error: BaseException) -> SendResult:
    if isinstance(error, EspError):
        return SendResult(
            outcome=error.outcome,
            reason=error.reason,
            retry_after_s=error.retry_after_s,
            resets_at=error.resets_at,
        )
    log.error("an adapter failed; what it carried may have been sent", exc_info=error)
    reason = f"the adapter failed: {type(error).__name__}"
    return SendResult(outcome=Outcome.UNKNOWN, reason=reason)


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


def _all_storable(results: Sequence[SendResult]) -> tuple[SendResult, ...]:
    """Where an ESP says the same of many, they are one object."""
    different = {id(one): one for one in results}
    storable = {key: _storable(one) for key, one in different.items()}
    return tuple([storable[id(one)] for one in results])


def _storable(result: SendResult) -> SendResult:
    """The same, with texts that both databases take: they come from outside."""
    reason = _text(result.reason, REASON_CHARS)
    message_id = _text(result.message_id, MESSAGE_ID_CHARS)
    if (reason, message_id) == (result.reason, result.message_id):
        return result
    return replace(result, reason=reason, message_id=message_id)


def _text(given: str | None, most: int) -> str | None:
    if given is None or (given.isprintable() and given.isascii() and len(given) <= most):
        return given
    return given[:most].encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _detail(results: Sequence[SendResult]) -> str | None:
    """The commonest reason that is not an acceptance, for a person who looks at the batch."""
    reasons = Counter([result.reason for result in results if result.reason])
    return reasons.most_common(1)[0][0] if reasons else None
