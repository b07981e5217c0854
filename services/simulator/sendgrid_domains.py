"""SendGrid's authenticated domains and branded links, as its API tells them.

https://www.twilio.com/docs/sendgrid/api-reference/domain-authentication/list-all-authenticated-domains
"""

from collections.abc import Mapping, Sequence

from services.simulator.http1 import Request, Response, json_response
from services.simulator.modes import Scope
from services.simulator.shape import JsonObject

DOMAINS, LINKS = "/v3/whitelabel/domains", "/v3/whitelabel/links"
ROUTES: Mapping[tuple[str, str], Scope] = {
    ("GET", DOMAINS): Scope.LOOKUP,
    ("GET", LINKS): Scope.LOOKUP,
}


def answer(request: Request, known: Sequence[str]) -> Response | None:
    """`None` for what is no call about domains."""
    if request.path not in (DOMAINS, LINKS):
        return None
    wanted = request.query.get("domain", "")
    entry = _link if request.path == LINKS else _domain
    found = [entry(number, name) for number, name in enumerate(known, 1) if wanted in name]
    return json_response(200, found)


def _domain(number: int, name: str) -> JsonObject:
    dns = {
        "mail_cname": _cname(f"em1234.{name}", "u7.wl001.sendgrid.net"),
        "dkim1": _cname(f"s1._domainkey.{name}", "s1.domainkey.u7.wl001.sendgrid.net"),
        "dkim2": _cname(f"s2._domainkey.{name}", "s2.domainkey.u7.wl001.sendgrid.net"),
    }
    security = {"ips": [], "custom_spf": False, "automatic_security": True}
    return {**_entry(number, name, "em1234"), **security, "dns": dns}


def _link(number: int, name: str) -> JsonObject:
    dns = {
        "domain_cname": _cname(f"url1234.{name}", "sendgrid.net"),
        "owner_cname": _cname(f"7.{name}", "sendgrid.net"),
    }
    return {**_entry(number, name, "url1234"), "dns": dns}


def _entry(number: int, name: str, subdomain: str) -> JsonObject:
    return {
        "id": number,
        "user_id": 7,
        "subdomain": subdomain,
        "domain": name,
        "username": "simulated",
        "default": number == 1,
        "legacy": False,
        "valid": True,
    }


def _cname(host: str, data: str) -> JsonObject:
    return {"valid": True, "type": "cname", "host": host, "data": data}
