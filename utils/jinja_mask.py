"""Hides a template's Jinja from HTML tools, and puts it back.

HTML tools move what is not HTML: text between table rows goes before the table, quotes in
an attribute end it, `>` becomes `&gt;`. So every piece of Jinja becomes something that they
leave where it is: a comment between elements, a word inside tags, styles and comments.
"""

import re
from collections.abc import Callable, Iterator
from functools import cached_property

from jinja2 import Environment
from jinja2.exceptions import TemplateSyntaxError

_LEXER = Environment(keep_trailing_newline=True)
_BEGIN = {"variable_begin", "block_begin", "comment_begin", "raw_begin"}
_END = {"variable_end", "block_end", "comment_end", "raw_end"}
_AS_COMMENT = re.compile(r"<!--cxk(\d+)j-->")
WORD = re.compile(r"cxj\d+j")
_EITHER = re.compile(r"<!--cxk(\d+)j-->|cxj(\d+)j")
_RAW = re.compile(r"\{%[-+]?\s*raw\b")
_LINE_END = re.compile(r"\r\n?")
_TAKEN = re.compile(r"cx[jk]\d+j", re.IGNORECASE)
_OPENING = re.compile(r"<(?:(?P<empty>!---?>)|(?P<comment>!--)|[!?]|/|(?P<name>[a-zA-Z][^\s/>]*+))")
_QUOTE_OR_END = re.compile(r"[\"'>]")
_QUOTES = {quote: re.compile(quote) for quote in "\"'"}
_COMMENT_END = re.compile("-->")
_RAW_ENDS = {
    tag: re.compile(f"</{tag}", re.IGNORECASE)
    for tag in ("style", "script", "title", "textarea", "xmp", "noscript")
}


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
                number = len(self.pieces)
                self.pieces.append(text)
                # Not the same word in a comment of ours as in one of the template's.
                text = f"<!--cxk{number}j-->" if place.is_between_elements else f"cxj{number}j"
            else:
                place.after(text)
            written.append(text)
        self.html = "".join(written)

    def as_words(self) -> str:
        """`html` with words also where comments stand for pieces."""
        return _AS_COMMENT.sub(r"cxj\1j", self.html)

    def unmask(self, html: str) -> str:
        """`html` with every placeholder replaced, wherever it is now."""
        return _EITHER.sub(lambda match: self.pieces[int(match.group(1) or match.group(2))], html)

    @cached_property
    def statements(self) -> frozenset[str]:
        """The placeholders of `{% … %}`, which hold a template together wherever they stand."""
        return frozenset(
            f"cxj{number}j"
            for number, piece in enumerate(self.pieces)
            if piece.startswith("{%") and not _RAW.match(piece)
        )

    def words_of(self, name: str) -> frozenset[str]:
        """The placeholders of `{{ … }}` pieces that say `name`."""
        says = re.compile(rf"\{{\{{.*\b{re.escape(name)}\b.*\}}\}}", re.DOTALL)
        return frozenset(
            f"cxj{number}j" for number, piece in enumerate(self.pieces) if says.fullmatch(piece)
        )


def _split(source: str) -> Iterator[tuple[bool, str]]:
    """The template in pieces: Jinja or not, and the text."""
    source = _LINE_END.sub("\n", source)  # as the lexer does
    done = at = 0
    begun: str | None = None
    try:
        for _, kind, text in _LEXER.lex(source):
            # Not always at `at`: the lexer leaves out the blanks before `{%-`.
            start = source.index(text, at)
            at = start + len(text)
            if begun is None and kind in _BEGIN:
                yield False, source[done:start]
                begun, done = kind.split("_")[0], start
            elif begun is not None and kind in _END and kind.split("_")[0] == begun:
                yield True, source[done:at]
                begun, done = None, at
    except TemplateSyntaxError as error:
        raise CannotMask(str(error)) from error
    if begun is not None:
        raise CannotMask("a piece of Jinja has no end")
    yield False, source[done:]


class _Place:
    """Where in the HTML the end of what was read so far is."""

    def __init__(self) -> None:
        self._read: Callable[[str, int], int] = self._between
        self._raw = ""
        """The tag that is open, if no tags but its own end are looked for behind it."""
        self._end = _COMMENT_END

    @property
    def is_between_elements(self) -> bool:
        return self._read == self._between

    def after(self, html: str) -> None:
        """Read on. Looks only at what changes the place: tags, comments, raw text, quotes."""
        at = 0
        while at < len(html):
            at = self._read(html, at)

    def _between(self, html: str, at: int) -> int:
        found = _OPENING.search(html, at)
        if found is None:
            return len(html)
        if found["comment"]:
            self._read, self._end = self._until, _COMMENT_END
        elif not found["empty"]:
            self._read, self._raw = self._tag, (found["name"] or "").lower()
        return found.end()

    def _tag(self, html: str, at: int) -> int:
        found = _QUOTE_OR_END.search(html, at)
        if found is None:
            return len(html)
        if found.group() != ">":
            self._read, self._end = self._quoted, _QUOTES[found.group()]
        elif self._raw in _RAW_ENDS:
            self._read, self._end = self._until, _RAW_ENDS[self._raw]
        else:
            self._read = self._between
        return found.end()

    def _quoted(self, html: str, at: int) -> int:
        return self._go_to_end(html, at, self._tag)

    def _until(self, html: str, at: int) -> int:
        self._raw = ""
        return self._go_to_end(html, at, self._between if self._end is _COMMENT_END else self._tag)

    def _go_to_end(self, html: str, at: int, then: Callable[[str, int], int]) -> int:
        found = self._end.search(html, at)
        if found is None:
            return len(html)
        self._read = then
        return found.end()
