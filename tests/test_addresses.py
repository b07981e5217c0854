"""What an address is, and that the fast path and email-validator say the same."""

import re

import pytest
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import addresses
from utils.addresses import Address, InvalidAddress, MailboxProvider, likely_domain, normalise


@pytest.mark.parametrize(
    ("typed", "email", "key"),
    [
        ("ann@example.com", "ann@example.com", "ann@example.com"),
        ("Ann.B@EXAMPLE.Com", "Ann.B@example.com", "ann.b@example.com"),
        (" \tann@example.com\r\n", "ann@example.com", "ann@example.com"),
        ("\xa0ann@example.com\xa0", "ann@example.com", "ann@example.com"),
        ("INFO@example.com", "INFO@example.com", "info@example.com"),
        ("a+tag@sub.example.org", "a+tag@sub.example.org", "a+tag@sub.example.org"),
        ("+1@example.com", "+1@example.com", "+1@example.com"),
        ("o'hara@example.net", "o'hara@example.net", "o'hara@example.net"),
        ("SRS0=a=b@example.com", "SRS0=a=b@example.com", "srs0=a=b@example.com"),
        ("a@Müller.example.com", "a@xn--mller-kva.example.com", "a@xn--mller-kva.example.com"),
        ("a@XN--MLLER-KVA.de", "a@xn--mller-kva.de", "a@xn--mller-kva.de"),
        ("a@例え.jp", "a@xn--r8jz45g.jp", "a@xn--r8jz45g.jp"),
        ("a@straße.de", "a@xn--strae-oqa.de", "a@xn--strae-oqa.de"),
        ("x" * 64 + "@example.com", "x" * 64 + "@example.com", "x" * 64 + "@example.com"),
    ],
)
def test_an_address_keeps_its_local_part_and_has_one_key(typed: str, email: str, key: str) -> None:
    assert normalise(typed) == Address(email, key)


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("", "is empty"),
        ("ann", "must have an @-sign"),
        ("ann@", "must be something after"),
        ("@example.com", "must be something before"),
        ("a@b@example.com", "invalid characters"),
        ("ann@example", "should have a period"),
        ("ann@example.123", "top-level domain"),
        ("ann@[192.0.2.1]", "IP address"),
        ("ann@[IPv6:2001:db8::1]", "IP address"),
        ("ann@192.0.2.1", "top-level domain"),
        ("jörg@example.com", "none of the ESPs"),
        ("用户@example.com", "none of the ESPs"),
        ('"ann b"@example.com', "Quoting"),
        ('"ann"@example.com', "Quoting"),
        ("=?utf-8?q?a=40evil.com=3E?=@example.com", "encoded word"),
        ("Ann <ann@example.com>", "display name"),
        ("a..b@example.com", "two periods"),
        (".a@example.com", "cannot start with a period"),
        ("a b@example.com", "SPACE"),
        ("a\x00b@example.com", "control character"),
        ("a@exam\r\nple.com", "control character"),
        ("a@example.com\nBcc: b@example.com", "control character"),
        ("a@ex\u2028ample.com", "control character"),
        ("x" * 65 + "@example.com", "too long before"),
        ("a@" + "b" * 64 + ".com", "so many characters"),
        ("a@" + "b.c" * 84 + ".com", "longer than 254"),
        ("a@-b.com", "hyphen"),
        ("a@b-.com", "hyphen"),
        ("a@ab--c.com", "two dashes"),
        ("a@xn--zzzzzz-.com", "hyphen"),
        ("a@host.test", "special-use"),
        ("a@host.LOCAL", "special-use"),
        ("a@b.invalid", "special-use"),
        ("\ud800@example.com", "none of the ESPs"),
        ("a@\ud800.com", "unsafe"),
        ("a" * 1_000_000, "longer than 254"),
    ],
)
def test_what_nobody_can_be_written_to_is_refused_with_its_reason(typed: str, reason: str) -> None:
    with pytest.raises(InvalidAddress, match=re.escape(reason)) as refused:
        normalise(typed)
    assert len(refused.value.reason) <= 300


@pytest.mark.parametrize(
    ("typed", "suggestion"),
    [
        ("Ann@gmial.com", "Ann@gmail.com"),
        ("ann@gmail.con", "ann@gmail.com"),
        ("ann@gmail.co", "ann@gmail.com"),
        ("ann@gnail.com", "ann@gmail.com"),
        ("ann@hotmal.com", "ann@hotmail.com"),
        ("ann@hotmial.con", "ann@hotmail.com"),
        ("ann@outlok.com", "ann@outlook.com"),
        ("ann@yaho.com", "ann@yahoo.com"),
        ("ann@yahoo.con", "ann@yahoo.com"),
        ("ann@iclould.com", "ann@icloud.com"),
        ("ann@aol.con", "ann@aol.com"),
        ("ann@gmail.com", None),
        ("ann@mail.com", None),
        ("ann@ymail.com", None),
        ("ann@gmx.com", None),
        ("ann@yahoo.ca", None),
        ("ann@line.com", None),
        ("ann@my.com", None),
        ("ann@example.com", None),
        ("ann@sub.example.org", None),
    ],
)
def test_a_slip_in_a_big_domain_is_pointed_out_but_taken_as_typed(
    typed: str, suggestion: str | None
) -> None:
    address = normalise(typed)
    assert (address.email, address.suggestion) == (typed, suggestion)


@pytest.mark.parametrize(
    ("typed", "suggestion"),
    [
        ("ann@gmail", "ann@gmail.com"),
        ("ann@gmail..com", "ann@gmail.com"),
        ("ann@gmail,com", "ann@gmail.com"),
        ("ann@gmailcom", "ann@gmail.com"),
        ("ann smith@example.com", "annsmith@example.com"),
        ("<ann@example.com>", "ann@example.com"),
        ("ann.@gmial.com", "ann@gmail.com"),
        ("ann@example.com.", "ann@example.com"),
        ("ann", None),
        ("ann@example.test", None),
        ("ann\n@gmail.com", None),
    ],
)
def test_a_refusal_says_what_was_probably_meant(typed: str, suggestion: str | None) -> None:
    with pytest.raises(InvalidAddress) as refused:
        normalise(typed)
    assert refused.value.suggestion == suggestion


@pytest.mark.parametrize(
    ("domain", "provider"),
    [
        ("gmail.com", MailboxProvider.GMAIL),
        ("googlemail.com", MailboxProvider.GMAIL),
        ("hotmail.co.uk", MailboxProvider.MICROSOFT),
        ("outlook.com.br", MailboxProvider.MICROSOFT),
        ("live.fr", MailboxProvider.MICROSOFT),
        ("msn.com", MailboxProvider.MICROSOFT),
        ("yahoo.de", MailboxProvider.YAHOO),
        ("yahoo.com.au", MailboxProvider.YAHOO),
        ("yahoo.co.jp", MailboxProvider.OTHER),
        ("aol.com", MailboxProvider.YAHOO),
        ("icloud.com", MailboxProvider.APPLE),
        ("me.com", MailboxProvider.APPLE),
        ("example.com", MailboxProvider.OTHER),
        ("gmail.com.example.com", MailboxProvider.OTHER),
        ("notgmail.com", MailboxProvider.OTHER),
        ("live.example.com", MailboxProvider.OTHER),
    ],
)
def test_the_domain_tells_who_runs_the_mailbox(domain: str, provider: MailboxProvider) -> None:
    assert normalise(f"ann@{domain}").mailbox_provider is provider


def test_no_real_domain_of_our_own_tables_is_called_a_slip() -> None:
    known = {*addresses._BIG_DOMAINS, *addresses._REAL_NEIGHBOURS, *addresses._NAMED_PROVIDERS}
    assert {domain: likely_domain(domain) for domain in known if likely_domain(domain)} == {}


@pytest.mark.parametrize("name", SPECIAL_USE_DOMAIN_NAMES)
def test_the_fast_path_knows_every_special_use_name(name: str) -> None:
    assert addresses._plain(f"a@b.{name}") is None


def _slow(text: str) -> str | None:
    """email-validator's own verdict, as the address we would store."""
    try:
        checked = validate_email(
            text, check_deliverability=False, strict=True, allow_smtputf8=False
        )
    except EmailNotValidError:
        return None
    return f"{text.rpartition('@')[0]}@{checked.ascii_domain}"


def _agree(text: str) -> None:
    if addresses._plain(text):
        assert normalise(text).email == _slow(text)
    else:
        try:
            found = normalise(text).email
        except InvalidAddress:
            return
        assert found == _slow(text.strip(" \t\r\n\xa0"))


_PIECES = st.sampled_from(
    [
        *"abzAZ09.-_+@@..--'!#%=?{}|~ \"<>[](),:;\\\t\x00éß\uff41\u3002",
        "xn--",
        "com",
        "test",
        "gmail.com",
    ]
)


@settings(max_examples=3000, deadline=None)
@given(st.lists(_PIECES, max_size=24).map("".join))
def test_both_paths_agree_on_anything(text: str) -> None:
    _agree(text)


_LOCAL = st.text("abZ09.+-_'=?{!", min_size=1, max_size=70)
_LABEL = st.text("abZ09-", min_size=1, max_size=66)


@settings(max_examples=3000, deadline=None)
@given(
    _LOCAL, st.lists(_LABEL, min_size=1, max_size=5), st.sampled_from(["com", "c", "Test", "x1"])
)
def test_both_paths_agree_on_what_looks_like_an_address(
    local: str, labels: list[str], top: str
) -> None:
    _agree(f"{local}@{'.'.join([*labels, top])}")


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_an_address_or_is_refused(text: str) -> None:
    try:
        address = normalise(text)
    except InvalidAddress as refused:
        address = normalise(refused.suggestion or "ann@example.com")
    assert address.key.isascii()
    assert normalise(address.email) == address
    assert normalise(address.key).key == address.key
