"""Which class speaks to which ESP; a module is imported when its ESP is configured.

The SDKs are heavy (boto3 takes 0.4 s to import), hence names and not classes.
"""

from importlib import import_module

from config.esp_config import EspConfig, EspName
from services.base import EspAdapter

ADAPTERS: dict[EspName, tuple[str, str]] = {
    EspName.SENDGRID: ("services.sendgrid", "SendGridAdapter"),
    EspName.SES: ("services.amazon_ses", "SesAdapter"),
    EspName.POSTMARK: ("services.postmark", "PostmarkAdapter"),
}


def build_adapter(config: EspConfig) -> EspAdapter:
    """The adapter of the ESP that `config` is for."""
    module, name = ADAPTERS[config.name]
    adapter = getattr(import_module(module), name)(config)
    assert isinstance(adapter, EspAdapter)
    return adapter
