"""Keyed names that travel outside: address hashes, our id on a mail, links to our pages.

All are BLAKE2b with a purpose (`person`), so that one key never signs two kinds of thing.
No look-up table is needed for any of them: a random unique index would cost more than all
the rest of the ledger.
"""

import hashlib
import hmac
import operator
import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

HASH_BYTES = 16
REF_CHARS = 64
"""More than the longest reference; what ESPs hand back may be anybody's, of any length."""
_REF = re.compile(r"([0-9]+)-([0-9]+)-")
_REF_MAC_BYTES = 8
_LINK_MAC_BYTES = 16
_LINK = struct.Struct(f">{HASH_BYTES}sQQ")
_CONFIRM = struct.Struct(f">{HASH_BYTES}sQQ")


def email_hash(hash_key: bytes, email_key: str) -> bytes:
    """Who an address is, without saying so: 16 bytes that outlive an erased person."""
    return _mac(hash_key, b"email", email_key.encode(), HASH_BYTES)


def send_ref(hash_key: bytes, *, campaign_id: int, send_id: int, attempt: int) -> str:
    """`cx_send_id`: send id, attempt and a MAC of this installation and campaign."""
    return send_refs(hash_key, [(send_id, attempt)], campaign_id=campaign_id)[0]


def send_refs(
    hash_key: bytes, sends: Sequence[tuple[int, int]], *, campaign_id: int
) -> Sequence[str]:
    """The same for many, each a send id and an attempt."""
    said = [b"%d.%d.%d" % (campaign_id, send_id, attempt) for send_id, attempt in sends]
    macs = _texts(_macs(hash_key, b"send", said, _REF_MAC_BYTES), _REF_MAC_BYTES)
    return [
        f"{send_id}-{attempt}-{mac}" for (send_id, attempt), mac in zip(sends, macs, strict=True)
    ]


def read_send_ref(ref: str) -> tuple[int, int] | None:
    """(send id, attempt) as a reference says them; `is_our_send_ref` tells if they are ours."""
    if len(ref) > REF_CHARS or (found := _REF.match(ref)) is None:
        return None
    send_id, attempt = int(found[1]), int(found[2])
    return (send_id, attempt) if max(send_id, attempt) < 2**63 else None


def is_our_send_ref(hash_key: bytes, ref: str, *, campaign_id: int) -> bool:
    """Whether this installation gave `ref` to a send of that campaign."""
    read = read_send_ref(ref)
    if read is None:
        return False
    ours = send_ref(hash_key, campaign_id=campaign_id, send_id=read[0], attempt=read[1])
    return hmac.compare_digest(ours.encode(), ref.encode())


class UnsubscribeLink(NamedTuple):
    """What an unsubscribe token says: who (by hash), and which send the link was in."""

    email_hash: bytes
    subscriber_id: int
    send_id: int
    """0 when the link was in no send."""


NOBODY_LINK = UnsubscribeLink(email_hash=bytes(HASH_BYTES), subscriber_id=0, send_id=0)
"""In test mails: a link that works and takes nobody off the list."""


def link_key(secret: str) -> bytes:
    """The signing key for links, from one SECRET_KEY."""
    return _mac(secret.encode()[:64], b"link-key", secret.encode(), 32)


def unsubscribe_token(key: bytes, link: UnsubscribeLink) -> str:
    """A token for `/unsubscribe?token=` and `/preferences?token=`; it names no address and
    never expires."""
    return unsubscribe_tokens(key, [link])[0]


def unsubscribe_tokens(key: bytes, links: Iterable[tuple[bytes, int, int]]) -> Sequence[str]:
    """The same for many, each the fields of an `UnsubscribeLink`."""
    return _signed(key, b"unsubscribe", [_LINK.pack(*link) for link in links], _LINK.size)


def read_unsubscribe_token(keys: Sequence[bytes], token: str) -> UnsubscribeLink | None:
    """What the token says, if one of `keys` signed it; `None` for anything else."""
    said = _verified(keys, b"unsubscribe", token, _LINK.size)
    if said is None:
        return None
    who, subscriber_id, send_id = _LINK.unpack(said)
    return UnsubscribeLink(email_hash=who, subscriber_id=subscriber_id, send_id=send_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmLink:
    """What a confirm token says: which request to confirm (a row of `opt_ins`), and whose."""

    email_hash: bytes
    opt_in_id: int
    issued_at: datetime
    """To the second."""


def confirm_token(key: bytes, link: ConfirmLink) -> str:
    """A token for `/confirm?token=`; whoever reads it judges its age."""
    issued_at = int(link.issued_at.timestamp())
    said = _CONFIRM.pack(link.email_hash, link.opt_in_id, issued_at)
    return _signed(key, b"confirm", [said], _CONFIRM.size)[0]


def read_confirm_token(keys: Sequence[bytes], token: str) -> ConfirmLink | None:
    """What the token says, if one of `keys` signed it; `None` for anything else."""
    said = _verified(keys, b"confirm", token, _CONFIRM.size)
    if said is None:
        return None
    who, opt_in_id, issued_at = _CONFIRM.unpack(said)
    at = datetime.fromtimestamp(issued_at, UTC)
    return ConfirmLink(email_hash=who, opt_in_id=opt_in_id, issued_at=at)


def _signed(key: bytes, purpose: bytes, said: Sequence[bytes], size: int) -> Sequence[str]:
    """Tokens of bytes that are all of that `size`, each with its MAC."""
    macs = _macs(key, purpose, said, _LINK_MAC_BYTES)
    return _texts(map(operator.add, said, macs), size + _LINK_MAC_BYTES)


def _verified(keys: Sequence[bytes], purpose: bytes, token: str, size: int) -> bytes | None:
    """The bytes that a token signs, if one of `keys` signed them for this purpose."""
    raw = _bytes(token)
    if raw is None or len(raw) != size + _LINK_MAC_BYTES:
        return None
    said, mac = raw[:size], raw[size:]
    macs = (_mac(key, purpose, said, _LINK_MAC_BYTES) for key in keys)
    return said if any(hmac.compare_digest(one, mac) for one in macs) else None


def _mac(key: bytes, purpose: bytes, said: bytes, size: int) -> bytes:
    return _macs(key, purpose, [said], size)[0]


def _macs(key: bytes, purpose: bytes, said: Sequence[bytes], size: int) -> Sequence[bytes]:
    empty = _empty_mac(key, purpose, size)
    macs = [empty.copy() for _ in said]
    for mac, one in zip(macs, said, strict=True):
        mac.update(one)
    return [mac.digest() for mac in macs]


@lru_cache(maxsize=64)
def _empty_mac(key: bytes, purpose: bytes, size: int) -> "hashlib.blake2b":
    """Mixing in the key takes longer than the few bytes that are signed."""
    return hashlib.blake2b(key=key, person=purpose, digest_size=size)


def _texts(raw: Iterable[bytes], size: int) -> Sequence[str]:
    """Base64 of each, all of that `size`, without padding; written in one go, since a call for
    each takes as long as its MAC. Three bytes are four characters, so each is filled up."""
    fill = bytes(-size % 3)
    written = urlsafe_b64encode(fill.join([*raw, b""])).decode()
    step, chars = (size + len(fill)) * 4 // 3, -(-size * 4 // 3)
    return [written[at : at + chars] for at in range(0, len(written), step)]


def _bytes(token: str) -> bytes | None:
    if not token.isascii() or len(token) > 200:
        return None
    try:
        return urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError:
        return None
