"""What the bodies, queries and answers of all calls share."""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

MAX_ID = 2**63 - 1
Id = Annotated[int, Field(ge=1, le=MAX_ID)]
"""A row's number; the databases hold 64 bits."""

_CONTROL = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
Line = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_CONTROL)]
"""Short text on one line: it may end up in a header of a mail."""


class Body(BaseModel):
    """A JSON body: unknown fields are refused, and "1" is no number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Query(BaseModel):
    """Parameters after the `?`; name subclasses `…Query`, so that errors say where they are."""

    model_config = ConfigDict(extra="forbid")


class Path(BaseModel):
    """Parameters in the path; name subclasses `…Path`."""

    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    """A JSON answer. Views return `answer.model_dump(mode="json")`."""


class OverrideBody(Body):
    """An order to go on although the brake holds; it is kept."""

    by: Line
    """Who orders it."""
    why: Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=_CONTROL)]
    until: AwareDatetime | None = Field(None, strict=False)
    """When it ends, if figures that are worse than now do not end it before."""


class ProblemError(BaseModel):
    """One fault: `pointer` into the body, or `parameter` of the query or path."""

    pointer: str | None = None
    parameter: str | None = None
    detail: str


class ProblemAnswer(BaseModel):
    """RFC 9457: what went wrong, in words that say what to do."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[ProblemError] | None = None
