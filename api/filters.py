"""A filter or a segment in a request: read, or refused with a pointer to what is wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from api.errors import MOST_ERRORS, Problem, invalid, pointer
from lists.segment_filter import Filter, InvalidFilter, parse
from lists.segments import UnknownSegment


def read_filter(said: Any, at: str) -> Filter:
    """The filter at this pointer of the body; a 422 that names each fault."""
    try:
        return parse(said)
    except InvalidFilter as error:
        raise _refused(error, at) from error


@contextmanager
def refusals(at: str) -> Iterator[None]:
    """Make what the database does not know a 422: `at` holds `segment` or `filter`."""
    try:
        yield
    except UnknownSegment as error:
        raise invalid(
            f"{at}/segment", "is no segment of yours; GET /segments lists them"
        ) from error
    except InvalidFilter as error:
        raise _refused(error, f"{at}/filter") from error


def _refused(error: InvalidFilter, at: str) -> Problem:
    errors = [
        {"pointer": at + pointer(place), "detail": said}
        for place, said in error.faults[:MOST_ERRORS]
    ]
    more = f" (and {len(error.faults) - 1} more)" if len(error.faults) > 1 else ""
    return Problem("invalid", f"{errors[0]['pointer']}: {errors[0]['detail']}{more}", errors=errors)
