"""What DNS said of sending domains, and what ESPs say ought to be there."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from config.esp_config import EspName
from database.models.base import Base, Id, Json, stored_by_value


class DnsCheck(Base):
    """One full check of a domain; rows are only added."""

    __tablename__ = "dns_checks"
    __table_args__ = (Index("ix_dns_checks_domain", "domain", "id"),)

    id: Mapped[Id]
    domain: Mapped[str] = mapped_column(String(253))
    checked_at: Mapped[datetime]
    status: Mapped[str] = mapped_column(String(16))
    """Of all findings together."""
    checks: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    """The findings, as `GET /dns-check` gives them."""
    asked_by: Mapped[str] = mapped_column(String(200))
    """`a person`, `the clock`, or the code of the bounce that asked for it."""


class DnsBlock(Base):
    """By the latest check, mail that this ESP sends for this domain would fail authentication."""

    __tablename__ = "dns_blocks"

    esp: Mapped[EspName] = mapped_column(stored_by_value(EspName), primary_key=True)
    domain: Mapped[str] = mapped_column(String(253), primary_key=True)
    reason: Mapped[str] = mapped_column(Text)


class DnsDue(Base):
    """A domain to be checked soon: a mailbox provider refused mail for its DNS."""

    __tablename__ = "dns_due"

    domain: Mapped[str] = mapped_column(String(253), primary_key=True)
    reason: Mapped[str] = mapped_column(String(200))
    since: Mapped[datetime]


class EspDomain(Base):
    """The records that an ESP's own API asked for, when it was last read."""

    __tablename__ = "esp_domains"

    esp: Mapped[EspName] = mapped_column(stored_by_value(EspName), primary_key=True)
    domain: Mapped[str] = mapped_column(String(253), primary_key=True)
    records: Mapped[dict[str, Any] | None] = mapped_column(Json)
    """`dkim`, `return_path` and `tracking`, as in domain_setup.json; null: it does not know it."""
    fetched_at: Mapped[datetime]
