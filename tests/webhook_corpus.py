"""The payloads of an ESP's events, one file each, and how what is read of them is compared."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from services.base import REASON_CHARS
from services.events import CODE_CHARS, KEY_CHARS, BounceClass, Event, EventKind, WebhookReader

PAYLOADS = Path(__file__).parent / "payloads"

EVIL_NUMBERS = ["NaN", "Infinity", "-1e999", "9" * 4000, "-1", "1e300", "true", "1" + "0" * 25]
"""As JSON has them, where a time or an id should be."""

WRONG_KINDS = [None, True, [], {}, ["x"], {"a": 1}, -1, 1.5, "", "x" * 9999]
"""Where a field should have another kind of value."""

TEXTS = st.text(st.characters(exclude_categories=()), max_size=12) | st.just("\0\ud800x")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)
)


def corpus(esp: str) -> dict[str, dict[str, Any]]:
    """Every file of it, so that none is there unused: `source`, `payload` and `expect`."""
    return {
        path.stem: json.loads(path.read_text())
        for path in sorted((PAYLOADS / esp / "events").iterdir())
    }


def plain(event: Event) -> dict[str, Any]:
    """All that an event says beside its payload, as the corpus writes it."""
    said = asdict(event) | {"occurred_at": event.occurred_at.isoformat()}
    del said["payload"]
    return {name: value for name, value in said.items() if value not in (None, False)}


def expected(event: dict[str, Any]) -> dict[str, Any]:
    """In the corpus a list as key stands for its hash."""
    return event | {"key": key_of(event["key"])}


def key_of(told: str | list[str | int | None]) -> str:
    return told if isinstance(told, str) else "h:" + sha256(json.dumps(told).encode()).hexdigest()


def replayed(reader: WebhookReader, event: Event) -> tuple[Event, ...]:
    """What is read of its payload once that was stored."""
    return reader.read(json.loads(json.dumps(event.payload)))


def short(value: object) -> str:
    """For the name of a test's case."""
    return ascii(value)[:30]


def check(events: Iterable[Event]) -> None:
    """What holds for every event whatever it was made of; most of all, that it can be stored."""
    for event in events:
        assert 0 < len(event.key) <= KEY_CHARS
        assert "@" not in event.key
        assert len(event.detail or "") <= REASON_CHARS
        assert len(event.code or "") <= CODE_CHARS
        assert event.occurred_at.utcoffset() is not None
        assert event.occurred_at.year >= 2010
        assert (event.bounce_class is not None) >= (event.kind is EventKind.BOUNCED)
        assert event.bounce_class is not BounceClass.HARD or event.suppress is not None
        stored = json.dumps(asdict(event), default=str, allow_nan=False, ensure_ascii=False)
        assert "\\u0000" not in stored
        stored.encode()
