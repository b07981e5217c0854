"""The ESPs as they stand now: who may get mail, who may not and why."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flask_openapi.blueprint import APIBlueprint
from pydantic import Field

from api.errors import Problem
from api.schemas import Answer, OverrideBody, Path
from api.system import the_system
from config.esp_config import EspName
from database import esp_reports
from database.esp_reports import ProviderWeek
from services import standing
from services.braking import NothingToOverride, OverrideOrder, override_esp
from services.esp_manager import brake_of, limits_of, webhook_warning, why_not
from services.reputation import ALL_PROVIDERS, Cell, Reputation
from services.simulator.server import SIMULATED
from services.standing import Allowance, Standing

api = APIBlueprint("esps", __name__)


class WindowAnswer(Answer):
    used: int
    limit: int | None
    remaining: int | None
    resets_at: str


class QuotaAnswer(Answer):
    per_second: float | None = Field(description="Recipients a second; null: no limit is known")
    day: WindowAnswer
    month: WindowAnswer


class BreakerAnswer(Answer):
    state: str
    failures: int
    open_until: str | None
    throttled_until: str | None


class ProviderReputationAnswer(Answer):
    """How an ESP stands at one mailbox provider."""

    score: float = Field(description="0 to 100")
    delivered_7d: int = Field(description="Of the mails sent in the last seven UTC days")
    blocked_7d: int
    resting_until: str | None = Field(
        description="Too much was blocked: until then others carry this mailbox provider's mail"
    )
    on_trial: bool = Field(
        description="It rested, got some mail again, and what became of that is not known yet"
    )


class ReputationAnswer(Answer):
    score: float = Field(description="0 to 100")
    accepted_in_7_days: int
    by_provider: dict[str, ProviderReputationAnswer]


class EventsAnswer(Answer):
    """What its webhooks tell."""

    last_at: str | None = Field(description="When a genuine call came in last")
    unheard: int = Field(description="Mails that it accepted since then")
    unheard_since: str | None


class OverrideAnswer(Answer):
    by: str
    why: str
    at: str
    until: str | None = Field(description="null: until the figures are worse than at that time")


class BrakeAnswer(Answer):
    """The mails of the last seven UTC days, and the rates above which the ESP gets no more."""

    brakes: bool
    accepted: int
    complaints: int
    invalid: int = Field(description="Refused because there is no such address")
    complaint_limit: float = Field(description="A share, 0 to 1, as an override may have raised it")
    invalid_limit: float
    override: OverrideAnswer | None = Field(description="The last one, over or not")


class LastErrorAnswer(Answer):
    reason: str
    at: str


class EspAnswer(Answer):
    esp: EspName
    configured: bool
    available: bool
    unavailable_because: str | None
    priority: int | None = None
    reputation: ReputationAnswer | None = None
    brake: BrakeAnswer | None = None
    quota: QuotaAnswer | None = None
    breaker: BreakerAnswer | None = None
    last_error: LastErrorAnswer | None = None
    performance_24h: dict[str, int] | None = None
    dns: dict[str, str] | None = Field(
        default=None,
        description="Domains for which its mail would fail authentication by their DNS, and why; "
        "with DNS_GATE=block it gets none of their mail",
    )
    events: EventsAnswer | None = None
    warnings: list[str] | None = None


class EspStatusAnswer(Answer):
    esps: list[EspAnswer]
    sandbox: bool
    safe_mode: str | None = Field(
        description="Why nothing is sent, and what to do: the database was restored or copied"
    )


class EspPath(Path):
    esp: EspName


@api.get("/esp-status", responses={200: EspStatusAnswer})
def esp_status() -> dict[str, Any]:
    """Each ESP: whether it may get mail now and why not, reputation, quota, breaker, last day,
    and whether its events come in."""
    system = the_system()
    now = system.clock()
    with system.database.read() as session:
        standings = standing.load(session, system.esps, now)
        performance = esp_reports.performance_24h(session, now)
        weeks = esp_reports.weeks(session, now)
    told = [
        {
            **_tell(
                standings[esp],
                why_not(standings[esp], now, domain=system.gated_domain),
                performance.get(esp),
            ),
            "brake": _brake(standings[esp], now),
            "reputation": _reputation(standings[esp].reputation, weeks.get(esp, {}), now),
            "dns": dict(standings[esp].dns_faults),
            **_heard(standings[esp], now, system.settings.public_base_url),
        }
        if esp in standings
        else _not_configured(esp, system.is_sandbox and esp not in SIMULATED)
        for esp in EspName
    ]
    return {"esps": told, "sandbox": system.is_sandbox, "safe_mode": system.safe_mode}


@api.post("/esps/<esp>/override-brake", responses={200: BrakeAnswer})
def override_brake(path: EspPath, body: OverrideBody) -> dict[str, Any]:
    """Let an ESP that brakes carry mail again: until `until`, or until its figures are worse
    than now. 404: no such ESP, or no key of it is set. 409: it does not brake."""
    system = the_system()
    now = system.clock()
    order = OverrideOrder(ordered_by=body.by, why=body.why, until=body.until)
    with system.database.write() as session:
        known = standing.load(session, system.esps, now).get(path.esp)
        if known is None:
            raise Problem("not-found", f"{path.esp} is not configured: see GET /esp-status.")
        try:
            override_esp(session, known, order, now)
        except NothingToOverride as error:
            raise Problem("conflict", f"{str(error)[0].upper()}{str(error)[1:]}.") from error
        told = _brake(standing.load(session, system.esps, now)[path.esp], now)
    if system.engine is not None:
        system.engine.wake()
    return told


def _tell(known: Standing, why: str | None, performance: dict[str, int] | None) -> dict[str, Any]:
    breaker = known.breaker
    last_error = None
    if breaker.last_error is not None and breaker.last_error_at is not None:
        last_error = {"reason": breaker.last_error, "at": breaker.last_error_at.isoformat()}
    return {
        "esp": known.esp,
        "configured": True,
        "available": why is None,
        "unavailable_because": why,
        "priority": known.priority,
        "quota": {
            "per_second": known.per_second,
            "day": _window(known.day),
            "month": _window(known.month),
        },
        "breaker": {
            "state": breaker.state,
            "failures": breaker.failures,
            "open_until": breaker.open_until.isoformat() if breaker.open_until else None,
            "throttled_until": (
                breaker.throttled_until.isoformat() if breaker.throttled_until else None
            ),
        },
        "last_error": last_error,
        "performance_24h": performance or dict.fromkeys(esp_reports.PERFORMANCE, 0),
    }


def _brake(known: Standing, now: datetime) -> dict[str, Any]:
    week, limits, override = known.reputation.week, limits_of(known, now), known.override
    return {
        "brakes": brake_of(known, now) is not None,
        "accepted": week.accepted,
        "complaints": week.complaints,
        "invalid": week.invalid,
        "complaint_limit": limits.complaints,
        "invalid_limit": limits.invalid,
        "override": None
        if override is None
        else {
            "by": override.ordered_by,
            "why": override.why,
            "at": override.ordered_at.isoformat(),
            "until": override.until.isoformat() if override.until else None,
        },
    }


def _reputation(
    known: Reputation, week: Mapping[str, ProviderWeek], now: datetime
) -> dict[str, Any]:
    by_provider = {}
    for provider in sorted((known.cells.keys() | week.keys()) - {ALL_PROVIDERS}):
        cell, fared = known.cells.get(provider, Cell()), week.get(provider, ProviderWeek())
        until = cell.rests_until if cell.rests_until and cell.rests_until > now else None
        by_provider[provider] = {
            "score": round(100 * known.score_at(provider), 1),
            "delivered_7d": fared.delivered,
            "blocked_7d": fared.blocked,
            "resting_until": until.isoformat() if until else None,
            "on_trial": cell.is_on_trial,
        }
    return {
        "score": round(100 * known.score, 1),
        "accepted_in_7_days": known.week.accepted,
        "by_provider": by_provider,
    }


def _heard(known: Standing, now: datetime, public_base_url: str) -> dict[str, Any]:
    warning = webhook_warning(known, now, public_base_url)
    return {
        "events": {
            "last_at": known.last_event_at.isoformat() if known.last_event_at else None,
            "unheard": known.unheard,
            "unheard_since": known.unheard_since.isoformat() if known.unheard_since else None,
        },
        "warnings": [warning] if warning else [],
    }


def _window(allowance: Allowance) -> dict[str, Any]:
    return {
        "used": allowance.used,
        "limit": allowance.limit,
        "remaining": allowance.left,
        "resets_at": allowance.resets_at.isoformat(),
    }


def _not_configured(esp: EspName, is_missing_in_sandbox: bool) -> dict[str, Any]:
    key = "no key is set: see .env.example"
    return {
        "esp": esp,
        "configured": False,
        "available": False,
        "unavailable_because": "the sandbox does not have it" if is_missing_in_sandbox else key,
    }
