"""A mail's HTML as its reader meets it: links, images, text seen and text hidden."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape

from utils.html_tokens import Kind, Token, attributes, tokens
from utils.lint.jinja import MARK, Hidden
from utils.lint.style import Look, Seen, Styles

_EMPTY = frozenset(
    {
        *("area", "base", "br", "col", "embed", "frame", "hr", "img", "input", "link", "meta"),
        *("param", "source", "track", "wbr"),
    }
)
_CLOSE_THEMSELVES = frozenset({"p", "li", "tr", "td", "th", "dt", "dd", "option"})
_BLOCKED = frozenset(
    {
        *("script", "iframe", "frame", "object", "embed", "applet", "form", "input", "select"),
        *("textarea",),
    }
)
"""Taken out or made dead by mail programs: https://www.caniemail.com/ has each."""
_MACHINE_READ = ("application/ld+json", "application/json")
"""Scripts that are not run: Gmail reads offers and bookings from them."""
_HANDLER = re.compile(r"on[a-z]{3,}")
_WITH_HANDLER = re.compile(r"\bon[a-z]{3,}\s*=", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]")
_PREVIEW_CHARS = 250
"""Hidden text that comes first is the preview beside the subject; mailbox providers show
40 to 140 characters of it."""
_OUTPUT_CHARS = 10
_SHORT_OUTPUT = re.compile(
    r"\{\{[-\s]*(?:email|first_name|last_name|tags|unsubscribe_url|campaign)\b"
)
_DEEPEST = 500
_MOST_STRAY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    href: str
    said: str
    """The text of the link, with blanks made one."""
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    src: str
    alt: str | None
    width: str
    is_seen: bool
    place: int


class Page:
    """What is in the HTML part of a template. Any text can be read."""

    def __init__(self, source: str) -> None:
        self.hidden = Hidden(source)
        self.links: list[Link] = []
        self.images: list[Image] = []
        self.background_urls: list[tuple[str, int]] = []
        self.blocked: list[tuple[str, int]] = []
        """Elements that mail programs take out, by name."""
        self.said: list[tuple[str, int]] = []
        """The text that is seen, less its Jinja."""
        self.unseen: list[tuple[str, int]] = []
        """The text that is hidden, the preview text left out."""
        self.chars = 0
        """How much text is seen; what is filled in counts as `_OUTPUT_CHARS`."""
        self.may_have_more_text = False
        """Something is filled in that may be a word or the whole mail."""
        self.is_odd = False
        """So broken or so deep that tools which rebuild HTML should be kept from it."""
        self._stack: list[tuple[str, Look]] = []
        self._open: Counter[str] = Counter()
        self._anchor: tuple[str, int, list[str]] | None = None
        self._read()

    def _read(self) -> None:
        page = list(tokens(self.hidden.text))
        sheets = [token for token in page if token.kind is Kind.RAW and token.name == "style"]
        self.has_styles = bool(sheets)
        self._styles = Styles(token.text for token in sheets)
        for token in page:
            if token.kind is Kind.TEXT:
                self._text(token)
            elif token.kind is Kind.START:
                self._start(token)
            elif token.kind is Kind.END:
                self._end(token.name)
        self._close_anchor()
        self._background_urls_of(sheets)
        self._drop_preview()
        stray = sum(token.text.count("<") for token in page if token.kind is Kind.TEXT)
        is_cut = any(token.kind is Kind.CUT for token in page)
        self.is_odd |= is_cut or stray > _MOST_STRAY

    @property
    def _look(self) -> Look:
        return self._stack[-1][1] if self._stack else Look()

    def _text(self, token: Token) -> None:
        text = unescape(token.text) if "&" in token.text else token.text
        if self._anchor is not None:
            self._anchor[2].append(text)
        if text.isspace():
            return
        look = self._look
        if MARK in text and not look.hides:
            for output in self.hidden.outputs(text):
                self.chars += _OUTPUT_CHARS
                self.may_have_more_text |= not _SHORT_OUTPUT.match(output)
        words = " ".join((self.hidden.without(text) if MARK in text else text).split())
        if not _WORD.search(words):
            return
        place = token.place + len(token.text) - len(token.text.lstrip())
        if look.hides:
            self.unseen.append((words, place))
        else:
            self.said.append((words, place))
            self.chars += len(words) + 1

    def _start(self, token: Token) -> None:
        name, written = token.name, token.text
        if name in _CLOSE_THEMSELVES and self._stack and self._stack[-1][0] == name:
            self._pop()
        given = attributes(written) if written else {}
        look = self._styles.look(name, given, self._look)
        if name not in _EMPTY:
            self._stack.append((name, look))
            self._open[name] += 1
            self.is_odd |= len(self._stack) > _DEEPEST
        if name == "a" and "href" in given:
            self._close_anchor()
            self._anchor = (given["href"], token.place, [])
        elif name == "area" and "href" in given:
            self.links.append(Link(href=given["href"].strip(), said="", place=token.place))
        elif name == "img":
            self._image(given, look, token.place)
        self._note_blocked(name, given, token)
        if "background" in given:
            self.background_urls.append((given["background"], token.place))
        if "url(" in given.get("style", ""):
            self.background_urls += [(url, token.place) for url in _urls(given["style"])]

    def _image(self, given: Mapping[str, str], look: Look, place: int) -> None:
        alt = given.get("alt")
        if given.get("role") == "presentation" or given.get("aria-hidden") == "true":
            alt = alt or ""
        image = Image(
            src=given.get("src", "").strip(),
            alt=alt,
            width=given.get("width", "") or _width(given.get("style", "")),
            is_seen=look.seen is not Seen.NO,
            place=place,
        )
        self.images.append(image)
        if self._anchor is not None:
            self._anchor[2].append(" ")

    def _note_blocked(self, name: str, given: Mapping[str, str], token: Token) -> None:
        if name in _BLOCKED and given.get("type", "").lower() not in _MACHINE_READ:
            self.blocked.append((f"<{name}>", token.place))
        elif _WITH_HANDLER.search(token.text):
            handlers = [one for one in given if _HANDLER.fullmatch(one)]
            self.blocked += [(one, token.place) for one in handlers]

    def _end(self, name: str) -> None:
        if name == "a":
            self._close_anchor()
        if self._open[name]:
            while self._pop() != name:
                pass

    def _pop(self) -> str:
        name, _ = self._stack.pop()
        self._open[name] -= 1
        return name

    def _close_anchor(self) -> None:
        if self._anchor is not None:
            href, place, said = self._anchor
            self.links.append(
                Link(href=href.strip(), said=" ".join("".join(said).split()), place=place)
            )
            self._anchor = None

    def _background_urls_of(self, sheets: list[Token]) -> None:
        for sheet in sheets:
            self.background_urls += [(url, sheet.place) for url in _urls(sheet.text)]

    def _drop_preview(self) -> None:
        """Hidden text before all else is what mailbox providers show beside the subject."""
        first = self.said[0][1] if self.said else len(self.hidden.text)
        preview = [words for words, place in self.unseen if place < first]
        if sum(map(len, preview)) <= _PREVIEW_CHARS:
            self.unseen = self.unseen[len(preview) :]


def _urls(css: str) -> list[str]:
    return re.findall(r"url\(\s*+[\"']?+([^\"')\s]++)", css)


def _width(style: str) -> str:
    match = re.search(r"(?:^|[;\s])width\s*:\s*([\d.]+)", style)
    return match[1] if match else ""
