"""What DNS ought to say of each sending domain: `config/domain_setup.json`, and its checks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from config.esp_config import EspName


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record that ought to be published."""

    host: str
    """Relative to the domain; "@" is the domain itself."""
    type: str
    """CNAME, TXT, MX, A or AAAA."""
    value: str | None
    """`None`: only the ESP knows it, and shows it in its panel. An MX begins with its preference."""

    def fqdn(self, domain: str) -> str:
        return domain if self.host == "@" else f"{self.host}.{domain}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EspRecords:
    """What one ESP wants to be published for one domain."""

    dkim: tuple[Record, ...] = ()
    return_path: tuple[Record, ...] = ()
    """All of one host."""
    tracking: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainSetup:
    """One sending domain."""

    domain: str
    spf: Record | None = None
    dmarc: Record | None = None
    mx: tuple[Record, ...] = ()
    esps: Mapping[EspName, EspRecords] = field(default_factory=dict)
