"""What may be known about a person: names, tags and attributes, and their limits.

The rules are the same for a call and for a line of a file. Each check returns the value
as it is kept, or raises `ValueError` with words for whoever sent it.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

MAX_NAME = 200
MAX_TAGS = 50
MAX_TAG = 64
MAX_ATTRIBUTES = 50
MAX_ATTRIBUTES_BYTES = 32_000
MAX_DEPTH = 4

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Templates say `attributes.city`, and refuse names that begin with an underscore.
_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


def clean_name(name: str) -> str:
    """A name, or another line that may end up in the header of a mail."""
    name = name.strip()
    if len(name) > MAX_NAME:
        raise ValueError(f"must be at most {MAX_NAME} characters")
    if _CONTROL.search(name):
        raise ValueError("must not contain control characters or line breaks")
    return name


def clean_tags(tags: Iterable[str]) -> list[str]:
    """Each tag once."""
    found = sorted({_clean_tag(tag) for tag in tags})
    if len(found) > MAX_TAGS:
        raise ValueError(f"must be at most {MAX_TAGS} tags")
    return found


def clean_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Anything that is JSON, within limits of number, depth and size."""
    if len(attributes) > MAX_ATTRIBUTES:
        raise ValueError(f"must be at most {MAX_ATTRIBUTES} attributes")
    for name, value in attributes.items():
        check_attribute_name(name)
        if _depth(value) > MAX_DEPTH:
            raise ValueError(f"{name} is nested deeper than {MAX_DEPTH} levels")
    if len(json.dumps(attributes, ensure_ascii=False).encode()) > MAX_ATTRIBUTES_BYTES:
        raise ValueError(f"must be at most {MAX_ATTRIBUTES_BYTES} bytes as JSON")
    return dict(attributes)


def check_attribute_name(name: str) -> None:
    if not _ATTRIBUTE.fullmatch(name):
        raise ValueError(
            f"{name[:64]!r} is not a name: letters, digits and _, a letter first, at most 64"
        )


def _clean_tag(tag: str) -> str:
    tag = tag.strip()
    if not 1 <= len(tag) <= MAX_TAG:
        raise ValueError(f"a tag has 1 to {MAX_TAG} characters")
    if _CONTROL.search(tag) or ";" in tag or "," in tag:
        raise ValueError("a tag must not contain commas, semicolons or control characters")
    return tag


def _depth(value: object) -> int:
    below: Iterable[object] = ()
    if isinstance(value, dict):
        below = value.values()
    elif isinstance(value, list):
        below = value
    else:
        return 0
    return 1 + max(map(_depth, below), default=0)
