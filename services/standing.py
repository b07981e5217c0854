"""What we know of an ESP now: breaker, quota left, how its sends fared.

A `Standing` is a value that decisions are made from; `load` gathers it, the rest of the
functions write what it is made of.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar, cast

from sqlalchemy import Table, bindparam, select
from sqlalchemy.orm import Session

from config.esp_config import ESPS, EspConfig, EspName
from database.models import (
    BreakerState,
    EspQuota,
    EspState,
    QuotaWindow,
)
from database.upsert import add_to_each
from services import brake_overrides
from services.base import Account
from services.brake import Override
from services.breaker import Breaker
from services.dns_results import blocks
from services.reputation import Reputation, load_reputations

Limit = TypeVar("Limit", int, float)

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """Recipients that one window of an ESP still takes."""

    used: int
    limit: int | None
    resets_at: datetime
    """When a part of it, at least, is free again."""

    @property
    def left(self) -> int | None:
        return None if self.limit is None else max(0, self.limit - self.used)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All that decides whether, and how much, an ESP gets now."""

    esp: EspName
    priority: int
    breaker: Breaker
    day: Allowance
    month: Allowance
    per_second: float | None
    batch_size: int
    concurrency: int
    reputation: Reputation = field(default_factory=Reputation)
    unheard: int = 0
    """Sends that it accepted since it last told of any, and since when."""
    unheard_since: datetime | None = None
    last_event_at: datetime | None = None
    """When a genuine webhook call of it came in last."""
    dns_faults: Mapping[str, str] = field(default_factory=dict)
    """Domains whose mail it would send unauthenticated by the latest DNS check, and why."""
    override: Override | None = None
    """The last order to let it go on in spite of its figures, over or not."""
    may_brake: bool = True
    """Whether its figures count: for bulk mail."""

    @property
    def left(self) -> int | None:
        """Recipients that day and month still allow; `None` without a limit."""
        lefts = [window.left for window in (self.day, self.month) if window.left is not None]
        return min(lefts, default=None)

    def for_transactional(self) -> "Standing":
        """The same for a mail that somebody waits for: what campaigns did brakes none of those."""
        return replace(self, may_brake=False)

    def after_claim(self, n: int) -> "Standing":
        """The same with `n` recipients more on its quota."""
        day = replace(self.day, used=self.day.used + n)
        return replace(self, day=day, month=replace(self.month, used=self.month.used + n))


def hour_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def month_of(moment: datetime) -> datetime:
    return hour_of(moment).replace(day=1, hour=0)


def load(
    session: Session, configs: Mapping[EspName, EspConfig], now: datetime
) -> dict[EspName, Standing]:
    """The standing of every configured ESP, in six statements."""
    states = {state.esp: state for state in session.scalars(_STATES)}
    used = _used(session, now)
    reputations = load_reputations(session, now)
    faults = blocks(session)
    overrides = brake_overrides.of_esps(session)
    return {
        esp: _standing(
            config,
            states.get(esp) or _new_state(esp),
            used.get(esp, _Used()),
            reputations.get(esp, Reputation()),
            faults.get(esp, {}),
            overrides.get(esp),
            now,
        )
        for esp, config in configs.items()
    }


_STATES = select(EspState)


def load_breaker(session: Session, esp: EspName) -> Breaker:
    """The breaker of one ESP as this transaction has it."""
    return _breaker(_state(session, esp))


def save_breaker(session: Session, esp: EspName, breaker: Breaker) -> None:
    """Write a breaker where the next process will find it."""
    state = _state(session, esp)
    state.breaker, state.failures = breaker.state, breaker.failures
    state.cooldown_s, state.open_until = breaker.cooldown_s, breaker.open_until
    state.throttles, state.throttled_until = breaker.throttles, breaker.throttled_until
    state.last_error, state.last_error_at = breaker.last_error, breaker.last_error_at


def save_account(session: Session, esp: EspName, account: Account, now: datetime) -> None:
    """Keep what an account look-up said. What it counts and we did not, others used."""
    used = _used(session, now).get(esp, _Used())
    state = _state(session, esp)
    state.account_per_second = _sensible(account.per_second)
    state.account_daily_limit = _sensible(account.daily_limit, least=0)
    state.account_daily_others = _others(account.daily_used, used.day(esp, now))
    state.account_monthly_limit = _sensible(account.monthly_limit, least=0)
    state.account_monthly_others = _others(account.monthly_used, used.month)
    state.account_detail, state.account_at = account.detail, now


def reserve_quota(session: Session, esp: EspName, n: int, hour: datetime) -> None:
    """Take `n` recipients from the buckets that `hour` lies in, or give them back (`n` < 0)."""
    windows = ((QuotaWindow.HOUR, hour), (QuotaWindow.MONTH, month_of(hour)))
    rows = [(esp, window, starts_at, n) for window, starts_at in windows]
    add_to_each(session, EspQuota, ("esp", "window", "starts_at"), ("used",), rows)


@dataclass(slots=True)
class _Used:
    hours: dict[datetime, int] = field(default_factory=dict)
    month: int = 0

    def day(self, esp: EspName, now: datetime) -> int:
        return sum(self.in_day(esp, now).values())

    def in_day(self, esp: EspName, now: datetime) -> dict[datetime, int]:
        """The buckets that count now. A bucket of a rolling day counts until its last
        minute is 24 hours old."""
        since = now - DAY - HOUR if ESPS[esp].day_rolls else hour_of(now).replace(hour=0) - HOUR
        return {hour: n for hour, n in self.hours.items() if hour > since and n > 0}


def _used(session: Session, now: datetime) -> dict[EspName, _Used]:
    since = min(month_of(now), hour_of(now) - DAY - HOUR)
    rows = session.connection().execute(_QUOTAS_SINCE, {"since": since})
    found: dict[EspName, _Used] = {}
    for esp, window, starts_at, used in rows:
        entry = found.setdefault(esp, _Used())
        if window is QuotaWindow.HOUR:
            entry.hours[starts_at] = used
        elif starts_at == month_of(now):
            entry.month = used
    return found


# On the table, as other statements of each step: an ORM's select takes twice as long.
_QUOTAS = cast("Table", EspQuota.__table__).c
_QUOTAS_SINCE = select(_QUOTAS.esp, _QUOTAS.window, _QUOTAS.starts_at, _QUOTAS.used).where(
    _QUOTAS.starts_at >= bindparam("since")
)


def _standing(
    config: EspConfig,
    state: EspState,
    used: _Used,
    reputation: Reputation,
    dns_faults: Mapping[str, str],
    override: Override | None,
    now: datetime,
) -> Standing:
    hours = used.in_day(config.name, now)
    return Standing(
        esp=config.name,
        priority=config.priority,
        breaker=_breaker(state),
        day=Allowance(
            used=sum(hours.values()) + _others_today(config.name, state, now),
            limit=_least(config.daily_limit, state.account_daily_limit),
            resets_at=_day_resets_at(config.name, hours, now),
        ),
        month=Allowance(
            used=used.month + _others_this_month(state, now),
            limit=_least(config.monthly_limit, state.account_monthly_limit),
            resets_at=month_of(month_of(now) + 32 * DAY),
        ),
        per_second=_least(config.per_second, state.account_per_second),
        batch_size=config.batch_size,
        concurrency=config.concurrency,
        reputation=reputation,
        unheard=state.unheard,
        unheard_since=state.unheard_since,
        last_event_at=state.last_event_at,
        dns_faults=dns_faults,
        override=override,
    )


def _others_today(esp: EspName, state: EspState, now: datetime) -> int:
    """What others used counts as long as our own would: a look-up may fail for days."""
    since = now - DAY if ESPS[esp].day_rolls else hour_of(now).replace(hour=0)
    is_fresh = state.account_at is not None and state.account_at >= since
    return (state.account_daily_others or 0) if is_fresh else 0


def _others_this_month(state: EspState, now: datetime) -> int:
    is_fresh = state.account_at is not None and state.account_at >= month_of(now)
    return (state.account_monthly_others or 0) if is_fresh else 0


def _day_resets_at(esp: EspName, hours: Mapping[datetime, int], now: datetime) -> datetime:
    if ESPS[esp].day_rolls:
        return min(hours, default=hour_of(now)) + HOUR + DAY
    return hour_of(now).replace(hour=0) + DAY


def _state(session: Session, esp: EspName) -> EspState:
    found = session.get(EspState, esp)
    if found is None:
        found = _new_state(esp)
        session.add(found)
    return found


def _new_state(esp: EspName) -> EspState:
    return EspState(
        esp=esp,
        breaker=BreakerState.CLOSED,
        **dict.fromkeys(("failures", "cooldown_s", "throttles", "unheard"), 0),
        suppressions_pushed_through=0,
    )


def _breaker(state: EspState) -> Breaker:
    return Breaker(
        state=state.breaker,
        failures=state.failures,
        cooldown_s=state.cooldown_s,
        open_until=state.open_until,
        throttles=state.throttles,
        throttled_until=state.throttled_until,
        last_error=state.last_error,
        last_error_at=state.last_error_at,
    )


def _others(counted: int | None, ours: int) -> int | None:
    return None if counted is None else min(max(0, counted - ours), _MOST)


_MOST = 10**15
"""Beyond all that anybody sends, and well within the database's 64 bits."""


def _sensible(limit: Limit | None, *, least: float = 1e-3) -> Limit | None:
    """A limit that can be kept; what an ESP says of "no limit" (-1, NaN) is none."""
    return limit if limit is not None and least <= limit <= _MOST else None


def _least(*limits: Limit | None) -> Limit | None:
    return min((limit for limit in limits if limit is not None), default=None)
