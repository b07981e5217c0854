"""The text part of an HTML template, its Jinja where it was.

Not by a library: those rebuild the document first, which moves a `{% for %}` out of its
table.
"""

import re
from collections.abc import Collection
from html import unescape

from utils.css_inlining import EMPTY
from utils.html_tokens import Kind, Token, attribute_list, attributes, tokens
from utils.jinja_mask import WORD, CannotMask, Masked

SILENT = frozenset({"head", "template"})
"""What is in these elements, nobody sees. (What is in <style> and the like is no text.)"""

_BLOCKS = frozenset(
    {
        *("address", "article", "aside", "blockquote", "body", "center", "dd", "div", "dl"),
        *("dt", "fieldset", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6"),
        *("header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table", "tr", "ul"),
    }
)
_SPACED = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "blockquote"})
_SHOWN = {"a": "href", "img": "alt"}
"""Attributes that become text."""
_HIDDEN = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
_BLANKS = re.compile(r"[ \t]+")
_MANY_LINES = re.compile(r"\n{3,}")
# &#123; in the HTML is a brace in the text, and must not become Jinja there.
_LIVE_BRACE = re.compile(r"\{(?=[{%#]|cxj\d+j)")
_BRACE = '{{ "{" }}'


def to_text(html: str) -> str:
    """The text of a template; empty if its Jinja and its HTML cannot be told apart, as where
    an `{% if %}` stands in the name of a tag."""
    try:
        masked = Masked(html)
    except CannotMask:
        return ""
    page = masked.as_words()
    text = _Writer(masked.statements).read(page)
    if _statements(text, masked.statements) != _statements(page, masked.statements):
        return ""
    return masked.unmask(_LIVE_BRACE.sub(lambda _: _BRACE, text))


def _statements(text: str, statements: Collection[str]) -> list[str]:
    return [word for word in WORD.findall(text) if word in statements] if "cxj" in text else []


class _Writer:
    """Writes text as it reads, so that nothing changes its place.

    Statements are kept also where there is no text, in attributes, comments and hidden
    elements: others may need what they `set`, or end where they begin.
    """

    def __init__(self, statements: Collection[str]) -> None:
        self._statements = statements
        self._out: list[str] = []
        self._links: list[tuple[str, int]] = []
        self._silence: list[str] = []
        """The element that nobody sees, and those of its name within."""

    def read(self, html: str) -> str:
        at = 0
        for token in tokens(html):
            self._keep_statements(html[at : token.place])
            at = token.end
            if token.kind is Kind.START:
                self._start(token)
            elif token.kind is Kind.END:
                self._end(token.name)
            elif token.kind is Kind.TEXT and not self._silence:
                self._out.append(_SPACE.sub(" ", unescape(token.text)))
            else:
                self._keep_statements(token.text)
        self._keep_statements(html[at:])
        lines = (_BLANKS.sub(" ", line).strip() for line in "".join(self._out).split("\n"))
        return _MANY_LINES.sub("\n\n", "\n".join(lines)).strip("\n") + "\n"

    def _keep_statements(self, text: str) -> None:
        self._out += _statements(text, self._statements)

    def _start(self, token: Token) -> None:
        tag, shown = token.name, _SHOWN.get(token.name)
        if "cxj" in token.text:
            others = (one for one in attribute_list(token.text) if one.name != shown)
            self._keep_statements(" ".join(one.name + one.value for one in others))
        if self._silence or _is_hidden(token):
            if tag not in EMPTY and self._silence[:1] in ([], [tag]):
                self._silence.append(tag)
        elif tag == "br":
            self._out.append("\n")
        elif tag == "li":
            self._out.append("\n- ")
        elif tag in ("td", "th"):
            self._out.append(" ")
        elif tag == "img":
            self._out.append(_SPACE.sub(" ", attributes(token.text).get("alt", "")))
        elif tag == "a":
            self._links.append((attributes(token.text).get("href", ""), len(self._out)))
        elif tag in _BLOCKS:
            self._out.append("\n\n" if tag in _SPACED else "\n")

    def _end(self, tag: str) -> None:
        if self._silence:
            if tag == self._silence[0]:
                self._silence.pop()
        elif tag == "a" and self._links:
            self._close_link(*self._links.pop())
        elif tag in _BLOCKS:
            self._out.append("\n\n" if tag in _SPACED else "\n")

    def _close_link(self, href: str, start: int) -> None:
        said = "".join(self._out[start:]).strip()
        if href and not href.startswith("#") and href.removeprefix("mailto:") != said:
            self._out.append(f" ({href})" if said else href)


def _is_hidden(token: Token) -> bool:
    if token.name in SILENT:
        return True
    return "display" in token.text.lower() and bool(
        _HIDDEN.search(attributes(token.text).get("style", ""))
    )
