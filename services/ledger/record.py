"""Record what became of the sends of a batch, once, whoever does it and however late."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, reduce
from typing import cast

from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.orm import Session

from config.esp_config import EspName
from database.models import (
    BatchState,
    EmailSend,
    EspPerformanceDay,
    SendBatch,
    SendStatus,
    SuppressionReason,
    TallyKind,
)
from database.upsert import add_to
from list_manager import suppress
from lists.erasing import ERASED, without
from services.base import Outcome, SendResult
from services.ledger.claim import ClaimedBatch, ClaimedSend, batch_sends
from services.ledger.counters import changed, move, tally, tally_each
from services.ledger.settle import SENDING, Settled, ends, settle
from services.reputation import ALL_PROVIDERS
from services.standing import reserve_quota
from utils.addresses import normalise

DIED = "the process ended before the ESP's answer was recorded"


@dataclass(frozen=True, kw_only=True)
class BatchOutcome:
    """What became of a batch: one result per send, in order."""

    results: Sequence[SendResult]
    http_status: int | None
    detail: str | None
    carried: int
    """The call was made with the first so many of them; 0: there was no call."""

    @cached_property
    def counts(self) -> Counter[Outcome]:
        return Counter([result.outcome for result in self.results])


def record(session: Session, batch: ClaimedBatch, outcome: BatchOutcome, now: datetime) -> bool:
    """Write what became of each send of a batch, once; repeating it changes nothing.

    Whether it was new. It is not when a commit that seemed to fail had happened after all,
    or when another process took over and settled the batch.
    """
    by_status = _by_status(batch, outcome.results)
    moved = {
        status: settle(session, batch, status, found, now) for status, found in by_status.items()
    }
    said = {
        "batch": batch.id,
        "ended": BatchState.UNKNOWN if SendStatus.UNKNOWN in by_status else BatchState.DONE,
        "taken": moved.get(SendStatus.ACCEPTED, 0),
        "rejected": moved.get(SendStatus.REJECTED, 0),
        "unknown": moved.get(SendStatus.UNKNOWN, 0),
        "requeued": moved.get(SendStatus.QUEUED, 0),
        "http_status": outcome.http_status,
        "detail": outcome.detail,
        "finished_at": now,
    }
    if changed(session.connection().execute(_END, said)) == 0:
        return False  # the sends did not move again either
    counters = {status.value: n for status, n in moved.items()}
    move(session, batch.campaign_id, now, {**counters, "sending": -sum(moved.values())})
    if accepted := moved.get(SendStatus.ACCEPTED, 0):
        taken = [send for send, _ in by_status[SendStatus.ACCEPTED]]
        carried = _carried(session, batch, taken, accepted)
        kinds = {TallyKind.ACCEPTED: {batch.esp.value: accepted}, TallyKind.CARRIED: carried}
        tally_each(session, batch.campaign_id, kinds)
    _give_back_quota(session, batch, moved.get(SendStatus.QUEUED, 0))
    _suppress_inactive(session, batch, outcome.results, now)
    return True


def without_erased(session: Session, batch: ClaimedBatch, outcome: BatchOutcome) -> BatchOutcome:
    """The same, in words that name nobody who was erased since the batch was claimed."""
    if outcome.detail is None and not any(result.reason for result in outcome.results):
        return outcome
    erased = set(session.scalars(_ERASED, {"batch": batch.id, **ends(batch)}))
    keys = [
        normalise(send.email).key for send in batch.sends if send.send_id in erased and send.email
    ]

    def clean(words: str | None) -> str | None:
        return words and reduce(without, keys, words)

    results = [replace(result, reason=clean(result.reason)) for result in outcome.results]
    return replace(outcome, results=results, detail=clean(outcome.detail))


def note_day(session: Session, esp: EspName, outcome: BatchOutcome, now: datetime) -> None:
    """Count a call and its sends in the figures of the day."""
    counted: Counter[SendStatus] = Counter()
    for said, n in outcome.counts.items():
        counted[STATUS_AFTER[said]] += n
    refused = counted[SendStatus.QUEUED] == len(outcome.results)
    add_to(
        session,
        EspPerformanceDay,
        {"esp": esp, "mailbox_provider": ALL_PROVIDERS, "day": now.date()},
        {
            "calls": 1,
            "accepted": counted[SendStatus.ACCEPTED],
            "rejected": counted[SendStatus.REJECTED],
            "unknown": counted[SendStatus.UNKNOWN],
            "refused": int(refused),
        },
    )


def recover(session: Session, now: datetime, *, ours: Collection[int] = ()) -> int:
    """Settle the batches of dead processes; return how many sends became unknown.

    They may have been sent: `unknown`, never `queued`. `ours` are batches of this process.
    """
    died = select(SendBatch).where(SendBatch.state == SENDING, SendBatch.id.not_in(ours))
    return sum(
        _settle_uncalled(session, row, SendResult(outcome=Outcome.UNKNOWN, reason=DIED), now)
        for row in session.scalars(died).all()
    )


def give_back(session: Session, batch_ids: Collection[int], now: datetime) -> None:
    """Put the sends of batches back into the queue that this process claimed and never called:
    a call begins only after the commit of its claim is known."""
    if batch_ids:
        claimed = select(SendBatch).where(SendBatch.state == SENDING, SendBatch.id.in_(batch_ids))
        for row in session.scalars(claimed).all():
            _settle_uncalled(session, row, SendResult(outcome=Outcome.NOT_TAKEN), now)


def _settle_uncalled(session: Session, row: SendBatch, result: SendResult, now: datetime) -> int:
    batch = ClaimedBatch(
        id=row.id,
        campaign_id=row.campaign_id,
        esp=row.esp,
        sends=batch_sends(session, row.id, row.first_send_id, row.last_send_id),
        quota_hour=row.quota_hour,
        probe=False,
    )
    results = [result] * len(batch.sends)
    outcome = BatchOutcome(results=results, http_status=None, detail=result.reason, carried=0)
    record(session, batch, outcome, now)
    return len(results)


STATUS_AFTER: dict[Outcome, SendStatus] = {
    Outcome.ACCEPTED: SendStatus.ACCEPTED,
    Outcome.RECIPIENT_REJECTED: SendStatus.REJECTED,
    Outcome.MESSAGE_REJECTED: SendStatus.QUEUED,
    Outcome.THROTTLED: SendStatus.QUEUED,
    Outcome.ESP_UNAVAILABLE: SendStatus.QUEUED,
    Outcome.NOT_TAKEN: SendStatus.QUEUED,
    Outcome.UNKNOWN: SendStatus.UNKNOWN,
}


def _by_status(batch: ClaimedBatch, results: Sequence[SendResult]) -> Mapping[SendStatus, Settled]:
    found: dict[SendStatus, list[tuple[ClaimedSend, SendResult]]] = {}
    for settled in zip(batch.sends, results, strict=True):
        found.setdefault(STATUS_AFTER[settled[1].outcome], []).append(settled)
    return found


_BATCHES = cast("Table", SendBatch.__table__)
_END = (
    update(_BATCHES)
    .where(_BATCHES.c.id == bindparam("batch"), _BATCHES.c.state == BatchState.SENDING)
    .values(
        state=bindparam("ended"),
        accepted=_BATCHES.c.accepted + bindparam("taken"),
        **{
            name: bindparam(name)
            for name in ("rejected", "unknown", "requeued", "http_status", "detail", "finished_at")
        },
    )
)
_SENDS = cast("Table", EmailSend.__table__)
_ERASED = select(_SENDS.c.id).where(
    _SENDS.c.id.between(bindparam("first"), bindparam("last")),
    _SENDS.c.batch_id == bindparam("batch"),
    _SENDS.c.email_key.startswith(ERASED),
)


def _carried(
    session: Session, batch: ClaimedBatch, taken: Sequence[ClaimedSend], moved: int
) -> dict[str, int]:
    """How many that the ESP took are at each mailbox provider; an event that came before the
    answer was recorded has counted its send itself."""
    if moved < len(taken):
        told = select(_SENDS.c.id).where(
            _SENDS.c.id.between(taken[0].send_id, taken[-1].send_id),
            _SENDS.c.batch_id == batch.id,
            _SENDS.c.heard > 0,
        )
        known = set(session.scalars(told))
        taken = [send for send in taken if send.send_id not in known]
    at = Counter([send.mailbox_provider for send in taken])
    return {f"{batch.esp.value}/{provider}": n for provider, n in at.items()}


def _give_back_quota(session: Session, batch: ClaimedBatch, n: int) -> None:
    if n:
        reserve_quota(session, batch.esp, -n, batch.quota_hour)
        tally(session, batch.campaign_id, TallyKind.CLAIMED, {batch.esp.value: -n})


def _suppress_inactive(
    session: Session, batch: ClaimedBatch, results: Sequence[SendResult], now: datetime
) -> None:
    for send, result in zip(batch.sends, results, strict=True):
        if result.suppress and send.email_hash is not None:
            suppress(
                session,
                send.email_hash,
                reason=SuppressionReason.ESP_INACTIVE,
                subscriber_id=send.subscriber_id,
                source=batch.esp.value,
                evidence=f"send {send.send_id}: {result.reason}",
                now=now,
            )
