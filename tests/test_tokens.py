"""Keyed names that travel outside: nobody else can make one, and nothing that comes back raises."""

import re
from base64 import urlsafe_b64encode
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.tokens import (
    ConfirmLink,
    UnsubscribeLink,
    confirm_token,
    email_hash,
    is_our_send_ref,
    link_key,
    read_confirm_token,
    read_send_ref,
    read_unsubscribe_token,
    send_ref,
    unsubscribe_token,
)

OURS, THEIRS = b"k" * 32, b"K" * 32
OLD, NEW, OTHER = (link_key(secret * 32) for secret in "abc")
LINK = UnsubscribeLink(email_hash=bytes(range(16)), subscriber_id=7, send_id=9)
TOKEN = unsubscribe_token(NEW, LINK)
REF = send_ref(OURS, campaign_id=3, send_id=12, attempt=2)

ids = st.integers(0, 2**63 - 1)
links = st.builds(
    UnsubscribeLink,
    email_hash=st.binary(min_size=16, max_size=16),
    subscriber_id=ids,
    send_id=ids,
)


@given(links)
def test_a_token_says_what_was_put_into_it_and_no_address(link: UnsubscribeLink) -> None:
    token = unsubscribe_token(NEW, link)
    assert read_unsubscribe_token([NEW], token) == link
    assert re.fullmatch(r"[A-Za-z0-9_-]{64}", token)


def test_links_signed_with_an_older_secret_work_until_it_is_taken_away() -> None:
    old = unsubscribe_token(OLD, LINK)
    assert read_unsubscribe_token([NEW, OLD], old) == LINK
    assert read_unsubscribe_token([NEW], old) is None
    assert read_unsubscribe_token([], old) is None


@pytest.mark.parametrize("place", range(len(TOKEN)))
def test_a_token_with_one_character_changed_is_refused(place: int) -> None:
    other = "A" if TOKEN[place] != "A" else "B"
    assert read_unsubscribe_token([NEW, OLD], TOKEN[:place] + other + TOKEN[place + 1 :]) is None


@pytest.mark.parametrize(
    "changed",
    [{"email_hash": bytes(16)}, {"subscriber_id": 8}, {"send_id": 0}, {"send_id": 10}],
)
def test_another_installations_or_another_persons_token_is_refused(
    changed: dict[str, int],
) -> None:
    assert read_unsubscribe_token([NEW], unsubscribe_token(OTHER, LINK)) is None
    forged = unsubscribe_token(OTHER, LINK._replace(**changed))  # type: ignore[arg-type]
    assert read_unsubscribe_token([NEW], forged[:43] + TOKEN[43:]) is None


@given(st.text(max_size=250) | st.text("ABCabc012-_=+/.\n", min_size=60, max_size=70))
def test_garbage_is_refused_and_never_raises(garbage: str) -> None:
    assert read_unsubscribe_token([NEW, OLD], garbage) is None
    assert not is_our_send_ref(OURS, garbage, campaign_id=3)


@given(st.integers(0, 64), st.text(max_size=20))
def test_a_token_cut_or_lengthened_is_refused_or_still_says_the_same(cut: int, more: str) -> None:
    for mangled in (TOKEN[:cut], TOKEN[cut:], TOKEN + more, more + TOKEN):
        assert read_unsubscribe_token([NEW], mangled) in (None, LINK)


def test_the_same_secret_makes_the_same_key_and_another_one_another() -> None:
    assert link_key("a" * 32) == OLD
    assert len({OLD, NEW, OTHER, link_key("a" * 33), link_key("a" * 64), link_key("a" * 65)}) == 6
    assert link_key("\u00fc" * 32) != link_key("u" * 32)


@given(campaign_id=ids, send_id=ids, attempt=ids)
def test_our_id_on_a_mail_is_short_plain_and_known_again(
    campaign_id: int, send_id: int, attempt: int
) -> None:
    ref = send_ref(OURS, campaign_id=campaign_id, send_id=send_id, attempt=attempt)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", ref)
    assert read_send_ref(ref) == (send_id, attempt)
    assert is_our_send_ref(OURS, ref, campaign_id=campaign_id)


@pytest.mark.parametrize("place", range(len(REF)))
def test_an_id_with_one_character_changed_is_not_ours(place: int) -> None:
    other = "1" if REF[place] != "1" else "2"
    assert not is_our_send_ref(OURS, REF[:place] + other + REF[place + 1 :], campaign_id=3)


def test_an_id_of_another_installation_or_campaign_is_not_ours() -> None:
    assert not is_our_send_ref(THEIRS, REF, campaign_id=3)
    assert not is_our_send_ref(OURS, REF, campaign_id=4)
    mac = REF.split("-", 2)[2]
    for forged in (f"13-2-{mac}", f"12-3-{mac}", f"012-2-{mac}", f"12-2-{mac}=", "12-2-", "12-2"):
        assert not is_our_send_ref(OURS, forged, campaign_id=3)


@pytest.mark.parametrize(
    ("ref", "read"),
    [
        ("12-2-x", (12, 2)),
        ("12-2-x-y", (12, 2)),
        ("12-2", None),
        ("", None),
        ("--", None),
        ("-1-2-x", None),
        ("12--x", None),
        ("\u0661-2-x", None),
        ("1\u00b2-2-x", None),
        ("9223372036854775807-1-x", (2**63 - 1, 1)),
        ("9223372036854775808-1-x", None),
        ("1" * 5000 + "-1-x", None),
    ],
)
def test_ids_are_read_from_what_looks_like_ours_alone(
    ref: str, read: tuple[int, int] | None
) -> None:
    assert read_send_ref(ref) == read


@given(st.text(max_size=100))
def test_a_foreign_id_never_raises(ref: str) -> None:
    read_send_ref(ref)


def test_an_address_hash_is_stable_keyed_and_short() -> None:
    assert email_hash(OURS, "ann@example.com") == email_hash(OURS, "ann@example.com")
    others = {email_hash(OURS, "bob@example.com"), email_hash(THEIRS, "ann@example.com")}
    assert email_hash(OURS, "ann@example.com") not in others
    assert len(email_hash(OURS, "ann@example.com")) == 16


def test_one_key_never_signs_two_kinds_of_thing() -> None:
    """The hash of an address that reads like what a reference signs makes no reference."""
    forged = urlsafe_b64encode(email_hash(OURS, "3.12.2")[:8]).rstrip(b"=").decode()
    assert not is_our_send_ref(OURS, f"12-2-{forged}", campaign_id=3)


@given(link=links, key=st.sampled_from([OLD, NEW]))
def test_a_confirm_token_says_who_which_request_and_when(link: UnsubscribeLink, key: bytes) -> None:
    at = datetime(2026, 11, 24, 12, 0, 1, tzinfo=UTC)
    said = ConfirmLink(email_hash=link.email_hash, opt_in_id=link.send_id, issued_at=at)
    assert read_confirm_token([NEW, OLD], confirm_token(key, said)) == said
    assert read_confirm_token([OTHER], confirm_token(key, said)) is None


@pytest.mark.parametrize("place", range(64))
def test_a_confirm_token_with_one_character_changed_says_nothing(place: int) -> None:
    at = datetime(2026, 11, 24, tzinfo=UTC)
    token = confirm_token(OLD, ConfirmLink(email_hash=b"h" * 16, opt_in_id=7, issued_at=at))
    assert len(token) == 64
    other = "A" if token[place] != "A" else "B"
    assert read_confirm_token([OLD], token[:place] + other + token[place + 1 :]) is None


@given(link=links)
def test_no_token_of_one_page_is_taken_by_another(link: UnsubscribeLink) -> None:
    """Both are of the same length; only what they were signed for keeps them apart."""
    at = datetime(2026, 11, 24, tzinfo=UTC)
    confirm = ConfirmLink(email_hash=link.email_hash, opt_in_id=link.subscriber_id, issued_at=at)
    assert read_confirm_token([OLD], unsubscribe_token(OLD, link)) is None
    assert read_unsubscribe_token([OLD], confirm_token(OLD, confirm)) is None
