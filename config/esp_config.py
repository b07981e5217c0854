"""What an installation says about each ESP: credentials, limits, priority.

Values only, built by `config.settings`; the adapters and the ESP manager read them.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class EspName(StrEnum):
    """The one spelling of an ESP outside file names: API, database, logs."""

    SENDGRID = "sendgrid"
    SES = "ses"
    POSTMARK = "postmark"


@dataclass(frozen=True, slots=True, kw_only=True)
class EspConfig:
    """Limits and rank of one ESP; `None` means that we set no limit of our own."""

    name: EspName
    priority: int
    batch_size: int
    concurrency: int
    per_second: float | None = None
    daily_limit: int | None = None
    monthly_limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SendGridConfig(EspConfig):
    api_key: str = field(repr=False)
    base_url: str = "https://api.sendgrid.com"
    webhook_public_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SesConfig(EspConfig):
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    region: str
    endpoint_url: str | None = None
    configuration_set: str | None = None
    sns_topic_arns: tuple[str, ...] = ()
    sns_cert_dir: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PostmarkConfig(EspConfig):
    api_key: str = field(repr=False)
    account_token: str | None = field(default=None, repr=False)
    base_url: str = "https://api.postmarkapp.com"
    message_stream: str = "broadcast"
    webhook_user: str | None = None
    webhook_password: str | None = field(default=None, repr=False)
