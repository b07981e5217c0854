"""JSON from outside, read so that both databases can store it."""

import json
import math
from typing import Any

MAX_DEPTH = 64
"""Deeper than any ESP's; what is near Python's own limit here breaks further on."""


def read_json(text: str | bytes) -> Any:
    """The document, cleaned; raises a `ValueError` for what is no JSON, or too deep."""
    try:
        return cleaned(json.loads(text))
    except RecursionError as error:
        raise ValueError("too deep") from error


def cleaned(value: Any, depth: int = MAX_DEPTH) -> Any:
    """The same without what PostgreSQL refuses: NUL and lone surrogates, NaN and infinity."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not depth and isinstance(value, dict | list):
        raise ValueError("too deep")
    if isinstance(value, dict):
        return {clean_text(key): cleaned(one, depth - 1) for key, one in value.items()}
    if isinstance(value, list):
        return [cleaned(one, depth - 1) for one in value]
    return value


def clean_text(text: str) -> str:
    if text.isascii() and "\0" not in text:
        return text
    return text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
