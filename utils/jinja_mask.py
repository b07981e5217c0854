"""Hides a template's Jinja from HTML tools, and puts it back.

HTML tools move what is not HTML: text between table rows goes before the table, quotes in
an attribute end it, `>` becomes `&gt;`. So every piece of Jinja becomes something that they
leave where it is: a comment between elements, a word inside tags, styles and comments.
"""

import re
from collections.abc import Iterator

from jinja2 import Environment
from jinja2.exceptions import TemplateSyntaxError

_LEXER = Environment(keep_trailing_newline=True)
_BEGIN = {"variable_begin", "block_begin", "comment_begin", "raw_begin"}
_END = {"variable_end", "block_end", "comment_end", "raw_end"}
_WORD = re.compile(r"<!--cxj(\d+)j-->|cxj(\d+)j(?:=\"\")?", re.IGNORECASE)
_TAKEN = re.compile(r"cxj\d+j", re.IGNORECASE)
_RAW_TEXT = re.compile(r"<(style|script|title|textarea|xmp|noscript)\b[^>]*>", re.IGNORECASE)


class CannotMask(ValueError):
    """The template's Jinja cannot be told from its HTML; use it as it is."""


class Masked:
    """A template's HTML without its Jinja. Raises `CannotMask`."""

    def __init__(self, source: str) -> None:
        if _TAKEN.search(source):
            raise CannotMask("the template contains our own placeholders")
        self.pieces: list[str] = []
        """The Jinja, in order; the number of a placeholder is its place here."""
        written: list[str] = []
        place = _Place()
        for is_jinja, text in _split(source):
            if is_jinja:
                word = f"cxj{len(self.pieces)}j"
                self.pieces.append(text)
                text = f"<!--{word}-->" if place.is_between_elements else word
            else:
                place.after(text)
            written.append(text)
        self.html = "".join(written)

    def restore(self, html: str) -> str:
        """`html` with its Jinja back; `CannotMask` if a tool lost, doubled or moved a piece."""
        found = [int(match.group(1) or match.group(2)) for match in _WORD.finditer(html)]
        if found != list(range(len(self.pieces))):
            raise CannotMask("a placeholder was moved, lost or doubled")
        return self.unmask(html)

    def unmask(self, html: str) -> str:
        """`html` with every placeholder replaced, wherever it is now."""
        return _WORD.sub(lambda match: self.pieces[int(match.group(1) or match.group(2))], html)

    def words_of(self, name: str) -> frozenset[str]:
        """The placeholders of `{{ … }}` pieces that say `name`."""
        says = re.compile(rf"\{{\{{.*\b{re.escape(name)}\b.*\}}\}}", re.DOTALL)
        return frozenset(
            f"cxj{number}j" for number, piece in enumerate(self.pieces) if says.fullmatch(piece)
        )


def _split(source: str) -> Iterator[tuple[bool, str]]:
    """The template in pieces: Jinja or not, and the text."""
    inside = ""
    begun: str | None = None
    try:
        for _, kind, text in _LEXER.lex(source):
            if begun is None and kind in _BEGIN:
                begun, inside = kind, text
            elif begun is not None:
                inside += text
                if kind in _END and kind.split("_")[0] == begun.split("_")[0]:
                    yield True, inside
                    begun = None
            else:
                yield False, text
    except TemplateSyntaxError as error:
        raise CannotMask(str(error)) from error


class _Place:
    """Where in the HTML the end of what was read so far is."""

    def __init__(self) -> None:
        self._state = "between"
        self._ends_with = ""

    @property
    def is_between_elements(self) -> bool:
        return self._state == "between"

    def after(self, html: str) -> None:
        """Read on. Looks only at what changes the place: tags, comments, raw text, quotes."""
        rest = html
        while rest:
            rest = getattr(self, f"_{self._state}")(rest)

    def _between(self, rest: str) -> str:
        start = rest.find("<")
        if start < 0:
            return ""
        if rest.startswith("<!--", start):
            self._state, self._ends_with = "until", "-->"
            return rest[start + 4 :]
        raw = _RAW_TEXT.match(rest, start)
        if raw is not None:
            self._state, self._ends_with = "until", f"</{raw.group(1).lower()}"
            return rest[raw.end() :]
        if rest[start + 1 : start + 2].isalpha() or rest[start + 1 : start + 2] in ("/", "!"):
            self._state = "tag"
        return rest[start + 1 :]

    def _tag(self, rest: str) -> str:
        for place, letter in enumerate(rest):
            if letter in "\"'":
                self._state, self._ends_with = "quoted", letter
                return rest[place + 1 :]
            if letter == ">":
                self._state = "between"
                return rest[place + 1 :]
        return ""

    def _quoted(self, rest: str) -> str:
        end = rest.find(self._ends_with)
        if end < 0:
            return ""
        self._state = "tag"
        return rest[end + 1 :]

    def _until(self, rest: str) -> str:
        end = rest.lower().find(self._ends_with)
        if end < 0:
            return ""
        self._state = "between" if self._ends_with == "-->" else "tag"
        return rest[end + len(self._ends_with) :]
