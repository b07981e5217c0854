"""Every error as RFC 9457 problem+json: one table of kinds, one shape, no stray HTML.

A view raises `Problem(kind, detail)`. Anything else that goes wrong is turned into one
here, with a fixed text where the cause is our own, so that no answer ever carries an
exception, SQL, a path or a secret.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from flask import Flask, Response, g, request
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed
from werkzeug.wrappers import Response as BaseResponse

_log = logging.getLogger(__name__)

# The kinds of problem: `type` is "/problems/<kind>", status and title never vary.
PROBLEMS: dict[str, tuple[int, str]] = {
    "bad-request": (400, "The request cannot be understood"),
    "malformed-json": (400, "The body is not the JSON that this call takes"),
    "key-in-url": (400, "The API key does not belong in the address"),
    "unauthorized": (401, "This call needs the API key"),
    "not-genuine": (401, "This call is not from the ESP"),
    "forbidden": (403, "This is not allowed"),
    "not-found": (404, "There is nothing here"),
    "method-not-allowed": (405, "This address takes other methods"),
    "not-acceptable": (406, "There is no answer in the asked-for form"),
    "timeout": (408, "The request took too long to arrive"),
    "conflict": (409, "That does not go with how things stand"),
    "suppressed": (409, "This person must not be written to"),
    "in-progress": (409, "The campaign of this key is running"),
    "possible-duplicate": (409, "The same mailing went out a short time ago"),
    "count-not-confirmed": (409, "The number of people has to be confirmed"),
    "length-required": (411, "The length of the body is missing"),
    "too-large": (413, "The body is too large"),
    "address-too-long": (414, "The address is too long"),
    "unsupported-media-type": (415, "The body is of a kind that this call does not take"),
    "invalid": (422, "The request says something that cannot be done"),
    "key-reused": (422, "The Idempotency-Key belongs to another request"),
    "too-many-requests": (429, "Too many calls"),
    "headers-too-large": (431, "The headers are too large"),
    "internal": (500, "Something went wrong on our side"),
    "not-implemented": (501, "The request uses something that is not there"),
    "unavailable": (503, "This cannot be done just now"),
}
_KIND_OF_STATUS = {status: kind for kind, (status, _) in reversed(PROBLEMS.items())}

# What to say where the framework found the fault; its own words may quote the request.
_DETAILS = {
    400: "Check the request against the description at /docs.",
    404: "The calls that exist are listed at /docs.",
    413: "This call takes less; split the request.",
}
_OUR_FAULT = "Nothing about it is the caller's fault. The log has the cause under this instance."
_RETRY_AFTER = {429: "60", 503: "5"}
MOST_ERRORS = 50

# pydantic's kinds of error, in words for someone who wrote a request.
_WORDS = {
    "missing": "is required",
    "extra_forbidden": "is not a field of this call",
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "json_invalid": "is not valid JSON",
}


class Problem(Exception):
    """An answer that is an error: one of the kinds in `PROBLEMS`, and what to do about it."""

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.status, self.title = PROBLEMS[kind]
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})
        self.more = dict(more or {})


def invalid(pointer: str, detail: str, more: Mapping[str, object] | None = None) -> Problem:
    """A 422 about one place in the body, given as JSON pointer."""
    words = f"{pointer or 'the body'}: {detail}"
    return Problem("invalid", words, errors=[{"pointer": pointer, "detail": detail}], more=more)


def request_id() -> str:
    """The name of this request, in its answer and in the log."""
    if "request_id" not in g:
        g.request_id = str(uuid4())
    return str(g.request_id)


def register(app: Flask) -> None:
    """Make `app` answer every error in this form."""
    app.register_error_handler(Problem, answer)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(InternalServerError, _our_fault)
    app.register_error_handler(OperationalError, _no_database)
    app.register_error_handler(PoolTimeout, _no_database)


def answer(problem: Problem) -> Response:
    """The response that a problem is."""
    body: dict[str, Any] = {
        "type": f"/problems/{problem.kind}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": f"urn:uuid:{request_id()}",
        **problem.more,
    }
    if problem.errors:
        body["errors"] = list(problem.errors)
    response = Response(
        json.dumps(body) + "\n", problem.status, problem.headers, "application/problem+json"
    )
    if problem.status in _RETRY_AFTER:
        response.headers.setdefault("Retry-After", _RETRY_AFTER[problem.status])
    return response


def validation_problem(error: ValidationError) -> Problem:
    """What pydantic found, with a pointer for each; never with what was sent."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    # By convention of `api.schemas`, the model's name says where the values came from.
    in_body = not error.title.endswith(("Query", "Path"))
    errors = [
        {
            ("pointer" if in_body else "parameter"): _place(one["loc"], in_body),
            "detail": _WORDS.get(one["type"], one["msg"].removeprefix("Value error, ")),
        }
        for one in found[:MOST_ERRORS]
    ]
    first = errors[0]
    where = first.get("pointer") or first.get("parameter") or "the body"
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return Problem("invalid", f"{where}: {first['detail']}{more}", errors=errors)


def _place(location: Sequence[int | str], in_body: bool) -> str:
    return pointer(location) if in_body else ".".join(map(str, location))


def pointer(steps: Sequence[int | str]) -> str:
    """RFC 6901, cut where somebody sends very long names."""
    return "".join("/" + str(step)[:100].replace("~", "~0").replace("/", "~1") for step in steps)


def _http_error(error: HTTPException) -> BaseResponse:
    if error.response is not None or error.code is None or error.code < 400:
        return error.get_response()
    kind = _KIND_OF_STATUS.get(error.code, "bad-request")
    headers = {name: value for name, value in error.get_headers() if name != "Content-Type"}
    if isinstance(error, MethodNotAllowed):
        detail = f"{request.method} is not one of them: {headers.get('Allow', '')}."
    else:
        detail = _DETAILS.get(error.code, "Check the request against the description at /docs.")
    return answer(Problem(kind, detail, headers=headers))


def _our_fault(_error: InternalServerError) -> Response:
    return answer(Problem("internal", _OUR_FAULT))


def _no_database(error: OperationalError | PoolTimeout) -> Response:
    """Locked, full, read-only or away: later it may work. Nothing was changed, unless the
    connection broke over the commit."""
    _log.error("request %s: %s", request_id(), error)
    words = (
        "The database cannot be used now; nothing was changed, unless it broke off while saving."
    )
    return answer(Problem("unavailable", words))
