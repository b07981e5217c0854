"""Makes a template ready for mail, once per campaign: CSS into the elements, a text part,
our links kept from tracking, and the foot that the law and the mailbox providers ask for.
"""

import re
from html import escape, unescape

from jinja2 import Environment, nodes
from jinja2.exceptions import TemplateSyntaxError

from utils.css_inlining import inline_css
from utils.html_text import SILENT, to_text
from utils.html_tokens import Kind, attributes, tokens
from utils.jinja_mask import CannotMask, Masked

NO_TRACK = ('clicktracking="off"', "ses:no-track", "data-pm-no-track")
"""On a link: SendGrid, SES and Postmark leave it alone."""
LINK = "unsubscribe_url"

_LINK_MARK = "\x02"
_JINJA = Environment(keep_trailing_newline=True)
_JINJA_BEGINS = re.compile(r"\{[{%#]")
_BODY_END = re.compile(r"</body\s*>", re.IGNORECASE)
_SEPARATORS = re.compile(r"[\s,]+")


def prepare(html: str | None, text: str | None, *, address: str) -> tuple[str | None, str]:
    """The parts as they are sent: HTML (if there is any) and text, still as templates.

    `address` is the postal address of the sender. A template that shows it, and an
    unsubscribe link, to everybody keeps its own. What is ready stays as it is.
    """
    if html is None:
        assert text is not None
        return None, _foot_of_text(text, address)
    made = inline_css(_keep_from_tracking(_foot_of_html(html, address)))
    return made, _foot_of_text(text or to_text(html), address)


def has_link(template: str) -> bool:
    """Whether everybody's mail says the unsubscribe link: outside `{% if %}` and the like."""
    return _LINK_MARK in _said_to_all(template)


def _said_to_all(template: str) -> str:
    """The text outside of all Jinja, with a mark where the unsubscribe link is said."""
    try:
        body = _JINJA.parse(template.replace(_LINK_MARK, " ")).body
    except (TemplateSyntaxError, RecursionError):  # not ours to report
        return template.replace(LINK, _LINK_MARK)
    pieces = (piece for node in body if isinstance(node, nodes.Output) for piece in node.nodes)
    said = (
        piece.data if isinstance(piece, nodes.TemplateData) else _LINK_MARK * _is_link(piece)
        for piece in pieces
    )
    return "".join(said)


def _is_link(node: nodes.Node | None) -> bool:
    """Whether an expression always writes the link: by itself, filtered, or in a longer text."""
    if isinstance(node, nodes.Filter):
        return _is_link(node.node)
    if isinstance(node, nodes.Concat):
        return any(map(_is_link, node.nodes))
    return isinstance(node, nodes.Name) and node.name == LINK


def _shown_to_all(html: str) -> str:
    """What everybody sees of an HTML template, with a mark for the unsubscribe link."""
    shown: list[str] = []
    silent = 0
    for kind, _, name, text in tokens(_said_to_all(html)):
        if name in SILENT:
            silent = max(0, silent + (1 if kind is Kind.START else -1))
        elif kind is Kind.TEXT and not silent:
            shown.append(unescape(text))
        elif kind is Kind.START and name == "a" and _LINK_MARK in text:
            shown.append(_LINK_MARK * (_LINK_MARK in attributes(text).get("href", "")))
    return " ".join(shown)


def _keep_from_tracking(html: str) -> str:
    try:
        masked = Masked(html)
    except CannotMask:
        return html
    ours = masked.words_of(LINK)
    marked: list[str] = []
    done = 0
    for kind, place, name, text in tokens(masked.html):
        if kind is Kind.START and name == "a" and any(word in text for word in ours):
            given = attributes(text)
            missing = [one for one in NO_TRACK if one.partition("=")[0] not in given]
            marked += (masked.html[done : place + 2], *(f" {one}" for one in missing))
            done = place + 2
    return masked.unmask("".join([*marked, masked.html[done:]]))


def _foot_of_html(html: str, address: str) -> str:
    shown = _shown_to_all(html)
    lines = []
    if _plain(address) not in _plain(shown):
        lines.append("<br>".join(map(escape, _literal(address).splitlines())))
    if _LINK_MARK not in shown:
        lines.append(f'<a href="{{{{ {LINK} }}}}">Unsubscribe</a>')
    if not lines:
        return html
    foot = f'<p style="font-size:12px;color:#666666">{"<br>".join(lines)}</p>\n'
    ends = list(_BODY_END.finditer(html))
    at = ends[-1].start() if ends else len(html)
    return html[:at] + foot + html[at:]


def _foot_of_text(text: str, address: str) -> str:
    said = _said_to_all(text)
    lines = []
    if _plain(address) not in _plain(said):
        lines.append(_literal(address))
    if _LINK_MARK not in said:
        lines.append(f"Unsubscribe: {{{{ {LINK} }}}}")
    return text if not lines else "\n".join([text.rstrip("\n"), "", "-- ", *lines, ""])


def _literal(address: str) -> str:
    """An address is no template, whatever is in it."""
    return "{% raw %}" + address + "{% endraw %}" if _JINJA_BEGINS.search(address) else address


def _plain(text: str) -> str:
    """For comparing: the address may be broken into lines and set in capitals."""
    return _SEPARATORS.sub(" ", text).strip().casefold()
