"""CSS from `<style>` put into the elements: some mail programs read no other.

A template is HTML with holes, and an inliner writes the document anew, as it understands
it: tags are added and moved, attributes change places, `&#123;` becomes a brace. So only
the styles are taken from what it writes, element by element.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape
from itertools import pairwise

import css_inline

from utils.html_tokens import Kind, Token, attribute_list, attributes, tokens
from utils.jinja_mask import WORD, CannotMask, Masked

DEEPEST = 1_000
"""css-inline recurses, and a page of 12,000 nested elements ends the process."""
MOST_CASCADE = 25_000_000
"""The sum over all elements of the square of their declarations, which is what css-inline's
time grows with: 7 s for 1,000 declarations that hold for 1,000 elements."""

EMPTY = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "wbr"}
)
_IMPLIED = frozenset({"html", "head", "body", "tbody", "tr", "colgroup"})
"""Tags that the inliner's parser adds where they are left out."""

_INLINER = css_inline.CSSInliner(
    keep_style_tags=True, keep_link_tags=True, load_remote_stylesheets=False
)
_STYLE = re.compile(r"<style\b", re.IGNORECASE)
_LIVE_BRACE = re.compile(r"\{(?=[{%#])")
_COMBINATOR = re.compile(r"[\s>+~]+")
_KEY = re.compile(r"[#.]?[\w-]+")


class _Lost(Exception):
    """The inliner's elements are not those of the template."""


def inline_css(html: str) -> str:
    """The template with its styles in the elements too; doing it twice makes no difference.

    Where the inliner reads other elements than are written (tags that cross, ends without
    a beginning), the styles stay in `<style>` only, which most mail programs read.
    """
    if not _STYLE.search(html):
        return html
    try:
        masked = Masked(html)
        if _is_too_much(masked.html):
            return html
        own = [token for token in tokens(masked.html) if token.kind is Kind.START]
        # What is Jinja's in a style is nothing that the inliner could read.
        jinja = [token for token in own if "cxj" in attributes(token.text).get("style", "")]
        readable = _edited(masked.html, ((token, "") for token in jinja))
        # Twice, since it writes its own styles differently when it reads them again.
        inlined = _INLINER.inline(_INLINER.inline(readable))
        styles = list(_styles(own, inlined))
    except (CannotMask, _Lost, css_inline.InlineError, UnicodeError):
        return html
    changed = (
        (token, made)
        for token, style in zip(own, styles, strict=True)
        if (made := _joined(masked, attributes(token.text).get("style", ""), style))
    )
    return masked.unmask(_edited(masked.html, changed))


def _styles(own: list[Token], inlined: str) -> Iterator[str]:
    """For each element of the template the style that the inliner gave it."""
    left = iter(own)
    expected = next(left, None)
    for token in tokens(inlined):
        if token.kind is not Kind.START:
            continue
        if expected is not None and token.name == expected.name:
            given, written = attributes(token.text), attributes(expected.text)
            style = given.pop("style", "")
            written.pop("style", None)
            if given != written:
                raise _Lost
            yield style.rstrip("; ")
            expected = next(left, None)
        elif token.name not in _IMPLIED:
            raise _Lost
    if expected is not None:
        raise _Lost


def _joined(masked: Masked, own: str, style: str) -> str | None:
    """The new value of an element's `style`; None to leave it."""
    if not style or not masked.statements.isdisjoint(WORD.findall(style)):
        return None
    if "cxj" not in own:
        return style
    # Its own come last, and so win.
    is_there = f"{masked.unmask(own)};".startswith(f"{masked.unmask(style)};")
    return None if is_there else f"{style}; {own}"


def _edited(html: str, styles: Iterable[tuple[Token, str]]) -> str:
    """`html` with other values in the `style` of some of its tags; nothing else changes."""
    pieces: list[str] = []
    done = 0
    for token, style in styles:
        start = token.end - 1 - len(token.text)
        place = next((one for one in attribute_list(token.text) if one.name == "style"), None)
        if place is not None:
            begin, end = start + place.start, start + place.end
        else:
            begin = end = start + len(token.text.rstrip("/ \t\r\n"))
        value = _LIVE_BRACE.sub("&#123;", escape(style))
        pieces += (html[done:begin], " " if place is None else "", f'style="{value}"')
        done = end
    return "".join([*pieces, html[done:]])


def _is_too_much(html: str) -> bool:
    """Whether the inliner would take too long, or end the process."""
    depth = deepest = 0
    declared: Counter[str] = Counter()
    elements: Counter[tuple[str, ...]] = Counter()
    for token in tokens(html):
        if token.kind is Kind.RAW and token.name == "style":
            declared += _declarations(token.text)
        elif token.kind is Kind.START:
            elements[_keys(token, declared)] += 1
            depth += token.name not in EMPTY
            deepest = max(deepest, depth)
        elif token.kind is Kind.END:
            depth = max(0, depth - 1)
    cascade = sum(
        times * sum(declared[key] for key in keys) ** 2 for keys, times in elements.items()
    )
    return deepest > DEEPEST or cascade > MOST_CASCADE


def _keys(token: Token, declared: Counter[str]) -> tuple[str, ...]:
    """What a selector can find an element by, and its own style."""
    given = attributes(token.text)
    classes = [f".{name}" for name in given.get("class", "").lower().split()]
    own = f"={given.get('style', '')}"
    declared[own] = own.count(":")
    return "*", token.name, f"#{given.get('id', '').lower()}", *classes, own


def _declarations(css: str) -> Counter[str]:
    """How many declarations hold for each tag, class and id, or more: braces in comments and
    texts are not looked at, and media queries count too."""
    declared: Counter[str] = Counter()
    for selectors, body in pairwise(re.split(r"[{}]", css)):
        if count := body.count(":"):
            for selector in selectors.split(","):
                last = _COMBINATOR.split(selector.strip())[-1]
                declared[_rarest(last.partition(":")[0].partition("[")[0])] += count
    return declared


def _rarest(compound: str) -> str:
    """The part of `td#a.b` that the fewest elements have."""
    keys = [] if "\\" in compound else _KEY.findall(compound.lower())
    return str(min(keys, key=lambda key: {"#": 0, ".": 1}.get(key[0], 2), default="*"))
