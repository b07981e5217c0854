"""The filters of templates: a short list, of which none can explode.

They do what Jinja's do where nothing else is said. A fault that they raise is nothing in a
mail (see `template_language`), and what they take and make is paid for there.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import unescape
from typing import Any, TypeVar

from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.utils import url_quote
from markupsafe import Markup, escape

from utils.template_sandbox import (
    MISSING,
    TooMuch,
    fits,
    is_nothing,
    join,
    number_of,
    part_of,
    text_of,
)

MOST_DIGITS = 15
MOST_TRIMMED = 100
MOST_NAMES = 5

T = TypeVar("T")

_TAG = re.compile(r"<[^<>]*>")
_WORD = re.compile(r"\w+")


def _replace(text: str, old: Any, new: Any, count: int = -1) -> str:
    old, new = text_of(old), text_of(new)
    if not old:
        return text
    if any(isinstance(one, Markup) for one in (text, old, new)):
        text, old, new = escape(text), escape(old), escape(new)
    fits(len(text) + text.count(old) * len(new))
    return text.replace(old, new, count)


def _striptags(text: str) -> str:
    """On one line. Unlike Jinja's, it takes no longer for `<!--<!--<!--`."""
    return " ".join(unescape(_TAG.sub("", text)).split())


def _truncate(
    text: str, length: int = 255, killwords: bool = False, end: str = "...", leeway: int = 5
) -> str:
    keep = length - len(end)
    if keep < 0:
        raise ValueError(f"{length} characters have no room for {end!r}")
    if len(text) <= length + leeway:
        return text
    return (text[:keep] if killwords else text[:keep].rsplit(" ", 1)[0]) + end


def _trim(text: str, chars: str | None = None) -> str:
    if chars is not None and len(chars) > MOST_TRIMMED:
        raise ValueError(f"it trims at most {MOST_TRIMMED} different characters")
    return text.strip(chars)


TEXT: dict[str, Callable[..., Any]] = {
    "capitalize": lambda text: text.capitalize(),
    "e": lambda text: escape(text),
    "escape": lambda text: escape(text),
    "lower": lambda text: text.lower(),
    "replace": _replace,
    "string": lambda text: text,
    "striptags": _striptags,
    "title": JINJA_FILTERS["title"],
    "trim": _trim,
    "truncate": _truncate,
    "upper": lambda text: text.upper(),
    "urlencode": lambda text: url_quote(text),
    "wordcount": lambda text: len(_WORD.findall(text)),
}
"""Filters of texts. Whatever is no text is taken as a mail would show it."""


def _round(number: float, precision: int = 0, method: str = "common") -> float:
    if abs(precision) > MOST_DIGITS:
        raise TooMuch(f"rounds to more than {MOST_DIGITS} digits")
    if method == "common":
        return round(number, precision)
    factor = 10.0**precision
    return {"ceil": -(-number * factor // 1), "floor": number * factor // 1}[method] / factor


NUMBER: dict[str, Callable[..., Any]] = {"abs": abs, "round": _round}
"""Filters of numbers, also of numbers that are written as texts."""


def _join(items: Sequence[Any], d: Any = "", attribute: str | None = None) -> str:
    return join(text_of(d), [text_of(_attribute(item, attribute)) for item in items])


def _list(items: Sequence[Any]) -> list[Any]:
    return list(items)


def _sort(
    items: Sequence[Any],
    reverse: bool = False,
    case_sensitive: bool = False,
    attribute: str | None = None,
) -> list[Any]:
    return sorted(items, key=_order(case_sensitive, attribute), reverse=reverse)


def _unique(
    items: Sequence[Any], case_sensitive: bool = False, attribute: str | None = None
) -> list[Any]:
    key, first = _order(case_sensitive, attribute), dict[Any, Any]()
    for item in items:
        first.setdefault(key(item), item)
    return list(first.values())


def _extreme(
    pick: Callable[..., Any],
    items: Sequence[Any],
    case_sensitive: bool = False,
    attribute: str | None = None,
) -> Any:
    return pick(items, key=_order(case_sensitive, attribute), default=MISSING)


def _sum(items: Sequence[Any], attribute: str | None = None, start: float = 0) -> Any:
    """Of the numbers among the items. (Jinja's makes lists of lists longer and longer.)"""
    numbers = [number_of(_attribute(item, attribute)) for item in items]
    return sum([number for number in numbers if number is not None], float(start) if start else 0)


def _attribute(item: Any, path: str | None) -> Any:
    names = path.split(".") if path else ()
    if len(names) > MOST_NAMES:
        raise ValueError(f"an attribute has at most {MOST_NAMES} names")
    for name in names:
        item = part_of(item, int(name) if name.isdecimal() else name)
    return item


def _order(case_sensitive: bool, attribute: str | None) -> Callable[[Any], tuple[bool, Any]]:
    """Numbers before all else, which is in the order of the alphabet."""

    def key(item: Any) -> tuple[bool, Any]:
        value = _attribute(item, attribute)
        if isinstance(value, int | float):
            return False, value
        text = text_of(value)
        return True, text if case_sensitive else text.lower()

    return key


LISTS: dict[str, Callable[..., Any]] = {
    "join": _join,
    "list": _list,
    "max": partial(_extreme, max),
    "min": partial(_extreme, min),
    "sort": _sort,
    "sum": _sum,
    "unique": _unique,
}
"""Filters of lists. A text is taken as the list of this one text."""


def _default(value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    """Unlike Jinja's also for an empty text: half of a list's names are empty, not missing."""
    is_empty = is_nothing(value) or value == "" or (boolean and not value)
    return default_value if is_empty else value


def _dictsort(
    value: Any, case_sensitive: bool = False, by: str = "key", reverse: bool = False
) -> list[tuple[Any, Any]]:
    key, place = _order(case_sensitive, None), {"key": 0, "value": 1}[by]
    return sorted(_items(value), key=lambda pair: key(pair[place]), reverse=reverse)


def _items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    return _unless_nothing(value, [])


def _unless_nothing(value: Any, otherwise: T) -> T:
    if is_nothing(value) or value == "":
        return otherwise
    raise TypeError("it is of another kind")


def _first(value: Any) -> Any:
    return part_of(items_of(value, whole_text=True), 0)


def _last(value: Any) -> Any:
    return part_of(items_of(value, whole_text=True), -1)


def _length(value: Any) -> int:
    return len(items_of(value, whole_text=True))


def _reverse(value: Any) -> Any:
    # Of a text without its quality as markup: reversed tags could mean anything.
    items = items_of(value, whole_text=True)
    return str(items)[::-1] if isinstance(items, str) else list(items)[::-1]


def _float(value: Any, default: float = 0.0) -> Any:
    number = number_of(value)
    return default if number is None else float(number)


def _int(value: Any, default: int = 0) -> Any:
    number = number_of(value)
    return default if number is None else int(number)


OTHER: dict[str, Callable[..., Any]] = {
    "count": _length,
    "d": _default,
    "default": _default,
    "dictsort": _dictsort,
    "first": _first,
    "float": _float,
    "int": _int,
    "items": _items,
    "last": _last,
    "length": _length,
    "reverse": _reverse,
}
FILTERS = TEXT | NUMBER | LISTS | OTHER


def items_of(value: Any, *, whole_text: bool = False) -> Any:
    """What a loop goes through. A text is one item (a column of an import may have one
    where others have several), or with `whole_text` the sequence of its characters."""
    if isinstance(value, list | tuple | range):
        return value
    if isinstance(value, Mapping):
        return list(value)
    if isinstance(value, str):
        return value if whole_text or not value else [value]
    return _unless_nothing(value, ())
