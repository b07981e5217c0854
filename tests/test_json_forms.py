"""JSON written from a form says what JSON of each mail by itself would."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.base import Batch, Recipient
from services.json_forms import SLOT, Names, headers_with_slots, json_array
from tests.canned_esp import MESSAGE

TEXTS = st.text(st.characters() | st.sampled_from('"\\%\x00\x1f\x7f\ud800é😀'), max_size=8)
RECIPIENTS = st.builds(
    Recipient,
    send_ref=TEXTS,
    address=TEXTS,
    subject=st.just(()),
    html=st.tuples(TEXTS, TEXTS),
    text=st.just(()),
    headers=st.dictionaries(st.sampled_from(["X-A", "X-B", "X-Shared"]), TEXTS),
)
SHARED = {"X-Shared": "for %s all", "X-Other": '"\\u0000"'}


def shape(own: Names) -> dict[str, Any]:
    return {"to": SLOT, "headers": headers_with_slots(SHARED, own), "html": f'{SLOT}"%\n{SLOT}'}


def texts(run: Batch) -> Iterable[Sequence[str]]:
    return (run.columns.address, *run.header_values, *run.slot_values)


@given(recipients=st.lists(RECIPIENTS, min_size=1, max_size=6))
def test_what_is_filled_in_comes_back_whatever_it_holds(recipients: list[Recipient]) -> None:
    batch = Batch(message=MESSAGE, recipients=tuple(recipients))
    assert json.loads(b"".join(json_array(batch, shape, texts))) == [
        {
            "to": one.address,
            "headers": {**SHARED, **one.headers},
            "html": '{}"%\n{}'.format(*one.html),
        }
        for one in recipients
    ]
