"""Names in headers, reasons, and how many recipients a call can carry."""

import json
from email.header import decode_header, make_header
from email.utils import parseaddr

import pytest

from services.base import REASON_CHARS, Batch, Recipient
from services.wire import MAX_GROWTH, header_list, how_many, json_size, mailbox, reason
from tests.canned_esp import MESSAGE, people

ADDRESS = "news@example.com"
NAMES = [
    "Example",
    "Example, Inc.",
    'The "Best" \\ Shop',
    "a@b <c>",
    "(comment)",
    "Müller",
    "Müller, Söhne; Co",
    '"quoted" Ж',
    "=?utf-8?q?looks_encoded?=",
    "😀 " * 40,
    "Ein sehr langer Name mit Ümlauten, der mehr als ein kodiertes Wort braucht, und noch mehr",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_comes_back_from_the_header(name: str) -> None:
    text = mailbox(name, ADDRESS)
    assert text.isascii()
    assert text.isprintable()
    phrase, address = parseaddr(text)
    assert address == ADDRESS
    assert str(make_header(decode_header(phrase))) == name


@pytest.mark.parametrize("name", NAMES)
def test_no_encoded_word_is_longer_than_rfc_2047_allows(name: str) -> None:
    words = [word for word in mailbox(name, ADDRESS).split(" ") if word.startswith("=?")]
    assert all(len(word) <= 75 for word in words)
    assert bool(words) is (not name.isascii() or "=?" in name)


@pytest.mark.parametrize("name", [None, ""])
def test_without_a_name_the_address_stands_alone(name: str | None) -> None:
    assert mailbox(name, ADDRESS) == ADDRESS


def test_an_empty_header_is_left_out() -> None:
    assert header_list({"X-A": "1", "X-B": ""}) == [{"Name": "X-A", "Value": "1"}]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("no", "401: no"),
        (" two\r\nlines\t\0x ", "401: two lines x"),
        ("", "401"),
        (None, "401"),
        (["a"], "401: ['a']"),
        ("x" * 900, "401: " + "x" * (REASON_CHARS - 5)),
    ],
)
def test_a_reason_is_one_short_line(words: object, expected: str) -> None:
    assert reason(401, words) == expected


CHARACTERS = ["x", '"', "\\", "\n", "\x00", "\x7f", "é", "ж", "\u2028", "\ud800", "😀"]


@pytest.mark.parametrize("character", CHARACTERS)
def test_json_grows_by_no_more_than_the_bound(character: str) -> None:
    once = json.dumps(character)[1:-1]
    twice = json.dumps(json.dumps(character, ensure_ascii=False)[1:-1])[1:-1]
    assert max(len(once), len(twice)) <= MAX_GROWTH


@pytest.mark.parametrize("character", CHARACTERS)
@pytest.mark.parametrize("limit", [10, 999, 1000, 1001, 5000, 100_000])
def test_what_fits_stays_under_the_limit_and_one_more_would_not(character: str, limit: int) -> None:
    recipients = tuple(
        Recipient(send_ref="s", address="a@x", html=(character * (n % 7) * 10,)) for n in range(40)
    )
    batch = Batch(message=MESSAGE, recipients=recipients)

    def size(count: int) -> int:
        texts = [[one.address, one.send_ref, *one.html] for one in recipients[:count]]
        return 500 + sum(50 + json_size(own) for own in texts)

    count = how_many(batch, most=40, limit=limit, shared=500, each=50)
    assert count >= 1
    assert count == 1 or size(count) <= limit
    assert count == len(recipients) or size(count + 1) > limit


def test_texts_are_measured_only_near_the_limit() -> None:
    def fail(_: list[str]) -> int:
        raise AssertionError("measured")

    few = Batch(message=MESSAGE, recipients=people(100))
    assert how_many(few, most=100, limit=1_000_000, shared=10, each=10, measure=fail) == 100
