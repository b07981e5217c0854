"""The content of a mailing, made ready to be sent: what is checked, and what we add."""

from dataclasses import dataclass

from utils.mail_html import prepare
from utils.personalisation import Template, TemplateError

MOST_TAGS = 15_000
"""Each is read some ten times. Gmail cuts a mail off where the usual page has 4,000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Templates as they are sent: CSS inlined, a text part, address and unsubscribe link."""

    subject: str
    html: str | None
    text: str


def prepared(
    *, subject: str, html: str | None, text: str | None, name: str, address: str
) -> Content:
    """Check what the author wrote, then add what mail needs; `address` is the postal one.

    Raises a `TemplateError` that names the part and says what to do.
    """
    if html is not None and html.count("<") > MOST_TAGS:
        raise TemplateError(
            "html", f"has more than {MOST_TAGS:,} HTML tags (each <); make the page shorter"
        )
    campaign = {"id": 0, "name": name, "subject": subject}
    Template(subject=subject, html=html, text=text, campaign=campaign)
    made_html, made_text = prepare(html, text, address=address)
    Template(subject=subject, html=made_html, text=made_text, campaign=campaign)
    return Content(subject=subject, html=made_html, text=made_text)
