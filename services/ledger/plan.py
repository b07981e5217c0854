"""Write the ledger of a campaign: one row per person of its audience, chunk by chunk.

Each chunk is one transaction with the watermark in the campaign's row, so that a plan cut short
goes on where it stopped. Who is planned may be written to before the last one is.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    case,
    func,
    literal,
    null,
    select,
    text,
    true,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from database.models import (
    Campaign,
    CampaignStatus,
    EmailSend,
    SendStatus,
    SkipReason,
    Subscriber,
    SubscriberStatus,
    TallyKind,
)
from list_manager import suppressed
from lists.json_sql import has_any
from lists.segment_filter import parse
from lists.segment_sql import selects
from services.ledger.confirmation import is_asked_for
from services.ledger.counters import changed, move, tally

FIRST_IDS = 10_000
"""So few at first, since sending begins with them; then as many again as are planned."""
IDS_PER_CHUNK = 50_000
"""At most: nobody else writes meanwhile."""
EMAILS_PER_CHUNK = 1_000

_COLUMNS = ["campaign_id", "subscriber_id", "email_key", "mailbox_provider", "status", "reason"]


def is_planned(campaign: Campaign) -> bool:
    """Whether the whole audience is in the ledger."""
    emails = campaign.audience.get("emails")
    until = len(emails) if emails is not None else campaign.plan_until or 0
    return campaign.planned_through >= until


def count_audience(session: Session, audience: Mapping[str, Any], now: datetime) -> Counter[str]:
    """How many people of an audience would be written to (under "") or skipped, by reason.

    What `plan_chunk` would write, without writing it; `audience` as a campaign keeps it.
    """
    emails: list[str] | None = audience.get("emails")
    if emails is None:
        return _count_people(session, _active(audience, now), now)
    counted: Counter[str] = Counter()
    for start in range(0, len(emails), EMAILS_PER_CHUNK):
        keys = emails[start : start + EMAILS_PER_CHUNK]
        known = select(Subscriber).where(Subscriber.email_key.in_(keys))
        found = _count_people(session, known, now)
        found[SkipReason.UNKNOWN_SUBSCRIBER.value] = len(keys) - found.total()
        counted.update(found)
    return counted


def plan_chunk(session: Session, campaign: Campaign, now: datetime) -> None:
    """Plan the next part of the audience; the last part moves the campaign to `sending`.

    Of `campaign`'s counters `queued` is up to date afterwards.
    """
    emails: list[str] | None = campaign.audience.get("emails")
    if emails is not None:
        last = _plan_emails(session, campaign, emails, now)
    else:
        last = _plan_ids(session, campaign, now)
    if last:
        campaign.status = CampaignStatus.SENDING


def _plan_ids(session: Session, campaign: Campaign, now: datetime) -> bool:
    until = campaign.plan_until or 0
    after = campaign.planned_through
    upto = min(after + min(max(after, FIRST_IDS), IDS_PER_CHUNK), until)
    # A filter that speaks of "days ago" means the same people in the last chunk as in the first.
    people = _active(campaign.audience, campaign.created_at).where(
        Subscriber.id > after, Subscriber.id <= upto
    )
    _insert(session, campaign, people, now)
    campaign.planned_through = upto
    return upto >= until


def _plan_emails(session: Session, campaign: Campaign, emails: list[str], now: datetime) -> bool:
    after = campaign.planned_through
    keys = emails[after : after + EMAILS_PER_CHUNK]
    people = select(Subscriber).where(
        Subscriber.email_key.in_(keys), Subscriber.id <= (campaign.plan_until or 0)
    )
    planned = _insert(session, campaign, people, now)
    nobody = len(keys) - planned
    move(session, campaign.id, now, {"planned": nobody, "skipped": nobody})
    tally(session, campaign.id, TallyKind.SKIPPED, {SkipReason.UNKNOWN_SUBSCRIBER.value: nobody})
    campaign.planned_through = after + len(keys)
    return campaign.planned_through >= len(emails)


def _insert(session: Session, campaign: Campaign, people: Select[Subscriber], now: datetime) -> int:
    """Add ledger rows for `people`, counted by status and reason; return how many."""
    before = session.scalar(select(func.max(EmailSend.id))) or 0
    insert = postgresql.insert if _is_postgresql(session) else sqlite.insert
    if _is_postgresql(session):
        # With many suppressions it would compile for longer than it inserts.
        session.execute(text("SET LOCAL jit = off"))
    statement = (
        insert(EmailSend)
        .from_select(_COLUMNS, _rows(campaign, people, now), include_defaults=False)
        .on_conflict_do_nothing(index_elements=["campaign_id", "email_key"])
        .execution_options(preserve_rowcount=True)
    )
    planned = changed(session.connection().execute(statement))
    if planned:
        _count(session, campaign, before, planned, now)
    return planned


def _rows(campaign: Campaign, people: Select[Subscriber], now: datetime) -> Select[Any]:
    kept_from = _kept_from(now)
    if (asked_for := is_asked_for(campaign, now)) is not None:
        kept_from = case((asked_for, null()), else_=kept_from)
    # OFFSET, and a WHERE outside: both databases would else ask twice what keeps a person out,
    # once for each column that comes of it.
    person = (
        people.with_only_columns(
            Subscriber.id,
            Subscriber.email_key,
            Subscriber.mailbox_provider,
            kept_from.label("kept_from"),
        )
        .order_by(Subscriber.id)
        .offset(0)
        .subquery("person")
        .c
    )
    return select(
        literal(campaign.id),
        person.id,
        person.email_key,
        person.mailbox_provider,
        case(
            (person.kept_from.is_(None), literal(SendStatus.QUEUED.value)),
            else_=literal(SendStatus.SKIPPED.value),
        ),
        person.kept_from,
    ).where(true())


def _active(audience: Mapping[str, Any], asked_at: datetime) -> Select[Subscriber]:
    people = select(Subscriber).where(Subscriber.status == SubscriberStatus.ACTIVE)
    if "tags" in audience:
        return people.where(has_any(Subscriber.tags, audience["tags"]))
    if "filter" in audience:
        return people.where(selects(parse(audience["filter"]), asked_at))
    return people


def _kept_from(now: datetime) -> ColumnElement[str | None]:
    """Why a person is not written to; NULL when they are."""
    return case(
        (suppressed(Subscriber.email_hash, now), literal(SkipReason.SUPPRESSED.value)),
        (Subscriber.status != SubscriberStatus.ACTIVE, literal(SkipReason.NOT_ACTIVE.value)),
        else_=null(),
    )


def _count_people(session: Session, people: Select[Subscriber], now: datetime) -> Counter[str]:
    reasons = people.with_only_columns(_kept_from(now).label("reason")).subquery()
    rows = session.execute(select(reasons.c.reason, func.count()).group_by(reasons.c.reason))
    return Counter({reason or "": n for reason, n in rows})


def _count(session: Session, campaign: Campaign, before: int, planned: int, now: datetime) -> None:
    """Count the `planned` rows that were just added, all of them after the id `before`."""
    # "+ 0": the index on (campaign_id, …) would scan the whole campaign for each chunk.
    new = (EmailSend.id > before, EmailSend.campaign_id + 0 == campaign.id)
    reasons = session.execute(
        select(EmailSend.reason, func.count())
        .where(*new, EmailSend.status == SendStatus.SKIPPED)
        .group_by(EmailSend.reason)
    )
    skipped = {str(reason): n for reason, n in reasons}
    queued = planned - sum(skipped.values())
    move(
        session,
        campaign.id,
        now,
        {"planned": planned, "queued": queued, "skipped": planned - queued},
    )
    tally(session, campaign.id, TallyKind.SKIPPED, skipped)
    set_committed_value(campaign, "queued", campaign.queued + queued)
    # Each alone is the first row from its end; together they are a scan.
    if campaign.first_send_id is None:
        campaign.first_send_id = session.scalar(select(func.min(EmailSend.id)).where(*new))
    campaign.last_send_id = session.scalar(select(func.max(EmailSend.id)).where(*new))


def _is_postgresql(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"
