"""What is checked: a domain, what ought to be there, and who sends for it."""

from dataclasses import dataclass

from config.domain_setup import DomainSetup, EspRecords
from config.esp_config import EspName


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A domain that mails come from (the part after the @ of their From)."""

    domain: str
    setup: DomainSetup
    """What ought to be published, as far as it is known."""
    esps: tuple[EspName, ...] = ()
    """Who is checked: whoever is configured or has records in the set-up, in that order."""
    ses_region: str | None = None
    """Where SES is used; its return path names the region."""
    own_ips: tuple[str, ...] = ()
    """Addresses that send for this domain alone: their PTR is ours to set."""

    def records(self, esp: EspName) -> EspRecords:
        return self.setup.esps.get(esp, EspRecords())
