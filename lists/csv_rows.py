"""A CSV file as people, line by line, whatever is in it; never more than a line in memory.

A line that cannot be a person is a `Refusal` with its reason, and the rest goes on.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import IO

from lists import fields
from lists.cells import plain
from utils.addresses import InvalidAddress, normalise
from utils.intake import Refuse, refusals

MAX_LINE = 1_000_000
"""Characters; what is longer is read in pieces, none of which is a person."""

csv.field_size_limit(40_000)  # for all of this process; attributes are 32,000 bytes at most
_KNOWN = ("email", "first_name", "last_name", "tags")
_OWN = {*_KNOWN, ""}
_quoted: Callable[[str], str] = json.encoder.encode_basestring
"""A JSON string, five times faster than `json.dumps`."""


class BadHeader(ValueError):
    """The file does not begin with a line that says what its columns are."""


Row = tuple[str, str, str | None, str | None, str, str, str]
"""One line that names a person: email key, email, first and last name, attributes and tags
as JSON, mailbox provider. Bare, for there are millions: the garbage collector leaves a tuple
of strings alone, and would walk objects."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One line that names nobody we can write to."""

    row: int
    """As a spreadsheet counts: the header is row 1."""
    email: str
    reason: str


@contextmanager
def read_rows(
    stream: IO[bytes] | io.RawIOBase, refuse: Refuse | None = None
) -> Iterator[Iterator[Row | Refusal]]:
    """The rows of a file; raises `BadHeader` at once when there is no `email` column.

    `refuse` says which valid addresses are not taken; by default roles and throw-away
    mailboxes. The stream stays open: it is the caller's.
    """
    buffer = io.BufferedReader(stream, 1 << 16)  # type: ignore[type-var] # `readinto` is enough
    text = io.TextIOWrapper(buffer, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        reader = csv.reader(iter(partial(text.readline, MAX_LINE), ""))
        yield _rows(reader, _Columns.of(_header(reader)), refuse or refusals())
    finally:
        text.detach()
        buffer.detach()


def _header(reader: Iterator[list[str]]) -> list[str]:
    try:
        return next(reader, [])
    except csv.Error as error:
        raise BadHeader(f"the first line is not CSV: {error}") from error


def _rows(
    reader: Iterator[list[str]], columns: "_Columns", refuse: Refuse
) -> Iterator[Row | Refusal]:
    number = 1
    while True:
        try:
            for cells in reader:
                number += 1
                if any(cells):
                    yield columns.row(number, cells, refuse)
            return
        except csv.Error as error:  # the reader goes on with the next line
            number += 1
            yield Refusal(number, "", f"this is not CSV: {error}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """Where in a line what is said; a column that the file has not is at `width`."""

    width: int
    email: int
    first_name: int
    last_name: int
    tags: int
    attributes: tuple[tuple[str, int], ...]
    """Each with its name as JSON."""

    @classmethod
    def of(cls, header: list[str]) -> "_Columns":
        """Raises `BadHeader` for a header that leaves a doubt."""
        names = [_column(name.strip()) for name in header]
        given = [name for name in names if name]
        twice = sorted({name for name in given if given.count(name) > 1})
        others = tuple((_quoted(name), at) for at, name in enumerate(names) if name not in _OWN)
        if "email" not in names:
            raise BadHeader(
                "the first line must name the columns, separated by commas, one of them `email`"
            )
        if twice:
            raise BadHeader(f"more than one column is named {twice[0]}")
        if len(others) > fields.MAX_ATTRIBUTES:
            raise BadHeader(f"at most {fields.MAX_ATTRIBUTES} columns can become attributes")
        width = len(names)
        at = {name: names.index(name) if name in names else width for name in _KNOWN}
        return cls(width=width, attributes=others, **at)

    def row(self, number: int, cells: list[str], refuse: Refuse) -> Row | Refusal:
        given = cells[self.email] if self.email < len(cells) else ""
        try:
            cells = [*cells, ""] if len(cells) == self.width else self._fitted(cells)
            address = normalise(given if given[:1] != "'" else plain(given))
            if reason := refuse(address):
                return Refusal(number, given, reason)
            return (
                address.key,
                address.email,
                _name(cells[self.first_name]),
                _name(cells[self.last_name]),
                self._attributes(cells) if self.attributes else "{}",
                _tags(cells[self.tags]),
                address.mailbox_provider.value,
            )
        except InvalidAddress as error:
            return Refusal(number, given, error.reason)
        except UnicodeEncodeError:
            return Refusal(number, given, "the line is not UTF-8")
        except ValueError as error:
            return Refusal(number, given, str(error))

    def _fitted(self, cells: list[str]) -> list[str]:
        """As many cells as columns, and one empty one more for the columns that are not there."""
        if any(cells[self.width :]):
            raise ValueError("the line has more fields than the header")
        return cells[: self.width] + [""] * (self.width + 1 - len(cells[: self.width]))

    def _attributes(self, cells: list[str]) -> str:
        said = [f"{name}: {_quoted(cells[at])}" for name, at in self.attributes if cells[at]]
        if not said:
            return "{}"
        text = f"{{{', '.join(said)}}}"
        if "\"'" in text:  # seldom, so that nobody else pays for it
            said = [
                f"{name}: {_quoted(plain(cells[at]))}" for name, at in self.attributes if cells[at]
            ]
            text = f"{{{', '.join(said)}}}"
        if len(text.encode()) > fields.MAX_ATTRIBUTES_BYTES:
            raise ValueError(f"the attributes are more than {fields.MAX_ATTRIBUTES_BYTES} bytes")
        if "\\u0000" in text and any("\x00" in cell for cell in cells):
            raise ValueError("the line contains a NUL character")
        return text


def _column(name: str) -> str:
    """A column's name as templates can say it: `Favourite colour` is `Favourite_colour`."""
    if not name or name.lower() in _KNOWN:
        return name.lower()
    attribute = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
    try:
        fields.check_attribute_name(attribute)
    except ValueError as error:
        raise BadHeader(f"column {name[:64]!r} cannot be an attribute: {error}") from error
    return attribute


# Names and tags repeat from line to line: what was cleaned once is known.
@lru_cache(maxsize=2048)
def _name(text: str) -> str | None:
    text.encode()
    try:
        return fields.clean_name(plain(text)) or None
    except ValueError as error:
        raise ValueError(f"a name {error}") from error


@lru_cache(maxsize=2048)
def _tags(text: str) -> str:
    text.encode()
    tags = fields.clean_tags(tag for tag in plain(text).split(";") if tag.strip())
    return f"[{', '.join(map(_quoted, tags))}]"
