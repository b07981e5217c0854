"""The values that a filter may hold: how each is read, described, and kept."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

from database.models import EngagementTier, SubscriberStatus
from lists.fields import MAX_TAG
from utils.addresses import InvalidAddress, MailboxProvider, normalise

MAX_TEXT = 200
MAX_DAYS_AGO = 36_500
ATTRIBUTE_STEP = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")

_ID = 2**63 - 1
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MOMENT = re.compile(
    rf"{_DAY.pattern}(T\d{{2}}:\d{{2}}(:\d{{2}}(\.\d{{1,6}})?)?(Z|[+-]\d{{2}}:\d{{2}}))?", re.ASCII
)
_UPPER_TO_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class Refused(Exception):
    """Not a value of this kind; the kind's words say what is."""


@dataclass(frozen=True, slots=True)
class DaysAgo:
    """So many days before the moment at which the filter is used; below 0 after it."""

    days: int


@dataclass(frozen=True, slots=True)
class Kind:
    """Values of one kind: `read` checks one, and returns it as it is kept."""

    words: str
    """What must stand there, after "must be"."""
    read: Callable[[Any], Any]
    schema: dict[str, Any]
    """As JSON Schema."""


def folded(text: str) -> str:
    """With A to Z as a to z, and nothing else changed: what both databases can do alike."""
    return text.translate(_UPPER_TO_LOWER)


def _text(said: object) -> str:
    # The databases differ on NUL and lone surrogates.
    if not isinstance(said, str) or not 1 <= len(said) <= MAX_TEXT or "\x00" in said:
        raise Refused
    try:
        said.encode()
    except UnicodeEncodeError as error:
        raise Refused from error
    return folded(said)


def _tag(said: object) -> str:
    _text(said)
    if not isinstance(said, str) or len(said) > MAX_TAG:
        raise Refused
    return said


def _flag(said: object) -> bool:
    if not isinstance(said, bool):
        raise Refused
    return said


def _number(said: object) -> int | float:
    if isinstance(said, bool) or not isinstance(said, int | float):
        raise Refused
    if not math.isfinite(said) or (isinstance(said, int) and abs(said) > _ID):
        raise Refused
    return said


def _scalar(said: object) -> str | bool | int | float:
    if isinstance(said, str):
        return _text(said)
    return said if isinstance(said, bool) else _number(said)


def _integer(least: int, most: int) -> Callable[[object], int]:
    def read(said: object) -> int:
        if not isinstance(said, int) or isinstance(said, bool) or not least <= said <= most:
            raise Refused
        return said

    return read


_days_ago = _integer(-MAX_DAYS_AGO, MAX_DAYS_AGO)


def _relative(said: dict[str, Any]) -> DaysAgo:
    if set(said) != {"days_ago"}:
        raise Refused
    return DaysAgo(_days_ago(said["days_ago"]))


def _moment(said: object) -> datetime | DaysAgo:
    if isinstance(said, dict):
        return _relative(said)
    if not isinstance(said, str) or not _MOMENT.fullmatch(said):
        raise Refused
    try:
        moment = datetime.fromisoformat(said)
        if not 1900 <= moment.year <= 9998:  # a time zone may lead into the year next to it
            raise Refused
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except ValueError as error:
        raise Refused from error


def _day_or_number(said: object) -> str | int | float | DaysAgo:
    if isinstance(said, dict):
        return _relative(said)
    if not isinstance(said, str):
        return _number(said)
    if not _DAY.fullmatch(said):
        raise Refused
    try:
        return date.fromisoformat(said).isoformat()
    except ValueError as error:
        raise Refused from error


def _email(said: object) -> str:
    try:
        return normalise(_text(said)).key
    except InvalidAddress as error:
        raise Refused from error


def _domain(said: object) -> str:
    if not isinstance(said, str) or "@" in said:
        raise Refused
    return _email(f"x@{said}").removeprefix("x@")


def _member(members: type[StrEnum]) -> Kind:
    known = [member.value for member in members]

    def read(said: object) -> StrEnum:
        if not isinstance(said, str) or said not in known:
            raise Refused
        return members(said)

    return Kind(f"one of: {', '.join(known)}", read, {"type": "string", "enum": known})


_DAYS_AGO_SCHEMA = {
    "type": "object",
    "properties": {
        "days_ago": {"type": "integer", "minimum": -MAX_DAYS_AGO, "maximum": MAX_DAYS_AGO}
    },
    "required": ["days_ago"],
    "additionalProperties": False,
}
_TEXT_SCHEMA = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT}
_NUMBER_SCHEMA = {"type": "number"}
_RELATIVE_WORDS = f'{{"days_ago": a whole number up to {MAX_DAYS_AGO}}}'

STATUS = _member(SubscriberStatus)
TIER = _member(EngagementTier)
PROVIDER = _member(MailboxProvider)
TEXT = Kind(f"a text of 1 to {MAX_TEXT} characters", _text, _TEXT_SCHEMA)
TAG = Kind(f"a text of 1 to {MAX_TAG} characters", _tag, {**_TEXT_SCHEMA, "maxLength": MAX_TAG})
EMAIL = Kind("an email address", _email, {**_TEXT_SCHEMA, "format": "email"})
DOMAIN = Kind("a domain, as in example.com", _domain, _TEXT_SCHEMA)
FLAG = Kind("true or false", _flag, {"type": "boolean"})
SCORE = Kind(
    "a whole number from 0 to 100",
    _integer(0, 100),
    {"type": "integer", "minimum": 0, "maximum": 100},
)
CAMPAIGN = Kind(
    "the id of a campaign", _integer(1, _ID), {"type": "integer", "minimum": 1, "maximum": _ID}
)
SCALAR = Kind(
    f"a text of 1 to {MAX_TEXT} characters, a number, true or false",
    _scalar,
    {"anyOf": [_TEXT_SCHEMA, _NUMBER_SCHEMA, {"type": "boolean"}]},
)
MOMENT = Kind(
    f'a day ("2026-01-31"), a time ("2026-01-31T09:00:00Z") or {_RELATIVE_WORDS}',
    _moment,
    {"anyOf": [{"type": "string", "examples": ["2026-01-31"]}, _DAYS_AGO_SCHEMA]},
)
DAY_OR_NUMBER = Kind(
    f'a number, a day ("2026-01-31") or {_RELATIVE_WORDS}',
    _day_or_number,
    {"anyOf": [_NUMBER_SCHEMA, {"type": "string", "format": "date"}, _DAYS_AGO_SCHEMA]},
)
