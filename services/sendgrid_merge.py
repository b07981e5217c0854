"""A batch in SendGrid's terms: one content for all, substitutions for each recipient.

https://www.twilio.com/docs/sendgrid/for-developers/sending-email/substitution-tags
"""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from services.base import SEND_REF_KEY, Batch, Message, Recipient
from services.json_forms import SLOT, Names, headers_with_slots, json_array
from services.wire import filled, json_body, json_size, parts, values_of

MAX_SUBSTITUTION_BYTES = 10_000
MAX_CATEGORIES, MAX_CATEGORY_CHARS = 10, 255
NONCE_BYTES = 4
TAG_BYTES = 20
"""More than any tag is long."""
UTF8_BYTES = 4
"""Of one character, at most."""
RECIPIENT_BYTES = 200
"""More than the keys and brackets of one personalization."""


def call_of(batch: Batch) -> bytes:
    """The whole request, as JSON."""
    message, recipients = batch.message, batch.recipients
    texts, tags = _tagged(message, _nonce(batch))
    if first_whole(batch) is not None:
        if len(recipients) > 1:
            raise ValueError("the batch does not fit one call")
        texts, tags = filled(message, recipients[0]), []
    shared = json_body(_shared(message, texts)).removesuffix(b"}")
    begin = (shared, b',"personalizations":')
    return b"".join(chain(begin, _personalizations(batch, tags), (b"}",)))


def sizes(message: Message) -> tuple[int, int]:
    """Bytes that are needed once, and those of each recipient beside its own texts."""
    texts, tags = _tagged(message, "f" * 2 * NONCE_BYTES)
    each = RECIPIENT_BYTES + len(tags) * TAG_BYTES + json_size(dict(message.headers))
    return json_size(_shared(message, texts)), each


def first_whole(batch: Batch) -> int | None:
    """The first recipient with too much to substitute: the mail goes complete, in a call of its
    own."""
    if _substituted(batch.most_chars * UTF8_BYTES, batch.recipients[0]) <= MAX_SUBSTITUTION_BYTES:
        return None
    return next((n for n, one in enumerate(batch.recipients) if _must_be_whole(one)), None)


def _must_be_whole(recipient: Recipient) -> bool:
    size = sum(len(value.encode("utf-8", "surrogatepass")) for value in values_of(recipient))
    return _substituted(size, recipient) > MAX_SUBSTITUTION_BYTES


def _substituted(size: int, recipient: Recipient) -> int:
    """Bytes of the values, with their tags."""
    return size + TAG_BYTES * len(values_of(recipient))


def _nonce(batch: Batch) -> str:
    """Makes tags that nobody wrote: SendGrid replaces one tag after the other, everywhere,
    so a value that contains a later tag would be replaced in its turn."""
    skeletons = parts(batch.message).values()
    texts = [literal for skeleton in skeletons for literal in skeleton.literals]
    everything = "\n".join([*texts, batch.header_text, batch.body_text])
    while (nonce := secrets.token_hex(NONCE_BYTES)) in everything:
        pass
    return nonce


def _tagged(message: Message, nonce: str) -> tuple[dict[str, str], list[str]]:
    """The texts with a tag per slot, and the tags in the order of `values_of`.

    A tag is `-<nonce>h0-`: the closing dash keeps h1 from being found in h10.
    """
    texts, tags = {}, []
    for name, skeleton in parts(message).items():
        own = [f"-{nonce}{name[0]}{slot}-" for slot in range(skeleton.slots)]
        texts[name] = skeleton.fill(own)
        tags += own
    return texts, tags


def _personalizations(batch: Batch, tags: list[str]) -> Iterator[bytes]:
    shared = batch.message.headers

    def shape(own: Names) -> dict[str, Any]:
        return {
            "to": [{"email": SLOT}],
            "custom_args": {SEND_REF_KEY: SLOT},
            # With the shared ones: it is not told whether these add to them or replace them.
            **({"headers": headers_with_slots(shared, own)} if own else {}),
            **({"substitutions": dict.fromkeys(tags, SLOT)} if tags else {}),
        }

    def texts(run: Batch) -> Iterable[Sequence[str]]:
        yield from (run.columns.address, run.columns.send_ref, *run.header_values)
        if tags:
            yield from run.slot_values

    return json_array(batch, shape, texts)


def _shared(message: Message, texts: dict[str, str]) -> dict[str, Any]:
    kinds = (("text", "text/plain"), ("html", "text/html"))
    sender = {"email": message.from_email}
    if message.from_name:
        sender["name"] = message.from_name
    clicks = message.track_clicks
    body: dict[str, Any] = {
        "from": sender,
        "subject": texts["subject"],
        # An empty part is refused.
        "content": [
            {"type": kind, "value": texts[name]} for name, kind in kinds if texts.get(name)
        ],
        # What is left out takes the account's default.
        "tracking_settings": {
            "click_tracking": {"enable": clicks, "enable_text": clicks},
            "open_tracking": {"enable": message.track_opens},
            "subscription_tracking": {"enable": False},
        },
    }
    if message.reply_to:
        body["reply_to"] = {"email": message.reply_to}
    if message.headers:
        body["headers"] = dict(message.headers)
    if message.tags:
        unique = dict.fromkeys(tag[:MAX_CATEGORY_CHARS] for tag in message.tags)
        body["categories"] = list(unique)[:MAX_CATEGORIES]
    return body
