"""A batch in SES's terms: one template for all, variables for each recipient.

https://docs.aws.amazon.com/ses/latest/dg/send-personalized-email-api.html
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from services.base import SEND_REF_KEY, Batch, Message, Recipient, Skeleton
from services.json_forms import SLOT, Names, json_array
from services.wire import filled, header_list, json_body, mailbox, parts, values_of

MAX_DATA_CHARS = 262_144
MAX_TAGS, MAX_TAG_CHARS = 10, 256
SLOT_BYTES = 24
"""More than a variable's name with its quotes, escaped twice."""

BRACE = "{{cb}}"
STRAY_BRACE = re.compile(r"(?<=\})\}|\A\}")
"""A brace that would close something: after another one, or first after a variable."""

Call = dict[str, Any]


def is_mergeable(message: Message) -> bool:
    """Whether SES reads the skeleton as we mean it; there is no way to escape `{{`."""
    return not any(
        "{{" in literal or (literal.endswith("{") and n < skeleton.slots)
        for skeleton in parts(message).values()
        for n, literal in enumerate(skeleton.literals)
    )


def first_whole(batch: Batch) -> int | None:
    """The first recipient with a value that might be read as template text, alone or where it
    meets its neighbours, or with too much of them."""
    texts = (batch.header_text, batch.body_text)
    if not any(brace in text for text in texts for brace in "{}"):
        # JSON makes at most 6 characters of one.
        slots = SLOT_BYTES * len(values_of(batch.recipients[0]))
        if 6 * batch.most_chars + slots <= MAX_DATA_CHARS:
            return None
    return next((n for n, one in enumerate(batch.recipients) if _must_be_whole(one)), None)


def _must_be_whole(recipient: Recipient) -> bool:
    values = values_of(recipient)
    if any(("{" in value or "}" in value) and _is_ambiguous(value) for value in values):
        return True
    return len(_json(values)) + SLOT_BYTES * len(values) > MAX_DATA_CHARS


def _is_ambiguous(value: str) -> bool:
    return "{{" in value or "}}" in value or value[0] in "{}" or value[-1] in "{}"


def bulk_call(message: Message, configuration_set: str | None) -> Call:
    """What all recipients share; there are no entries yet."""
    texts = _templates(message)
    defaults = dict.fromkeys(_variables(message), "")
    if any(BRACE in text for text in texts.values()):
        defaults["cb"] = "}"
    template: Call = {
        "TemplateContent": {name.capitalize(): text for name, text in texts.items()},
        # A variable without a value is accepted and fails later, so each has a default.
        "TemplateData": _json(defaults),
    }
    if message.headers:
        template["Headers"] = header_list(message.headers)
    call = _envelope(message, configuration_set)
    call["DefaultContent"], call["BulkEmailEntries"] = {"Template": template}, []
    if message.tags:
        call["DefaultEmailTags"] = _email_tags(message)
    return call


def entries(batch: Batch) -> bytes:
    """The `BulkEmailEntries` of a call, as JSON."""
    variables = _variables(batch.message)

    def shape(own: Names) -> Call:
        entry: Call = {
            # One To each: opens of several people in one mail cannot be told apart.
            "Destination": {"ToAddresses": [SLOT]},
            "ReplacementTags": [{"Name": SEND_REF_KEY, "Value": SLOT}],
        }
        if variables:
            entry["ReplacementEmailContent"] = {
                "ReplacementTemplate": {"ReplacementTemplateData": SLOT}
            }
        if own:
            entry["ReplacementHeaders"] = header_list(dict.fromkeys(own, SLOT))
        return entry

    def texts(run: Batch) -> Iterable[Sequence[str]]:
        yield from (run.columns.address, run.columns.send_ref)
        if variables:
            values = map(values_of, run.recipients)
            yield [_json(dict(zip(variables, own, strict=True))) for own in values]
        yield from run.header_values

    return b"".join(json_array(batch, shape, texts))


def whole_call(message: Message, recipient: Recipient, configuration_set: str | None) -> Call:
    """One complete mail, which SES does not read as a template."""
    texts = {
        name.capitalize(): {"Data": text, "Charset": "UTF-8"}
        for name, text in filled(message, recipient).items()
    }
    simple: Call = {"Subject": texts.pop("Subject"), "Body": texts}
    headers = header_list({**message.headers, **recipient.headers})
    if headers:
        simple["Headers"] = headers
    return {
        **_envelope(message, configuration_set),
        "Destination": {"ToAddresses": [recipient.address]},
        "Content": {"Simple": simple},
        "EmailTags": [*_email_tags(message), {"Name": SEND_REF_KEY, "Value": recipient.send_ref}],
    }


def _envelope(message: Message, configuration_set: str | None) -> Call:
    switch = {True: "ENABLED", False: "DISABLED"}
    call: Call = {
        "FromEmailAddress": mailbox(message.from_name, message.from_email),
        # Without it the account's and the configuration set's settings hold.
        "ConfigurationOverrides": {
            "Tracking": {
                "OpenTrackingEnabled": switch[message.track_opens],
                "ClickTrackingEnabled": switch[message.track_clicks],
            }
        },
    }
    if message.reply_to:
        call["ReplyToAddresses"] = [message.reply_to]
    if configuration_set:
        call["ConfigurationSetName"] = configuration_set
    return call


def _templates(message: Message) -> dict[str, str]:
    """The texts with variables in the slots.

    `}}` is common in CSS (`@media … {p{…}}`): its second brace becomes a variable too,
    rather than costing each recipient a call.
    """
    return {name: _template(name[0], skeleton) for name, skeleton in parts(message).items()}


# Of a campaign's all calls, each of which asks twice.
@lru_cache(maxsize=64)
def _template(letter: str, skeleton: Skeleton) -> str:
    literals = tuple(STRAY_BRACE.sub(BRACE, one) for one in skeleton.literals)
    return Skeleton(literals).fill([f"{{{{{letter}{slot}}}}}" for slot in range(skeleton.slots)])


def _variables(message: Message) -> list[str]:
    """A name per slot, in the order of `values_of`."""
    return [
        f"{name[0]}{slot}"
        for name, skeleton in parts(message).items()
        for slot in range(skeleton.slots)
    ]


def _email_tags(message: Message) -> list[Call]:
    values = [re.sub(r"[^A-Za-z0-9_-]", "_", tag)[:MAX_TAG_CHARS] for tag in message.tags if tag]
    return [{"Name": f"cx_tag_{n}", "Value": tag} for n, tag in enumerate(values[:MAX_TAGS])]


def _json(document: Any) -> str:
    return json_body(document).decode()
