"""The DNS of a sending domain: what is wrong with it, and what to publish."""

from collections.abc import Mapping
from typing import Any, Literal

from flask import Response, request
from flask_openapi.blueprint import APIBlueprint
from pydantic import Field, field_validator

from api.schemas import Answer, Query
from api.system import the_system
from config import values
from config.esp_config import EspName
from services import dns_watch
from services.dns_results import latest
from utils.dns.instructions import as_text, as_zone

api = APIBlueprint("dns", __name__)

_TEXT, _ZONE, _JSON = "text/plain", "text/dns", "application/json"


class DomainQuery(Query):
    domain: str | None = Field(
        default=None, max_length=253, description="Any domain; SENDING_DOMAIN when left out"
    )

    @field_validator("domain")
    @classmethod
    def _is_domain(cls, given: str | None) -> str | None:
        return None if given is None else values.domain(given)


class DnsCheckQuery(DomainQuery):
    refresh: Literal["0", "1"] = Field(
        default="0", description="1: ask DNS now, which takes up to 10 seconds"
    )


class CheckAnswer(Answer):
    """One finding; those that pass are told too."""

    id: str = Field(description="Never changes: spf.lookups, dkim.revoked, …")
    status: Literal["pass", "info", "warn", "fail", "unknown"]
    esp: EspName | None = Field(description="Whose mail it is about; null: everybody's")
    host: str
    found: str
    expected: str
    remedy: str = Field(description="What to do; empty when there is nothing to be done")
    reference: str
    blocks: bool | None = Field(
        default=None,
        description="true: mail by this ESP would fail authentication, so that with "
        "DNS_GATE=block it gets none of this domain's",
    )


class DnsCheckAnswer(Answer):
    domain: str
    status: Literal["pass", "warn", "fail", "unknown"]
    checks: list[CheckAnswer]
    checked_at: str


class RecordAnswer(Answer):
    esp: EspName | None
    purpose: Literal["dkim", "return_path", "tracking", "spf", "dmarc", "mx"]
    host: str = Field(description="Relative to the domain; @ is the domain itself")
    fqdn: str
    type: str
    value: str | None = Field(description="null: only the ESP's panel shows it")
    ttl: int
    why: str
    verify: str
    status: Literal["pass", "info", "fail", "unknown"] = Field(
        description="pass: published like this; info: something is, and nobody told us what ought to be"
    )


class DnsInstructionsAnswer(Answer):
    domain: str
    records: list[RecordAnswer]


@api.get("/dns-check", responses={200: DnsCheckAnswer})
def dns_check(query: DnsCheckQuery) -> dict[str, Any]:
    """Every check of a domain: the last result that is kept, or a new one.

    Asked for the first time, or with `refresh=1`, it asks DNS and keeps what it said.
    """
    system = the_system()
    domain = query.domain or system.settings.sending_domain
    with system.database.read() as session:
        kept = latest(session, domain)
    if kept is None or query.refresh == "1":
        kept, _ = dns_watch.check(system, domain, asked_by=dns_watch.BY_PERSON)
    return dns_watch.told(kept)


@api.get(
    "/dns-instructions",
    responses={
        200: {
            "description": "By Accept: JSON, a text for a person, or a fragment of a zone file",
            "content": {
                _JSON: {"schema": DnsInstructionsAnswer.model_json_schema()},
                _TEXT: {"schema": {"type": "string"}},
                _ZONE: {"schema": {"type": "string"}},
            },
        }
    },
)
def dns_instructions(query: DomainQuery) -> Response | Mapping[str, Any]:
    """What to publish for a domain, why, how to verify it, and whether it is there now.

    `Accept: text/plain` gives a text for a person, `text/dns` a fragment of a zone file.
    """
    system = the_system()
    domain = query.domain or system.settings.sending_domain
    records = dns_watch.checker(system, domain).records()
    kind = request.accept_mimetypes.best_match([_JSON, _TEXT, _ZONE], _JSON)
    if kind == _JSON:
        return {"domain": domain, "records": [record.as_dict() for record in records]}
    written = as_zone if kind == _ZONE else as_text
    return Response(written(domain, records), mimetype=kind)
