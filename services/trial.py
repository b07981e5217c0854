"""A mailing looked at before it is sent: as one person would get it, as a test mail in a
real mailbox, or as a forecast for its whole audience. Nothing here writes a campaign."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from random import Random
from typing import Any

from sqlalchemy.orm import Session

from config.esp_config import EspConfig, EspName
from config.settings import DnsGate, EspDistribution
from database.models import SendStatus, SkipReason, Subscriber
from database.session import Database
from services.audience_size import count
from services.base import Batch, EspAdapter, EspError, Outcome, SendResult
from services.campaigns import DELIVERY, NewCampaign
from services.esp_manager import brake_of, gated_domain, rank, why_not
from services.forecast import forecast
from services.ledger.record import STATUS_AFTER
from services.mailing import Identity, Mailing, Sample
from services.standing import Standing, hour_of, load, reserve_quota

TEST_PREFIX = "[Test] "


def sample_of(subscriber: Subscriber) -> Sample:
    """A person on the list as the reader of a mail that belongs to no campaign."""
    return Sample(
        email=subscriber.email,
        first_name=subscriber.first_name,
        last_name=subscriber.last_name,
        attributes=subscriber.attributes,
        tags=subscriber.tags,
    )


def preview(new: NewCampaign, identity: Identity, sample: Sample) -> dict[str, Any]:
    """What one person would get: subject, html, text, headers. Raises a `TemplateError`."""
    batch = Mailing(new, identity).batch([sample])
    message, recipient = batch.message, batch.recipients[0]
    return {
        "email": recipient.address,
        "subject": message.subject.fill(recipient.subject),
        "html": message.html.fill(recipient.html) if message.html else None,
        "text": message.text.fill(recipient.text) if message.text else None,
        "headers": {**message.headers, **recipient.headers},
    }


def dry_run(
    session: Session,
    new: NewCampaign,
    configs: Mapping[EspName, EspConfig],
    *,
    now: datetime,
    distribution: EspDistribution,
    dns_gate: DnsGate,
) -> dict[str, Any]:
    """What would happen: who is written to, by which ESP as quotas stand, and until when.

    Raises as `with_fixed_audience` does.
    """
    counted = count(session, new, now)
    queued = counted.pop("", 0)
    domain = gated_domain(new.from_email, dns_gate)
    standings = [
        standing
        for standing in load(session, configs, now).values()
        if new.esp in (None, standing.esp)
        and domain not in standing.dns_faults
        and brake_of(standing, now) is None
    ]
    told = forecast(standings, queued, now, distribution=distribution)
    counts = dict.fromkeys((s.value for s in SendStatus if s is not SendStatus.SKIPPED), 0)
    return {
        "planned": queued + counted.total(),
        "counts": {**counts, "queued": queued},
        "skipped": {reason.value: counted[reason] for reason in SkipReason if counted[reason]},
        "by_esp": {esp.value: n for esp, n in told.by_esp.items()},
        "delivery": dict.fromkeys(DELIVERY, 0),
        "ends_at": told.ends_at.isoformat() if told.ends_at else None,
    }


def send_test(
    database: Database,
    adapters: Mapping[EspName, EspAdapter],
    configs: Mapping[EspName, EspConfig],
    mailing: Mailing,
    samples: Sequence[Sample],
    *,
    esp: EspName | None,
    now: datetime,
) -> list[dict[str, Any]]:
    """Send each sample its mail, in a call of its own; what became of each.

    Quota is counted as for any mail. A definite refusal goes on to the next ESP.
    """
    return [
        _send_one(database, adapters, configs, mailing.batch([sample]), esp, now)
        for sample in samples
    ]


def _send_one(
    database: Database,
    adapters: Mapping[EspName, EspAdapter],
    configs: Mapping[EspName, EspConfig],
    batch: Batch,
    asked_for: EspName | None,
    now: datetime,
) -> dict[str, Any]:
    address = batch.recipients[0].address
    told = {"email": address, "esp": None, "outcome": Outcome.ESP_UNAVAILABLE.value}
    with database.read() as session:
        standings = load(session, configs, now)
    allowed = [s.for_transactional() for s in standings.values() if asked_for in (None, s.esp)]
    for esp in rank(allowed, now, rng=Random()):
        result = _call(database, adapters[esp], batch, esp, now)
        told = {
            "email": address,
            "esp": esp.value,
            "outcome": result.outcome.value,
            "reason": result.reason,
        }
        if result.outcome not in (Outcome.THROTTLED, Outcome.ESP_UNAVAILABLE):
            return told
    return {"reason": _nobody(allowed, now), **told}


def _call(
    database: Database, adapter: EspAdapter, batch: Batch, esp: EspName, now: datetime
) -> SendResult:
    with database.write() as session:
        reserve_quota(session, esp, 1, hour_of(now))
    try:
        result = adapter.send(batch).results[0]
    except EspError as error:
        result = SendResult(outcome=error.outcome, reason=error.reason)
    if STATUS_AFTER[result.outcome] is SendStatus.QUEUED:
        with database.write() as session:
            reserve_quota(session, esp, -1, hour_of(now))
    return result


def _nobody(standings: Sequence[Standing], now: datetime) -> str:
    reasons = [f"{s.esp} {why}" for s in standings if (why := why_not(s, now))]
    return "; ".join(reasons) or "no ESP is configured"
