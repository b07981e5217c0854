"""Hostile inputs with the answers that are expected: a JSON file for each area.

Long texts are written as `{"join": ["[", ["x", 5000], "]"]}`: texts, and texts so many times.
"""

import json
from pathlib import Path
from typing import Any

import pytest

ENOUGH = 400
FILES: dict[str, list[dict[str, Any]]] = {}
"""What tests have asked for, by the name of its file."""


def file_names() -> list[str]:
    """Of all that are there."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.json"))


def cases(name: str) -> pytest.MarkDecorator:
    """Runs a test once for each entry of a file; its name is the number, since neither pytest
    nor a terminal can be trusted with the input."""
    path = Path(__file__).parent / f"{name}.json"
    FILES[name] = [
        {key: _whole(value) for key, value in case.items()} for case in json.loads(path.read_text())
    ]
    return pytest.mark.parametrize("case", FILES[name], ids=map(str, range(len(FILES[name]))))


def _whole(value: Any) -> Any:
    if not (isinstance(value, dict) and "join" in value):
        return value
    return "".join(one if isinstance(one, str) else one[0] * one[1] for one in value["join"])
