"""Looks at a template's syntax tree before anything is planned, and makes it countable.

What is not in `ALLOWED` is refused: a list of what is known to be harmless is shorter, and
safer, than one of what is not.
"""

from collections.abc import Collection, Iterator

from jinja2 import nodes
from jinja2.meta import find_undeclared_variables
from jinja2.visitor import NodeTransformer

from utils.template_sandbox import CONCAT, FILTERS, TESTS, TICK

MOST_NODES = 20_000
NAMES = frozenset(
    {"email", "first_name", "last_name", "attributes", "tags", "unsubscribe_url", "campaign"}
)
FUNCTIONS = frozenset({"range"})

ALLOWED: tuple[type[nodes.Node], ...] = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.List),
    *(nodes.Tuple, nodes.Dict, nodes.Pair, nodes.If, nodes.For, nodes.Macro, nodes.CallBlock),
    *(nodes.FilterBlock, nodes.With, nodes.Assign, nodes.AssignBlock, nodes.CondExpr),
    *(nodes.Filter, nodes.Test, nodes.Call, nodes.Keyword, nodes.Getattr, nodes.Getitem),
    *(nodes.Slice, nodes.Concat, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not),
    *(nodes.Neg, nodes.Pos, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv),
    *(nodes.Mod, nodes.Pow),
)


class Refused(ValueError):
    """What a template may not do, in words for the one who wrote it."""


def check(tree: nodes.Template) -> None:
    """Raise `Refused` for anything outside the language that mails are written in."""
    found = [tree, *_below(tree)]
    if len(found) > MOST_NODES:
        raise Refused(f"has more than {MOST_NODES} parts")
    macros = {node.name for node in found if isinstance(node, nodes.Macro)}
    for node in found:
        if type(node) not in ALLOWED:
            raise Refused(f"line {node.lineno}: {_name(node)} is not part of the language")
        _check_names(node)
        _check_use(node, macros)
    unknown = find_undeclared_variables(tree) - NAMES - FUNCTIONS
    if unknown:
        names = ", ".join(sorted(NAMES - {"attributes"}))
        raise Refused(f"{min(unknown)!r} is not known; known are {names} and attributes.x")


class Countable(NodeTransformer):
    """Rewrites a checked tree, so that all that can grow spends from the budget of the mail:
    turns of loops, calls of macros, and texts put together with `~`."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - Jinja's name
        return self._counted(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        return self._counted(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:  # noqa: N802
        return self._counted(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _call(CONCAT, node.nodes, node.lineno)

    def _counted(self, node: nodes.For | nodes.Macro | nodes.CallBlock) -> nodes.Node:
        chars = sum(len(text.data) for text in node.find_all(nodes.TemplateData))
        self.generic_visit(node)
        tick = _call(TICK, [nodes.Const(chars)], node.lineno)
        node.body.insert(0, nodes.ExprStmt(tick, lineno=node.lineno))
        return node


def _call(name: str, arguments: list[nodes.Expr], line: int) -> nodes.Call:
    return nodes.Call(nodes.Name(name, "load"), arguments, [], None, None, lineno=line)


def _below(node: nodes.Node) -> Iterator[nodes.Node]:
    """All nodes below one, without recursion: depth is the writer's choice."""
    left = list(node.iter_child_nodes())
    while left:
        one = left.pop()
        yield one
        left.extend(one.iter_child_nodes())


def _check_names(node: nodes.Node) -> None:
    named: list[object] = []
    if isinstance(node, nodes.Name | nodes.Macro):
        named.append(node.name)
    elif isinstance(node, nodes.Getattr):
        named.append(node.attr)
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        named.append(node.arg.value)
    for name in named:
        if isinstance(name, str) and name.startswith("_"):
            raise Refused(f"line {node.lineno}: a name may not begin with '_': {name!r}")
        if name == "self" and isinstance(node, nodes.Name):
            raise Refused(f"line {node.lineno}: 'self' is not part of the language")


def _check_use(node: nodes.Node, macros: Collection[str]) -> None:
    if isinstance(node, nodes.Filter | nodes.FilterBlock):
        filters = node.find_all(nodes.Filter) if isinstance(node, nodes.FilterBlock) else [node]
        for one in filters:
            if one.name not in FILTERS:
                raise Refused(
                    f"line {node.lineno}: the filter {one.name!r} is not part of the language"
                )
    elif isinstance(node, nodes.Test) and node.name not in TESTS:
        raise Refused(f"line {node.lineno}: the test {node.name!r} is not part of the language")
    elif isinstance(node, nodes.For) and node.recursive:
        raise Refused(f"line {node.lineno}: recursive loops are not part of the language")
    elif isinstance(node, nodes.Call) and not _may_call(node.node, macros):
        raise Refused(
            f"line {node.lineno}: only macros and range() can be called; "
            "for upper case and the like there are filters: {{ first_name|upper }}"
        )


def _may_call(called: nodes.Node, macros: Collection[str]) -> bool:
    if isinstance(called, nodes.Name):
        return called.name in macros or called.name in FUNCTIONS or called.name == "caller"
    return (
        isinstance(called, nodes.Getattr)
        and called.attr in ("cycle", "changed")
        and isinstance(called.node, nodes.Name)
        and called.node.name == "loop"
    )


def _name(node: nodes.Node) -> str:
    return "{% " + type(node).__name__.lower() + " %}"
