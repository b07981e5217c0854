"""One call to an ESP: what it comes to, however it ends, and what that says about the ESP."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from config.esp_config import EspName
from database.models import BreakerState
from services.base import (
    REASON_CHARS,
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
    Recipient,
    SendResult,
    Skeleton,
    Throttled,
)
from services.breaker import Breaker
from services.calls import MESSAGE_ID_CHARS, NOT_FIT, Delivery, breaker_after, outcome_of, verdict
from services.ledger.claim import ClaimedBatch, ClaimedSend
from services.ledger.record import BatchOutcome
from services.mailing import Mailing
from utils.personalisation import TemplateError

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TAKEN = SendResult(outcome=Outcome.ACCEPTED, message_id="id")


class Esp(EspAdapter):
    """Does what a test says, and notes how many recipients it was given."""

    name = EspName.SES
    max_batch = 50

    def __init__(self, says: Callable[[Batch], Any], *, fits: Callable[[Batch], int]) -> None:
        self._says, self._fits = says, fits
        self.given = 0

    def fit(self, batch: Batch) -> int:
        return self._fits(batch)

    def send(self, batch: Batch) -> BatchAnswer:
        self.given = len(batch.recipients)
        return cast("BatchAnswer", self._says(batch))

    def account(self) -> Account:
        return Account()


class Letters:
    """Stands for a `Mailing`: each send becomes a recipient, or `fault` is raised."""

    def __init__(self, fault: Exception | None = None) -> None:
        self._fault = fault

    def batch(self, sends: list[int]) -> Batch:
        if self._fault is not None:
            raise self._fault
        message = Message(from_email="a@example.com", subject=Skeleton(("Hello",)))
        recipients = tuple(Recipient(send_ref=str(n), address=f"{n}@example.net") for n in sends)
        return Batch(message=message, recipients=recipients)


def call(
    says: Callable[[Batch], Any], *, size: int = 3, fit: int = 50, letters: Letters | None = None
) -> BatchOutcome:
    """What a call of `size` sends comes to, made as the engine makes it."""
    return _run(_delivery(Esp(says, fits=lambda _: fit), size, letters))


def _delivery(esp: Esp, size: int, letters: Letters | None = None) -> Delivery:
    batch = ClaimedBatch(
        id=1,
        campaign_id=1,
        esp=esp.name,
        sends=cast("list[ClaimedSend]", list(range(size))),
        quota_hour=NOW,
        probe=False,
    )
    return Delivery(esp, cast("Mailing", letters or Letters()), batch)


def _run(delivery: Delivery) -> BatchOutcome:
    future: Future[BatchAnswer] = Future()
    try:
        future.set_result(delivery())
    except Exception as error:
        future.set_exception(error)
    return outcome_of(delivery, future)


def answer(*results: SendResult) -> Callable[[Batch], BatchAnswer]:
    return lambda batch: BatchAnswer(
        http_status=200, results=results or (TAKEN,) * len(batch.recipients)
    )


def failure(error: Exception) -> Callable[[Batch], BatchAnswer]:
    def fail(_: Batch) -> BatchAnswer:
        raise error

    return fail


def test_a_clear_answer_is_one_result_for_each_send() -> None:
    gone = SendResult(outcome=Outcome.RECIPIENT_REJECTED, reason="406: inactive", suppress=True)
    assert call(answer(TAKEN, gone, TAKEN)) == BatchOutcome(
        results=(TAKEN, gone, TAKEN), http_status=200, detail="406: inactive", carried=3
    )


ERRORS: list[tuple[EspError, Outcome]] = [
    (Throttled("slow", http_status=429, retry_after_s=7), Outcome.THROTTLED),
    (EspUnavailable("quota", http_status=401, resets_at=NOW), Outcome.ESP_UNAVAILABLE),
    (OutcomeUnknown("no answer"), Outcome.UNKNOWN),
    (MessageRejected("bad sender", http_status=400), Outcome.MESSAGE_REJECTED),
]


@pytest.mark.parametrize(("error", "outcome"), ERRORS)
def test_an_error_of_the_call_is_the_outcome_of_all_it_carried(
    error: EspError, outcome: Outcome
) -> None:
    result = SendResult(
        outcome=outcome,
        reason=error.reason,
        retry_after_s=error.retry_after_s,
        resets_at=error.resets_at,
    )
    assert call(failure(error)) == BatchOutcome(
        results=(result,) * 3, http_status=error.http_status, detail=error.reason, carried=3
    )


@pytest.mark.parametrize(("error", "outcome"), ERRORS)
def test_what_did_not_fit_into_a_failed_call_was_certainly_not_sent(
    error: EspError, outcome: Outcome
) -> None:
    found = call(failure(error), size=5, fit=2)
    assert [result.outcome for result in found.results] == [outcome] * 2 + [Outcome.NOT_TAKEN] * 3
    assert found.carried == 2


def test_only_as_many_as_fit_are_handed_over() -> None:
    esp = Esp(answer(), fits=lambda _: 2)
    assert _run(_delivery(esp, 5)).results == (TAKEN, TAKEN, NOT_FIT, NOT_FIT, NOT_FIT)
    assert esp.given == 2


@pytest.mark.parametrize("count", [0, 1, 2, 4, 100])
def test_a_wrong_number_of_results_leaves_all_of_them_unknown(count: int) -> None:
    found = call(lambda _: BatchAnswer(http_status=200, results=(TAKEN,) * count), size=4, fit=3)
    assert [result.outcome for result in found.results] == [
        *[Outcome.UNKNOWN] * 3,
        Outcome.NOT_TAKEN,
    ]
    assert (found.detail, found.http_status) == (f"{count} results for 3 sends", 200)


@pytest.mark.parametrize(
    "says", [failure(KeyError("secret")), failure(MemoryError()), lambda _: None, lambda _: "ok"]
)
def test_a_fault_in_an_adapter_is_unknown_and_its_cause_is_in_the_log(
    says: Callable[[Batch], Any], caplog: pytest.LogCaptureFixture
) -> None:
    found = call(says, size=3, fit=2)
    assert [result.outcome for result in found.results] == [
        Outcome.UNKNOWN,
        Outcome.UNKNOWN,
        Outcome.NOT_TAKEN,
    ]
    assert found.detail is not None
    assert found.detail.startswith("the adapter failed: ")
    assert "secret" not in found.detail
    assert [record.exc_info is not None for record in caplog.records] == [True]


@pytest.mark.parametrize(
    "fault",
    [
        TemplateError("html", "line 3: no"),
        TypeError("no"),
        KeyError("x"),
        ZeroDivisionError(),
        RuntimeError("no"),
    ],
    ids=repr,
)
def test_mails_that_cannot_be_built_were_not_sent_and_stop_the_campaign(fault: Exception) -> None:
    found = call(answer(), letters=Letters(fault))
    assert [result.outcome for result in found.results] == [Outcome.MESSAGE_REJECTED] * 3
    assert (found.carried, found.http_status) == (0, None)
    assert found.detail is not None
    assert found.detail.startswith("the mails cannot be built: ")


def test_a_template_error_says_where_it_is() -> None:
    found = call(answer(), letters=Letters(TemplateError("html", "line 3: no such filter")))
    assert found.detail == "the mails cannot be built: html: line 3: no such filter"


def test_a_fault_before_the_call_has_sent_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: Batch) -> int:
        raise AssertionError("a bug")

    found = _run(_delivery(Esp(answer(), fits=broken), 2))
    assert [result.outcome for result in found.results] == [Outcome.MESSAGE_REJECTED] * 2
    assert caplog.records[0].levelno == logging.ERROR


def test_a_call_that_was_cancelled_before_it_began_has_sent_nothing() -> None:
    future: Future[BatchAnswer] = Future()
    future.cancel()
    found = outcome_of(_delivery(Esp(answer(), fits=lambda _: 2), 2), future)
    assert found == BatchOutcome(results=(NOT_FIT,) * 2, http_status=None, detail=None, carried=0)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("550: gone\x00\ud800", "550: gone\ufffd?"),
        ("x" * 2000, "x" * REASON_CHARS),
        ("plain", "plain"),
        ("\N{ENVELOPE} \u00fc", "\N{ENVELOPE} \u00fc"),
    ],
)
def test_texts_of_an_esp_are_made_fit_for_the_database(given: str, kept: str) -> None:
    odd = SendResult(outcome=Outcome.RECIPIENT_REJECTED, reason=given, message_id=given)
    found = call(answer(odd), size=1)
    assert (found.results[0].reason, found.detail) == (kept, kept)
    assert found.results[0].message_id == kept[:MESSAGE_ID_CHARS]
    assert call(failure(Throttled(given)), size=1).detail == kept


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        (["accepted", "accepted"], "accepted"),
        (["accepted", "unknown"], "accepted"),
        (["unknown", "accepted"], "accepted"),
        (["unknown", "recipient_rejected"], "unknown"),
        (["accepted", "throttled"], "throttled"),
        (["throttled", "esp_unavailable", "accepted"], "esp_unavailable"),
        (["recipient_rejected", "recipient_rejected"], "recipient_rejected"),
        (["recipient_rejected", "not_taken"], "recipient_rejected"),
        (["message_rejected", "accepted"], "accepted"),
        (["message_rejected", "not_taken"], "message_rejected"),
    ],
)
def test_one_result_says_what_a_call_means_for_its_esp(outcomes: list[str], said: str) -> None:
    results = [SendResult(outcome=Outcome(outcome)) for outcome in outcomes]
    assert verdict(results).outcome == said


PROBED = Breaker(state=BreakerState.PROBING, failures=1)


@pytest.mark.parametrize(
    ("outcome", "state", "failures"),
    [
        (Outcome.ACCEPTED, BreakerState.CLOSED, 0),
        (Outcome.RECIPIENT_REJECTED, BreakerState.CLOSED, 0),
        (Outcome.MESSAGE_REJECTED, BreakerState.CLOSED, 0),
        (Outcome.NOT_TAKEN, BreakerState.CLOSED, 0),
        (Outcome.THROTTLED, BreakerState.PROBING, 1),
        (Outcome.ESP_UNAVAILABLE, BreakerState.OPEN, 2),
        (Outcome.UNKNOWN, BreakerState.PROBING, 2),
    ],
)
def test_what_a_probe_comes_to_decides_whether_its_esp_is_used_again(
    outcome: Outcome, state: BreakerState, failures: int
) -> None:
    after = breaker_after(PROBED, SendResult(outcome=outcome), NOW, probe=True, jitter=0)
    assert (after.state, after.failures) == (state, failures)


def test_the_words_of_an_esp_become_its_last_error() -> None:
    for said, told in (("quota: 401", "quota: 401"), (None, "esp_unavailable")):
        result = SendResult(outcome=Outcome.ESP_UNAVAILABLE, reason=said)
        after = breaker_after(Breaker(), result, NOW, probe=False, jitter=0)
        assert (after.last_error, after.last_error_at) == (told, NOW)
