"""Rewrites a checked tree, so that all that can grow or take long pays for it, and what
would fail over a value's kind gives nothing (see `template_sandbox`).

Each such expression becomes one of the filters in `template_language.REWRITTEN`: a filter
is called directly, a function by way of several checks.
"""

from jinja2 import nodes
from jinja2.visitor import NodeTransformer


def rewrite(tree: nodes.Template) -> None:
    """In place."""
    _Rewriter().visit(tree)


class _Rewriter(NodeTransformer):
    """Methods have the names of Jinja's nodes."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        inside = [part for part in (*node.body, node.test) if part is not None]
        targets = len(node.target.items) if isinstance(node.target, nodes.Tuple) else 1
        price = _price(inside)
        self.generic_visit(node)
        assert isinstance(node.iter, nodes.Expr)
        node.iter = _filter(node.iter, "_turns", [*price, nodes.Const(targets)])
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        return self._ticking(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:
        return self._ticking(node)

    def _ticking(self, node: nodes.Macro | nodes.CallBlock) -> nodes.Node:
        first, second = _price([*node.body, *node.defaults])
        self.generic_visit(node)
        tick = _filter(first, "_tick", [second])
        node.body.insert(0, nodes.ExprStmt(tick, lineno=node.lineno))
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        self.generic_visit(node)
        called = node.node
        if isinstance(called, nodes.Getattr):  # loop.cycle, loop.changed
            return _filter(called.node, f"_{called.attr}", node.args, node.lineno)
        if isinstance(called, nodes.Name) and called.name == "range":
            return _filter(node.args[0], "_range", node.args[1:], node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filter(node.nodes[0], "_concat", node.nodes[1:])

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        pairs = [part for one in node.ops for part in (nodes.Const(one.op), one.expr)]
        return _filter(node.expr, "_compare", pairs)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        cut = node.arg
        if not isinstance(cut, nodes.Slice):
            return node
        bounds = [bound or nodes.Const(None) for bound in (cut.start, cut.stop, cut.step)]
        return _filter(node.node, "_slice", bounds)

    def visit_List(self, node: nodes.List) -> nodes.Node:
        self.generic_visit(node)
        node.items = [_item(item) for item in node.items]
        return node

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        if node.ctx == "load":
            node.items = [_item(item) for item in node.items]
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:
        self.generic_visit(node)
        node.value = _item(node.value)
        return node


def _item(node: nodes.Expr) -> nodes.Expr:
    is_known = isinstance(node, nodes.Const | nodes.List | nodes.Tuple | nodes.Dict)
    return node if is_known else _filter(node, "_item", [])


def _filter(
    node: nodes.Expr, name: str, arguments: list[nodes.Expr], line: int | None = None
) -> nodes.Filter:
    return nodes.Filter(node, name, arguments, [], None, None, lineno=line or node.lineno)


def _price(body: list[nodes.Node]) -> tuple[nodes.Const, nodes.Const]:
    """What one turn costs: the pieces in it, and the characters of its fixed text."""
    pieces = [piece for part in body for piece in (part, *part.find_all(nodes.Node))]
    chars = sum(len(piece.data) for piece in pieces if isinstance(piece, nodes.TemplateData))
    return nodes.Const(1 + len(pieces)), nodes.Const(chars)
