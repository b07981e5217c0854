"""Subject and sender of a mail, as mailbox providers and readers look at them."""

import re
from collections.abc import Iterator

from utils.addresses import MailboxProvider, mailbox_provider
from utils.lint.finding import Check, Finding, found, shortened
from utils.lint.jinja import Hidden
from utils.personalisation import Person, Template, TemplateError

LONGEST_SUBJECT = 78

# "Reply" and "forward" as mail programs of many languages put them before a subject. Left
# out: "R:", "I:" and "Ref:", which begin honest subjects, too, as does "re:Invent" without a
# blank. https://en.wikipedia.org/wiki/List_of_email_subject_abbreviations
_FAKE_REPLY = re.compile(
    r"\s*+[\[(]?"
    r"(?:re|fw|fwd|aw|antw|wg|tr|rv|enc|res|sv|vs|vb|vl|odp|pd|ynt|ilt|отв|答复|回复|转发)"
    r"(?:\s?[\[(^]?\d{1,3}[\])]?)?[\])]?\s?(?::(?=\s)|\uff1a)",
    re.IGNORECASE,
)
# Of SpamAssassin's SUBJ_ALL_CAPS: more than one word, and more than an abbreviation or two.
_SHORTEST_SHOUT = 10

# Mailboxes that anybody can have, besides those that `mailbox_provider` knows: nobody but
# their provider can sign for them, so DMARC fails for all that an ESP sends in their name.
_FREEMAIL = frozenset(
    {
        *("126.com", "163.com", "bk.ru", "btinternet.com", "comcast.net", "email.com"),
        *("fastmail.com", "foxmail.com", "free.fr", "freenet.de", "gmx.at", "gmx.ch", "gmx.com"),
        *("gmx.de", "gmx.net", "gmx.us", "hey.com", "hushmail.com", "inbox.ru", "interia.pl"),
        *("laposte.net", "libero.it", "list.ru", "mail.com", "mail.ru", "mailbox.org", "naver.com"),
        *("o2.pl", "onet.pl", "orange.fr", "outlook.com", "pm.me", "posteo.de", "proton.me"),
        *("protonmail.com", "qq.com", "rediffmail.com", "seznam.cz", "sfr.fr", "sina.com"),
        *("t-online.de", "tuta.com", "tutanota.com", "uol.com.br", "virginmedia.com"),
        *("virgilio.it", "wanadoo.fr", "web.de", "wp.pl", "yahoo.co.jp", "yandex.com"),
        *("yandex.ru", "yeah.net", "zohomail.com"),
    }
)
_NO_REPLY = re.compile(r"(?:do-?not|no)[-_.]?reply|noreply", re.IGNORECASE)
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
# Pictures, not signs of writing: "™", "®" and "→" stay out.
_EMOJI = re.compile("[\u2600-\u27bf\u2b50\u2b55\U0001f000-\U0001faff]")
_SHORTEST_SAME = 8

SAMPLE = Person(
    email="alex.sample@example.com",
    first_name="Alex",
    last_name="Sample",
    attributes={},
    unsubscribe_url="https://mail.example.com/unsubscribe?token=" + "x" * 60,
)
"""Somebody of whom the usual is known: for what a mail looks like once it is filled in."""
_NOTHING = ("", "(no subject)")
"""An empty subject, and what `Template` puts in its place."""
_STRANGER = Person(email=SAMPLE.email, attributes={}, unsubscribe_url=SAMPLE.unsubscribe_url)


def check_subject(subject: str) -> Iterator[Finding]:
    """What there is to say about the subject, a template."""
    if not subject.strip():
        yield found(Check.SUBJECT_EMPTY, "The subject is empty.", "subject")
        return
    for_sample, for_stranger = _rendered(subject)
    if for_stranger in _NOTHING:
        message = "The subject is empty for people of whom only the address is known."
        yield found(Check.SUBJECT_EMPTY, message, "subject")
    if len(for_sample) > LONGEST_SUBJECT:
        message = f"The subject has {len(for_sample)} characters; many mail programs show less."
        yield found(Check.SUBJECT_LONG, message, "subject")
    hidden = Hidden(subject)
    written = hidden.without(hidden.text)
    if _is_shouted(written):
        yield found(Check.SUBJECT_CAPS, "The subject is in capitals, as in spam.", "subject")
    if "!!" in written or "?!" in written or "??" in written or written.count("!") > 2:
        message = "The subject has a row of exclamation or question marks, as in spam."
        yield found(Check.SUBJECT_MARKS, message, "subject")
    if prefix := _FAKE_REPLY.match(written):
        message = (
            f'The subject begins with "{prefix.group().strip()}" as if people had written before.'
        )
        yield found(Check.FAKE_REPLY, message, "subject")


def check_sender(
    *, from_email: str, from_name: str | None, reply_to: str | None, subject: str
) -> Iterator[Finding]:
    """What there is to say about From and Reply-To."""
    domain = _domain(from_email)
    if _is_freemail(domain):
        message = f"Mail from {domain} that its own servers did not send fails DMARC and is refused or put into junk."
        yield found(Check.FROM_FREEMAIL, message, "from_email")
    if reply_to is None and _NO_REPLY.search(from_email.partition("@")[0]):
        message = f"Nobody can answer {from_email}; Microsoft wants senders that take replies."
        yield found(Check.FROM_NOREPLY, message, "from_email")
    if from_name:
        yield from _check_name(from_name, from_email, subject)
    other = _domain(reply_to or "")
    if not other or not domain or other == domain:
        return
    if _is_freemail(other) and not _is_freemail(domain):
        message = f"Replies go to a mailbox at {other}; filters know that from fraud."
        yield found(Check.REPLY_TO_FREEMAIL, message, "reply_to")
    elif not (other.endswith(f".{domain}") or domain.endswith(f".{other}")):
        message = f"Replies go to {other}, the mail comes from {domain}."
        yield found(Check.REPLY_TO_DOMAIN, message, "reply_to")


def _check_name(name: str, email: str, subject: str) -> Iterator[Finding]:
    # Google's guidelines for display names: https://support.google.com/mail/answer/81126
    for address in _ADDRESS.findall(name):
        if address.lower() != email.lower():
            message = f"The sender's name shows {shortened(address)}, the mail comes from {email}."
            yield found(Check.FROM_NAME_ADDRESS, message, "from_name")
            break
    if emoji := _EMOJI.search(name):
        message = f"The sender's name has a picture in it ({emoji.group()}), which Gmail holds against it."
        yield found(Check.FROM_NAME_EMOJI, message, "from_name")
    said = " ".join(subject.casefold().split())
    if len(said) >= _SHORTEST_SAME and said in " ".join(name.casefold().split()):
        message = "The sender's name has the subject in it."
        yield found(Check.FROM_NAME_SUBJECT, message, "from_name")


def _rendered(subject: str) -> tuple[str, str]:
    """The subject of the sample person and of a stranger; of a faulty one, the template."""
    try:
        campaign = {"id": 0, "name": "Campaign", "subject": subject}
        template = Template(subject=subject, html=None, text=None, campaign=campaign)
        sample, stranger = (template.slots(person).subject for person in (SAMPLE, _STRANGER))
        return template.subject.fill(sample).strip(), template.subject.fill(stranger).strip()
    except TemplateError:
        return subject, subject


def _is_shouted(text: str) -> bool:
    letters = [letter for letter in text if letter.isupper() or letter.islower()]
    is_long = len(letters) > _SHORTEST_SHOUT and len(text.split()) > 1
    return is_long and all(letter.isupper() for letter in letters)


def _is_freemail(domain: str) -> bool:
    return domain in _FREEMAIL or mailbox_provider(domain) is not MailboxProvider.OTHER


def _domain(email: str) -> str:
    return email.rpartition("@")[2].strip(" >").lower() if "@" in email else ""
