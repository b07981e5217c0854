"""Looks over a mailing before anything is planned: what will cost it the inbox, or break.

The checks that need no network, on the template as its author wrote it. What our own
preparation cures (text part, unsubscribe link, postal address) is no fault of the author's.
"""

from collections.abc import Iterator

from utils.lint.content import check_images, check_merge_tags, check_page, check_words
from utils.lint.finding import Check, Finding, Severity, found
from utils.lint.headers import SAMPLE, check_sender, check_subject
from utils.lint.jinja import Hidden
from utils.lint.links import check_links
from utils.lint.page import Page
from utils.mail_html import LINK, has_link, prepare
from utils.personalisation import Template, TemplateError

__all__ = ["Check", "Finding", "Severity", "lint"]

# Gmail shows about the first 102 kB of the HTML and a link to the rest.
LARGEST_HTML_BYTES = 100_000
_FOOT_BYTES = 3_000
"""More than our foot, marks on links and the values of one person add."""


def lint(
    *,
    subject: str,
    html: str | None,
    text: str | None,
    from_email: str,
    from_name: str | None,
    reply_to: str | None,
    postal_address: str,
    html_as_sent: str | None = None,
    html_prepared: str | None = None,
) -> list[Finding]:
    """What the writer of a mailing should know; nothing for a mailing in good order.

    `html_as_sent` is the HTML part as one person gets it, if the caller has it; else it is
    made here when the size is in doubt, from `html_prepared` (the template that is sent), if the
    caller has that. Never raises: a template that cannot be used is for
    `Template` to refuse, and is looked at here as far as it can be read.
    """
    page = None if html is None else Page(html)
    findings = [
        *check_subject(subject),
        *check_sender(
            from_email=from_email, from_name=from_name, reply_to=reply_to, subject=subject
        ),
        *_check_foot(page, text, postal_address),
        *check_words(page, text),
        *check_merge_tags(subject=subject, from_name=from_name, page=page, text=text),
        *check_links(page, text),
    ]
    if page is not None and html is not None:
        findings += check_page(page)
        findings += check_images(page)
        known = _bytes(html_as_sent or "")
        size = known or _size(page, html, postal_address, html_prepared)
        if size > LARGEST_HTML_BYTES:
            message = f"The HTML has {size // 1000} kB; Gmail cuts off what comes after 102 kB."
            findings.append(found(Check.SIZE, message, "html"))
    return findings


def _check_foot(page: Page | None, text: str | None, postal_address: str) -> Iterator[Finding]:
    if not postal_address.strip():
        message = "No postal address is set, which the law asks for in commercial mail."
        yield found(Check.POSTAL_ADDRESS, message, "postal_address")
    pieces = Hidden(text or "").pieces if page is None else page.hidden.pieces
    # Only what matters to `has_link`, which would need 50 ms for all the HTML round it.
    jinja = "".join(one for one in pieces if one.startswith("{%") or LINK in one)
    if LINK not in jinja or not has_link(jinja):
        message = "Not everybody's mail has an unsubscribe link; one is added at the end."
        yield found(Check.UNSUBSCRIBE_MISSING, message, "text" if page is None else "html")


def _size(page: Page, html: str, postal_address: str, prepared: str | None) -> int:
    """Bytes of the HTML part of the sample person; near enough, if it is clear without."""
    for_all, is_all = page.hidden.for_everybody()
    least = _bytes(for_all)
    is_clear = is_all and not page.has_styles and least < LARGEST_HTML_BYTES - _FOOT_BYTES
    if page.is_odd or is_clear or least > LARGEST_HTML_BYTES:
        return least
    campaign = {"id": 0, "name": "Campaign", "subject": ""}
    try:
        made = prepared or prepare(_sendable(html), "-", address=_sendable(postal_address))[0]
        template = Template(subject="-", html=made, text=None, campaign=campaign)
        values = template.slots(SAMPLE).html
    except TemplateError:
        return least
    assert template.html is not None
    return _bytes(template.html.fill(values))


def _bytes(text: str) -> int:
    return len(text.encode(errors="replace"))


def _sendable(text: str) -> str:
    """Without halves of characters (surrogates), which no tool takes."""
    return text.encode(errors="replace").decode()
