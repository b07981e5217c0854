"""Each ESP as an installation has it: its name, its key and settings, its limits and rank.

All that is particular to one ESP, and is not how to talk to it, is one class here; the rest
of the project asks the class. How to add one: docs/adding-an-esp.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Self

from config import values
from config.reader import Reader
from config.values import ROOT


class EspName(StrEnum):
    """The one spelling of an ESP outside file names: API, database, logs."""

    SENDGRID = "sendgrid"
    SES = "ses"
    POSTMARK = "postmark"


def variable(name: str, parse: Callable[[str], object]) -> Mapping[str, Any]:
    """Of a field: the variable it is read from, and how. `repr=False` marks a secret."""
    return {"variable": name, "parse": parse}


@dataclass(frozen=True, slots=True, kw_only=True)
class EspConfig:
    """Limits and rank of one ESP; `None` means that we set no limit of our own.

    A subclass adds what is particular to its ESP.
    """

    adapter: ClassVar[str]
    """Who talks to it. Only the name: SDKs are heavy (boto3 takes 0.4 s to import)."""
    webhooks: ClassVar[str] = ""
    """Who reads its webhooks, a `services.events.WebhookReader`; "" when nobody can."""
    suppressions: ClassVar[str] = ""
    """Who reads and fills its own list of addresses that it would not deliver to, a
    `services.suppression_lists.SuppressionList`; "" when nobody can."""
    domain_records: ClassVar[str] = ""
    """Who asks its account for the DNS records that a domain needs, a
    `services.domain_records.DomainRecords`; "" when nobody can."""
    webhook_setup: ClassVar[str] = ""
    """What to do in its console and here so that it tells us of events; `{url}` is where to."""
    key: ClassVar[str]
    """The variable without which the ESP is not used."""
    largest_batch: ClassVar[int]
    """Recipients that one call may carry."""
    day_rolls: ClassVar[bool] = False
    """Its daily limit counts the last 24 hours, not the UTC day."""
    no_track: ClassVar[str] = ""
    """The attribute with which its click tracking leaves a link alone."""
    sandbox: ClassVar[Mapping[str, str]] = {"api_key": "sandbox"}
    """What stands in for key and account at the simulator."""

    name: EspName
    priority: int
    batch_size: int
    concurrency: int
    per_second: float | None = None
    daily_limit: int | None = None
    monthly_limit: int | None = None
    base_url: str | None = None

    @classmethod
    def read_limits(cls, reader: Reader, name: EspName, rank: int) -> "EspConfig":
        """What can be said of every ESP; `rank` is its priority if nobody says another."""
        read, limit = reader.read, values.whole_number(1, 1_000_000_000)
        most = cls.largest_batch
        return EspConfig(
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

    @classmethod
    def read(cls, reader: Reader, limits: "EspConfig", *, live: bool) -> Self | None:
        """The settings of this ESP; `None` when it has no key."""
        found: dict[str, Any] = {}
        for one in fields(cls):
            if one.metadata:
                default = "" if one.default is MISSING else one.default
                found[one.name] = reader.read(
                    one.metadata["variable"], one.metadata["parse"], default, secret=not one.repr
                )
        cls.check(reader, live=live)
        return cls(**{**asdict(limits), **found}) if reader.text(cls.key) else None

    @classmethod
    def check(cls, reader: Reader, *, live: bool) -> None:
        """Note what is wrong with several settings together; each by itself was read before."""

    @classmethod
    def at_simulator(cls, limits: "EspConfig", base_url: str) -> Self:
        """This ESP with our limits, at that address, and no real key."""
        return cls(**{**asdict(limits), **cls.sandbox, "base_url": base_url})


@dataclass(frozen=True, slots=True, kw_only=True)
class SendGridConfig(EspConfig):
    adapter = "services.sendgrid.SendGridAdapter"
    webhooks = "services.sendgrid_webhooks.SendGridWebhooks"
    suppressions = "services.sendgrid_suppressions.SendGridSuppressions"
    domain_records = "services.sendgrid_domains.SendGridDomains"
    # https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
    webhook_setup = (
        "Settings > Mail Settings > Event Webhooks: a webhook to {url} with all deliverability "
        "and engagement events and Signed Event Webhook on; its verification key into "
        "SENDGRID_WEBHOOK_PUBLIC_KEY; restart; enable it; Test Your Integration must answer 200."
    )
    key = "SENDGRID_API_KEY"
    largest_batch = 1000
    no_track = 'clicktracking="off"'

    api_key: str = field(repr=False, metadata=variable("SENDGRID_API_KEY", values.credential))
    base_url: str = field(
        default="https://api.sendgrid.com",
        metadata=variable("SENDGRID_BASE_URL", values.base_url),
    )
    webhook_public_keys: tuple[str, ...] = field(
        default=(),
        repr=False,
        metadata=variable("SENDGRID_WEBHOOK_PUBLIC_KEY", values.several(values.webhook_public_key)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SesConfig(EspConfig):
    adapter = "services.amazon_ses.SesAdapter"
    webhooks = "services.amazon_ses_webhooks.SesWebhooks"
    suppressions = "services.amazon_ses_suppressions.SesSuppressions"
    domain_records = "services.amazon_ses_domains.SesDomains"
    # https://docs.aws.amazon.com/ses/latest/dg/monitor-sending-using-event-publishing-setup.html
    webhook_setup = (
        "An SNS topic whose ARN is in SES_SNS_TOPIC_ARNS; in the configuration set named in "
        "SES_CONFIGURATION_SET an event destination to that topic; restart; then an HTTPS "
        "subscription of the topic to {url}, raw message delivery off. It is confirmed by itself."
    )
    key = "AWS_ACCESS_KEY_ID"
    largest_batch = 50
    day_rolls = True
    no_track = "ses:no-track"
    sandbox: ClassVar[Mapping[str, str]] = {
        "access_key_id": "sandbox",
        "secret_access_key": "sandbox",
        "region": "us-east-1",
    }

    access_key_id: str = field(
        repr=False, metadata=variable("AWS_ACCESS_KEY_ID", values.credential)
    )
    secret_access_key: str = field(
        repr=False, metadata=variable("AWS_SECRET_ACCESS_KEY", values.credential)
    )
    region: str = field(metadata=variable("AWS_REGION", values.aws_region))
    base_url: str | None = field(
        default=None, metadata=variable("AWS_ENDPOINT_URL_SESV2", values.base_url)
    )
    """`None`: Amazon's own address of the region."""
    configuration_set: str | None = field(
        default=None, metadata=variable("SES_CONFIGURATION_SET", values.esp_label)
    )
    sns_topic_arns: tuple[str, ...] = field(
        default=(), metadata=variable("SES_SNS_TOPIC_ARNS", values.several(values.topic_arn))
    )
    sns_cert_dir: Path | None = field(
        default=None,
        metadata=variable("SNS_CERT_DIR", values.existing(ROOT, Path.is_dir, "a directory")),
    )

    @classmethod
    def check(cls, reader: Reader, *, live: bool) -> None:
        # In live mode only: many a developer's shell exports some of them, and the sandbox
        # uses none.
        if live:
            reader.require_both("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
            if reader.text("AWS_ACCESS_KEY_ID"):
                reader.require("AWS_REGION", "must be set with AWS keys, like eu-west-1")


@dataclass(frozen=True, slots=True, kw_only=True)
class PostmarkConfig(EspConfig):
    adapter = "services.postmark.PostmarkAdapter"
    webhooks = "services.postmark_webhooks.PostmarkWebhooks"
    suppressions = "services.postmark_suppressions.PostmarkSuppressions"
    domain_records = "services.postmark_domains.PostmarkDomains"
    # https://postmarkapp.com/developer/webhooks/webhooks-overview
    webhook_setup = (
        "A user and a long password into POSTMARK_WEBHOOK_USER and POSTMARK_WEBHOOK_PASSWORD; "
        "restart; then, for each of both message streams, a webhook to {url} with that pair as "
        "basic auth and delivery, bounce, spam complaint, subscription change, open and click."
    )
    key = "POSTMARK_API_KEY"
    largest_batch = 500
    no_track = "data-pm-no-track"
    sandbox: ClassVar[Mapping[str, str]] = {"api_key": "sandbox", "account_token": "sandbox"}

    api_key: str = field(repr=False, metadata=variable("POSTMARK_API_KEY", values.credential))
    account_token: str | None = field(
        default=None,
        repr=False,
        metadata=variable("POSTMARK_ACCOUNT_TOKEN", values.credential),
    )
    base_url: str = field(
        default="https://api.postmarkapp.com",
        metadata=variable("POSTMARK_BASE_URL", values.base_url),
    )
    message_stream: str = field(
        default="broadcast", metadata=variable("POSTMARK_MESSAGE_STREAM", values.esp_label)
    )
    transactional_stream: str = field(
        default="outbound", metadata=variable("POSTMARK_TRANSACTIONAL_STREAM", values.esp_label)
    )
    """For confirmations; every server begins with this one."""
    webhook_user: str | None = field(
        default=None,
        repr=False,
        metadata=variable("POSTMARK_WEBHOOK_USER", values.basic_auth_user),
    )
    webhook_password: str | None = field(
        default=None,
        repr=False,
        metadata=variable("POSTMARK_WEBHOOK_PASSWORD", values.credential),
    )

    @classmethod
    def check(cls, reader: Reader, *, live: bool) -> None:
        reader.require_both("POSTMARK_WEBHOOK_USER", "POSTMARK_WEBHOOK_PASSWORD")


ESPS: dict[EspName, type[EspConfig]] = {
    EspName.SENDGRID: SendGridConfig,
    EspName.SES: SesConfig,
    EspName.POSTMARK: PostmarkConfig,
}
"""In the order of the default priorities."""
