"""SendGrid's authenticated domains and branded links.

https://www.twilio.com/docs/sendgrid/api-reference/domain-authentication/list-all-authenticated-domains
https://www.twilio.com/docs/sendgrid/api-reference/link-branding/retrieve-all-branded-links
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from python_http_client.exceptions import HTTPError

from config.domain_setup import EspRecords, Record
from config.esp_config import EspName, SendGridConfig
from services.base import OutcomeUnknown
from services.domain_records import DomainRecords, present, told_record
from services.sendgrid import call_error, parsed, sdk_over

MX_PREFERENCE = "10"
"""SendGrid's panel shows it, its API does not tell it."""


class SendGridDomains(DomainRecords):
    name = EspName.SENDGRID

    def __init__(
        self,
        config: SendGridConfig,
        *,
        clock: Callable[[], float] = time.time,
        **timeouts: float,
    ) -> None:
        super().__init__((config.api_key,), **timeouts)
        self._calls = sdk_over(self._transport, config).client.whitelabel
        self._clock = clock

    def records_of(self, domain: str) -> EspRecords | None:
        found = self._best("domains", domain, {"domain": domain})
        if found is None:
            return None
        links = self._best("links", domain, {})
        records = _records(domain, found)
        # Manual security names an SPF of the domain itself too, which no return path has.
        mail = [one for one in records if "._domainkey" not in one.host and one.host != "@"]
        return EspRecords(
            dkim=tuple(one for one in records if "._domainkey" in one.host),
            return_path=tuple(one for one in mail if one.host == mail[0].host),
            tracking=_records(domain, links) if links else (),
        )

    def _best(self, kind: str, domain: str, query: Mapping[str, str]) -> dict[str, Any] | None:
        """Of the entries for this very domain the one that SendGrid uses."""
        try:
            answer = parsed(self._calls._(kind).get(query_params=query).body)
        except HTTPError as error:
            raise call_error(error, self._clock()) from error
        if not isinstance(answer, list) or not all(isinstance(one, dict) for one in answer):
            raise OutcomeUnknown(f"200: no list of {kind}", http_status=200)
        entries = [one for one in answer if str(one.get("domain")).lower() == domain]
        ranks = [(one.get("valid") is True, one.get("default") is True) for one in entries]
        return entries[ranks.index(max(ranks))] if entries else None


def _records(domain: str, entry: Mapping[str, Any]) -> tuple[Record, ...]:
    """Of its `dns`, whose names differ: those of automatic and of manual security."""
    dns = entry.get("dns")
    if not isinstance(dns, dict):
        raise OutcomeUnknown("200: a domain without dns", http_status=200)
    return present(_record(domain, one) for one in dns.values() if isinstance(one, dict))


def _record(domain: str, told: Mapping[str, Any]) -> Record | None:
    """`{"valid", "type", "host", "data"}`."""
    kind, data = told.get("type"), told.get("data")
    if str(kind).lower() == "mx" and " " not in str(data).strip():
        data = f"{MX_PREFERENCE} {data}"
    return told_record(domain, told.get("host"), kind, data)
