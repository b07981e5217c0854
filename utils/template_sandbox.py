"""Jinja2 that cannot explode: what a template may do, and how much of it.

Jinja's own sandbox keeps a template from reaching Python, not from asking for a gigabyte:
`{{ 'a' * 10**9 }}`, nested loops, macros that call each other. So operators that grow
things are bounded, loops and macros spend from a budget, and filters are a short list.
"""

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jinja2 import ChainableUndefined, pass_context
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape

MOST_STEPS = 20_000
"""Turns of loops and calls of macros in one part of one mail."""
MOST_CHARS = 2_000_000
"""Characters that one part of one mail may write, intermediate results included."""
LONGEST_RANGE = 1_000
LONGEST_TEXT = 200_000
LARGEST_NUMBER = 10**15

FILTERS = (
    *("abs", "capitalize", "default", "d", "dictsort", "escape", "e", "first", "float", "int"),
    *("items", "last", "length", "count", "list", "lower", "max", "min", "reverse", "round"),
    *("sort", "striptags", "string", "sum", "title", "trim", "truncate", "unique", "upper"),
    *("urlencode", "wordcount", "join", "replace"),
)
TESTS = (
    *("boolean", "defined", "divisibleby", "eq", "==", "equalto", "even", "false", "float"),
    *("ge", ">=", "gt", ">", "greaterthan", "in", "integer", "iterable", "le", "<=", "lower"),
    *("lt", "<", "lessthan", "mapping", "ne", "!=", "none", "number", "odd", "sequence"),
    *("string", "true", "undefined", "upper"),
)

TICK, BUDGET, CONCAT = "_tick", "_budget", "_concat"
"""Names that only our own rewriting puts into a template; people's may not begin with `_`."""


class TooMuch(Exception):
    """The template asks for more than a mail may cost."""


class Budget:
    """What is left for one part of one mail."""

    __slots__ = ("_chars", "_steps")

    def __init__(self) -> None:
        self._steps, self._chars = MOST_STEPS, MOST_CHARS

    def tick(self, chars: int) -> str:
        """One turn of a loop or one call of a macro, whose fixed text has `chars` characters."""
        self._steps -= 1
        if self._steps < 0:
            raise TooMuch(f"more than {MOST_STEPS} turns of loops and calls of macros")
        self.spend(chars)
        return ""

    def spend(self, chars: int) -> None:
        self._chars -= chars
        if self._chars < 0:
            raise TooMuch(f"more than {MOST_CHARS} characters")


class Sandbox(ImmutableSandboxedEnvironment):
    """Knows our variables' types only: mappings give their values, never their methods."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self, *, autoescape: bool) -> None:
        super().__init__(
            autoescape=autoescape,
            undefined=ChainableUndefined,
            finalize=_finalize,
            keep_trailing_newline=True,
            optimized=False,  # folding constants would compute before anything is counted
            cache_size=0,
        )
        self.filters = {name: self.filters[name] for name in FILTERS} | {
            "join": _join,
            "replace": _replace,
        }
        self.tests = {name: self.tests[name] for name in TESTS}
        self.globals = {"range": _range, CONCAT: _concat}

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """`a.b` and `a["b"]` are the same: a mapping's value, a list's item, a loop's figure."""
        if isinstance(obj, LoopContext):
            return super().getattr(obj, str(argument))
        if isinstance(obj, Mapping | list | tuple | str):
            try:
                return obj[argument]
            except (LookupError, TypeError):
                pass
        return self.undefined(obj=obj, name=argument)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            return bounded(left + right)
        numbers = all(isinstance(side, int | float) for side in (left, right))
        if not numbers:
            raise TypeError(f"{operator!r} is for numbers, not {_kind(left)} and {_kind(right)}")
        if operator == "**" and abs(right) > 64:
            raise TooMuch("an exponent above 64")
        return _number(_OPERATORS[operator](left, right))


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}


def bounded(text: str) -> str:
    """`text`, if it is not longer than any part of a mail need be."""
    if len(text) > LONGEST_TEXT:
        raise TooMuch(f"a text of more than {LONGEST_TEXT} characters")
    return text


def _number(value: Any) -> Any:
    if isinstance(value, complex) or abs(value) > LARGEST_NUMBER:
        raise TooMuch(f"a number beyond {LARGEST_NUMBER}")
    return value


@pass_context
def _finalize(context: Context, value: Any) -> Any:
    """What an expression writes: nothing for what is not there, a list with commas."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        value = ", ".join(str(item) for item in value)
    elif not isinstance(value, str):
        value = str(value)
    context.parent[BUDGET].spend(len(value))
    return value


def _range(*bounds: Any) -> range:
    """`range` of at most 1,000 numbers."""
    if len(found := range(*(int(bound) for bound in bounds))) > LONGEST_RANGE:
        raise TooMuch(f"a range of more than {LONGEST_RANGE}")
    return found


def _concat(*values: Any) -> str:
    """`a ~ b`: markup if a part is markup, as Jinja does; what is not there adds nothing."""
    return _join(["" if value is None else value for value in values])


def _join(values: Iterable[Any], separator: str = "") -> str:
    """Texts joined; safe markup only if every part, the separator too, is escaped."""
    texts = [value if isinstance(value, str) else str(value) for value in values]
    length = sum(map(len, texts)) + len(separator) * max(0, len(texts) - 1)
    if length > LONGEST_TEXT:
        raise TooMuch(f"a text of more than {LONGEST_TEXT} characters")
    if any(isinstance(text, Markup) for text in (*texts, separator)):
        separator = escape(separator)
    return separator.join(texts)


def _replace(text: Any, old: str, new: str) -> str:
    """`old` replaced by `new` wherever it is; markup is escaped first, as Jinja does."""
    text = text if isinstance(text, str) else str(text)
    if not old:
        return str(text)
    if isinstance(text, Markup) or isinstance(old, Markup) or isinstance(new, Markup):
        text, old, new = escape(text), escape(old), escape(new)
    bounded("x" * min(LONGEST_TEXT + 1, len(text) + text.count(old) * len(new)))
    replaced: str = text.replace(old, new)
    return replaced


def _kind(value: Any) -> str:
    return "nothing" if value is None or value == "" else type(value).__name__
