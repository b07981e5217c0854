"""What we know of an ESP now: breaker, quota used, how its mails fared."""

from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import Date, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from config.esp_config import EspName
from database.models.base import Base, Counter, Json, stored_by_value


class BreakerState(StrEnum):
    CLOSED = "closed"
    PROBING = "probing"
    """After an unknown outcome: batches of one, one at a time."""
    OPEN = "open"
    """Rests until `open_until`; then one probe."""


class QuotaWindow(StrEnum):
    HOUR = "hour"
    """A day is a sum of these: SES counts the last 24 hours, the others the UTC day."""
    MONTH = "month"


class EspState(Base):
    """Breaker and account of one ESP; in the database so that a restart does not forget."""

    __tablename__ = "esp_states"

    esp: Mapped[EspName] = mapped_column(stored_by_value(EspName), primary_key=True)
    breaker: Mapped[BreakerState] = mapped_column(stored_by_value(BreakerState))
    failures: Mapped[Counter]
    """Calls in a row that failed."""
    cooldown_s: Mapped[Counter]
    """How long the breaker rested last; doubles while probes fail."""
    open_until: Mapped[datetime | None]
    throttles: Mapped[Counter]
    """Answers in a row that asked us to wait; not failures."""
    throttled_until: Mapped[datetime | None]
    last_error: Mapped[str | None] = mapped_column(Text)
    last_error_at: Mapped[datetime | None]
    account_per_second: Mapped[float | None]
    account_daily_limit: Mapped[int | None]
    account_daily_others: Mapped[int | None]
    """Used at the look-up by others than this installation."""
    account_monthly_limit: Mapped[int | None]
    account_monthly_others: Mapped[int | None]
    account_detail: Mapped[str | None] = mapped_column(Text)
    account_at: Mapped[datetime | None]
    last_event_at: Mapped[datetime | None]
    """When a genuine webhook call of it came in last."""
    unheard: Mapped[Counter]
    """Sends that it accepted since then."""
    unheard_since: Mapped[datetime | None]
    suppressions_pulled_at: Mapped[datetime | None]
    suppressions_pushed_through: Mapped[Counter]
    """The last row of our `suppressions` that its own list has."""
    suppressions_released_through: Mapped[Counter]
    """The last row of our `suppressions` up to which its own list lets go who confirmed."""
    suppressions_unreleased: Mapped[list[int]] = mapped_column(
        Json, default=list, server_default="[]"
    )
    """Those of these rows with which that failed, in the order in which they are tried again."""


class EspQuota(Base):
    """Recipients given to an ESP in one UTC hour or month."""

    __tablename__ = "esp_quota"

    esp: Mapped[EspName] = mapped_column(stored_by_value(EspName), primary_key=True)
    window: Mapped[QuotaWindow] = mapped_column(stored_by_value(QuotaWindow), primary_key=True)
    starts_at: Mapped[datetime] = mapped_column(primary_key=True)
    used: Mapped[Counter]


class EspPerformance(Base):
    """How an ESP fared at one mailbox provider (`all` for the ESP as a whole).

    `successes` and `failures` are sums that halve every 18 hours, as of `decayed_at`.
    """

    __tablename__ = "esp_performance"

    esp: Mapped[EspName] = mapped_column(stored_by_value(EspName), primary_key=True)
    mailbox_provider: Mapped[str] = mapped_column(String(32), primary_key=True)
    successes: Mapped[float] = mapped_column(default=0.0, server_default="0")
    failures: Mapped[float] = mapped_column(default=0.0, server_default="0")
    decayed_at: Mapped[datetime]
    window_from: Mapped[datetime | None]
    """Outcomes of mails that were claimed before are not of this window."""
    window_claimed: Mapped[Counter]
    window_outcomes: Mapped[Counter]
    window_blocks: Mapped[Counter]
    rests_until: Mapped[datetime | None]
    """Too much was blocked: this mailbox provider's mail goes through others until then."""
    rest_s: Mapped[Counter]
    """How long it rested last; doubles while blocks go on."""


class EspPerformanceDay(Base):
    """The same per UTC day, as plain counts, for figures and charts."""

    __tablename__ = "esp_performance_days"

    esp: Mapped[EspName] = mapped_column(stored_by_value(EspName), primary_key=True)
    mailbox_provider: Mapped[str] = mapped_column(String(32), primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    calls: Mapped[Counter]
    accepted: Mapped[Counter]
    rejected: Mapped[Counter]
    unknown: Mapped[Counter]
    refused: Mapped[Counter]
    """Calls that the ESP definitely did not take."""
    delivered: Mapped[Counter]
    bounced: Mapped[Counter]
    blocked: Mapped[Counter]
    soft_bounced: Mapped[Counter]
    complained: Mapped[Counter]
