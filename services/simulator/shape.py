"""JSON from outside, read by its expected shape; an absent part is an empty one."""

from typing import Any

JsonObject = dict[str, Any]


class WrongShape(ValueError):
    """A part of the document is not of the kind that the API describes."""


def as_object(value: Any) -> JsonObject:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise WrongShape("an object is expected")
    return value


def as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise WrongShape("a list is expected")
    return value


def as_text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise WrongShape("a string is expected")
    return value


def as_texts(value: Any) -> dict[str, str]:
    """An object whose values are strings."""
    texts = as_object(value)
    for text in texts.values():
        if not isinstance(text, str):
            raise WrongShape("an object of strings is expected")
    return texts


def as_pairs(value: Any) -> dict[str, str]:
    """A list of `{"Name": ..., "Value": ...}`, as SES and Postmark write them."""
    pairs = [as_object(item) for item in as_list(value)]
    names = [as_text(pair.get("Name")) for pair in pairs]
    if len(set(names)) < len(names):
        raise WrongShape("a name comes twice")
    return dict(zip(names, (as_text(pair.get("Value")) for pair in pairs), strict=True))


def bytes_of(values: dict[str, str]) -> int:
    return sum(len(name.encode()) + len(value.encode()) for name, value in values.items())


def breaks_line(text: str) -> bool:
    """Whether a header's name or value would start another header."""
    return "\r" in text or "\n" in text or "\0" in text
