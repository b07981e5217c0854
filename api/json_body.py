"""The JSON that we take: strict, since what two parsers read differently is an attack.

Refused although Python's parser takes it: a name twice in an object, NaN and infinities,
numbers beyond 64 bits, deep nesting, NUL and lone surrogates (the databases differ on them).
"""

import json
import math
from typing import Any, NoReturn

from flask import Request

from api.errors import Problem, invalid, pointer

MAX_DEPTH = 32
_MAX_INTEGER = 2**63


class ApiRequest(Request):
    """A request whose body is read as strict JSON."""

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """The checked text of the body, which flask-openapi gives to pydantic's JSON parser.

        That parser knows JSON's types (a date is a string, "1" is no number), so models may
        be strict.
        """
        if not self.is_json:
            raise Problem(
                "unsupported-media-type",
                "Send JSON, with the header Content-Type: application/json.",
            )
        refuse_encoding(self)
        text = _text(self.get_data(cache=cache))
        _check(text)
        return text


def refuse_encoding(request: Request) -> None:
    """Bodies come as they are: a compressed megabyte may hold a gigabyte."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Problem("unsupported-media-type", "Send the body without Content-Encoding.")


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed(f"byte {error.start} is not UTF-8") from error


def _check(text: str) -> None:
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_float,
            parse_int=_integer,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _malformed(f"{error.msg}: {where}") from error
    except RecursionError as error:
        raise _too_deep() from error
    _check_texts(value)


def _check_texts(value: object) -> None:
    """Walks with a stack of its own: the depth is the caller's choice."""
    _check_text(value, ())
    left: list[tuple[tuple[int | str, ...], Any]] = (
        [((), value)] if isinstance(value, dict | list) else []
    )
    while left:
        place, holder = left.pop()
        if len(place) >= MAX_DEPTH:
            raise _too_deep()
        for name, one in holder.items() if isinstance(holder, dict) else enumerate(holder):
            _check_text(name, place)
            _check_text(one, (*place, name))
            if isinstance(one, dict | list):
                left.append(((*place, name), one))


def _check_text(text: object, place: tuple[int | str, ...]) -> None:
    if not isinstance(text, str):
        return
    if "\x00" in text:
        raise invalid(pointer(place), "contains a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise invalid(pointer(place), "contains half a character (a lone surrogate)") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _malformed("a name occurs twice in an object")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise _malformed(f"{name} is not JSON")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _malformed("a number is too large")
    return value


def _integer(text: str) -> int:
    value = int(text) if len(text) < 21 else _MAX_INTEGER
    if not -_MAX_INTEGER <= value < _MAX_INTEGER:
        raise _malformed("a number is beyond 64 bits")
    return value


def _malformed(detail: str) -> Problem:
    return Problem("malformed-json", f"{detail[0].upper()}{detail[1:]}.")


def _too_deep() -> Problem:
    return _malformed(f"nested deeper than {MAX_DEPTH} levels")
