"""Jinja2 that can neither reach Python nor explode, nor stumble over what is known of a person.

Jinja's own sandbox keeps a template from Python, not from asking for a gigabyte: nested
loops, macros that call each other, lists of lists, `1|round(-1000000000)`. So everything
that can grow, or take long, spends from what one part of one mail may cost.

A person's data may be of any kind (an imported column is always text), so nothing fails
over it: what cannot be done with a value gives nothing. Only in the trial rendering, where
nothing is known of the person, the same is the author's mistake, and an error.
"""

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from jinja2 import ChainableUndefined, Environment, Undefined, pass_context
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape

MOST_TAGS = 5_000
MOST_TOKENS = 15_000
MOST_STEPS = 100_000
"""Pieces of a template that one part of one mail may evaluate inside loops and macros."""
MOST_CHARS = 2_000_000
"""Characters that one part of one mail may write, intermediate results included."""
LONGEST_TEXT = 200_000
LARGEST_NUMBER = 10**15
LARGEST_EXPONENT = 64
CHARS_A_STEP = 8
"""What filters and comparisons do with so many characters takes about as long as one step."""

# (Tuples, made once: a union made for each question costs more than its answer.)
LIST_TYPES = (list, tuple, range)
NUMBER_TYPES = (int, float)
KEYED_TYPES = (dict, list, tuple, range, str, Mapping)

MISSING = ChainableUndefined()
"""What is not there: false, empty, and so is every part of it."""


class Refused(Exception):
    """What a template may not do, in words for the one who wrote it."""


class TooMuch(Refused):
    """The template asks for more than a mail may cost."""


class Rendering(Context):
    """One part of one mail in the making, and what it may still cost."""

    def __init__(
        self, environment: Environment, variables: dict[str, Any], *, is_trial: bool = False
    ) -> None:
        super().__init__(environment, variables, None, {})
        self._is_trial = is_trial
        self._steps, self.chars = MOST_STEPS, MOST_CHARS

    def spend(self, steps: int, chars: int = 0) -> None:
        self._steps -= steps
        self.chars -= chars
        if self._steps < 0:
            raise TooMuch(f"does more than {MOST_STEPS} steps in loops and macros")
        if self.chars < 0:
            raise TooMuch(f"writes more than {MOST_CHARS} characters")

    def weigh(self, value: Any) -> None:
        """Spend what it takes to look at all of a value."""
        if isinstance(value, str):
            if len(value) > CHARS_A_STEP:
                self.spend(len(value) // CHARS_A_STEP)
        elif isinstance(value, LIST_TYPES):
            self.spend(len(value))
            for item in value:
                self.weigh(item)
        elif not isinstance(value, NUMBER_TYPES) and isinstance(value, Mapping):
            self.spend(len(value))
            for key, item in value.items():
                self.weigh(key)
                self.weigh(item)

    def nothing(self, why: str) -> Undefined:
        """What comes of something that cannot be done with these values."""
        if self._is_trial:
            raise Refused(why)
        return MISSING


class Sandbox(ImmutableSandboxedEnvironment):
    """Knows our variables' types only: mappings give their values, never their methods.

    Nothing can be called but macros; there are no globals. (`range` and the like become
    filters, see `template_guard.rewrite`.)
    """

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})
    intercepted_unops = frozenset({"+", "-"})

    def __init__(
        self,
        *,
        autoescape: bool,
        filters: Mapping[str, Callable[..., Any]],
        tests: Mapping[str, Callable[..., bool]],
    ) -> None:
        super().__init__(
            autoescape=autoescape,
            undefined=ChainableUndefined,
            finalize=_write,
            keep_trailing_newline=True,
            optimized=False,  # folding constants would compute before anything is counted
            cache_size=0,
            extensions=[_Counting],
        )
        self.filters, self.tests, self.globals = dict(filters), dict(tests), {}

    def getattr(self, obj: Any, attribute: str) -> Any:
        # Most of what a mail looks up, so in the shortest way.
        if obj.__class__ is dict:
            value = obj.get(attribute)
            return MISSING if value is None else value
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """`a.b` and `a["b"]` are the same: a mapping's value, a list's item, a loop's figure."""
        if isinstance(obj, LoopContext):
            return getattr(obj, argument) if argument in LOOP_FIGURES else MISSING
        return part_of(obj, argument)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as in Jinja: these names are not free
        assert isinstance(__context, Rendering)
        kwargs.pop("_loop_vars", None)
        kwargs.pop("_block_vars", None)
        if not isinstance(__obj, Macro):
            return __context.nothing("calls what is no macro")
        return __obj(__context.eval_ctx, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        assert isinstance(context, Rendering)
        if operator == "+" and (isinstance(left, str) or isinstance(right, str)):
            sides = ["" if is_nothing(side) else side for side in (left, right)]
            if all(isinstance(side, str) for side in sides):
                return paid(context, join("", sides))
        return _calculated(context, operator, left, right)

    def call_unop(self, context: Context, operator: str, arg: Any) -> Any:
        assert isinstance(context, Rendering)
        return _calculated(context, operator, 0, arg)


class _Counting(Extension):
    """Stops the parser where the text is longer than any template for a mail."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        if sum(map(source.count, ("{{", "{%", "{#"))) > MOST_TAGS:
            raise TooMuch(f"has more than {MOST_TAGS} tags")
        return source

    def filter_stream(self, stream: TokenStream) -> Iterable[Token]:
        for count, token in enumerate(stream):
            if count > MOST_TOKENS:
                raise TooMuch(f"has more than {MOST_TOKENS} words and signs in its tags")
            yield token


LOOP_FIGURES = frozenset(
    {
        *("index", "index0", "revindex", "revindex0", "first", "last", "length"),
        *("previtem", "nextitem"),
    }
)

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}


def is_nothing(value: Any) -> bool:
    return value is None or isinstance(value, Undefined)


def part_of(value: Any, key: Any) -> Any:
    """`value[key]` of a mapping, list or text."""
    found = None
    if isinstance(value, KEYED_TYPES):
        with suppress(LookupError, TypeError):
            found = value[key]
    return MISSING if found is None else found


def number_of(value: Any) -> int | float | None:
    """A number, also when it is written as text, as all that was imported is."""
    if isinstance(value, NUMBER_TYPES):
        return value
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        return int(value)
    except ValueError:
        pass
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def text_of(value: Any) -> str:
    """A value as a mail shows it: `true` as JSON writes it, a list with commas.

    `Rendering.weigh` it first: a list may contain another one many times.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, NUMBER_TYPES):
        return str(value)
    if isinstance(value, LIST_TYPES):
        return join(", ", map(text_of, value))
    if isinstance(value, Mapping):
        return join(", ", (join(": ", (str(key), text_of(item))) for key, item in value.items()))
    return ""


def fits(length: int) -> None:
    """Raise `TooMuch` before a text of so many characters is made."""
    if length > LONGEST_TEXT:
        raise TooMuch(f"makes a text of more than {LONGEST_TEXT} characters")


def paid(context: Rendering, text: str) -> str:
    """A text that the template made."""
    fits(len(text))
    context.spend(1, len(text))
    return text


def join(separator: str, texts: Iterable[str]) -> str:
    """Texts joined; where one is markup, the others are escaped, as Jinja does."""
    found = list(texts)
    if any(isinstance(text, Markup) for text in (separator, *found)):
        separator = escape(separator)
    fits(sum(map(len, found)) + len(separator) * max(0, len(found) - 1))
    return separator.join(found)


@pass_context
def _write(context: Rendering, value: Any) -> str:
    """What an expression writes."""
    if isinstance(value, str):
        text: str = value
    elif isinstance(value, Undefined):
        return ""
    else:
        context.weigh(value)
        text = text_of(value)
    context.chars -= len(text)
    if context.chars < 0:
        context.spend(0)
    return text


def _calculated(context: Rendering, sign: str, left: Any, right: Any) -> Any:
    if is_nothing(left) or is_nothing(right):
        return MISSING
    a, b = number_of(left), number_of(right)
    if a is None or b is None:
        return context.nothing(f"{sign!r} is for numbers; texts are put together with ~")
    if abs(a) > LARGEST_NUMBER or abs(b) > LARGEST_NUMBER:
        raise TooMuch(f"calculates with a number beyond {LARGEST_NUMBER}")
    if sign == "**" and abs(b) > LARGEST_EXPONENT:
        raise TooMuch(f"has an exponent above {LARGEST_EXPONENT}")
    try:
        result = _OPERATORS[sign](a, b)
    except ArithmeticError:
        return context.nothing(f"{sign!r} cannot be done with these numbers")
    if isinstance(result, complex) or abs(result) > LARGEST_NUMBER:
        raise TooMuch(f"comes to a number beyond {LARGEST_NUMBER}")
    return result
