"""Makes a template ready for mail, once per campaign: CSS into the elements, a text part,
our links kept from tracking, and the foot that the law and the mailbox providers ask for.
"""

import re
from html import escape, unescape
from html.parser import HTMLParser

import css_inline

from utils.jinja_mask import CannotMask, Masked

NO_TRACK = 'clicktracking="off" ses:no-track data-pm-no-track'
"""On a link: SendGrid, SES and Postmark leave it alone."""
LINK = "unsubscribe_url"

_INLINER = css_inline.CSSInliner(keep_style_tags=True, load_remote_stylesheets=False)
_ANCHOR = re.compile(r"<a\b(?:[^>\"']|\"[^\"]*\"|'[^']*')*>", re.IGNORECASE)
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
    writer = _TextWriter()
    writer.feed(re.sub(r"<!--(cxj\d+j)-->", r"\1", masked.html))
    writer.close()
    return masked.unmask(writer.text())


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
        elif word in ("if", "for", "macro", "call", "filter") or (
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
        inlined = _INLINER.inline(masked.html)
        if not _TBODY.search(html):  # put in by the parser, on the wrong side of a {% for %}
            inlined = _TBODY.sub("", inlined)
        return masked.restore(inlined)
    except (CannotMask, css_inline.InlineError):
        return html  # its styles stay in <style>, which most mail programs read


def _keep_from_tracking(html: str) -> str:
    try:
        masked = Masked(html)
    except CannotMask:
        return html
    ours = masked.words_of(LINK)

    def mark(match: re.Match[str]) -> str:
        tag = match.group()
        if not any(word in tag for word in ours) or "ses:no-track" in tag:
            return tag
        return f"{tag[:2]} {NO_TRACK}{tag[2:]}"

    return masked.unmask(_ANCHOR.sub(mark, masked.html))


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
    without_tags = re.sub(r"<[^>]*>", " ", text)
    return re.sub(r"[\s,]+", " ", unescape(without_tags)).strip().casefold()


class _TextWriter(HTMLParser):
    """Writes text as it reads, so that nothing changes its place."""

    BLOCKS = frozenset(
        {
            *("address", "article", "aside", "blockquote", "body", "center", "dd", "div", "dl"),
            *("dt", "fieldset", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6"),
            *(
                "header",
                "hr",
                "li",
                "main",
                "nav",
                "ol",
                "p",
                "pre",
                "section",
                "table",
                "tr",
                "ul",
            ),
        }
    )
    SPACED = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "blockquote"})
    SILENT = frozenset({"head", "script", "style", "title", "template"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._silent = 0
        self._links: list[tuple[str, int]] = []

    def text(self) -> str:
        lines = (_BLANKS.sub(" ", line).strip() for line in "".join(self._out).split("\n"))
        return _MANY_LINES.sub("\n\n", "\n".join(lines)).strip("\n") + "\n"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in self.SILENT:
            self._silent += 1
        elif tag == "br":
            self._out.append("\n")
        elif tag == "li":
            self._out.append("\n- ")
        elif tag in ("td", "th"):
            self._out.append(" ")
        elif tag == "img" and given.get("alt"):
            self.handle_data(given["alt"] or "")
        elif tag == "a":
            self._links.append((given.get("href") or "", len(self._out)))
        elif tag in self.BLOCKS:
            self._out.append("\n\n" if tag in self.SPACED else "\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag == "a" and self._links:
            self._close_link(*self._links.pop())
        elif tag in self.BLOCKS:
            self._out.append("\n\n" if tag in self.SPACED else "\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._out.append(re.sub(r"\s+", " ", data))

    def _close_link(self, href: str, start: int) -> None:
        said = "".join(self._out[start:]).strip()
        if href and not href.startswith("#") and href.removeprefix("mailto:") != said:
            self._out.append(f" ({href})" if said else href)
