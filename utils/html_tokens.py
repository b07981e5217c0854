"""HTML in tokens, in time that grows with its length only, whatever it is.

Not html.parser: in Python 3.11 it takes 27 s for 200 kB of `<!--`, longer for `<a `, and
raises an AssertionError for `<![`.
"""

import re
from collections.abc import Iterator
from enum import Enum, auto
from html import unescape
from typing import NamedTuple

_OPENING = re.compile(r"<(?:!--|[!?]|/?[a-zA-Z])")
_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*+)((?:[^>\"']++|\"[^\"]*+\"|'[^']*+')*+)>")
_ROUGH_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*+)([^>]*+)>")
_ATTRIBUTE = re.compile(
    r"([^\s=>/\"'\x02\x03][^\s=>/\x02\x03]*+)"
    r"(?:\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s\"'>][^\s>]*+)))?"
)
_RAW = frozenset({"style", "script", "title", "textarea", "xmp"})
_RAW_ENDS = {tag: re.compile(f"</{tag}", re.IGNORECASE) for tag in _RAW}


class Kind(Enum):
    TEXT = auto()
    START = auto()
    END = auto()
    RAW = auto()
    """What is between `<style>` and its end, or the like."""
    CUT = auto()
    """A tag or comment begins here and never ends; the last token."""


class Token(NamedTuple):
    kind: Kind
    place: int
    name: str
    """Of the tag; of a `RAW`, of the tag round it."""
    text: str
    """The text as written; of a `START` or `END`, what follows the name."""

    @property
    def end(self) -> int:
        """Where the token ends. What is between here and the next one is a comment."""
        if self.kind is Kind.START or self.kind is Kind.END:
            brackets = 2 if self.kind is Kind.START else 3
            return self.place + brackets + len(self.name) + len(self.text)
        return self.place + len(self.text)


def tokens(html: str) -> Iterator[Token]:
    """The tokens of a page, comments and declarations left out.

    A tag or comment that never ends ends the page, as it does in a mail program.
    """
    at, tag_pattern = 0, _TAG
    while opening := _OPENING.search(html, at):
        start = opening.start()
        if start > at:
            yield Token(Kind.TEXT, at, "", html[at:start])
        if html[start + 1] in "!?":
            is_comment = opening.group() == "<!--"
            end = html.find("-->" if is_comment else ">", start + 2)
            if end < 0:
                yield Token(Kind.CUT, start, "", "")
                return
            at = end + (3 if is_comment else 1)
            continue
        tag = tag_pattern.match(html, start)
        if tag is None and tag_pattern is _TAG:
            tag_pattern = (
                _ROUGH_TAG  # a quote that never closes: only one may cost a look to the end
            )
            tag = tag_pattern.match(html, start)
        if tag is None:
            yield Token(Kind.CUT, start, "", "")
            return
        at = tag.end()
        name = tag[2].lower()
        yield Token(Kind.END if tag[1] else Kind.START, start, name, tag[3])
        if name in _RAW and not tag[1]:
            end_tag = _RAW_ENDS[name].search(html, at)
            end = end_tag.start() if end_tag else len(html)
            yield Token(Kind.RAW, at, name, html[at:end])
            at = end
    if at < len(html):
        yield Token(Kind.TEXT, at, "", html[at:])


def attributes(written: str) -> dict[str, str]:
    """The attributes of a tag; the first of a name counts, one without value is empty.

    A mark of Jinja beside an attribute (`{% if … %}alt="…"{% endif %}`) is not part of it.
    """
    given: dict[str, str] = {}
    for one in attribute_list(written):
        given.setdefault(one.name, one.value)
    return given


class Attribute(NamedTuple):
    name: str
    value: str
    start: int
    end: int


def attribute_list(written: str) -> Iterator[Attribute]:
    """All attributes of a tag, also those that come twice, and where each is written."""
    for match in _ATTRIBUTE.finditer(written):
        name, *values = match.groups()
        value = next((value for value in values if value is not None), "")
        value = unescape(value) if "&" in value else value
        yield Attribute(name.lower(), value, match.start(), match.end())
