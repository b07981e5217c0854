"""What CSS does to the text of a mail: whether a reader sees it.

As much of CSS as that question needs: the properties that hide, colours, and selectors of
one element. What a longer selector sets is not known, and what is not known is no finding.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import NamedTuple

from utils.lint.jinja import MARK

UNKNOWN = MARK
"""The value of a property that Jinja, or a selector we do not follow, decides."""
MOST_STEPS = 100_000
"""Rules looked at for one mail; elements after that are taken for unstyled."""

_COMMENT = re.compile(r"/\*(?:[^*]++|\*(?!/))*+(?:\*/|$)")
_BRACE = re.compile(r"[{}]")
_COMPOUND = re.compile(r"([a-z][a-z0-9]*|\*)?((?:[.#][\w-]+)*)", re.IGNORECASE)
_NAME = re.compile(r"[.#]([\w-]+)|=\s*+[\"']?([\w-][\w -]*+)[\"']?\s*+\]")
_PSEUDO = re.compile(r":{1,2}[\w-]+(?:\([^()]*+\))?|\[[^\[\]]*+\]")
_BETWEEN = re.compile(r"[\s>+~]+")
_LENGTH = re.compile(r"(?:^|[\s])(-?[\d.]+)(px|pt|em|rem|%)?(?=[\s/;]|$)")
_COLOUR = re.compile(r"#[0-9a-f]{3,8}\b|rgba?\([^()]*+\)|\b[a-z]+\b")
_NUMBER = re.compile(r"[\d.]+%?")
_SAME = 10
"""Two colours whose red, green and blue differ by no more look the same."""

Rgb = tuple[int, int, int]
_WHITE: Rgb = (255, 255, 255)
_NAMED: dict[str, Rgb] = {
    "white": _WHITE,
    "black": (0, 0, 0),
    "red": (255, 0, 0),
    "yellow": (255, 255, 0),
    "gray": (128, 128, 128),
    "grey": (128, 128, 128),
    "silver": (192, 192, 192),
    "whitesmoke": (245, 245, 245),
    "snow": (255, 250, 250),
    "ivory": (255, 255, 240),
}
"""A colour of another name is not known."""
_NO_CHANGE = frozenset({"", "none", "transparent", "inherit", "initial", "unset"})
_READ = frozenset(
    {
        *("display", "visibility", "opacity", "font-size", "color", "background", "max-height"),
        *("height", "overflow", "text-indent"),
    }
)


_LOOKS = frozenset({"background", "bgcolor", "class", "color", "hidden", "id", "style"})
"""The attributes that say how an element looks."""


class Seen(IntEnum):
    YES = 0
    SOMETIMES = 1
    """Shown to some by a media query."""
    NO = 2


class Look(NamedTuple):
    """How an element shows its text; passed on to what is in it."""

    seen: Seen = Seen.YES
    is_tiny: bool = False
    colour: Rgb | None = None
    background: Rgb | None = _WHITE
    hides: bool = False
    """Nobody sees text in it, for one of these reasons."""


class _Rule(NamedTuple):
    tag: str
    names: frozenset[str]
    """Classes with a dot before them, ids with a hash."""
    sets: Mapping[str, str]


class Styles:
    """The `<style>` elements of a mail."""

    def __init__(self, css: Iterable[str]) -> None:
        self._rules: defaultdict[str, list[_Rule]] = defaultdict(list)
        self._conditional: set[str] = set()
        self._looks: dict[tuple[str | Look | None, ...], Look] = {}
        self._steps = MOST_STEPS
        for sheet in css:
            for selectors, body, is_conditional in _rules(sheet):
                if is_conditional:
                    names = _NAME.findall(selectors)
                    self._conditional.update(w for a, b in names for w in (a or b).split())
                elif sets := declarations(body):
                    self._add(selectors, sets)

    def look(self, tag: str, given: Mapping[str, str], around: Look) -> Look:
        """How an element looks, of these attributes and in an element that looks so."""
        if not self._rules and not _LOOKS.intersection(given):
            return around
        key = (tag, around, *map(given.get, _LOOKS))
        if key not in self._looks:
            self._looks[key] = self._look(tag, given, around)
        return self._looks[key]

    def _look(self, tag: str, given: Mapping[str, str], around: Look) -> Look:
        names = [f".{name}" for name in given.get("class", "").split()]
        if "id" in given:
            names.append(f"#{given['id']}")
        sets = self._of_sheets(tag, names) | self._of_element(given)
        if not sets:
            return around
        seen = around.seen
        if _is_hidden(sets):
            is_sometimes = any(name[1:] in self._conditional for name in names)
            seen = max(seen, Seen.SOMETIMES if is_sometimes else Seen.NO)
        is_tiny = _is_tiny(sets.get("font-size"), around.is_tiny)
        colour = _changed(sets.get("color"), around.colour)
        background = _changed(sets.get("background"), around.background)
        no_one = seen is Seen.NO or is_tiny or _same(colour, background)
        return Look(seen, is_tiny, colour, background, no_one and seen is not Seen.SOMETIMES)

    def _add(self, selectors: str, sets: Mapping[str, str]) -> None:
        for selector in selectors.split(","):
            plain = _PSEUDO.sub("", selector).strip()
            compound = _COMPOUND.fullmatch(_BETWEEN.split(plain)[-1])
            if compound is None:
                continue
            tag, names = compound.groups()
            is_followed = plain == selector.strip() == compound.group()
            rule = _Rule(
                tag="" if tag in (None, "*") else tag.lower(),
                names=frozenset(re.findall(r"[.#][\w-]+", names)),
                sets=sets if is_followed else dict.fromkeys(sets, UNKNOWN),
            )
            self._rules[min(rule.names, default=rule.tag)].append(rule)

    def _of_sheets(self, tag: str, names: list[str]) -> dict[str, str]:
        matching = []
        for key in ("", tag, *names):
            for rule in self._rules.get(key, ()):
                self._steps -= 1
                if self._steps < 0:
                    return {}
                if rule.tag in ("", tag) and rule.names.issubset(names):
                    matching.append(rule)
        sets: dict[str, str] = {}
        for rule in sorted(matching, key=_weight):
            sets |= rule.sets
        return sets

    def _of_element(self, given: Mapping[str, str]) -> dict[str, str]:
        sets = {"background": UNKNOWN} if "background" in given else {}
        for attribute, name in (("bgcolor", "background"), ("color", "color")):
            if attribute in given:
                sets[name] = given[attribute].lower()
        if "hidden" in given:
            sets["display"] = "none"
        return sets | declarations(given.get("style", ""))


def declarations(css: str) -> dict[str, str]:
    """Those of the properties that we read, in lower case; shorthands as what they set."""
    sets: dict[str, str] = {}
    for declaration in _COMMENT.sub("", css).lower().split(";"):
        name, _, value = declaration.partition(":")
        name, value = name.strip(), value.replace("!important", "").strip()
        if name == "background-color":
            name = "background"
        elif name == "background-image" and value != "none":
            name, value = "background", UNKNOWN
        elif name == "font":
            name = "font-size"
        if name in _READ:
            sets[name] = UNKNOWN if MARK in value else value
    return sets


def _rules(css: str) -> Iterator[tuple[str, str, bool]]:
    """Selectors, body, and whether a media query or the like decides."""
    css = _COMMENT.sub(" ", css)
    inside: list[str] = []
    at, conditions = 0, 0
    for brace in _BRACE.finditer(css):
        before = css[at : brace.start()].strip()
        at = brace.end()
        if brace.group() == "{":
            inside.append(before.rpartition(";")[2].strip())
            conditions += inside[-1].startswith("@")
        elif inside:
            selectors = inside.pop()
            if selectors.startswith("@"):
                conditions -= 1
            else:
                yield selectors, before, conditions > 0


def _weight(rule: _Rule) -> tuple[bool, int, int, bool]:
    """Which of two rules counts: what is not known most of all, then ids, classes, tags."""
    ids = sum(name.startswith("#") for name in rule.names)
    return UNKNOWN in rule.sets.values(), ids, len(rule.names), bool(rule.tag)


def _is_hidden(sets: Mapping[str, str]) -> bool:
    no_room = _is_zero(sets.get("max-height")) or _is_zero(sets.get("height"))
    return (
        sets.get("display") == "none"
        or sets.get("visibility") == "hidden"
        or _is_zero(sets.get("opacity"))
        or (no_room and sets.get("overflow") == "hidden")
        or sets.get("color") == "transparent"
        or bool(re.match(r"-\d{3,}", sets.get("text-indent", "")))
    )


def _is_zero(value: str | None) -> bool:
    length = _LENGTH.match(value or "")
    return length is not None and _number(length[1]) == 0


def _is_tiny(value: str | None, around: bool) -> bool:
    length = _LENGTH.search(value or "")
    if length is None:
        return around and value in (None, "inherit", UNKNOWN)
    size = _number(length[1])
    if length[2] in ("em", "%"):
        return around or size == 0
    return size <= (0 if length[2] == "rem" else 1)


def _changed(value: str | None, around: Rgb | None) -> Rgb | None:
    """The colour that a value sets; `None` if that is not known."""
    if value is None or value in _NO_CHANGE:
        return around
    if UNKNOWN in value or "url(" in value or "gradient" in value:
        return None
    colours = [_rgb(word) for word in _COLOUR.findall(value)]
    return next((colour for colour in colours if colour), None)


def _rgb(word: str) -> Rgb | None:
    if word.startswith("#") and len(word) in (4, 7):
        digits = word[1:] if len(word) == 7 else "".join(2 * digit for digit in word[1:])
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    if word.startswith("rgb"):
        parts = _NUMBER.findall(word)
        if len(parts) == 3 and not any(part.endswith("%") for part in parts):
            red, green, blue = (int(min(_number(part), 255)) for part in parts)
            return red, green, blue
        return None
    return _NAMED.get(word)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0  # "1.2.3": whatever it is, it hides nothing


def _same(one: Rgb | None, other: Rgb | None) -> bool:
    if one is None or other is None:
        return False
    return all(abs(a - b) <= _SAME for a, b in zip(one, other, strict=True))
