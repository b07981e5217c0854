"""Campaigns as the API sees them: made once, found again, told as they stand."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, defer

from config.esp_config import EspName
from database.models import (
    Campaign,
    CampaignKind,
    CampaignStatus,
    EmailSend,
    IdempotencyKey,
    SendBatch,
    SendStatus,
    SkipReason,
    Subscriber,
    TallyKind,
)
from lists.segment_filter import parse
from lists.segments import check_campaigns, find_segment
from services.campaign_figures import Tallies, load_tallies, rates
from services.ledger.counters import move, tally
from utils.addresses import InvalidAddress, normalise

STILL = frozenset(
    {
        CampaignStatus.PAUSED,
        CampaignStatus.SENT,
        CampaignStatus.NEEDS_REVIEW,
        CampaignStatus.CANCELLED,
    }
)
"""Statuses that only a person (or, for unknowns, a webhook) moves on."""
ENDED = frozenset({CampaignStatus.SENT, CampaignStatus.NEEDS_REVIEW})

LIGHT = (defer(Campaign.html), defer(Campaign.text), defer(Campaign.audience))

DUPLICATE_WITHIN = timedelta(hours=24)
COUNTS = tuple(status.value for status in SendStatus if status is not SendStatus.SKIPPED)
DELIVERY = ("delivered", "bounced", "complained", "opened", "clicked", "unsubscribed")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCampaign:
    """What is to be sent, by whom and to whom; checked already."""

    name: str
    subject: str
    html: str | None
    text: str | None
    from_email: str
    from_name: str | None
    reply_to: str | None
    audience: Mapping[str, Any]
    """{} = all active, {"tags": [...]} = any of them, {"emails": [...]} = known ones,
    {"filter": {...}} = whom it selects; {"segment": name} until `with_fixed_audience`."""
    esp: EspName | None
    track_opens: bool
    track_clicks: bool
    tags: tuple[str, ...]
    kind: CampaignKind = CampaignKind.CAMPAIGN

    @property
    def content_hash(self) -> str:
        """The same for the same mailing: content, sender and audience, in whatever order and
        case; not its name, nor how it is to be sent and followed."""
        said = {name: getattr(self, name) for name in _IDENTIFYING}
        audience = dict(self.audience)
        if "emails" in audience:
            audience["emails"] = [one.strip().lower() for one in audience["emails"]]
        said["audience"] = _unordered(audience)
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _unordered(said: Any) -> Any:
    """JSON whose lists are all sets."""
    if isinstance(said, dict):
        return {name: _unordered(one) for name, one in said.items()}
    if isinstance(said, list):
        each = {json.dumps(one, sort_keys=True): one for one in map(_unordered, said)}
        return [each[one] for one in sorted(each)]
    return said


_IDENTIFYING = ("subject", "html", "text", "from_email", "from_name", "reply_to")


@dataclass(frozen=True, slots=True)
class Told:
    """A campaign found again under the key of a request."""

    campaign_id: int
    same_request: bool


def with_fixed_audience(session: Session, new: NewCampaign) -> NewCampaign:
    """`new` with the filter of its segment in its place, so that it stays what it is now.

    Raises `UnknownSegment`, and `InvalidFilter` where a filter speaks of no campaign of ours.
    """
    if "segment" in new.audience:
        segment = find_segment(session, new.audience["segment"])
        return replace(new, audience={"filter": segment.filter})
    if "filter" in new.audience:
        check_campaigns(session, parse(new.audience["filter"]))
    return new


def create(
    session: Session,
    new: NewCampaign,
    *,
    now: datetime,
    sandbox: bool,
    idempotency_key: str | None = None,
    fingerprint: str = "",
    plan_until: int | None = None,
) -> Campaign:
    """Write a campaign that is to be planned; its audience is the list as it is now, or as it
    was when `plan_until` was the last id."""
    audience, dropped = audience_of(new.audience)
    if plan_until is None:
        plan_until = session.scalar(select(func.max(Subscriber.id)))
    campaign = Campaign(
        status=CampaignStatus.PLANNING,
        sandbox=sandbox,
        content_hash=new.content_hash,
        idempotency_key=idempotency_key,
        plan_until=plan_until,
        created_at=now,
        last_step_at=now,
        **{**asdict(new), "audience": audience, "tags": list(new.tags)},
    )
    session.add(campaign)
    session.flush()
    if idempotency_key is not None:
        session.add(
            IdempotencyKey(
                key=idempotency_key,
                fingerprint=fingerprint,
                campaign_id=campaign.id,
                created_at=now,
            )
        )
    nobody = sum(dropped.values())
    move(session, campaign.id, now, {"planned": nobody, "skipped": nobody})
    tally(session, campaign.id, TallyKind.SKIPPED, dropped)
    return campaign


def one_at_a_time(session: Session, name: str) -> None:
    """Let nobody else past this point for the same `name` until the transaction ends.

    Two requests that look for a campaign and find none would both make it. On SQLite a
    transaction that writes is alone anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def find(session: Session, campaign_id: int) -> Campaign | None:
    """A campaign without its texts, which may be long and which no answer tells."""
    return session.get(Campaign, campaign_id, options=LIGHT)


def find_by_key(session: Session, key: str, fingerprint: str) -> Told | None:
    """The campaign that a request with this key made, if there was one."""
    found = session.get(IdempotencyKey, key)
    if found is None:
        return None
    return Told(found.campaign_id, same_request=found.fingerprint == fingerprint)


def find_duplicate(session: Session, new: NewCampaign, now: datetime) -> int | None:
    """The id of the same mailing to the same audience within the last day, if it reached anybody."""
    reached = Campaign.accepted + Campaign.unknown + Campaign.sending + Campaign.queued
    return session.scalar(
        select(Campaign.id)
        .where(
            Campaign.content_hash == new.content_hash,
            Campaign.kind == CampaignKind.CAMPAIGN,
            Campaign.created_at > now - DUPLICATE_WITHIN,
            (reached > 0) | (Campaign.status == CampaignStatus.PLANNING),
        )
        .order_by(Campaign.id.desc())
        .limit(1)
    )


def stands_still(campaign: Campaign) -> bool:
    """Whether nothing about it changes until somebody acts."""
    # A campaign that is paused or cancelled may still have calls under way; one that has
    # ended has none, even if its counter says so.
    return campaign.status in ENDED or (campaign.status in STILL and campaign.sending == 0)


def report(session: Session, campaign: Campaign, now: datetime) -> dict[str, Any]:
    """A campaign as every answer tells it; `planned` = all `counts` and `skipped`."""
    return reports(session, [campaign], now)[0]


def reports(session: Session, campaigns: Sequence[Campaign], now: datetime) -> list[dict[str, Any]]:
    """The same of several, whose tallies are read at once."""
    tallies = load_tallies(session, [campaign.id for campaign in campaigns])
    return [_tell(session, campaign, tallies[campaign.id], now) for campaign in campaigns]


def _tell(session: Session, campaign: Campaign, tallies: Tallies, now: datetime) -> dict[str, Any]:
    delivery = {name: getattr(campaign, name) for name in DELIVERY}
    ended = max(campaign.finished_at or now, campaign.created_at)  # a clock may be set back
    return {
        "campaign_id": campaign.id,
        "name": campaign.name,
        "subject": campaign.subject,
        "status": campaign.status.value,
        "reason": campaign.reason,
        "planned": campaign.planned,
        "counts": {name: getattr(campaign, name) for name in COUNTS},
        "skipped": tallies.of(TallyKind.SKIPPED),
        "by_esp": tallies.of(TallyKind.ACCEPTED),
        "delivery": delivery,
        "rates": rates({**delivery, "accepted": campaign.accepted}),
        "delivery_by_esp": tallies.by_esp(),
        "delivery_by_provider": tallies.by_provider(),
        "failovers": _failovers(session, campaign.id, tallies.of(TallyKind.FAILOVER)),
        "duration_seconds": round((ended - campaign.created_at).total_seconds(), 3),
        "sandbox": campaign.sandbox,
        "created_at": campaign.created_at.isoformat(),
        "resume_at": campaign.resume_at.isoformat() if campaign.resume_at else None,
    }


def page(session: Session, *, after: int | None, limit: int) -> list[Campaign]:
    """Campaigns, the newest first; `after` is the last id of the page before."""
    statement = select(Campaign).where(Campaign.kind == CampaignKind.CAMPAIGN).options(*LIGHT)
    if after is not None:
        statement = statement.where(Campaign.id < after)
    return list(session.scalars(statement.order_by(Campaign.id.desc()).limit(limit)))


def sends_page(
    session: Session,
    campaign: Campaign,
    *,
    status: SendStatus | None,
    after: int,
    limit: int,
) -> list[dict[str, Any]]:
    """Sends of a campaign in the order of their ids, those after the id `after`."""
    # The range by id keeps to the primary key; "+ 0" keeps SQLite from scanning an index
    # on (campaign_id, …) from its beginning for each page.
    statement = select(EmailSend).where(
        EmailSend.id > max(after, (campaign.first_send_id or 1) - 1),
        EmailSend.id <= (campaign.last_send_id or 0),
        EmailSend.campaign_id + 0 == campaign.id,
    )
    if status is not None:
        statement = statement.where(EmailSend.status == status)
    sends = session.scalars(statement.order_by(EmailSend.id).limit(limit))
    return [_tell_send(send) for send in sends]


def _tell_send(send: EmailSend) -> dict[str, Any]:
    return {
        "id": send.id,
        "email": send.email_key,
        "status": send.status.value,
        "reason": send.reason,
        "esp": send.esp.value if send.esp else None,
        "esp_message_id": send.esp_message_id,
        "attempt": send.attempt,
        "delivery": send.delivery.value,
        "opened": send.opened,
        "clicked": send.clicked,
        "unsubscribed": send.unsubscribed,
        "settled_at": send.settled_at.isoformat() if send.settled_at else None,
    }


def audience_of(asked: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """What the planner reads, and how many addresses it will not see, by reason."""
    if "emails" not in asked:
        return dict(asked), {}
    keys: dict[str, None] = {}
    dropped = {SkipReason.DUPLICATE.value: 0, SkipReason.INVALID.value: 0}
    for address in asked["emails"]:
        try:
            key = normalise(address).key
        except InvalidAddress:
            dropped[SkipReason.INVALID.value] += 1
            continue
        if key in keys:
            dropped[SkipReason.DUPLICATE.value] += 1
        keys[key] = None
    return {"emails": list(keys)}, dropped


def _failovers(
    session: Session, campaign_id: int, changes: Mapping[str, int]
) -> list[dict[str, Any]]:
    found = []
    for change, sends in changes.items():
        refuser, _, taker = change.partition(">")
        reason = session.scalar(
            select(SendBatch.detail)
            .where(
                SendBatch.campaign_id == campaign_id,
                SendBatch.esp == EspName(refuser),
                SendBatch.requeued > 0,
            )
            .order_by(SendBatch.id.desc())
            .limit(1)
        )
        found.append({"from": refuser, "to": taker, "sends": sends, "reason": reason})
    return found
