"""The domains of a Postmark account, as its API tells them to who has the account's token.

https://postmarkapp.com/developer/api/domains-api
"""

from collections.abc import Mapping, Sequence

from services.simulator.http1 import Request, Response, json_response
from services.simulator.modes import Scope
from services.simulator.shape import JsonObject

PATH = "/domains"
FIRST_ID = 36735
ROUTES: Mapping[tuple[str, str], Scope] = {
    ("GET", PATH): Scope.LOOKUP,
    ("GET", f"{PATH}/"): Scope.LOOKUP,
}
KEY = (
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCtz4BcBtFKIPsCwwmPghU+ZT7qV20izKa7NK8o"
    "2Al+cqJx1/Y+8WUZn48DgDtUPQLvh7aXK8BKsj595Dq3LWSuBJxp0ANnjWQOlyOqE21Ayl12Zlb+"
    "/Y/f2oLo+p8+XFBAlqfpa1bAC+NPLwVwxqjOd4nn4Gn4J8VamsRbY8eSlQIDAQAB"
)
"""Of 1,024 bits; nobody has its other half."""


def is_about_domains(request: Request) -> bool:
    return f"{request.path}/".startswith(f"{PATH}/")


def answer(request: Request, known: Sequence[str]) -> Response | None:
    """`None` for what is no call about domains."""
    if not is_about_domains(request):
        return None
    domains = [_domain(number, name) for number, name in enumerate(known, FIRST_ID)]
    if request.path == PATH:
        count, offset = (request.query.get(name, "") for name in ("count", "offset"))
        if not (count.isdecimal() and offset.isdecimal()):
            text = "The 'count' and 'offset' parameters are required."
            return json_response(422, {"ErrorCode": 600, "Message": text})
        page = domains[int(offset) : int(offset) + int(count)]
        return json_response(
            200, {"TotalCount": len(domains), "Domains": [_short(one) for one in page]}
        )
    wanted = request.path.rpartition("/")[2]
    found = [one for one in domains if str(one["ID"]) == wanted]
    if not found:
        return json_response(422, {"ErrorCode": 510, "Message": "This domain was not found."})
    return json_response(200, found[0])


def _short(domain: JsonObject) -> JsonObject:
    names = ("Name", "SPFVerified", "DKIMVerified", "WeakDKIM", "ReturnPathDomainVerified", "ID")
    return {name: domain[name] for name in names}


def _domain(number: int, name: str) -> JsonObject:
    return {
        "Name": name,
        "ID": number,
        "SPFVerified": True,
        "SPFHost": name,
        "SPFTextValue": "v=spf1 a mx include:spf.mtasv.net ~all",
        "DKIMVerified": True,
        "WeakDKIM": False,
        "DKIMHost": f"20260101000000pm._domainkey.{name}",
        "DKIMTextValue": f"k=rsa;p={KEY}",
        "DKIMPendingHost": "",
        "DKIMPendingTextValue": "",
        "DKIMRevokedHost": "",
        "DKIMRevokedTextValue": "",
        "SafeToRemoveRevokedKeyFromDNS": False,
        "DKIMUpdateStatus": "Verified",
        "ReturnPathDomain": f"pm-bounces.{name}",
        "ReturnPathDomainVerified": True,
        "ReturnPathDomainCNAMEValue": "pm.mtasv.net",
    }
