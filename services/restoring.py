"""Leave safe mode: settle what a restored or copied database may have sent already.

What was queued in it may have been sent after the backup was made: it becomes `unknown`, never
sent again by itself, until a webhook that carries its id or a person settles it.
"""

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from database.ledger_lock import lock_ledger
from database.models import RUNNING, Campaign, CampaignKind, CampaignStatus, EmailSend, SendStatus
from database.restore_guard import RestoreGuard
from database.sender_lock import SenderLock
from services.ledger.claim import QUEUED
from services.ledger.counters import changed, move
from services.ledger.finish import finish
from services.ledger.plan import is_planned, plan_chunk
from services.ledger.record import recover
from services.suppression_sync import pull_all
from services.system import System

REASON = "the database was restored or copied while this was queued: it may have been sent"
PATIENCE_S = 5.0
"""A server in safe mode tries the lock every second, for a moment."""
PER_SLICE = 20_000
"""Sends in one transaction, so that webhooks wait for none of them for long."""
_IS_QUEUED = EmailSend.status == QUEUED
_UNFINISHED = (*RUNNING, CampaignStatus.PAUSED)
_LEAPS = {"campaigns": 1_000, "email_sends": 10_000_000}
"""At least so many ids are left out, up to a thousand times as many: those of campaigns and
mails that went out after the backup, or go out from the original of a copy."""


class CannotConfirm(Exception):
    """Nothing is confirmed; the text says why, for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    why: str
    """Why it was in safe mode."""
    unknown: Mapping[int, int]
    """By campaign that was not finished: sends that may have been sent."""


def confirm(system: System, *, moved: bool, pull: bool = True) -> Confirmed:
    """Let this database send, and settle first what it must not send again.

    `moved`: the database is complete and nothing sends from where it was, so campaigns go on.
    With `pull` the ESPs' own suppression lists are read before, in live mode; one that cannot
    be read keeps it in safe mode. May be killed and called again at any moment.
    """
    guard, lock = RestoreGuard(system.database), SenderLock(system.database)
    _acquire(lock)
    try:
        why = guard.why_held()
        if why is None:
            raise CannotConfirm("it is not in safe mode: there is nothing to confirm")
        if moved and not guard.may_be_moved():
            raise CannotConfirm(f"it was not merely moved: the database {why}")
        if pull and not system.is_sandbox:
            _pull(system)
        unknown = {} if moved else _settle_all(system)
        guard.take()
    finally:
        guard.close()
        lock.release()
    return Confirmed(why=why, unknown=unknown)


def unfinished(session: Session) -> list[Campaign]:
    """Campaigns that may have been going on when the backup or copy was made."""
    ours = select(Campaign).where(
        Campaign.status.in_(_UNFINISHED), Campaign.kind == CampaignKind.CAMPAIGN
    )
    return list(session.scalars(ours.order_by(Campaign.id)))


def _acquire(lock: SenderLock) -> None:
    ends_at = time.monotonic() + PATIENCE_S
    while not lock.try_acquire():
        if time.monotonic() > ends_at:
            raise CannotConfirm("another process sends from this database: stop it")
        time.sleep(0.02)


def _pull(system: System) -> None:
    failed = [f"{pulled.esp}: {pulled.error}" for pulled in pull_all(system) if pulled.error]
    if failed:
        raise CannotConfirm(f"suppression lists cannot be read: {'; '.join(failed)}")


def _settle_all(system: System) -> dict[int, int]:
    with _alone(system) as session:
        _leap(session)
        recover(session, system.clock())
        ids = [campaign.id for campaign in unfinished(session)]
    return {campaign_id: _settle(system, campaign_id) for campaign_id in ids}


@contextmanager
def _alone(system: System) -> Iterator[Session]:
    """Events and people who leave come in meanwhile."""
    with system.database.write() as session:
        lock_ledger(session, alone=True)
        yield session


def _leap(session: Session) -> None:
    """Our id on a mail holds campaign, send and attempt: none is given out a second time."""
    times = 1 + secrets.randbelow(1_000)
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    for table, least in _LEAPS.items():
        (_leap_in_sqlite if is_sqlite else _leap_in_postgres)(session, table, least * times)


def _leap_in_sqlite(session: Session, table: str, by: int) -> None:
    session.execute(
        text(
            "INSERT INTO sqlite_sequence (name, seq) SELECT :name, 0 "
            "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = :name)"
        ),
        {"name": table},
    )
    session.execute(
        text("UPDATE sqlite_sequence SET seq = seq + :by WHERE name = :name"),
        {"by": by, "name": table},
    )


def _leap_in_postgres(session: Session, table: str, by: int) -> None:
    """Not undone by a rollback: what is begun again leaps again."""
    ids = func.pg_get_serial_sequence(table, "id")
    session.execute(select(func.setval(ids, func.nextval(ids) + by)))


def _settle(system: System, campaign_id: int) -> int:
    """How many of its sends are unknown now; a plan that was cut short is completed before,
    so that nobody of the audience is forgotten."""
    while True:
        with _alone(system) as session:
            campaign = session.get_one(Campaign, campaign_id)
            if is_planned(campaign):
                break
            plan_chunk(session, campaign, system.clock())
    is_left = True
    while is_left:
        with _alone(system) as session:
            is_left = _to_unknown(session, campaign_id, system.clock())
    with _alone(system) as session:
        campaign = session.get_one(Campaign, campaign_id)
        finish(session, campaign, system.clock())
        return campaign.unknown


def _to_unknown(session: Session, campaign_id: int, now: datetime) -> bool:
    """Whether there may be more of them."""
    some = select(EmailSend.id).where(EmailSend.campaign_id == campaign_id, _IS_QUEUED)
    n = changed(
        session.execute(
            update(EmailSend)
            .where(EmailSend.id.in_(some.order_by(EmailSend.id).limit(PER_SLICE)))
            .values(status=SendStatus.UNKNOWN, reason=REASON, settled_at=now)
            .execution_options(synchronize_session=False)
        )
    )
    move(session, campaign_id, now, {"queued": -n, "unknown": n})
    return n == PER_SLICE
