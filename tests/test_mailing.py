"""The batches of a campaign: what each mail carries, and whose mail cannot be made."""

from contextlib import suppress
from dataclasses import replace
from email import message_from_string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.base import MessageRejected
from services.mailing import Identity, Mailing, Sample
from services.wire import check_headers, filled, mailbox
from tests.rig import NEW
from utils.personalisation import TemplateError

IDENTITY = Identity(hash_key=b"h" * 32, link_key=b"l" * 32, public_base_url="https://m.example.com")
ANN = Sample(email="ann@example.net", attributes={"n": 1}, send_id=41)


def test_every_mail_carries_the_headers_of_its_list() -> None:
    batch = Mailing(NEW, IDENTITY).batch([ANN])
    (recipient,) = batch.recipients
    link = recipient.headers["List-Unsubscribe"]
    assert batch.message.headers == {
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "List-Id": "<news.example.com>",
    }
    assert link.startswith("<https://m.example.com/unsubscribe?token=")
    assert link.strip("<>") in recipient.html


def test_who_cannot_be_written_to_is_named_without_the_address() -> None:
    mailing = Mailing(replace(NEW, text="\n{{ attributes.n * 2 }}"), IDENTITY)
    assert mailing.batch([ANN]).recipients[0].text == ("2",)
    huge = replace(ANN, attributes={"n": 10**16}, send_id=42)
    with pytest.raises(TemplateError) as raised:
        mailing.batch([ANN, huge])
    assert raised.value.field == "text"
    assert str(raised.value) == (
        "line 2: calculates with a number beyond 1000000000000000 (for send 42)"
    )


EVIL = st.lists(
    st.sampled_from(
        ["\r\n", "\n", "\r", "\0", "\x0b", "\x85", "\u2028", "Bcc: x@example.net", "\r\n\r\n"]
    )
    | st.text(max_size=4)
    | st.sampled_from(["=?utf-8?q?=0D=0ABcc:_x?=", ",", ";", '"', "<", ">", "@", "\\", "\ud800"]),
    max_size=6,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(from_name=EVIL, name=EVIL, first_name=EVIL, subject=EVIL, reply_to=EVIL, tag=EVIL)
def test_no_text_of_anybody_becomes_a_header_of_its_own(
    from_name: str, name: str, first_name: str, subject: str, reply_to: str, tag: str
) -> None:
    """Whoever wrote it: what gets past the last door is the headers that we mean, and no more.
    That the API refuses most of it before is another matter."""
    campaign = replace(
        NEW,
        from_name=from_name or None,
        name=name,
        reply_to=reply_to or None,
        # Braces would be another template.
        subject=subject.replace("{", "(") + "{{ first_name }}x{{ campaign.name }}",
        tags=(tag,),
    )
    person = replace(ANN, first_name=first_name, attributes={"a": first_name})
    with suppress(TemplateError, MessageRejected, UnicodeEncodeError):
        batch = Mailing(campaign, IDENTITY).batch([person])
        check_headers(batch)
        (recipient,) = batch.recipients
        headers = {
            "From": mailbox(batch.message.from_name, batch.message.from_email),
            "To": recipient.address,
            "Subject": filled(batch.message, recipient)["subject"],
            "Reply-To": batch.message.reply_to or "",
            "X-Tag": batch.message.tags[0],
            **batch.message.headers,
            **recipient.headers,
        }
        raw = "".join(f"{header}: {value}\r\n" for header, value in headers.items())
        read = message_from_string(f"{raw}\r\nbody")
        assert (read.keys(), read.get_payload()) == (list(headers), "body")
