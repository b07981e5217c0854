"""Whatever a client sends, an ESP answers it: no call brings the simulator down."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.simulator.desk import Desk
from services.simulator.dialect import Dialect
from services.simulator.http1 import Request
from services.simulator.ledger import Ledger
from services.simulator.postmark import Postmark
from services.simulator.sendgrid import SendGrid
from services.simulator.server import SIMULATED
from services.simulator.ses import Ses
from tests.simulator_calls import (
    BATCH_PATHS,
    JSON,
    KEYS,
    postmark_message,
    sendgrid_batch,
    ses_batch,
    ses_simple,
)

SENDGRID, SES, POSTMARK = SIMULATED
TO = ["ann@example.net", "bob@example.net"]

CALLS: dict[str, tuple[type[Dialect], str, Any]] = {
    "mail/send": (
        SendGrid,
        BATCH_PATHS[SENDGRID],
        sendgrid_batch(
            TO,
            headers={"X-A": "a"},
            categories=["a"],
            send_at=1,
            reply_to={"email": "a@example.com", "name": "A"},
            mail_settings={"sandbox_mode": {"enable": False}},
        ),
    ),
    "bulk": (
        Ses,
        BATCH_PATHS[SES],
        ses_batch(
            TO,
            ReplyToAddresses=["a@example.com"],
            DefaultEmailTags=[{"Name": "a", "Value": "b"}],
        ),
    ),
    "simple": (Ses, "/v2/email/outbound-emails", ses_simple(TO[0])),
    "batch": (
        Postmark,
        BATCH_PATHS[POSTMARK],
        [postmark_message(to, Headers=[{"Name": "a", "Value": "b"}], Cc="", Tag="t") for to in TO],
    ),
    "single": (Postmark, "/email", postmark_message(TO[0], ReplyTo="a@example.com")),
}

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 10**9),
    st.floats(allow_nan=False),
    st.sampled_from(
        ["", "{{", "{{x}}", "a@b", "invalid@example.net", "\r\n", "é", "[1]", "\ud800"]
    ),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=3)), max_size=2),
    st.dictionaries(st.sampled_from(["email", "Name", "type", ""]), st.integers(), max_size=2),
)


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document, as the keys that lead to it."""
    yield path
    if isinstance(document, dict):
        items = list(document.items())
    else:
        items = list(enumerate(document)) if isinstance(document, list) else []
    for key, value in items:
        yield from places(value, (*path, key))


def with_odd(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = json.loads(json.dumps(document))
    spot = changed
    for key in path[:-1]:
        spot = spot[key]
    spot[path[-1]] = value
    return changed


@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=150, deadline=None, database=None)
@given(choice=st.data())
def test_call_with_an_odd_part_is_answered(name: str, choice: st.DataObject) -> None:
    dialect, path, document = CALLS[name]
    payload = document
    for _ in range(choice.draw(st.integers(1, 3))):
        spot = choice.draw(st.sampled_from(list(places(payload))))
        payload = with_odd(payload, spot, choice.draw(ODD))
    ledger = Ledger(keep_newest=10, keep_bytes=10**6)
    try:
        reply = Desk(dialect(), ledger).serve(
            Request(
                method="POST",
                path=path,
                headers={key.lower(): value for key, value in (KEYS[dialect.esp] | JSON).items()},
                body=json.dumps(payload).encode(),
            )
        )
        mails = ledger.mails()
    finally:
        ledger.close()
    assert reply.response.status in (200, 202, 400, 415, 422)
    assert len(mails) <= 3
