"""SendGrid's suppression lists, as its API tells and takes them.

https://www.twilio.com/docs/sendgrid/api-reference/bounces-api/retrieve-all-bounces
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from services.simulator.dialect import parse_json
from services.simulator.fates import is_address
from services.simulator.http1 import Request, Response, json_response
from services.simulator.modes import Scope
from services.simulator.sendgrid_checks import bad, error
from services.simulator.shape import JsonObject, as_list, as_object, as_text
from services.simulator.suppression_lists import Cause, Listed, SuppressionLists

GLOBAL_PATH = "/v3/asm/suppressions/global"
UNSUBSCRIBES = "/v3/suppression/unsubscribes"
MAX_PAGE = 500

CAUSES: dict[str, tuple[Cause, ...]] = {
    "/v3/suppression/bounces": (Cause.BOUNCE,),
    "/v3/suppression/invalid_emails": (Cause.INACTIVE,),
    "/v3/suppression/spam_reports": (Cause.COMPLAINT,),
    UNSUBSCRIBES: (Cause.UNSUBSCRIBE, Cause.PUSHED),
}
ROUTES: Mapping[tuple[str, str], Scope] = {
    **{("GET", path): Scope.LOOKUP for path in CAUSES},
    ("POST", GLOBAL_PATH): Scope.LOOKUP,
    **{
        (method, f"{path}/"): Scope.LOOKUP
        for method in ("GET", "DELETE")
        for path in (*(path for path in CAUSES if path != UNSUBSCRIBES), GLOBAL_PATH)
    },
}


def answer(request: Request, lists: SuppressionLists, now: datetime) -> Response | None:
    """`None` for what is no call about suppressions."""
    if (request.method, request.path) == ("POST", GLOBAL_PATH):
        return _add(request, lists, now)
    if request.path not in CAUSES:
        return _about_one(request, lists)
    query = request.query
    since = datetime.fromtimestamp(_number(query, "start_time", 0), UTC)
    limit, offset = min(_number(query, "limit", MAX_PAGE), MAX_PAGE), _number(query, "offset", 0)
    found = lists.of("", since, *CAUSES[request.path])[::-1]  # the newest first
    page = found[offset : offset + limit]
    return json_response(200, [_entry(request.path, listed) for listed in page])


def _about_one(request: Request, lists: SuppressionLists) -> Response | None:
    parent, _, address = request.path.rpartition("/")
    if (request.method, f"{parent}/") not in ROUTES:
        return None
    listed = lists.entry("", address)
    causes = CAUSES[UNSUBSCRIBES if parent == GLOBAL_PATH else parent]
    is_there = listed is not None and listed.cause in causes
    if request.method == "DELETE":
        if not is_there:
            return error(404, "not found")
        lists.take_off("", address)
        return Response(status=204)
    if parent == GLOBAL_PATH:
        return json_response(200, {"recipient_email": address} if is_there else {})
    return json_response(200, [_entry(parent, listed)] if listed and is_there else [])


def _add(request: Request, lists: SuppressionLists, now: datetime) -> Response:
    payload = as_object(parse_json(request.body))
    addresses = [as_text(one) for one in as_list(payload.get("recipient_emails"))]
    if not addresses or not all(map(is_address, addresses)):
        return error(400, "recipient_emails holds an invalid email address", "recipient_emails")
    for address in addresses:
        lists.add("", Listed(address=address, cause=Cause.PUSHED, at=now))
    return json_response(201, {"recipient_emails": addresses})


def _entry(path: str, listed: Listed) -> JsonObject:
    entry: dict[str, Any] = {"created": int(listed.at.timestamp()), "email": listed.address}
    if path.endswith("bounces"):
        reason = f"550 5.1.1 The email account {listed.address} does not exist"
        return {**entry, "reason": reason, "status": "5.1.1"}
    if path.endswith("invalid_emails"):
        return {**entry, "reason": "Mail domain mentioned in email address is unknown"}
    return {**entry, "ip": "198.51.100.7"} if path.endswith("spam_reports") else entry


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal() or len(text) > 10:
        raise bad(f"{name} must be a number", name)
    return int(text)
