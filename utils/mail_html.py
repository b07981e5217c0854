"""Makes a template ready for mail, once per campaign: CSS into the elements, a text part,
our links kept from tracking, and the foot that the law and the mailbox providers ask for.
"""

import re
from html import escape, unescape

import css_inline

from config.esp_config import ESPS
from utils.html_tokens import Kind, attributes, tokens
from utils.jinja_mask import CannotMask, Masked

NO_TRACK = " ".join(esp.no_track for esp in ESPS.values() if esp.no_track)
"""On a link: each ESP leaves it alone."""
LINK = "unsubscribe_url"

DEEPEST = 1_000
"""css-inline recurses, and a page of 12,000 nested elements ends the process."""

_EMPTY = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "wbr"}
)
_BLOCKS = frozenset(
    {
        *("address", "article", "aside", "blockquote", "body", "center", "dd", "div", "dl"),
        *("dt", "fieldset", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6"),
        *("header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table", "tr", "ul"),
    }
)
_SPACED = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "blockquote"})
_SILENT = frozenset({"head", "template"})

_INLINER = css_inline.CSSInliner(keep_style_tags=True, load_remote_stylesheets=False)
_COMMENT = re.compile(r"<!--(cxj\d+j)-->")
_TAG = re.compile(r"<[^<>]*>")
_SPACE = re.compile(r"\s+")
_BODY_END = re.compile(r"</body\s*>", re.IGNORECASE)
_TBODY = re.compile(r"</?tbody>", re.IGNORECASE)
_STYLE = re.compile(r"<style\b", re.IGNORECASE)
_BLANKS = re.compile(r"[ \t]+")
_MANY_LINES = re.compile(r"\n{3,}")


def prepare(html: str | None, text: str | None, *, address: str) -> tuple[str | None, str]:
    """The parts as they are sent: HTML (if there is any) and text, still as templates.

    `address` is the postal address of the sender. A template that has it, or an
    unsubscribe link at its top level, keeps its own.
    """
    if html is None:
        assert text is not None
        return None, _foot_of_text(text, address)
    made = _foot_of_html(_inline(html), address)
    return _keep_from_tracking(made), _foot_of_text(text or to_text(html), address)


def to_text(html: str) -> str:
    """The text part of an HTML template, its Jinja where it was.

    Not by a library: those rebuild the document first, which moves a `{% for %}` out of
    its table.
    """
    try:
        masked = Masked(html)
    except CannotMask:
        return ""
    return masked.unmask(_TextWriter().read(_COMMENT.sub(r"\1", masked.html)))


def has_link(template: str) -> bool:
    """Whether everybody's mail has the unsubscribe link: it is said outside `{% if %}` and the like."""
    try:
        pieces = Masked(template).pieces
    except CannotMask:
        return LINK in template
    depth = 0
    for piece in pieces:
        words = piece.strip("{%-+ \n\t").split(None, 1)
        word = words[0].rstrip("-+%}") if piece.startswith("{%") and words else ""
        if word.startswith("end"):
            depth -= 1
        elif word in ("if", "for", "macro", "call", "filter", "with") or (
            word == "set" and "=" not in piece
        ):
            depth += 1
        elif not depth and piece.startswith("{{") and re.search(rf"\b{LINK}\b", piece):
            return True
    return False


def _inline(html: str) -> str:
    """Styles of `<style>` elements put where they apply; some mail programs read no others."""
    if not _STYLE.search(html):
        return html
    try:
        masked = Masked(html)
        if _depth(masked.html) > DEEPEST:
            return html
        inlined = _INLINER.inline(masked.html)
        if not _TBODY.search(html):  # put in by the parser, on the wrong side of a {% for %}
            inlined = _TBODY.sub("", inlined)
        return masked.restore(inlined)
    except (CannotMask, css_inline.InlineError, UnicodeError):
        return html  # its styles stay in <style>, which most mail programs read


def _depth(html: str) -> int:
    """How deep its elements are nested, at most; those that nobody closes count too."""
    depth = deepest = 0
    for kind, _, name, _ in tokens(html):
        if kind is Kind.START and name not in _EMPTY:
            depth += 1
            deepest = max(deepest, depth)
        elif kind is Kind.END and name not in _EMPTY:
            depth = max(0, depth - 1)
    return deepest


def _keep_from_tracking(html: str) -> str:
    try:
        masked = Masked(html)
    except CannotMask:
        return html
    ours = masked.words_of(LINK)

    marked: list[str] = []
    done = 0
    for kind, place, name, text in tokens(masked.html):
        is_ours = kind is Kind.START and name == "a" and any(word in text for word in ours)
        if is_ours and "ses:no-track" not in text:
            marked += (masked.html[done : place + 2], f" {NO_TRACK}")
            done = place + 2
    return masked.unmask("".join([*marked, masked.html[done:]]))


def _foot_of_html(html: str, address: str) -> str:
    lines = []
    if _plain(escape(address)) not in _plain(html):
        lines.append(escape(address))
    if not has_link(html):
        lines.append(f'<a href="{{{{ {LINK} }}}}">Unsubscribe</a>')
    if not lines:
        return html
    foot = f'<p style="font-size:12px;color:#666666">{"<br>".join(lines)}</p>\n'
    ends = list(_BODY_END.finditer(html))
    at = ends[-1].start() if ends else len(html)
    return html[:at] + foot + html[at:]


def _foot_of_text(text: str, address: str) -> str:
    lines = []
    if _plain(address) not in _plain(text):
        lines.append(address)
    if not has_link(text):
        lines.append(f"Unsubscribe: {{{{ {LINK} }}}}")
    return text if not lines else "\n".join([text.rstrip("\n"), "", "-- ", *lines, ""])


def _plain(text: str) -> str:
    """For comparing: the address may be broken into lines and set in capitals."""
    return re.sub(r"[\s,]+", " ", unescape(_TAG.sub(" ", text))).strip().casefold()


class _TextWriter:
    """Writes text as it reads, so that nothing changes its place."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._links: list[tuple[str, int]] = []

    def read(self, html: str) -> str:
        silent = 0
        for kind, _, name, text in tokens(html):
            if kind is Kind.START:
                silent += name in _SILENT
                self._start(name, text)
            elif kind is Kind.END:
                silent = max(0, silent - (name in _SILENT))
                self._end(name)
            elif kind is Kind.TEXT and not silent:
                self._out.append(_SPACE.sub(" ", unescape(text)))
        lines = (_BLANKS.sub(" ", line).strip() for line in "".join(self._out).split("\n"))
        return _MANY_LINES.sub("\n\n", "\n".join(lines)).strip("\n") + "\n"

    def _start(self, tag: str, written: str) -> None:
        if tag == "br":
            self._out.append("\n")
        elif tag == "li":
            self._out.append("\n- ")
        elif tag in ("td", "th"):
            self._out.append(" ")
        elif tag == "img":
            self._out.append(_SPACE.sub(" ", attributes(written).get("alt", "")))
        elif tag == "a":
            self._links.append((attributes(written).get("href", ""), len(self._out)))
        elif tag in _BLOCKS:
            self._out.append("\n\n" if tag in _SPACED else "\n")

    def _end(self, tag: str) -> None:
        if tag == "a" and self._links:
            self._close_link(*self._links.pop())
        elif tag in _BLOCKS:
            self._out.append("\n\n" if tag in _SPACED else "\n")

    def _close_link(self, href: str, start: int) -> None:
        said = "".join(self._out[start:]).strip()
        if href and not href.startswith("#") and href.removeprefix("mailto:") != said:
            self._out.append(f" ({href})" if said else href)
