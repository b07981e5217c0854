"""Reads variables one by one: from where, and what was wrong with them."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import TypeVar

from dotenv.parser import parse_stream

T = TypeVar("T")
D = TypeVar("D")


class SettingsError(Exception):
    """The start must stop. `str()` has one line for each variable that is wrong."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class Reader:
    """Reads variables one by one; keeps the faults, the first for each variable."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.faults: dict[str, str] = {}
        self.names: set[str] = set()

    def text(self, name: str) -> str:
        self.names.add(name)
        text = self._environ.get(name, "").strip()
        return "" if re.fullmatch("your_.*_here", text, re.IGNORECASE) else text

    def read(
        self, name: str, parse: Callable[[str], T], default: D, *, secret: bool = False
    ) -> T | D:
        text = self.text(name)
        if not text:
            return default
        try:
            # A process environment that is not UTF-8 comes with lone surrogates.
            text.encode()
            return parse(text)
        except UnicodeEncodeError:
            self.faults.setdefault(name, "must be UTF-8 text")
        except ValueError as fault:
            self.faults.setdefault(name, str(fault) if secret else f"{fault}, not {_shown(text)}")
        return default

    def require(self, name: str, remedy: str) -> None:
        if not self.text(name):
            self.faults.setdefault(name, remedy)

    def require_both(self, one: str, other: str) -> None:
        if self.text(one):
            self.require(other, f"must be set, since {one} is")
        if self.text(other):
            self.require(one, f"must be set, since {other} is")


def read_env_file(path: Path) -> dict[str, tuple[int, str]]:
    """Name -> line number and value; empty when there is no file."""
    # Not dotenv_values(): it only logs a line that it cannot read, and loses the numbers.
    try:
        bindings = list(parse_stream(StringIO(path.read_text("utf-8"))))
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise SettingsError([f"{path.name}: must be UTF-8 text"]) from error
    except OSError as error:
        raise SettingsError([f"{path.name}: cannot be read: {error.strerror}"]) from error
    lines, faults = {}, []
    for binding in bindings:
        blank = len(binding.original.string) - len(binding.original.string.lstrip())
        number = binding.original.line + binding.original.string[:blank].count("\n")
        if binding.error or (binding.key and binding.value is None):
            faults.append(f"{path.name}, line {number}: must be NAME=value, with quotes in pairs")
        elif binding.key and binding.value is not None:
            lines[binding.key] = (number, binding.value)
    if faults:
        raise SettingsError(faults)
    return lines


def unknown_lines(lines: Mapping[str, tuple[int, str]], known: set[str]) -> Iterator[str]:
    for name, (number, _) in lines.items():
        if name not in known:
            # The name is not repeated: a secret that lost its name looks like one.
            near = get_close_matches(name, known, n=1)
            yield f".env, line {number}: no such setting" + (
                f"; did you mean {near[0]}?" if near else ""
            )


def _shown(text: str) -> str:
    if "://" in text and "@" in text:
        return "a URL with a password"
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
