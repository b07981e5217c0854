"""Reads a JSON file of settings part by part; keeps what is wrong, each under its key."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from config.reader import SettingsError

MAX_BYTES = 1_000_000


class Reading:
    """What is wrong so far, the first fault for each key."""

    def __init__(self) -> None:
        self.faults: dict[str, str] = {}

    def note(self, key: str, text: str) -> None:
        self.faults.setdefault(key, text)

    def part(self, key: str, part: Any, names: Iterable[str]) -> dict[str, Any]:
        """The object at `key`, which may hold `names` only; {} when it is none."""
        if not isinstance(part, dict):
            self.note(key, "must be an object { … }")
            return {}
        for name in part:
            if name not in names:
                self.note(f"{key}.{shown(name)}", f"must be {one_of(names)}")
        return part

    def items(self, key: str, part: Any) -> Iterator[tuple[str, Any]]:
        if not isinstance(part, list):
            self.note(key, "must be a list [ … ]")
            return
        for place, item in enumerate(part):
            yield f"{key}[{place}]", item

    def text(self, key: str, told: Any, parse: Callable[[str], str]) -> str | None:
        """`None` when it is faulty, which is noted."""
        try:
            if not isinstance(told, str):
                raise ValueError("must be a text in quotes")
            return parse(told)
        except ValueError as fault:
            self.note(key, str(fault))
            return None


def read_document(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise SettingsError([f"{path.name}: must be smaller than {MAX_BYTES} bytes"])
        return json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_once_each)
    except OSError as error:
        raise SettingsError([f"{path.name}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise SettingsError([f"{path.name}: must be UTF-8 text"]) from error
    except json.JSONDecodeError as error:
        fault = f"{path.name}, line {error.lineno}: must be JSON: {error.msg}"
        raise SettingsError([fault]) from error
    except _Twice as error:
        raise SettingsError([f"{path.name}, {shown(error.name)}: is there twice"]) from error
    except (ValueError, RecursionError) as error:
        raise SettingsError([f"{path.name}: must be JSON"]) from error


class _Twice(ValueError):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON lets a name come twice, and the first be lost."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Twice(name)
        found[name] = value
    return found


def one_of(names: Iterable[str]) -> str:
    *some, last = names
    return f"{', '.join(some)} or {last}" if some else last


def shown(name: str) -> str:
    return name if name.isprintable() and 0 < len(name) <= 60 else ascii(name)[:60]
