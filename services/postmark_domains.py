"""The domains of a Postmark account. They need the token of the account, not that of a server.

https://postmarkapp.com/developer/api/domains-api
"""

from typing import Any

from config.domain_setup import EspRecords
from config.esp_config import EspName, PostmarkConfig
from services.base import OutcomeUnknown
from services.domain_records import DomainRecords, present, told_record
from services.postmark import call_postmark
from services.postmark_client import Client

PAGE = 500
"""The most that one call gives (documented)."""
NO_TOKEN = "Postmark tells of domains only with the account's token: set POSTMARK_ACCOUNT_TOKEN"


class PostmarkDomains(DomainRecords):
    name = EspName.POSTMARK

    def __init__(self, config: PostmarkConfig, **timeouts: float) -> None:
        secrets = (config.api_key, config.account_token)
        super().__init__(tuple(filter(None, secrets)), **timeouts)
        self._client = Client(config, self._transport)
        self.cannot = None if config.account_token else NO_TOKEN

    def records_of(self, domain: str) -> EspRecords | None:
        if self.cannot:
            return None
        number = self._number_of(domain)
        return None if number is None else _records(domain, self._call(f"domains/{number}"))

    def _number_of(self, domain: str) -> int | None:
        before: list[Any] = []
        for offset in range(0, 2**31, PAGE):
            page = self._call("domains", count=str(PAGE), offset=str(offset)).get("Domains")
            if not isinstance(page, list) or not all(isinstance(one, dict) for one in page):
                raise OutcomeUnknown("200: no list of domains", http_status=200)
            for one in page:
                if str(one.get("Name")).lower() == domain and isinstance(one.get("ID"), int):
                    return int(one["ID"])
            if len(page) < PAGE:
                break
            if page == before:
                raise OutcomeUnknown("200: the same page twice", http_status=200)
            before = page
        return None

    def _call(self, path: str, **query: str) -> dict[str, Any]:
        return call_postmark(self._client, "GET", path, token_type="account", **query)


def _records(domain: str, told: dict[str, Any]) -> EspRecords:
    if str(told.get("Name")).lower() != domain:
        raise OutcomeUnknown("200: not that domain", http_status=200)
    return EspRecords(
        # A new key is pending until Postmark has seen it; until then it signs with the other.
        dkim=present(
            told_record(domain, told.get(f"{state}Host"), "TXT", told.get(f"{state}TextValue"))
            for state in ("DKIMPending", "DKIM")
            if told.get(f"{state}Host")
        ),
        return_path=present(
            [
                told_record(
                    domain,
                    told.get("ReturnPathDomain"),
                    "CNAME",
                    told.get("ReturnPathDomainCNAMEValue"),
                )
            ]
        ),
    )
