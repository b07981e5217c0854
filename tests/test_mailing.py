"""The batches of a campaign: what each mail carries, and whose mail cannot be made."""

from dataclasses import replace

import pytest

from services.mailing import Identity, Mailing, Sample
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
