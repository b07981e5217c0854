"""Templates: what everybody gets, and the slots that are filled for each person.

A template is cut once per campaign: text that is the same for all becomes the skeleton,
and every piece at the top level that is computed (`{{ … }}`, a whole `{% if %}` or
`{% for %}`) becomes a slot. Per person the pieces are rendered in one pass, separated by
a mark, so that `{% set %}` and macros work across them; the skeleton is shipped once.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Template as JinjaTemplate
from jinja2 import TemplateError as JinjaError
from jinja2 import nodes

from services.base import Skeleton
from utils.template_guard import Countable, Refused, check
from utils.template_sandbox import BUDGET, TICK, Budget, Sandbox, TooMuch

_MARK = "\x00"
"""Stands between slots; no value holds it, since no intake lets it in."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]+")
_SILENT = (nodes.Assign, nodes.AssignBlock, nodes.Macro)
_FAULTS = (
    JinjaError,
    Refused,
    TooMuch,
    ArithmeticError,
    LookupError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What compiling and rendering can raise, all of it the template's (or its data's) fault."""

_ESCAPING = Sandbox(autoescape=True)
_PLAIN = Sandbox(autoescape=False)


class TemplateError(ValueError):
    """The template cannot be used. `field` is subject, html or text; the text says why."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(why)
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What a template may say about the one who reads it."""

    email: str
    first_name: str | None = None
    last_name: str | None = None
    attributes: Mapping[str, Any]
    tags: Sequence[str] = ()
    unsubscribe_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """The slot values of one person, ready to be shipped."""

    subject: tuple[str, ...]
    html: tuple[str, ...]
    text: tuple[str, ...]


NOBODY = Person(email="someone@example.com", attributes={}, unsubscribe_url="https://example.com/")
"""The person of the trial rendering: what is not known about a person must be no fault."""


class Template:
    """A subject with an HTML part, a text part, or both; `campaign` has its name and id.

    Raises a `TemplateError` when a part does not compile, uses what is not part of the
    language, or fails (or asks for too much) for a person of whom little is known.
    """

    def __init__(
        self, *, subject: str, html: str | None, text: str | None, campaign: Mapping[str, Any]
    ) -> None:
        self._campaign = campaign
        self._subject = _Part("subject", subject, _PLAIN)
        self._html = _Part("html", html, _ESCAPING) if html is not None else None
        self._text = _Part("text", text, _PLAIN) if text is not None else None
        self.subject = Skeleton(tuple(map(_one_line, self._subject.skeleton.literals)))
        self.html = self._html.skeleton if self._html else None
        self.text = self._text.skeleton if self._text else None
        self.slots(NOBODY)

    def slots(self, person: Person) -> Slots:
        """The values for one person; raises a `TemplateError` that says what went wrong."""
        variables = {
            "email": person.email,
            "first_name": person.first_name,
            "last_name": person.last_name,
            "attributes": person.attributes,
            "tags": person.tags,
            "unsubscribe_url": person.unsubscribe_url,
            "campaign": self._campaign,
        }
        return Slots(
            subject=tuple(map(_one_line, self._subject.values(variables))),
            html=self._html.values(variables) if self._html else (),
            text=self._text.values(variables) if self._text else (),
        )


class _Part:
    """One part of a template, cut."""

    def __init__(self, field: str, source: str, sandbox: Sandbox) -> None:
        self._field = field
        try:
            tree = sandbox.parse(source)
            check(tree)
            Countable().visit(tree)
            self.skeleton, body = _cut(tree)
            tree.body = body
            self._pieces: JinjaTemplate | None = sandbox.from_string(tree) if body else None
        except _FAULTS as error:
            raise TemplateError(field, _words(error)) from error

    def values(self, variables: Mapping[str, Any]) -> tuple[str, ...]:
        if self._pieces is None:
            return ()
        budget = Budget()
        try:
            written = self._pieces.render(variables, **{TICK: budget.tick, BUDGET: budget})
        except _FAULTS as error:
            raise TemplateError(self._field, _words(error)) from error
        values = tuple(written.split(_MARK)[:-1])
        if len(values) != self.skeleton.slots:
            raise TemplateError(self._field, "a value contains a NUL character")
        return values


def _cut(tree: nodes.Template) -> tuple[Skeleton, list[nodes.Node]]:
    """The skeleton, and what is to be rendered for each person: pieces, each with a mark."""
    literals = [""]
    body: list[nodes.Node] = []

    def add_slot(node: nodes.Node) -> None:
        mark = nodes.Output([nodes.TemplateData(_MARK)], lineno=node.lineno)
        body.extend((node, mark))
        literals.append("")

    for node in tree.body:
        if isinstance(node, _SILENT):
            body.append(node)
        elif isinstance(node, nodes.Output):
            for piece in node.nodes:
                if isinstance(piece, nodes.TemplateData):
                    literals[-1] += piece.data
                else:
                    add_slot(nodes.Output([piece], lineno=piece.lineno))
        else:
            add_slot(node)
    return Skeleton(tuple(literals)), body


def _words(error: Exception) -> str:
    line = getattr(error, "lineno", None)
    said = getattr(error, "message", None) or str(error) or type(error).__name__
    if isinstance(error, RecursionError):
        said = "is nested too deeply"
    return f"line {line}: {said}" if line and isinstance(error, JinjaError) else str(said)


def _one_line(value: str) -> str:
    return _CONTROL.sub(" ", value)
