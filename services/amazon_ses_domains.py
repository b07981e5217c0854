"""The domains that Amazon SES has as identities.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_GetEmailIdentity.html
https://docs.aws.amazon.com/ses/latest/dg/send-email-authentication-dkim-easy.html
https://docs.aws.amazon.com/ses/latest/dg/mail-from.html
"""

from collections.abc import Mapping
from typing import Any

from config.domain_setup import EspRecords, Record
from config.esp_config import EspName, SesConfig
from services.amazon_ses import call_ses
from services.amazon_ses_client import aws_client
from services.base import EspUnavailable, OutcomeUnknown
from services.domain_records import DomainRecords, present, told_record

ABSENT = "NotFoundException"
HOSTED_ZONE = "dkim.amazonses.com"
"""Where the keys are if SES does not say; in newer regions they are elsewhere, and it says so."""
OWN_KEY = "EXTERNAL"
"""The origin of a key that we made: `Tokens` are selectors then, and only we have its other half."""


class SesDomains(DomainRecords):
    name = EspName.SES

    def __init__(self, config: SesConfig, **timeouts: float) -> None:
        super().__init__((config.access_key_id, config.secret_access_key), **timeouts)
        self._client = aws_client(config, "sesv2", self._transport, endpoint_url=config.base_url)
        self._region = config.region

    def records_of(self, domain: str) -> EspRecords | None:
        try:
            found = call_ses(self._client, "get_email_identity", {"EmailIdentity": domain})
        except EspUnavailable as error:
            if error.reason.startswith(ABSENT):
                return None
            raise
        if found.get("IdentityType") != "DOMAIN":
            # Of a body that is no JSON botocore makes an empty answer.
            raise OutcomeUnknown("200: no domain", http_status=200)
        return EspRecords(
            dkim=_dkim(domain, found.get("DkimAttributes") or {}),
            return_path=_mail_from(domain, found.get("MailFromAttributes") or {}, self._region),
        )


def _dkim(domain: str, told: Mapping[str, Any]) -> tuple[Record, ...]:
    tokens = [str(token) for token in told.get("Tokens") or ()]
    if told.get("SigningAttributesOrigin") == OWN_KEY:
        return present(
            told_record(domain, f"{token}._domainkey.{domain}", "TXT", "") for token in tokens
        )
    zone = told.get("SigningHostedZone") or HOSTED_ZONE
    return present(
        told_record(domain, f"{token}._domainkey.{domain}", "CNAME", f"{token}.{zone}")
        for token in tokens
    )


def _mail_from(domain: str, told: Mapping[str, Any], region: str) -> tuple[Record, ...]:
    """None without a MAIL FROM domain: amazonses.com is the return path then."""
    host = told.get("MailFromDomain") or ""
    feedback = f"10 feedback-smtp.{region}.amazonses.com"
    return present(
        (
            told_record(domain, host, "MX", feedback),
            told_record(domain, host, "TXT", "v=spf1 include:amazonses.com ~all"),
        )
    )
