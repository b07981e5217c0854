"""The language of templates as Jinja environments: filters and tests that pay for what they
take, and the filters that a checked template is rewritten with.
"""

from collections.abc import Callable
from typing import Any

from jinja2 import TemplateError as JinjaError
from jinja2 import pass_context
from jinja2.runtime import LoopContext

from utils.template_filters import FILTERS, LISTS, NUMBER, TEXT, items_of
from utils.template_questions import TESTS, compare, is_in
from utils.template_sandbox import (
    MISSING,
    Rendering,
    Sandbox,
    TooMuch,
    is_nothing,
    join,
    number_of,
    paid,
    text_of,
)

LONGEST_RANGE = 1_000

_FAULTS = (JinjaError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def _metered(name: str, filter_: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that pays for what it takes and makes; its faults are nothing."""
    convert = _CONVERSIONS.get(name)

    @pass_context
    def metered(context: Rendering, value: Any, *args: Any, **named: Any) -> Any:
        context.weigh(value)
        if args or named:
            context.weigh([*args, *named.values()])
        try:
            given = convert(value) if convert else value
            if convert is _number and given is MISSING:
                return MISSING
            found = filter_(given, *args, **named)
        except _FAULTS as error:
            return context.nothing(f"the filter {name!r} cannot be used so: {error}")
        if isinstance(found, str):
            return found if found is value else paid(context, found)
        if isinstance(found, list):
            context.spend(len(found))
        return found

    return metered


def _number(value: Any) -> Any:
    if is_nothing(value) or value == "":
        return MISSING
    number = number_of(value)
    if number is None:
        raise TypeError("it is no number")
    return number


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(TEXT, text_of),
    **dict.fromkeys(NUMBER, _number),
    **dict.fromkeys(LISTS, items_of),
}


def _metered_test(name: str, test: Callable[..., bool]) -> Callable[..., bool]:
    @pass_context
    def metered(context: Rendering, value: Any, *args: Any) -> bool:
        context.weigh(value)
        context.weigh(args)
        try:
            return test(value, *args)
        except _FAULTS as error:
            return bool(context.nothing(f"the test {name!r} cannot be used so: {error}"))

    return metered


@pass_context
def _turns(context: Rendering, value: Any, nodes: int, chars: int, targets: int) -> Any:
    """What a loop goes through, paid for: all its turns at once."""
    try:
        items = items_of(value)
    except TypeError:
        context.nothing("a loop is over a list")
        return ()
    context.spend(len(items) * nodes, len(items) * chars)
    if targets > 1:
        return [i for i in items if isinstance(i, list | tuple) and len(i) == targets]
    return items


@pass_context
def _tick(context: Rendering, nodes: int, chars: int) -> None:
    """A call of a macro, paid for."""
    context.spend(nodes, chars)


@pass_context
def _compare(context: Rendering, left: Any, *pairs: Any) -> bool:
    """`left sign right sign right …`"""
    context.weigh(left)
    for sign, right in zip(pairs[::2], pairs[1::2], strict=True):
        context.weigh(right)
        if sign in ("in", "notin"):
            holds = is_in(left, right) is (sign == "in")
        else:
            holds = compare(sign, left, right)
        if not holds:
            return False
        left = right
    return True


@pass_context
def _concat(context: Rendering, *values: Any) -> str:
    for value in values:
        if not isinstance(value, str):
            context.weigh(value)
    return paid(context, join("", map(text_of, values)))


@pass_context
def _item(context: Rendering, value: Any) -> Any:
    """A value that becomes part of a list. A list pays for all that is in it, so that
    lists of lists of lists cannot grow beyond what may be spent."""
    if not isinstance(value, str):
        context.weigh(value)
    return value


@pass_context
def _slice(context: Rendering, value: Any, start: Any, stop: Any, step: Any) -> Any:
    if is_nothing(value):
        return MISSING
    bounds = slice(*(None if is_nothing(bound) else bound for bound in (start, stop, step)))
    try:
        found = value[bounds]
    except _FAULTS:
        return context.nothing("only a list or a text can be cut, at whole numbers")
    if isinstance(found, str):
        return paid(context, found)
    context.spend(len(found))
    return found


@pass_context
def _range(context: Rendering, *bounds: Any) -> Any:
    """At most 1,000 numbers."""
    if any(map(is_nothing, bounds)):
        return ()
    try:
        found = range(*map(int, bounds))
        length = len(found)
    except _FAULTS:
        return context.nothing("range() takes one to three numbers")
    if length > LONGEST_RANGE:
        raise TooMuch(f"has a range of more than {LONGEST_RANGE} numbers")
    return found


@pass_context
def _cycle(context: Rendering, loop: Any, *values: Any) -> Any:
    return values[loop.index0 % len(values)] if isinstance(loop, LoopContext) else MISSING


@pass_context
def _changed(context: Rendering, loop: Any, *values: Any) -> bool:
    context.weigh(values)
    return isinstance(loop, LoopContext) and loop.changed(*values)


REWRITTEN: dict[str, Callable[..., Any]] = {
    "_changed": _changed,
    "_compare": _compare,
    "_concat": _concat,
    "_cycle": _cycle,
    "_item": _item,
    "_range": _range,
    "_slice": _slice,
    "_tick": _tick,
    "_turns": _turns,
}
"""What only our own rewriting puts into a template; people's names may not begin with `_`."""

_ALL_FILTERS = {name: _metered(name, one) for name, one in FILTERS.items()} | REWRITTEN
_ALL_TESTS = {name: _metered_test(name, one) for name, one in TESTS.items()}

ESCAPING = Sandbox(autoescape=True, filters=_ALL_FILTERS, tests=_ALL_TESTS)
# In a text there is nothing to escape, also where it is made from HTML that says so.
_AS_IT_IS = dict.fromkeys(("e", "escape"), _ALL_FILTERS["string"])
PLAIN = Sandbox(autoescape=False, filters=_ALL_FILTERS | _AS_IT_IS, tests=_ALL_TESTS)
