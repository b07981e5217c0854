"""Erasing a person: what names them goes, what counts stays.

What stays names nobody: the sends of campaigns, under a keyed hash of the address, so that
counters stay true and a late event still finds its send; the ids in bounces and complaints,
which are never given to anybody else; and the suppression, which is a hash from the start.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Executable, delete, null, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from database.ledger_lock import lock_ledger
from database.models import (
    Bounce,
    BrakeOverride,
    Campaign,
    CampaignStatus,
    Complaint,
    EmailSend,
    EspState,
    OptIn,
    Segment,
    SendBatch,
    Subscriber,
    SubscriberStatus,
    Suppression,
    SuppressionReason,
    WebhookEvent,
)
from lists.counters import count_erased
from lists.footprint import (
    Traces,
    add_traces,
    people_of,
    reports_of,
    segments_of,
    sends_of,
    slices,
    whole_address,
)
from lists.suppression import NewSuppression, suppress_all, suppression_of
from lists.tiers import leave
from utils.addresses import Address
from utils.tokens import email_hash

ERASED = "erased:"
GONE = "(erased)"
"""Stands in texts from outside where the address stood."""

# A status that keeps mail away must not be lost with the row that has it.
_REASON_OF_STATUS: dict[SubscriberStatus, SuppressionReason] = {
    SubscriberStatus.UNSUBSCRIBED: SuppressionReason.UNSUBSCRIBED,
    SubscriberStatus.BOUNCED: SuppressionReason.HARD_BOUNCE,
    SubscriberStatus.COMPLAINED: SuppressionReason.COMPLAINT,
}


def erased_key(who: bytes) -> str:
    """What stands in a ledger for the address with this hash."""
    return ERASED + who.hex()


def erase(
    session: Session,
    address: Address,
    traces: Traces,
    *,
    hash_key: bytes,
    now: datetime,
    for_good: bool = False,
    source: str = "api",
) -> bool:
    """Erase whoever has this address; whether there was anything to erase.

    `traces` are what `find_traces` read before. Nothing keeps an active person from being
    added again, unless `for_good`; whoever was suppressed stays so. A mail that is under way
    is not called back; what is queued is skipped when its turn comes.
    """
    who, key = email_hash(hash_key, address.key), address.key
    lock_ledger(session, alone=False)
    # Sends first, as whoever records an outcome locks them before campaigns and people. Then
    # plans, so that none adds the person after we looked.
    _lock(session, EmailSend.id, sends_of(session, key))
    _lock_plans(session)
    traces = add_traces(session, key, traces, now)
    sends = sends_of(session, key)
    people = sorted(people_of(session, key, sends))
    found = [
        _forget_sends(session, sends, key, who),
        _forget_audiences(session, traces.audiences, key, who),
        _forget_reports(session, people, sorted(traces.events), key),
        _forget_events(session, sorted(traces.events)),
        _forget_opt_ins(session, who),
        _forget_evidence(session, key, who),
        _forget_segments(session, key, who),
        _forget_overrides(session, key),
        _forget_person(session, key, who, now, source),
    ]
    if for_good:
        new = NewSuppression(email_hash=who, reason=SuppressionReason.MANUAL, source=source)
        found.append(bool(suppress_all(session, [new], now)))
    return any(found)


def _lock(session: Session, column: InstrumentedAttribute[int], ids: Sequence[int]) -> None:
    for some in slices(ids):
        session.execute(select(column).where(column.in_(some)).order_by(column).with_for_update())


def _lock_plans(session: Session) -> None:
    plans = select(Campaign.id).where(Campaign.status == CampaignStatus.PLANNING)
    session.execute(plans.order_by(Campaign.id).with_for_update(key_share=True))


def _forget_sends(session: Session, sends: Sequence[int], key: str, who: bytes) -> bool:
    campaigns: set[int] = set()
    batches: set[int] = set()
    for some in slices(sends):
        of_them = EmailSend.id.in_(some)
        campaigns.update(session.scalars(select(EmailSend.campaign_id).where(of_them)))
        carried = select(EmailSend.batch_id).where(of_them)
        batches.update(one for one in session.scalars(carried) if one is not None)
        _clean(session, EmailSend.id, EmailSend.reason, some, key)
        _run(session, update(EmailSend).where(of_them).values(email_key=erased_key(who)))
    for column, text, ids in (
        (SendBatch.id, SendBatch.detail, batches),
        (Campaign.id, Campaign.reason, campaigns),
    ):
        for some in slices(sorted(ids)):
            _clean(session, column, text, some, key)
    esps = session.scalars(select(EspState.esp)).all()
    _clean(session, EspState.esp, EspState.last_error, esps, key)
    return bool(sends)


def _forget_audiences(session: Session, ids: frozenset[int], key: str, who: bytes) -> bool:
    """The list keeps its length: how far a plan has come is a position in it."""
    rows = session.execute(
        select(Campaign.id, Campaign.audience)
        .where(Campaign.id.in_(sorted(ids)))
        .order_by(Campaign.id)
        .with_for_update(key_share=True)
    ).all()
    changed = False
    for campaign_id, audience in rows:
        kept = _without_all(audience, key, who)
        if "emails" in audience:
            kept["emails"] = [erased_key(who) if one == key else one for one in audience["emails"]]
        if kept == audience:
            continue
        changed = True
        one_of_them = update(Campaign).where(Campaign.id == campaign_id)
        _run(session, one_of_them.values(audience=kept))
    return changed


def _forget_segments(session: Session, key: str, who: bytes) -> bool:
    ids = segments_of(session, key)
    for one in ids:
        said = session.scalar(select(Segment.filter).where(Segment.id == one).with_for_update())
        kept = _without_all(said, key, who)
        _run(session, update(Segment).where(Segment.id == one).values(filter=kept))
    return bool(ids)


def _without_all(said: Any, key: str, who: bytes) -> Any:
    """A filter that selects the others as before. Where an address has to be, there is one
    that nobody can have (RFC 2606)."""
    if isinstance(said, dict):
        return {name: _without_all(one, key, who) for name, one in said.items()}
    if isinstance(said, list):
        return [_without_all(one, key, who) for one in said]
    if not isinstance(said, str):
        return said
    if said.strip().lower() == key:
        return f"erased-{who.hex()}@erased.example"
    return without(said, key)


def _forget_overrides(session: Session, key: str) -> bool:
    """What operators wrote when they overruled the brake."""
    ids = session.scalars(select(BrakeOverride.id)).all()
    texts = (BrakeOverride.why, BrakeOverride.because, BrakeOverride.ordered_by)
    found = [_clean(session, BrakeOverride.id, text, ids, key) for text in texts]
    return any(found)


def _forget_reports(
    session: Session, people: Sequence[int], events: Sequence[int], key: str
) -> bool:
    """Which mail bounced, and when, stays; what the other side said of it goes."""
    changed = 0
    for table in (Bounce, Complaint):
        for some in slices(reports_of(session, table, people, events, key)):
            theirs = table.id.in_(some) & table.diagnostic.is_not(None)
            changed += _run(session, update(table).where(theirs).values(diagnostic=None))
    return changed > 0


def _forget_events(session: Session, events: Sequence[int]) -> bool:
    changed = 0
    for some in slices(events):
        theirs = WebhookEvent.id.in_(some) & WebhookEvent.payload.is_not(None)
        changed += _run(session, update(WebhookEvent).where(theirs).values(payload=null()))
    return changed > 0


def _forget_opt_ins(session: Session, who: bytes) -> bool:
    """That somebody confirmed, and when, is evidence for a suppression that was lifted; a
    request that nobody answered is nothing any more."""
    theirs = OptIn.email_hash == who
    personal = (OptIn.source, OptIn.ip, OptIn.confirmed_ip, OptIn.confirmed_agent)
    said = or_(*(column.is_not(None) for column in personal))
    unanswered = _run(session, delete(OptIn).where(theirs, OptIn.confirmed_at.is_(None)))
    emptied = update(OptIn).where(theirs, said).values(dict.fromkeys(personal))
    return unanswered + _run(session, emptied) > 0


def _forget_evidence(session: Session, key: str, who: bytes) -> bool:
    ids = session.scalars(select(Suppression.id).where(Suppression.email_hash == who)).all()
    return _clean(session, Suppression.id, Suppression.evidence, ids, key)


def _forget_person(session: Session, key: str, who: bytes, now: datetime, source: str) -> bool:
    person = session.scalar(select(Subscriber).where(Subscriber.email_key == key).with_for_update())
    if person is None:
        return False
    reason = _REASON_OF_STATUS.get(person.status)
    if reason is not None and suppression_of(session, who, now) is None:
        new = NewSuppression(email_hash=who, reason=reason, source=source)
        suppress_all(session, [new], now)
    leave(session, person)
    count_erased(session, person.status, now)
    session.delete(person)
    session.flush()
    return True


def _clean(
    session: Session,
    id_column: InstrumentedAttribute[Any],
    column: InstrumentedAttribute[str] | InstrumentedAttribute[str | None],
    ids: Sequence[Any],
    key: str,
) -> bool:
    """Take the address out of texts that ESPs, mail servers and operators wrote."""
    rows = session.execute(
        select(id_column, column).where(id_column.in_(ids), column.is_not(None))
    ).all()
    changed = [(one, cleaned) for one, text in rows if (cleaned := without(text, key)) != text]
    for one, cleaned in changed:
        _run(session, update(id_column.class_).where(id_column == one).values({column: cleaned}))
    return bool(changed)


def _run(session: Session, statement: Executable) -> int:
    """How many rows it changed."""
    return session.connection().execute(statement).rowcount


def without(text: str, key: str) -> str:
    """`text` with the address gone, also where it is spelled for a return path or a link."""
    local, domain = map(re.escape, key.rsplit("@", 1))
    in_return_path = rf"(?<!\w){local}={domain}(?![\w-]|\.\w)"
    spelled = f"{whole_address(f'{local}(?:@|%40){domain}')}|{in_return_path}"
    return re.sub(spelled, GONE, text, flags=re.ASCII | re.IGNORECASE)
