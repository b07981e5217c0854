"""The account-level suppression list of Amazon SES, as its API tells and takes it.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_ListSuppressedDestinations.html
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from services.simulator.dialect import parse_json
from services.simulator.fates import is_address
from services.simulator.http1 import Request, Response, json_response
from services.simulator.modes import Scope
from services.simulator.ses_errors import bad, exception
from services.simulator.shape import JsonObject, as_object, as_text
from services.simulator.suppression_lists import Cause, Listed, SuppressionLists

PATH = "/v2/email/suppression/addresses"
MAX_PAGE = 400
"""Less than a client may ask for: what counts is NextToken, not the length of a page."""

WORDS: dict[Cause, str] = {
    Cause.BOUNCE: "BOUNCE",
    Cause.INACTIVE: "BOUNCE",
    Cause.COMPLAINT: "COMPLAINT",
}
ROUTES: Mapping[tuple[str, str], Scope] = {
    ("GET", PATH): Scope.LOOKUP,
    ("PUT", PATH): Scope.LOOKUP,
    ("GET", f"{PATH}/"): Scope.LOOKUP,
    ("DELETE", f"{PATH}/"): Scope.LOOKUP,
}


def answer(request: Request, lists: SuppressionLists, now: datetime) -> Response | None:
    """`None` for what is no call about suppressions."""
    if request.path.startswith(f"{PATH}/"):
        return _about_one(request, lists)
    if request.path != PATH:
        return None
    return _put(request, lists, now) if request.method == "PUT" else _list(request, lists)


def _about_one(request: Request, lists: SuppressionLists) -> Response:
    address = request.path.rpartition("/")[2]
    listed = lists.entry("", address)
    if listed is None or (listed.cause not in WORDS and not listed.word):
        return exception("NotFoundException", f"{address} does not exist on your suppression list.")
    if request.method == "DELETE":
        lists.take_off("", address)
        return json_response(200, {})
    return json_response(200, {"SuppressedDestination": _entry(listed)})


def _list(request: Request, lists: SuppressionLists) -> Response:
    query = request.query
    start, size = query.get("NextToken", "0"), query.get("PageSize", str(MAX_PAGE))
    if not start.isdecimal() or len(start) > 10:
        return exception("InvalidNextTokenException")
    if not size.isdecimal() or len(size) > 5:
        raise bad("PageSize must be a number.")
    found = lists.of("", _since(query.get("StartDate")), *WORDS, Cause.PUSHED)
    end = int(start) + min(int(size), MAX_PAGE)
    answer: JsonObject = {
        "SuppressedDestinationSummaries": [_entry(listed) for listed in found[int(start) : end]]
    }
    if end < len(found):
        answer["NextToken"] = str(end)
    return json_response(200, answer)


def _since(text: str | None) -> datetime | None:
    try:
        since = datetime.fromisoformat(text) if text else None
    except ValueError as error:
        raise bad("StartDate must be a time.") from error
    return since if since is None or since.tzinfo else since.replace(tzinfo=UTC)


def _put(request: Request, lists: SuppressionLists, now: datetime) -> Response:
    payload = as_object(parse_json(request.body))
    address, word = as_text(payload.get("EmailAddress")), as_text(payload.get("Reason"))
    if not is_address(address):
        raise bad("Invalid email address.")
    if word not in WORDS.values():
        raise bad("Reason must be BOUNCE or COMPLAINT.")
    lists.add("", Listed(address=address, cause=Cause.PUSHED, at=now, word=word))
    return json_response(200, {})


def _entry(listed: Listed) -> JsonObject:
    return {
        "EmailAddress": listed.address,
        "Reason": listed.word or WORDS[listed.cause],
        "LastUpdateTime": listed.at.timestamp(),
    }
