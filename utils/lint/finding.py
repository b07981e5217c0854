"""What the message lint can say: every check by its id, how bad it is, and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_EXAMPLES = 3
_EXAMPLE_CHARS = 60


class Severity(StrEnum):
    """How much a finding matters."""

    WARN = "warn"
    """Costs inbox placement or trust, or does not work for the reader: mend it before sending."""
    INFO = "info"
    """Good to know; the mail may well go out as it is."""


class Check(StrEnum):
    """The ids, as people see them in answers and look them up; an id keeps its meaning."""

    SUBJECT_EMPTY = "msg.subject_empty"
    SUBJECT_LONG = "msg.subject_long"
    SUBJECT_CAPS = "msg.subject_caps"
    SUBJECT_MARKS = "msg.subject_marks"
    FAKE_REPLY = "msg.fake_reply"
    FROM_FREEMAIL = "msg.from_freemail"
    FROM_NOREPLY = "msg.from_noreply"
    FROM_NAME_ADDRESS = "msg.from_name_address"
    FROM_NAME_EMOJI = "msg.from_name_emoji"
    FROM_NAME_SUBJECT = "msg.from_name_subject"
    REPLY_TO_FREEMAIL = "msg.reply_to_freemail"
    REPLY_TO_DOMAIN = "msg.reply_to_domain"
    POSTAL_ADDRESS = "msg.postal_address"
    UNSUBSCRIBE_MISSING = "msg.unsubscribe_missing"
    SIZE = "msg.size"
    TEXT_MISSING = "msg.text_missing"
    TEXT_DIFFERS = "msg.text_differs"
    MERGE_TAG = "msg.merge_tag"
    HIDDEN_CONTENT = "msg.hidden_content"
    BLOCKED_CONTENT = "msg.blocked_content"
    IMAGE_ONLY = "msg.image_only"
    IMG_ALT = "msg.img_alt"
    IMG_HTTP = "msg.img_http"
    IMG_UNREACHABLE = "msg.img_unreachable"
    LINK_EMPTY = "msg.link_empty"
    LINK_INCOMPLETE = "msg.link_incomplete"
    LINK_SCRIPT = "msg.link_script"
    LINK_HTTP = "msg.link_http"
    LINK_IP = "msg.link_ip"
    LINK_DISGUISED = "msg.link_disguised"
    LINK_DOWNLOAD = "msg.link_download"
    LINK_DOMAINS = "msg.link_domains"
    SHORTENER = "msg.shortener"


INFOS = frozenset(
    {
        Check.SUBJECT_LONG,
        Check.FROM_NOREPLY,
        Check.REPLY_TO_DOMAIN,
        Check.UNSUBSCRIBE_MISSING,
        Check.LINK_DOMAINS,
    }
)
"""All others are a `WARN`."""

REMEDIES: dict[Check, str] = {
    Check.SUBJECT_EMPTY: "Write words into the subject that do not depend on what is known "
    "about a person.",
    Check.SUBJECT_LONG: "Put what matters into the first 50 characters: phones show little more.",
    Check.SUBJECT_CAPS: "Write the subject as a normal sentence.",
    Check.SUBJECT_MARKS: "Leave one exclamation or question mark at most.",
    Check.FAKE_REPLY: "Take the prefix away: Gmail asks for it only on real replies and forwards.",
    Check.FROM_FREEMAIL: "Send from a domain of your own that is set up at your ESPs.",
    Check.FROM_NOREPLY: "Set `reply_to` to an address that somebody reads.",
    Check.FROM_NAME_ADDRESS: "Let the sender's name be the name of a person or organisation only.",
    Check.FROM_NAME_EMOJI: "Take emoji and symbols out of the sender's name.",
    Check.FROM_NAME_SUBJECT: "Let the sender's name say who writes, and the subject what about.",
    Check.REPLY_TO_FREEMAIL: "Use a reply address of the sender's own domain; it can forward to "
    "this mailbox.",
    Check.REPLY_TO_DOMAIN: "Use a reply address of the sender's domain if you have one.",
    Check.POSTAL_ADDRESS: "Set POSTAL_ADDRESS, so that every mail ends with it.",
    Check.UNSUBSCRIBE_MISSING: 'Put <a href="{{ unsubscribe_url }}">Unsubscribe</a> where you '
    "want it, outside any {% if %}, or leave it to the added one.",
    Check.SIZE: "Shorten the mail, or link to a web page for the rest.",
    Check.TEXT_MISSING: "Write the message in words, not only in pictures; leave `text` out to "
    "have it made from the HTML.",
    Check.TEXT_DIFFERS: "Leave `text` out, so that it is made from the HTML, or bring it up to date.",
    Check.MERGE_TAG: "Write it in the language of these templates, such as {{ first_name }}.",
    Check.HIDDEN_CONTENT: "Delete what nobody shall see; only a short preview text at the top "
    "may be hidden.",
    Check.BLOCKED_CONTENT: "Link to a web page that has it instead.",
    Check.IMAGE_ONLY: "Say the message in text, too; a few sentences are enough.",
    Check.IMG_ALT: 'Give each image an alt text that says what it shows, or alt="" if it is only '
    "decoration.",
    Check.IMG_HTTP: "Use https:// addresses for images.",
    Check.IMG_UNREACHABLE: "Put the images on a web server and use their full https:// addresses.",
    Check.LINK_EMPTY: "Fill in the address, or take the link away.",
    Check.LINK_INCOMPLETE: "Write the full address, beginning with https://.",
    Check.LINK_SCRIPT: "Link to a web page instead.",
    Check.LINK_HTTP: "Use https:// links.",
    Check.LINK_IP: "Link to a host name of your domain instead of an IP address.",
    Check.LINK_DISGUISED: "Let the text of the link name the site that it opens, or use words "
    "instead of an address.",
    Check.LINK_DOWNLOAD: "Link to a page from which the file can be downloaded.",
    Check.LINK_DOMAINS: "Link to fewer sites, or to pages of your own that lead on.",
    Check.SHORTENER: "Link to the page itself.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing about a mail that its writer should know."""

    id: Check
    severity: Severity
    message: str
    """What was found, with examples from the mail."""
    remedy: str
    """What to do about it, in one sentence."""
    where: str
    """The part it is in: subject, html, text, from_email, from_name, reply_to, postal_address."""
    line: int | None = None
    """The line of `html` or `text` (from 1) of the first example."""


def found(check: Check, message: str, where: str, line: int | None = None) -> Finding:
    """A finding, with what is the same whenever this check finds something."""
    return Finding(
        id=check,
        severity=Severity.INFO if check in INFOS else Severity.WARN,
        message=message,
        remedy=REMEDIES[check],
        where=where,
        line=line,
    )


def examples(of: Sequence[str]) -> str:
    """A few of them for a sentence, each once and not too long."""
    different = list(dict.fromkeys(" ".join(one.split()) for one in of))
    told = ", ".join(shortened(one) for one in different[:_EXAMPLES])
    more = len(different) - _EXAMPLES
    return f"{told} and {more} more" if more > 0 else told


def shortened(text: str) -> str:
    return text if len(text) <= _EXAMPLE_CHARS else text[: _EXAMPLE_CHARS - 1] + "…"
