"""What a mail is made of: pictures, words, what is hidden, what mail programs take out."""

import re
from collections.abc import Iterator

from utils.lint.finding import Check, Finding, examples, found, shortened
from utils.lint.jinja import FOREIGN, MARK, Hidden
from utils.lint.page import Image, Page

# SpamAssassin's HTML_IMAGE_ONLY_04: "images with 0-400 bytes of words".
LEAST_TEXT = 400
_SMALL_IMAGE_PX = 200
"""Logos and icons; a mail may be short and still have one."""
_SPACER_PX = 3

_JINJA = re.compile(r"\{\{.{0,200}?\}\}")
_LETTERS = re.compile(r"[a-zß-ɏͰ-ԯ]{4,}")
"""Words of the scripts that put blanks between words."""
_ANY_LETTER = re.compile(r"[^\W_]")
_URL = re.compile(r"https?://\S+")
_FEWEST_TEXT_WORDS, _LEAST_SHARE_OF_TEXT = 10, 0.4
_FEWEST_HTML_WORDS, _LEAST_SHARE_OF_HTML = 40, 0.15


def check_images(page: Page) -> Iterator[Finding]:
    """What there is to say about pictures."""
    shown = [image for image in page.images if image.is_seen and not _is_spacer(image)]
    if bare := [image for image in shown if image.alt is None]:
        yield _of_images(page, Check.IMG_ALT, "Images without alt text", bare)
    lost = [image for image in page.images if _is_unreachable(image.src)]
    if lost:
        yield _of_images(page, Check.IMG_UNREACHABLE, "Images that the reader will not see", lost)
    places = [(image.src, image.place) for image in page.images] + page.background_urls
    if plain := [place for place in places if place[0].lower().startswith("http://")]:
        told = examples([page.hidden.show(src) for src, _ in plain])
        message = f"Images that are not encrypted (http): {told}."
        yield found(Check.IMG_HTTP, message, "html", page.hidden.line(plain[0][1]))
    big = [image for image in shown if not _is_small(image)]
    if big and page.chars < LEAST_TEXT and not page.may_have_more_text:
        message = (
            f"The mail is mostly pictures: {page.chars} characters of text. Filters cannot read "
            "them, and many readers see no pictures."
        )
        yield found(Check.IMAGE_ONLY, message, "html")


def check_page(page: Page) -> Iterator[Finding]:
    """What there is to say about what is hidden and what does not work in mails."""
    if page.unseen:
        told = examples([f'"{words}"' for words, _ in page.unseen])
        message = f"Text that readers do not see, as in spam: {told}."
        yield found(Check.HIDDEN_CONTENT, message, "html", page.hidden.line(page.unseen[0][1]))
    if page.blocked:
        told = examples([name for name, _ in page.blocked])
        message = f"Parts that mail programs take out or block: {told}."
        yield found(Check.BLOCKED_CONTENT, message, "html", page.hidden.line(page.blocked[0][1]))


def check_words(page: Page | None, text: str | None) -> Iterator[Finding]:
    """What there is to say about the text part, and how it goes with the HTML."""
    if text or page is None:  # beside HTML, an empty text is one to be made
        hidden = Hidden(text or "")
        if not _ANY_LETTER.search(hidden.text):
            yield found(Check.TEXT_MISSING, "The text part has no words in it.", "text")
        elif page is not None and _differs(page, hidden.without(hidden.text)):
            message = "The text part says something else than the HTML part, or much less."
            yield found(Check.TEXT_DIFFERS, message, "text")
    elif not _has_words(page):
        message = "There are no words in the HTML to make a text part from."
        yield found(Check.TEXT_MISSING, message, "html")


def check_merge_tags(
    *, subject: str, from_name: str | None, page: Page | None, text: str | None
) -> Iterator[Finding]:
    """Placeholders of another system, and ours where nothing is filled in."""
    name = from_name or ""
    hidden = Hidden(text or "")
    told = [("subject", 0, tag) for tag in _tags(Hidden(subject).text)]
    told += [("from_name", 0, tag) for tag in [*_tags(name), *_JINJA.findall(name)]]
    if page is not None:
        for words, place in [*page.said, *((link.href, link.place) for link in page.links)]:
            told += [("html", place, tag) for tag in _tags(words)]
    told += [("text", match.start(), match.group()) for match in FOREIGN.finditer(hidden.text)]
    if told:
        where, place, _ = told[0]
        read = page.hidden if page is not None and where == "html" else hidden
        line = read.line(place) if where in ("html", "text") else None
        message = f"Placeholders that are sent as they are: {examples([tag for *_, tag in told])}."
        yield found(Check.MERGE_TAG, message, where, line)


def _of_images(page: Page, check: Check, says: str, images: list[Image]) -> Finding:
    told = examples([shortened(page.hidden.show(image.src)) or "(no src)" for image in images])
    return found(check, f"{says}: {told}.", "html", page.hidden.line(images[0].place))


def _is_unreachable(src: str) -> bool:
    """A path, an attachment (we send none) or data, which Gmail and Outlook do not show."""
    return not src.startswith(MARK) and not src.lower().startswith(("https://", "http://"))


def _is_small(image: Image) -> bool:
    return _px(image) <= _SMALL_IMAGE_PX


def _is_spacer(image: Image) -> bool:
    """Also the pixel of a tracking service."""
    return _px(image) <= _SPACER_PX


def _px(image: Image) -> float:
    """The width; one that is not known is as wide as the mail."""
    match = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,6})?)\s*(?:px)?\s*", image.width)
    return float(match[1]) if match else 600.0


def _has_words(page: Page) -> bool:
    if page.said or page.chars:
        return True
    return any(_ANY_LETTER.search(image.alt or "") for image in page.images)


def _differs(page: Page, text: str) -> bool:
    """Few words of the text are in the HTML, or hardly any the other way round."""
    of_text = set(_LETTERS.findall(_URL.sub(" ", text).lower()))
    html = " ".join([*(words for words, _ in page.said), *(i.alt or "" for i in page.images)])
    of_html = set(_LETTERS.findall(html.lower()))
    both = len(of_text & of_html)
    if len(of_html) >= _FEWEST_HTML_WORDS and both < _LEAST_SHARE_OF_HTML * len(of_html):
        return True
    return len(of_text) >= _FEWEST_TEXT_WORDS and both < _LEAST_SHARE_OF_TEXT * len(of_text)


def _tags(text: str) -> list[str]:
    return [match.group() for match in FOREIGN.finditer(text)]
