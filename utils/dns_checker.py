"""`DNSChecker`: what is wrong with the DNS of a sending domain, and what to publish.

python3 -c "from utils.dns_checker import DNSChecker; print(DNSChecker().run_full_dns_check())"
python3 -c "from utils.dns_checker import DNSChecker; print(DNSChecker().generate_dns_setup_instructions())"
"""

from utils.environment import ensure_environment

ensure_environment()

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

from config.domain_setup import DomainSetup
from config.esp_config import EspName, SesConfig
from config.settings import Settings, load_settings
from utils.dns.findings import Finding, status_of
from utils.dns.full_check import full_check
from utils.dns.instructions import as_text, as_zone
from utils.dns.lookup import Lookups
from utils.dns.publishing import Advice, advice
from utils.dns.subject import Subject

T = TypeVar("T")


class DNSChecker:
    """Looks at one domain, anew with each call; nothing is remembered, nothing is sent.

    Without arguments at `SENDING_DOMAIN`, as the environment and `config/domain_setup.json`
    describe it. A call takes at most 10 s; what did not answer by then is unknown.
    """

    def __init__(
        self,
        domain: str | None = None,
        *,
        settings: Settings | None = None,
        setup: DomainSetup | None = None,
    ) -> None:
        """`setup` replaces what the file says of the domain. Raises a `SettingsError`."""
        settings = settings or load_settings()
        domain = (domain or settings.sending_domain).lower().rstrip(".")
        setup = setup or settings.domain_setups.get(domain) or DomainSetup(domain=domain)
        ses = settings.esps.get(EspName.SES)
        known = settings.esps.keys() | setup.esps.keys()
        self.subject = Subject(
            domain=domain,
            setup=setup,
            esps=tuple(esp for esp in EspName if esp in known),
            ses_region=ses.region if isinstance(ses, SesConfig) else None,
            own_ips=settings.sending_ips,
        )
        self._nameservers = settings.dns_nameservers
        self._blocklist_nameservers = settings.dns_blocklist_nameservers

    def findings(self) -> list[Finding]:
        """One finding for each check, those that pass too."""
        return _run(full_check(self.subject, self._nameservers, self._blocklist_nameservers))

    def run_full_dns_check(self) -> dict[str, Any]:
        """The same as `GET /dns-check` gives it."""
        findings = self.findings()
        return {
            "domain": self.subject.domain,
            "status": status_of(findings).value,
            "checks": [finding.as_dict() for finding in findings],
            "checked_at": datetime.now(UTC).isoformat(),
        }

    def records(self) -> list[Advice]:
        """What to publish, and whether it is there. Where no ESP is known: for all of them."""
        subject = self.subject
        if not subject.esps:
            subject = Subject(domain=subject.domain, setup=subject.setup, esps=tuple(EspName))
        return _run(self._advice(subject))

    def generate_dns_setup_instructions(self) -> str:
        """The same for a person."""
        return as_text(self.subject.domain, self.records())

    def generate_zone_fragment(self) -> str:
        """The same for a zone file."""
        return as_zone(self.subject.domain, self.records())

    async def _advice(self, subject: Subject) -> list[Advice]:
        return await advice(Lookups(self._nameservers), subject)


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)
