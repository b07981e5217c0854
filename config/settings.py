"""The settings of an installation: the only reader of the environment.

`.env.example` explains each variable. The process environment wins over `.env`; an
empty value and the placeholder `your_…_here` mean "not set". All faults are told at
once, a line for each, and none of them repeats a secret.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from config import values
from config.esp_config import EspConfig, EspName, PostmarkConfig, SendGridConfig, SesConfig
from config.reader import Reader, SettingsError, read_env_file, unknown_lines
from config.values import Nameserver

__all__ = [
    "ROOT",
    "DnsGate",
    "EspDistribution",
    "SendingMode",
    "Settings",
    "SettingsError",
    "load_settings",
    "sandbox_esps",
]

ROOT = Path(__file__).resolve().parent.parent
SAMPLE_POSTAL_ADDRESS = "Example Ltd, 1 Example Street, Example Town"
LARGEST_BATCH = {EspName.SENDGRID: 1000, EspName.SES: 50, EspName.POSTMARK: 500}
"""Recipients that one call may carry, by ESP; in the order of the default priorities."""
ESP_KEYS = ("SENDGRID_API_KEY", "AWS_ACCESS_KEY_ID", "POSTMARK_API_KEY")


class SendingMode(StrEnum):
    SANDBOX = "sandbox"
    """Mails go to the simulator; no key of a real ESP is ever used."""
    LIVE = "live"


class EspDistribution(StrEnum):
    PRIORITY = "priority"
    BALANCED = "balanced"
    """Each batch to the ESP that has had the fewest recipients of this campaign."""


class DnsGate(StrEnum):
    BLOCK = "block"
    """A campaign waits while a DNS record that the ESP needs is known to be wrong."""
    WARN = "warn"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting, checked. `esps` is empty in sandbox mode: see `sandbox_esps`."""

    sending_mode: SendingMode
    database_url: str = field(repr=False)
    api_key: str = field(repr=False)
    secret_keys: tuple[str, ...] = field(repr=False)
    """The first signs, all verify."""
    host: str
    port: int
    public_base_url: str
    """Without a slash at its end."""
    from_email: str
    from_name: str | None
    postal_address: str
    sending_domain: str
    sync_budget_seconds: int
    trusted_proxy_hops: int
    """Proxies of ours in front: so many of the forwarded addresses are believed."""
    dns_nameservers: tuple[Nameserver, ...]
    """Empty: those of the system."""
    domain_setup_file: Path
    esp_distribution: EspDistribution
    dns_gate: DnsGate
    esp_limits: dict[EspName, EspConfig]
    """Rank and limits of each ESP, whether it has a key or not."""
    esps: dict[EspName, EspConfig]
    """The ESPs that have a key."""
    warnings: tuple[str, ...] = ()
    """Names in `.env` that we do not know, a line for each; print them at the start."""


def load_settings(
    environ: Mapping[str, str] | None = None, env_file: Path | None = ROOT / ".env"
) -> Settings:
    """The settings of this process; raises a `SettingsError` that names every fault."""
    lines = read_env_file(env_file) if env_file else {}
    in_file = {name: text for name, (_, text) in lines.items()}
    reader = Reader({**in_file, **(os.environ if environ is None else environ)})
    settings = _settings(reader)
    if settings.sending_mode is SendingMode.LIVE:
        _check_live(reader, settings)
    if reader.faults:
        raise SettingsError(f"{name}: {fault}" for name, fault in reader.faults.items())
    return replace(settings, warnings=tuple(unknown_lines(lines, reader.names)))


def sandbox_esps(settings: Settings, base_urls: Mapping[EspName, str]) -> dict[EspName, EspConfig]:
    """All three ESPs at the simulator: our ranks and limits, its addresses, no real key.

    What checks webhooks (keys, topics, passwords) is the simulator's to add with `replace`.
    """
    build: dict[EspName, Callable[..., EspConfig]] = {
        EspName.SENDGRID: partial(SendGridConfig, api_key="sandbox"),
        EspName.SES: partial(
            SesConfig, access_key_id="sandbox", secret_access_key="sandbox", region="us-east-1"
        ),
        EspName.POSTMARK: partial(PostmarkConfig, api_key="sandbox", account_token="sandbox"),
    }
    return {
        name: build[name](
            **asdict(settings.esp_limits[name]),
            **{"endpoint_url" if name is EspName.SES else "base_url": url},
        )
        for name, url in base_urls.items()
    }


def _settings(reader: Reader) -> Settings:
    read = reader.read
    mode = read("SENDING_MODE", values.choice(SendingMode), SendingMode.SANDBOX)
    live = mode is SendingMode.LIVE
    port = read("PORT", values.whole_number(1, 65535), 5000)
    from_email = read("FROM_EMAIL", values.email_address, "news@example.com")
    limits = _esp_limits(reader)
    esps = _esps(reader, limits)
    return Settings(
        sending_mode=mode,
        database_url=_database_url(reader),
        api_key=_api_key(reader),
        secret_keys=_secret_keys(reader),
        host=read("HOST", values.listen_address, "127.0.0.1"),
        port=port,
        public_base_url=read("PUBLIC_BASE_URL", values.base_url, f"http://127.0.0.1:{port}"),
        from_email=from_email,
        from_name=read("FROM_NAME", values.one_line, None),
        postal_address=read("POSTAL_ADDRESS", values.one_line, SAMPLE_POSTAL_ADDRESS),
        sending_domain=read("SENDING_DOMAIN", values.domain, from_email.rpartition("@")[2]),
        trusted_proxy_hops=read("TRUSTED_PROXY_HOPS", values.whole_number(0, 5), 0),
        sync_budget_seconds=read("SYNC_BUDGET_SECONDS", values.whole_number(0, 900), 300),
        dns_nameservers=read("DNS_NAMESERVERS", values.several(values.nameserver), ()),
        domain_setup_file=_domain_setup_file(reader),
        esp_distribution=read(
            "ESP_DISTRIBUTION", values.choice(EspDistribution), EspDistribution.PRIORITY
        ),
        dns_gate=read("DNS_GATE", values.choice(DnsGate), DnsGate.BLOCK if live else DnsGate.WARN),
        esp_limits=limits,
        esps=esps if live else {},
    )


def _database_url(reader: Reader) -> str:
    parse = values.database_url(ROOT)
    return reader.read("DATABASE_URL", parse, parse("sqlite:///data/email.db"), secret=True)


def _api_key(reader: Reader) -> str:
    reader.require("API_KEY", "must be set: run ./setup.sh, or write 16 random characters or more")
    return reader.read("API_KEY", values.own_secret(16), "", secret=True)


def _secret_keys(reader: Reader) -> tuple[str, ...]:
    reader.require(
        "SECRET_KEY", "must be set: run ./setup.sh, or write 32 random characters or more"
    )
    return reader.read("SECRET_KEY", values.several(values.own_secret(32)), (), secret=True)


def _domain_setup_file(reader: Reader) -> Path:
    parse = values.existing(ROOT, Path.is_file, "a file")
    return reader.read("DOMAIN_SETUP_FILE", parse, ROOT / "config" / "domain_setup.json")


def _esp_limits(reader: Reader) -> dict[EspName, EspConfig]:
    read = reader.read
    limit = values.whole_number(1, 1_000_000_000)
    return {
        name: EspConfig(
            name=name,
            priority=read(f"{name.upper()}_PRIORITY", values.whole_number(1, 100), rank),
            batch_size=read(
                f"{name.upper()}_BATCH_SIZE", values.whole_number(1, most), min(100, most)
            ),
            concurrency=read(f"{name.upper()}_CONCURRENCY", values.whole_number(1, 64), 4),
            per_second=read(f"{name.upper()}_PER_SECOND", values.rate, None),
            daily_limit=read(f"{name.upper()}_DAILY_LIMIT", limit, None),
            monthly_limit=read(f"{name.upper()}_MONTHLY_LIMIT", limit, None),
        )
        for rank, (name, most) in enumerate(LARGEST_BATCH.items(), start=1)
    }


def _esps(reader: Reader, limits: Mapping[EspName, EspConfig]) -> dict[EspName, EspConfig]:
    """The ESPs that have a key. All is read in sandbox mode too, so that a typo shows early."""
    found = (
        _sendgrid(reader, limits[EspName.SENDGRID]),
        _ses(reader, limits[EspName.SES]),
        _postmark(reader, limits[EspName.POSTMARK]),
    )
    return {esp.name: esp for esp in found if esp is not None}


def _sendgrid(reader: Reader, limits: EspConfig) -> SendGridConfig | None:
    read = reader.read
    key = read("SENDGRID_API_KEY", values.credential, None, secret=True)
    public_keys = values.several(values.webhook_public_key)
    more = _given(
        base_url=read("SENDGRID_BASE_URL", values.base_url, None),
        webhook_public_keys=read("SENDGRID_WEBHOOK_PUBLIC_KEY", public_keys, None, secret=True),
    )
    return SendGridConfig(**asdict(limits), api_key=key, **more) if key else None


def _ses(reader: Reader, limits: EspConfig) -> SesConfig | None:
    read = reader.read
    key = read("AWS_ACCESS_KEY_ID", values.credential, None, secret=True)
    esp = SesConfig(
        **asdict(limits),
        access_key_id=key or "",
        secret_access_key=read("AWS_SECRET_ACCESS_KEY", values.credential, "", secret=True),
        region=read("AWS_REGION", values.aws_region, ""),
        endpoint_url=read("AWS_ENDPOINT_URL_SESV2", values.base_url, None),
        configuration_set=read("SES_CONFIGURATION_SET", values.esp_label, None),
        sns_topic_arns=read("SES_SNS_TOPIC_ARNS", values.several(values.topic_arn), ()),
        sns_cert_dir=read("SNS_CERT_DIR", values.existing(ROOT, Path.is_dir, "a directory"), None),
    )
    return esp if key else None


def _postmark(reader: Reader, limits: EspConfig) -> PostmarkConfig | None:
    read = reader.read
    reader.require_both("POSTMARK_WEBHOOK_USER", "POSTMARK_WEBHOOK_PASSWORD")
    key = read("POSTMARK_API_KEY", values.credential, None, secret=True)
    more = _given(
        account_token=read("POSTMARK_ACCOUNT_TOKEN", values.credential, None, secret=True),
        base_url=read("POSTMARK_BASE_URL", values.base_url, None),
        message_stream=read("POSTMARK_MESSAGE_STREAM", values.esp_label, None),
        webhook_user=read("POSTMARK_WEBHOOK_USER", values.basic_auth_user, None, secret=True),
        webhook_password=read("POSTMARK_WEBHOOK_PASSWORD", values.credential, None, secret=True),
    )
    return PostmarkConfig(**asdict(limits), api_key=key, **more) if key else None


def _given(**fields: object) -> dict[str, Any]:
    """Only what is set: the rest keeps the default of its class."""
    return {name: value for name, value in fields.items() if value is not None}


def _check_live(reader: Reader, settings: Settings) -> None:
    """What real mail needs beyond values that are right in themselves.

    Pairs of AWS variables are asked for here only: many a developer's shell exports
    some of them, and the sandbox uses none.
    """
    reader.require("PUBLIC_BASE_URL", "must be set in live mode, like https://mail.example.com")
    reader.require("FROM_EMAIL", "must be set in live mode, like news@example.com")
    reader.require("POSTAL_ADDRESS", "must be set in live mode: the law asks for it in every mail")
    reader.require_both("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    if reader.text("AWS_ACCESS_KEY_ID"):
        reader.require("AWS_REGION", "must be set with AWS keys, like eu-west-1")
    if not any(map(reader.text, ESP_KEYS)):
        fault = f"live needs the key of at least one ESP: {', '.join(ESP_KEYS)}"
        reader.faults.setdefault("SENDING_MODE", fault)
    outside = not all(values.is_loopback(_address(esp)) for esp in settings.esps.values())
    if outside and reader.text("PUBLIC_BASE_URL") and values.is_loopback(settings.public_base_url):
        fault = "must be an https URL that recipients can reach, since mail goes to a real ESP"
        reader.faults.setdefault("PUBLIC_BASE_URL", fault)


def _address(esp: EspConfig) -> str:
    match esp:
        case SesConfig():
            return esp.endpoint_url or ""
        case SendGridConfig() | PostmarkConfig():
            return esp.base_url
    return ""
