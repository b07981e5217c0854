"""What a template can ask about values: comparisons and tests, none of which fails."""

import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from utils.template_sandbox import KEYED_TYPES, is_nothing, number_of, text_of


def compare(sign: str, left: Any, right: Any) -> bool:
    """`left sign right`; a text that is a number is one beside a number.

    What is not there equals the empty text, and is neither more nor less than anything.
    """
    if is_nothing(left) or is_nothing(right):
        left, right = ("" if is_nothing(side) else side for side in (left, right))
        return bool(COMPARISONS[sign](left, right)) if sign in ("eq", "ne") else False
    if _is_number(left) and isinstance(right, str):
        right = _or_itself(number_of(right), right)
    elif isinstance(left, str) and _is_number(right):
        left = _or_itself(number_of(left), left)
    try:
        return bool(COMPARISONS[sign](left, right))
    except TypeError:  # things of two kinds
        return False


def _or_itself(number: float | None, text: str) -> Any:
    return text if number is None else number


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_in(item: Any, holder: Any) -> bool:
    """A text in a text, an item in a list, a key in a mapping."""
    if is_nothing(item) or is_nothing(holder):
        return False
    try:
        return text_of(item) in holder if isinstance(holder, str) else item in holder
    except TypeError:
        return False


COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gteq": operator.ge,
    "lt": operator.lt,
    "lteq": operator.le,
}
_COMPARING_TESTS = {
    **{"eq": "eq", "==": "eq", "equalto": "eq", "ne": "ne", "!=": "ne"},
    **{"gt": "gt", ">": "gt", "greaterthan": "gt", "ge": "gteq", ">=": "gteq"},
    **{"lt": "lt", "<": "lt", "lessthan": "lt", "le": "lteq", "<=": "lteq"},
}


def _is_whole(value: Any, divisor: int, rest: int) -> bool:
    number = number_of(value)
    return number is not None and divisor != 0 and number % divisor == rest


TESTS: dict[str, Callable[..., bool]] = {
    **{name: partial(compare, sign) for name, sign in _COMPARING_TESTS.items()},
    "boolean": lambda value: isinstance(value, bool),
    "defined": lambda value: not is_nothing(value),
    "divisibleby": lambda value, num: _is_whole(value, num, 0),
    "even": lambda value: _is_whole(value, 2, 0),
    "false": lambda value: value is False,
    "float": lambda value: isinstance(value, float),
    "in": lambda value, seq: is_in(value, seq),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "iterable": lambda value: isinstance(value, KEYED_TYPES),
    "lower": lambda value: text_of(value).islower(),
    "mapping": lambda value: isinstance(value, Mapping),
    "none": is_nothing,
    "number": lambda value: isinstance(value, int | float),
    "odd": lambda value: _is_whole(value, 2, 1),
    "sequence": lambda value: isinstance(value, KEYED_TYPES),
    "string": lambda value: isinstance(value, str),
    "true": lambda value: value is True,
    "undefined": is_nothing,
    "upper": lambda value: text_of(value).isupper(),
}
