"""The suppressions of Postmark's streams, as its API tells and takes them.

https://postmarkapp.com/developer/api/suppressions-api
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta, timezone

from services.simulator.dialect import Refused, parse_json
from services.simulator.fates import is_address
from services.simulator.http1 import Request, Response, json_response
from services.simulator.modes import Scope
from services.simulator.postmark_checks import STREAMS
from services.simulator.shape import JsonObject, WrongShape, as_list, as_object, as_text
from services.simulator.suppression_lists import Cause, Listed, SuppressionLists

DELETE = "/delete"
MAX_PUSH = 50
HERE = timezone(timedelta(hours=-5))
"""Postmark's days and times are those of its east coast."""

WORDS: dict[Cause, tuple[str, str]] = {
    Cause.BOUNCE: ("HardBounce", "Recipient"),
    Cause.COMPLAINT: ("SpamComplaint", "Recipient"),
    Cause.UNSUBSCRIBE: ("ManualSuppression", "Recipient"),
    Cause.INACTIVE: ("ManualSuppression", "Customer"),
    Cause.PUSHED: ("ManualSuppression", "Customer"),
}
"""SuppressionReason and Origin."""

ROUTES: Mapping[tuple[str, str], Scope] = {
    (method, f"/message-streams/{stream}/suppressions{end}"): Scope.LOOKUP
    for stream in STREAMS
    for method, end in (("GET", "/dump"), ("POST", ""), ("POST", DELETE))
}


def answer(request: Request, lists: SuppressionLists, now: datetime) -> Response | None:
    """`None` for what is no call about suppressions."""
    if (request.method, request.path) not in ROUTES:
        return None
    stream = request.path.split("/")[2]
    if request.path.endswith(DELETE):
        return _delete(request, stream, lists)
    if request.method == "POST":
        return _add(request, stream, lists, now)
    first, last = _day(request.query, "fromdate"), _day(request.query, "todate")
    found = [
        _entry(listed)
        for listed in lists.of(stream, None)
        if (first or date.min) <= listed.at.astimezone(HERE).date() <= (last or date.max)
    ]
    return json_response(200, {"Suppressions": found})


def _add(request: Request, stream: str, lists: SuppressionLists, now: datetime) -> Response:
    addresses = _addresses(request)
    for address in filter(is_address, addresses):
        lists.add(stream, Listed(address=address, cause=Cause.PUSHED, at=now))
    return json_response(
        200, {"Suppressions": [_result(address, "Suppressed") for address in addresses]}
    )


def _delete(request: Request, stream: str, lists: SuppressionLists) -> Response:
    results = []
    for address in _addresses(request):
        listed = lists.entry(stream, address)
        if listed is not None and listed.cause is Cause.COMPLAINT:
            results.append(_failed(address, "You do not have the required authority to change it."))
            continue
        lists.take_off(stream, address)
        results.append(_result(address, "Deleted"))
    return json_response(200, {"Suppressions": results})


def _addresses(request: Request) -> list[str]:
    """Raises `Refused` for more than one call may carry."""
    items = as_list(as_object(parse_json(request.body)).get("Suppressions"))
    if len(items) > MAX_PUSH:
        text = "You've exceeded the maximum number of suppressions for a single request."
        raise Refused(json_response(422, {"ErrorCode": 1405, "Message": text}))
    return [as_text(as_object(item).get("EmailAddress")) for item in items]


def _result(address: str, status: str) -> JsonObject:
    if is_address(address):
        return {"EmailAddress": address, "Status": status, "Message": None}
    return _failed(address, "An invalid email address was provided.")


def _failed(address: str, text: str) -> JsonObject:
    return {"EmailAddress": address, "Status": "Failed", "Message": text}


def _entry(listed: Listed) -> JsonObject:
    word, origin = WORDS[listed.cause]
    return {
        "EmailAddress": listed.address,
        "SuppressionReason": word,
        "Origin": origin,
        "CreatedAt": listed.at.astimezone(HERE).isoformat(timespec="seconds"),
    }


def _day(query: Mapping[str, str], name: str) -> date | None:
    try:
        return date.fromisoformat(query[name]) if name in query else None
    except ValueError as error:
        raise WrongShape(f"{name} is no date") from error
