"""The parts of each ESP (adapter, webhooks, suppression list, domains); imported when it is configured.

Which class it is, `config.esp_config` says: by name, since the SDKs are heavy.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from config.esp_config import ESPS, EspConfig, EspName, SesConfig
from services.base import EspAdapter
from services.domain_records import DomainRecords
from services.events import WebhookReader
from services.suppression_lists import SuppressionList


def adapter_class(esp: EspName) -> Callable[..., EspAdapter]:
    """Takes the configuration of that ESP; its constructor may take more."""
    found: Callable[..., EspAdapter] = _named(ESPS[esp].adapter)
    return found


def build_adapter(config: EspConfig) -> EspAdapter:
    """The adapter of the ESP that `config` is for."""
    return adapter_class(config.name)(config)


def build_webhook_reader(config: EspConfig) -> WebhookReader:
    """The reader of the webhooks of the ESP that `config` is for."""
    reader: WebhookReader = _named(ESPS[config.name].webhooks)(config)
    return reader


def build_suppression_list(config: EspConfig) -> SuppressionList:
    """The own list of the ESP that `config` is for, which must have `suppressions`."""
    built: SuppressionList = _named(config.suppressions)(config)
    return built


def build_domain_records(config: EspConfig) -> DomainRecords:
    """The domains of the account that `config` is for, which must have `domain_records`."""
    built: DomainRecords = _named(config.domain_records)(config)
    return built


def confirm_subscription(config: SesConfig, topic_arn: str, token: str) -> str:
    """What `services.amazon_ses_subscribing` says of it; AWS's SDK is imported only now."""
    confirm: Callable[..., str] = _named("services.amazon_ses_subscribing.confirm_subscription")
    return confirm(config, topic_arn, token)


def _named(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
