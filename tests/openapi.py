"""Holds answers against /openapi.json, so that the description never promises anything else.

Knows as much of JSON Schema as the description uses, and fails for a word it does not know.
"""

from collections.abc import Callable, Mapping
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.web import call

_ANNOTATIONS = {"title", "description", "default", "examples", "example", "format"}
_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


class Description:
    """The description of an app, as /openapi.json tells it."""

    def __init__(self, client: FlaskClient) -> None:
        self._spec: dict[str, Any] = call(client, "GET", "/openapi.json").get_json()

    def check(self, method: str, path: str, response: TestResponse) -> None:
        """Raise an AssertionError where `response` is not what the description says."""
        responses = self._spec["paths"][path][method.lower()]["responses"]
        said = responses.get(str(response.status_code), responses["default"])
        media = said["content"][response.mimetype]
        if faults := self._faults(response.get_json(force=True), media["schema"], ""):
            raise AssertionError(f"{method} {path} {response.status_code}: {'; '.join(faults)}")

    def _faults(self, value: Any, schema: Mapping[str, Any], at: str) -> list[str]:
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#/components/schemas/")
            return self._faults(value, self._spec["components"]["schemas"][name], at)
        found = []
        for word, said in schema.items():
            if word not in _ANNOTATIONS | {"required"}:
                found += getattr(self, f"_{word.lower()}")(value, said, schema, at)
        return found

    def _type(self, value: Any, said: str, _schema: Any, at: str) -> list[str]:
        return [] if _TYPES[said](value) else [f"{at}: {value!r} is no {said}"]

    def _enum(self, value: Any, said: list[Any], _schema: Any, at: str) -> list[str]:
        return [] if value in said else [f"{at}: {value!r} is none of {said}"]

    def _anyof(self, value: Any, said: list[Any], _schema: Any, at: str) -> list[str]:
        each = [self._faults(value, one, at) for one in said]
        return [] if [] in each else min(each, key=len)

    def _items(self, value: Any, said: Any, _schema: Any, at: str) -> list[str]:
        items = enumerate(value) if isinstance(value, list) else ()
        return [fault for n, one in items for fault in self._faults(one, said, f"{at}/{n}")]

    def _additionalproperties(self, value: Any, said: Any, _schema: Any, at: str) -> list[str]:
        items = value.items() if isinstance(value, dict) else ()
        return [fault for name, one in items for fault in self._faults(one, said, f"{at}/{name}")]

    def _properties(self, value: Any, said: Any, schema: Any, at: str) -> list[str]:
        if not isinstance(value, dict):
            return []
        found = [
            f"{at}/{name}: missing" for name in schema.get("required", []) if name not in value
        ]
        # JSON Schema lets unknown ones pass; ours are all described.
        found += [f"{at}/{name}: not described" for name in value if name not in said]
        for name, below in said.items():
            if name in value:
                found += self._faults(value[name], below, f"{at}/{name}")
        return found
