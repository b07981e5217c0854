"""The adapter of each ESP; a module is imported when its ESP is configured.

Which class it is, `config.esp_config` says: by name, since the SDKs are heavy.
"""

from collections.abc import Callable
from importlib import import_module

from config.esp_config import ESPS, EspConfig, EspName
from services.base import EspAdapter


def adapter_class(esp: EspName) -> Callable[..., EspAdapter]:
    """Takes the configuration of that ESP; its constructor may take more."""
    module, _, name = ESPS[esp].adapter.rpartition(".")
    found: Callable[..., EspAdapter] = getattr(import_module(module), name)
    return found


def build_adapter(config: EspConfig) -> EspAdapter:
    """The adapter of the ESP that `config` is for."""
    return adapter_class(config.name)(config)
