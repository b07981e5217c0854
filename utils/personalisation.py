"""Templates: what everybody gets, and the slots that are filled for each person.

A template is cut once per campaign: text that is the same for all becomes the skeleton,
and every piece at the top level that is computed (`{{ … }}`, a whole `{% if %}` or
`{% for %}`) becomes a slot. Per person the pieces are rendered in one pass, separated by
a mark, so that `{% set %}` and macros work across them; the skeleton is shipped once.

`template_guard` says what may be written, `template_filters` what it means.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

from jinja2 import Template as JinjaTemplate
from jinja2 import TemplateError as JinjaError
from jinja2 import nodes
from markupsafe import escape

from services.base import Skeleton
from utils.template_guard import check, unsendable
from utils.template_language import ESCAPING, PLAIN
from utils.template_rewrite import rewrite
from utils.template_sandbox import MISSING, Refused, Rendering, Sandbox

LONGEST_SUBJECT = 998
"""Characters; a longer one is cut. (A line of a mail may have so many, RFC 5322 2.1.1.)"""
NO_SUBJECT = "(no subject)"
"""For the person for whom a subject comes out empty: SendGrid refuses the mail otherwise."""

_MARK = "\x00"
"""Stands between slots; no value holds it, since no intake lets it in."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_Slot = tuple[str, list[str]]
"""A `%` form, and the names of the `_WORDS` that fill it."""
_SILENT = (nodes.Assign, nodes.AssignBlock, nodes.Macro)
_FAULTS = (
    JinjaError,
    Refused,
    ArithmeticError,
    LookupError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What compiling and rendering can raise, all of it the template's (or its data's) fault."""


class TemplateError(ValueError):
    """The template cannot be used. `field` is subject, html or text; the text says why."""

    def __init__(self, field: str, why: str, *, person: int | None = None) -> None:
        super().__init__(why)
        self.field = field
        self.person = person
        """For which of several it failed, where that is known."""


class Person(NamedTuple):
    """What a template may say about the one who reads it."""

    email: str
    unsubscribe_url: str
    attributes: Mapping[str, Any]
    first_name: str | None = None
    last_name: str | None = None
    tags: Sequence[str] = ()


class People(NamedTuple):
    """Several `Person`s: a column for each field. Attributes and tags may be JSON still, which
    is read when a template asks for it."""

    email: Sequence[str]
    unsubscribe_url: Sequence[str]
    attributes: Sequence[str | Mapping[str, Any]]
    first_name: Sequence[str | None]
    last_name: Sequence[str | None]
    tags: Sequence[str | Sequence[str]]


_WORDS = frozenset({"email", "first_name", "last_name", "unsubscribe_url"})
"""The variables that are text, or nothing."""
_SPECIAL = "&<>'\""


class Slots(NamedTuple):
    """The slot values of one person, ready to be shipped."""

    subject: tuple[str, ...]
    html: tuple[str, ...]
    text: tuple[str, ...]


_Values = Sequence[tuple[str, ...]]
"""A part's slot values, for each of several people."""

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
        # Lines are made one in a subject as a whole, so all of it is one slot.
        self._subject = _Part("subject", subject, PLAIN, one_slot=True)
        self._html = _Part("html", html, ESCAPING) if html is not None else None
        self._text = _Part("text", text, PLAIN) if text is not None else None
        self.subject = self._subject.skeleton
        self.html = self._html.skeleton if self._html else None
        self.text = self._text.skeleton if self._text else None
        if not self.subject.slots:
            if not (line := _one_line(self.subject.literals[0])):
                raise TemplateError("subject", "is empty")
            self.subject = Skeleton((line,))
        self._slots(_alone(NOBODY), is_trial=True)

    def slots(self, person: Person) -> Slots:
        """The values for one person; raises a `TemplateError` that says what went wrong."""
        [slots] = map(Slots, *self.slots_of(_alone(person)))
        return slots

    def slots_of(self, people: People) -> tuple[_Values, _Values, _Values]:
        """The values for each of them, of subject, html and text; the `TemplateError` says for
        which it went wrong."""
        return self._slots(people, is_trial=False)

    def _slots(self, people: People, *, is_trial: bool) -> tuple[_Values, _Values, _Values]:
        parts = (self._subject, self._html, self._text)
        if not all(part is None or part.is_plain for part in parts):
            people = people._replace(
                attributes=_parsed(people.attributes), tags=_parsed(people.tags)
            )
        subjects, htmls, texts = (
            part.values(people, self._campaign, is_trial=is_trial)
            if part
            else [()] * len(people.email)
            for part in parts
        )
        if self._subject.skeleton.slots:
            subjects = [(_one_line(line) or NO_SUBJECT,) for (line,) in subjects]
        return subjects, htmls, texts


def _parsed(column: Sequence[Any]) -> list[Any]:
    return [json.loads(one) if isinstance(one, str) else one for one in column]


def _alone(person: Person) -> People:
    return People._make(zip(person, strict=True))


class _Part:
    """One part of a template, cut."""

    def __init__(
        self, field: str, source: str, sandbox: Sandbox, *, one_slot: bool = False
    ) -> None:
        self._field, self._sandbox = field, sandbox
        try:
            tree = sandbox.parse(source)
            check(tree)
            rewrite(tree)
            self.skeleton, tree.body = _cut(tree, one_slot=one_slot)
            self._plain = _plain(tree.body)
            self._pieces = sandbox.from_string(tree)
        except _FAULTS as error:
            raise TemplateError(field, _words(error)) from error

    @property
    def is_plain(self) -> bool:
        """Whether all that it asks of a person is words."""
        return self._plain is not None

    def values(self, people: People, campaign: Mapping[str, Any], *, is_trial: bool) -> _Values:
        """For each of them, the values of its slots."""
        if self._plain is None:
            return [
                self._rendered(n, Person(*person), campaign, is_trial=is_trial)
                for n, person in enumerate(zip(*people, strict=True))
            ]
        if not self._plain:
            return [()] * len(people.email)
        values = list(zip(*(self._column(slot, people) for slot in self._plain), strict=True))
        written = "".join(map("".join, values))
        if "\0" in written or not written.isascii():
            for n, own in enumerate(values):
                self._must_be_sendable(n, "".join(own))
        return values

    def _column(self, slot: "_Slot", people: People) -> Sequence[str]:
        """A slot's value for each: what Jinja would write, in a tenth of its time."""
        form, names = slot
        columns = [[word or "" for word in getattr(people, name)] for name in names]
        if self._sandbox.autoescape:
            columns = [
                list(map(escape, words)) if _is_special(words) else words for words in columns
            ]
        if form == "%s":
            return columns[0]
        if len(columns) == 1:
            return [form % word for word in columns[0]]
        return [form % words for words in zip(*columns, strict=True)]

    def _rendered(
        self, n: int, person: Person, campaign: Mapping[str, Any], *, is_trial: bool
    ) -> tuple[str, ...]:
        variables = {
            **person._asdict(),
            "first_name": person.first_name or MISSING,
            "last_name": person.last_name or MISSING,
            "campaign": campaign,
        }
        rendering = Rendering(self._sandbox, variables, is_trial=is_trial)
        try:
            written = "".join(self._pieces.root_render_func(rendering))
        except _FAULTS as error:
            raise TemplateError(self._field, _words(error, self._pieces), person=n) from error
        values = tuple(written.split(_MARK)[:-1])
        if len(values) != self.skeleton.slots:
            raise TemplateError(self._field, "a value contains a NUL character", person=n)
        if not written.isascii():
            self._must_be_sendable(n, written.replace(_MARK, ""))
        return values

    def _must_be_sendable(self, n: int, written: str) -> None:
        if why := unsendable(written):
            raise TemplateError(self._field, f"a value {why}", person=n)


def _is_special(words: Sequence[str]) -> bool:
    """Whether HTML would read one of them as more than text."""
    together = "".join(words)
    return any(one in together for one in _SPECIAL)


def _plain(body: Sequence[nodes.Node]) -> "list[_Slot] | None":
    """The slots, where they hold nothing but words and text, as most mails' do: they greet a
    person and let them leave."""
    slots: list[_Slot] = []
    form, names = "", []
    for node in body:
        if not isinstance(node, nodes.Output):
            return None
        for piece in node.nodes:
            if isinstance(piece, nodes.Name) and piece.name in _WORDS:
                form += "%s"
                names.append(piece.name)
            elif not isinstance(piece, nodes.TemplateData):
                return None
            elif piece.data != _MARK:
                form += piece.data.replace("%", "%%")
            else:
                slots.append((form, names))
                form, names = "", []
    return slots


def _cut(tree: nodes.Template, *, one_slot: bool) -> tuple[Skeleton, list[nodes.Node]]:
    """The skeleton, and what is to be rendered for each person: pieces, each with a mark.

    Pieces with no text between them are one slot.
    """
    mark = nodes.Output([nodes.TemplateData(_MARK)], lineno=1)
    pieces = list(_pieces(tree))
    if one_slot and not all(isinstance(piece, nodes.TemplateData) for piece in pieces):
        return Skeleton(("", "")), [*tree.body, mark]
    literals: list[list[str]] = [[]]
    body: list[nodes.Node] = []
    is_open = False
    for piece in pieces:
        if not isinstance(piece, nodes.TemplateData):
            body.append(piece)
            is_open = is_open or not isinstance(piece, _SILENT)
            continue
        if is_open:
            body.append(mark)
            literals.append([])
            is_open = False
        literals[-1].append(piece.data)
    if is_open:
        body.append(mark)
        literals.append([])
    return Skeleton(tuple(map("".join, literals))), body


def _pieces(tree: nodes.Template) -> Iterator[nodes.Node]:
    """The top level: texts, and what is computed."""
    for node in tree.body:
        if not isinstance(node, nodes.Output):
            yield node
            continue
        for piece in node.nodes:
            is_text = isinstance(piece, nodes.TemplateData)
            yield piece if is_text else nodes.Output([piece], lineno=piece.lineno)


def _words(error: Exception, template: JinjaTemplate | None = None) -> str:
    """What is wrong, with the line where it is known."""
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    said = getattr(error, "message", None) or str(error) or type(error).__name__
    if isinstance(error, SyntaxError):  # Python's own limits: 20 loops in one another and the like
        return f"is nested too deeply ({error.msg})"
    line = getattr(error, "lineno", None) or (template and _line(error.__traceback__, template))
    return f"line {line}: {said}" if line else str(said)


def _line(trace: TracebackType | None, template: JinjaTemplate) -> int | None:
    """The template's line in which a rendering failed."""
    line = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    return line


def _one_line(text: str) -> str:
    if not text.isprintable():
        text = _CONTROL.sub(" ", text)
    return text.strip()[:LONGEST_SUBJECT]
