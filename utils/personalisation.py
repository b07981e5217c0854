"""Templates: what everybody gets, and the slots that are filled for each person.

A template is cut once per campaign into a skeleton and its slots; filling a slot is all
that happens per person. `{{ name }}` is the whole language for now.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import escape

from services.base import Skeleton

_SLOT = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)\s*\}\}")
_LEFT_OVER = re.compile(r"\{\{|\}\}|\{%|%\}|\{#|#\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]+")
_NAMES = frozenset({"email", "first_name", "last_name", "tags", "unsubscribe_url"})
_CAMPAIGN_NAMES = frozenset({"id", "name", "subject"})


class TemplateError(ValueError):
    """The template cannot be used. `field` is subject, html or text; the text says why."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(why)
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What a template may say about the one who reads it."""

    email: str
    first_name: str | None
    last_name: str | None
    attributes: Mapping[str, Any]
    tags: Sequence[str]
    unsubscribe_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """The slot values of one person, ready to be shipped."""

    subject: tuple[str, ...]
    html: tuple[str, ...]
    text: tuple[str, ...]


class Template:
    """A subject with an HTML part, a text part, or both. Raises a `TemplateError`."""

    def __init__(
        self, *, subject: str, html: str | None, text: str | None, campaign: Mapping[str, Any]
    ) -> None:
        self._campaign = campaign
        self.subject, self._subject = _cut("subject", _CONTROL.sub(" ", subject))
        self.html, self._html = _cut_part("html", html)
        self.text, self._text = _cut_part("text", text)

    def slots(self, person: Person) -> Slots:
        """The values for one person; a variable that is known but not set is empty."""
        return Slots(
            subject=self._values(self._subject, person, _one_line),
            html=self._values(self._html, person, lambda value: str(escape(value))),
            text=self._values(self._text, person, str),
        )

    def _values(
        self, names: Sequence[tuple[str, ...]], person: Person, ship: Callable[[str], str]
    ) -> tuple[str, ...]:
        return tuple(ship(_say(self._look_up(name, person))) for name in names)

    def _look_up(self, name: tuple[str, ...], person: Person) -> Any:
        if name[0] == "campaign":
            return self._campaign.get(name[1])
        if name[0] != "attributes":
            return getattr(person, name[0])
        found: Any = person.attributes
        for part in name[1:]:
            found = found.get(part) if isinstance(found, Mapping) else None
        return found


Names = tuple[tuple[str, ...], ...]


def _cut_part(field: str, source: str | None) -> tuple[Skeleton | None, Names]:
    return _cut(field, source) if source is not None else (None, ())


def _cut(field: str, source: str) -> tuple[Skeleton, Names]:
    pieces = _SLOT.split(source)
    literals, names = pieces[0::2], [tuple(name.split(".")) for name in pieces[1::2]]
    for literal in literals:
        left_over = _LEFT_OVER.search(literal)
        if left_over:
            raise TemplateError(field, f"{left_over.group()!r} is not part of a {{{{ name }}}}")
    for name in names:
        _check(field, name)
    return Skeleton(tuple(literals)), tuple(names)


def _check(field: str, name: tuple[str, ...]) -> None:
    said = ".".join(name)
    if any(part.startswith("_") for part in name):
        raise TemplateError(field, f"{said!r}: a name may not begin with '_'")
    known = (
        (len(name) == 1 and name[0] in _NAMES)
        or (len(name) > 1 and name[0] == "attributes")
        or (len(name) == 2 and name[0] == "campaign" and name[1] in _CAMPAIGN_NAMES)
    )
    if not known:
        names = ", ".join([*sorted(_NAMES), "attributes.x", "campaign.name"])
        raise TemplateError(field, f"{said!r} is not known; known are {names}")


def _say(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ", ".join(_say(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _one_line(value: str) -> str:
    return _CONTROL.sub(" ", value)
