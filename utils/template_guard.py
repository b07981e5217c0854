"""Looks at a template's syntax tree before anything is planned, and rewrites it.

What is not in `ALLOWED` is refused: a list of what is known to be harmless is shorter, and
safer, than one of what is not.
"""

import inspect
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeGuard

from jinja2 import nodes
from jinja2.meta import find_undeclared_variables

from utils.template_filters import FILTERS
from utils.template_questions import TESTS
from utils.template_sandbox import LARGEST_NUMBER, Refused

MOST_NODES = 5_000
MOST_DEEP = 100
NAMES = frozenset(
    {"email", "first_name", "last_name", "attributes", "tags", "unsubscribe_url", "campaign"}
)
LOOP_CALLS = frozenset({"cycle", "changed"})
RESERVED = frozenset({"range", "loop", "caller", "self", "varargs", "kwargs"})

ALLOWED: tuple[type[nodes.Node], ...] = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.List),
    *(nodes.Tuple, nodes.Dict, nodes.Pair, nodes.If, nodes.For, nodes.Macro, nodes.CallBlock),
    *(nodes.FilterBlock, nodes.With, nodes.Assign, nodes.AssignBlock, nodes.CondExpr),
    *(nodes.Filter, nodes.Test, nodes.Call, nodes.Keyword, nodes.Getattr, nodes.Getitem),
    *(nodes.Slice, nodes.Concat, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not),
    *(nodes.Neg, nodes.Pos, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv),
    *(nodes.Mod, nodes.Pow),
)

_ONE_TEXT = "a template is one text; put it in here"
_ESCAPED = (
    "values are escaped, so that nobody's name can write HTML into the mail; "
    "HTML is written in the template itself"
)
# What people who know Jinja look for, and what to do instead.
HINTS = {
    "autoescape": _ESCAPED,
    "block": _ONE_TEXT,
    "extends": _ONE_TEXT,
    "from": _ONE_TEXT,
    "import": _ONE_TEXT,
    "include": _ONE_TEXT,
    "attr": "write attributes.name",
    "forceescape": _ESCAPED,
    "format": "put texts together with ~, and round numbers with |round(2)",
    "groupby": "use {% for %} and {% if %}",
    "map": "use {% for %}, or |join(', ', attribute='name')",
    "reject": "use {% for x in … if … %}",
    "rejectattr": "use {% for x in … if … %}",
    "safe": _ESCAPED,
    "select": "use {% for x in … if … %}",
    "selectattr": "use {% for x in … if … %}",
}
_TAGS: dict[type[nodes.Node], str] = {
    nodes.Scope: "autoescape",
    nodes.ScopedEvalContextModifier: "autoescape",
    nodes.FromImport: "from",
    nodes.NSRef: "set x.y",
}


def check(tree: nodes.Template) -> None:
    """Raise `Refused` for anything outside the language that mails are written in."""
    found = sorted(_below(tree), key=lambda node: node.lineno or 0)
    if len(found) > MOST_NODES:
        raise Refused(f"has more than {MOST_NODES} parts")
    macros: dict[str, nodes.Macro] = {}
    for node in found:
        if isinstance(node, nodes.Macro) and macros.setdefault(node.name, node) is not node:
            raise _refused(node, f"there are two macros {node.name!r}")
    called = {id(node.node) for node in found if isinstance(node, nodes.Call)}
    for node in found:
        if type(node) not in ALLOWED:
            name = _TAGS.get(type(node), type(node).__name__.lower())
            raise _refused(node, f"{{% {name} %}} is not part of the language", name)
        _check_names(node)
        _check_values(node)
        _check_use(node)
        if isinstance(node, nodes.Call):
            _check_call(node, macros)
        elif isinstance(node, nodes.CallBlock):
            _check_block(node.call.node, macros)
        elif _is_callable(node, macros) and id(node) not in called:
            raise _refused(node, f"{node.name!r} is called: {{{{ {node.name}(…) }}}}")
    _check_known(tree, found)


def _is_callable(node: nodes.Node, macros: Collection[str]) -> TypeGuard[nodes.Name]:
    if not (isinstance(node, nodes.Name) and node.ctx == "load"):
        return False
    return node.name == "range" or node.name in macros


def _below(tree: nodes.Template) -> Iterator[nodes.Node]:
    """All nodes, without recursion: depth is the writer's choice."""
    left: list[tuple[nodes.Node, int]] = [(tree, 0)]
    while left:
        node, depth = left.pop()
        if depth > MOST_DEEP:
            raise _refused(node, "is nested too deeply")
        yield node
        left += ((child, depth + 1) for child in node.iter_child_nodes())


def _refused(node: nodes.Node, why: str, name: str = "") -> Refused:
    hint = f": {HINTS[name]}" if name in HINTS else ""
    # Jinja gives the node that stands for {% autoescape %} no line; what it holds has one.
    line = node.lineno or next((n.lineno for n in node.find_all(nodes.Node) if n.lineno), None)
    return Refused(f"line {line}: {why}{hint}" if line else why + hint)


def _check_names(node: nodes.Node) -> None:
    name: object = None
    if isinstance(node, nodes.Name | nodes.Macro):
        name = node.name
        is_set = isinstance(node, nodes.Macro) or node.ctx != "load"
        if name in ("self", "varargs", "kwargs") or (is_set and name in RESERVED):
            raise _refused(node, f"{name!r} has another meaning in Jinja; use another name")
    elif isinstance(node, nodes.Getattr):
        name = node.attr
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        name = node.arg.value
    if isinstance(name, str) and name.startswith("_"):
        raise _refused(node, f"a name may not begin with '_': {name!r}")


def _check_values(node: nodes.Node) -> None:
    if isinstance(node, nodes.Pair) and not isinstance(node.key, nodes.Const):
        raise _refused(node, "the keys in { } are texts")
    value = getattr(node, "data" if isinstance(node, nodes.TemplateData) else "value", None)
    if isinstance(value, int | float) and abs(value) > LARGEST_NUMBER:
        raise _refused(node, f"a number beyond {LARGEST_NUMBER}")
    if isinstance(value, str) and (why := unsendable(value)):
        raise _refused(node, why)


def unsendable(text: str) -> str | None:
    """Why no mail can hold this text, if that is so."""
    if "\x00" in text:
        return "contains a NUL character"
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:
        return "contains half a character (a lone surrogate)"
    return None


def _check_use(node: nodes.Node) -> None:
    if isinstance(node, nodes.Filter):
        _check_signature(node, "filter", FILTERS)
    elif isinstance(node, nodes.Test):
        _check_signature(node, "test", TESTS)
    elif isinstance(node, nodes.For):
        if node.recursive:
            raise _refused(node, "recursive loops are not part of the language")
        _check_target(node.target)
    elif isinstance(node, nodes.Assign) and not isinstance(node.target, nodes.Name):
        raise _refused(node, "{% set %} sets one name at a time")


def _check_target(target: nodes.Node) -> None:
    names = target.items if isinstance(target, nodes.Tuple) else [target]
    if not all(isinstance(name, nodes.Name) for name in names):
        raise _refused(target, "a loop has names separated by commas, and no more")


def _check_signature(
    node: nodes.Filter | nodes.Test, kind: str, known: Mapping[str, Callable[..., Any]]
) -> None:
    if node.name not in known:
        others = get_close_matches(node.name, known, 1)
        hint = f"; did you mean {others[0]!r}?" if others and node.name not in HINTS else ""
        why = f"the {kind} {node.name!r} is not part of the language{hint}"
        raise _refused(node, why, node.name)
    if node.dyn_args or node.dyn_kwargs:
        raise _refused(node, "* and ** are not part of the language")
    names = {str(pair.key): None for pair in node.kwargs}
    try:
        inspect.signature(known[node.name]).bind(None, *node.args, **names)
    except TypeError as error:
        raise _refused(node, f"the {kind} {node.name!r}: {error}") from error


def _check_call(node: nodes.Call, macros: Mapping[str, nodes.Macro]) -> None:
    if node.dyn_args or node.dyn_kwargs:
        raise _refused(node, "* and ** are not part of the language")
    called = node.node
    if isinstance(called, nodes.Name) and called.name in macros:
        _check_arguments(node, macros[called.name])
    elif isinstance(called, nodes.Name) and called.name in ("range", "caller"):
        if called.name == "range" and not (1 <= len(node.args) <= 3 and not node.kwargs):
            raise _refused(node, "range() takes one to three numbers")
    elif not (_is_loop_call(called) and node.args and not node.kwargs):
        raise _refused(
            node,
            "only macros and range() can be called; "
            "for upper case and the like there are filters: {{ first_name|upper }}",
        )


def _is_loop_call(called: nodes.Node) -> bool:
    return (
        isinstance(called, nodes.Getattr)
        and called.attr in LOOP_CALLS
        and isinstance(called.node, nodes.Name)
        and called.node.name == "loop"
    )


def _check_arguments(node: nodes.Call, macro: nodes.Macro) -> None:
    names = [argument.name for argument in macro.args]
    given = {*names[: len(node.args)], "caller"}
    wrong = [pair.key for pair in node.kwargs if pair.key not in names or pair.key in given]
    if len(node.args) > len(names) or wrong:
        takes = ", ".join(names) or "nothing"
        raise _refused(node, f"the macro {macro.name!r} takes {takes}, each once")


def _check_block(called: nodes.Node, macros: Mapping[str, nodes.Macro]) -> None:
    macro = macros.get(called.name) if isinstance(called, nodes.Name) else None
    if macro is None or not any(n.name == "caller" for n in macro.find_all(nodes.Name)):
        raise _refused(called, "{% call %} is for macros that say {{ caller() }}")


def _check_known(tree: nodes.Template, found: Sequence[nodes.Node]) -> None:
    unknown = find_undeclared_variables(tree) - NAMES - {"range"} - _set_by_chance(found)
    if not unknown:
        return
    name = min(unknown)
    names = [node for node in found if isinstance(node, nodes.Name) and node.name == name]
    node = next(node for node in names if node.ctx == "load")
    if name in _WHERE:
        raise _refused(node, f"{name!r} is known inside a {_WHERE[name]} only")
    if any(node.ctx != "load" for node in names):
        raise _refused(node, f"{name!r} is known only inside the loop or block that sets it")
    close = get_close_matches(name, NAMES, 1)
    meant = f"did you mean {close[0]}? " if close else ""
    known = ", ".join(sorted(NAMES - {"attributes"}))
    raise _refused(
        node,
        f"{name!r} is not known; {meant}Known are {known}, "
        f"and what else you know of a person as attributes.{name}",
    )


_WHERE = {"loop": "loop", "caller": "macro"}
_SCOPES = (
    *(nodes.Template, nodes.For, nodes.Macro, nodes.CallBlock, nodes.With),
    *(nodes.AssignBlock, nodes.FilterBlock),
)


def _set_by_chance(found: Sequence[nodes.Node]) -> set[str]:
    """Names that only some branches of an `{% if %}` set, and that are read where this can
    be seen. Jinja's own search takes them for unknown."""
    by_chance: set[str] = set()
    reads = Counter(n.name for n in found if isinstance(n, nodes.Name) and n.ctx == "load")
    for scope in found:
        if isinstance(scope, _SCOPES) and (names := set(_set_in(scope.body))):
            here = Counter(n.name for n in scope.find_all(nodes.Name) if n.ctx == "load")
            by_chance |= {name for name in names if here[name] == reads[name]}
    return by_chance


def _set_in(body: Sequence[nodes.Node]) -> Iterator[str]:
    for node in body:
        if isinstance(node, nodes.Assign | nodes.AssignBlock):
            yield getattr(node.target, "name", "")
        elif isinstance(node, nodes.Macro):
            yield node.name
        elif isinstance(node, nodes.If):
            yield from _set_in([*node.body, *node.elif_, *node.else_])
