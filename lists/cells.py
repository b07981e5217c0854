"""Cells of CSV files that a spreadsheet may open: what begins like a formula would be run."""

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def harmless(text: str) -> str:
    """With an apostrophe before what a spreadsheet would take for a formula. Before one that
    looks as if it had been treated already too, so that `plain` undoes it for every text."""
    return f"'{text}" if _FORMULA.match(text) else text


def plain(text: str) -> str:
    """The text that `harmless` was given."""
    return text[1:] if text[:1] == "'" and _FORMULA.match(text) else text
