"""What the calls about segments take and answer; the filter language as JSON Schema."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    RootModel,
    StringConstraints,
    model_validator,
)
from pydantic_core import CoreSchema

from api.schemas import Answer, Body, Path
from lists import fields
from lists.segment_filter import (
    ATTRIBUTE,
    BEHAVIOURS,
    FIELDS,
    MAX_LIST,
    MAX_NODES,
    Many,
    Words,
)
from lists.segment_values import CAMPAIGN
from lists.segments import check_name

SegmentName = Annotated[
    str, Field(min_length=1, max_length=100, examples=["readers"]), AfterValidator(check_name)
]


class Filter(RootModel[dict[str, JsonValue]]):
    """Whom it selects: a condition, or conditions joined by `and`, `or`, `not`."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(core_schema), **_filter_schema()}


def _filter_schema() -> dict[str, Any]:
    # pydantic takes no reference of a schema to itself.
    part = {"type": "object", "description": "A filter, as this one"}
    parts = {"type": "array", "items": part, "minItems": 1, "maxItems": MAX_NODES - 1}
    return {
        "type": "object",
        "description": "Whom it selects: one condition, or `and`, `or`, `not` of filters. "
        "A name that is not listed is `attributes.<name>`. docs/segments.md has examples.",
        "minProperties": 1,
        "maxProperties": 1,
        "properties": {
            "and": parts,
            "or": parts,
            "not": part,
            **{name: _words_schema(words) for name, words in FIELDS.items()},
            **dict.fromkeys(BEHAVIOURS, CAMPAIGN.schema),
        },
        # `attributes.<name>`: flask-openapi drops "patternProperties".
        "additionalProperties": _words_schema(ATTRIBUTE),
    }


def _words_schema(words: Words) -> dict[str, Any]:
    return {
        "type": "object",
        "minProperties": 1,
        "properties": {
            word: {"type": "array", "items": kind.kind.schema, "minItems": 1, "maxItems": MAX_LIST}
            if isinstance(kind, Many)
            else kind.schema
            for word, kind in words.items()
        },
        "additionalProperties": False,
    }


class SegmentPath(Path):
    name: SegmentName


class SegmentBody(Body):
    """A filter to keep, or to look at."""

    filter: Filter


class SegmentAnswer(Answer):
    name: str
    filter: dict[str, JsonValue]
    created_at: datetime
    updated_at: datetime


class SegmentsAnswer(Answer):
    segments: list[SegmentAnswer]


class SegmentPreviewAnswer(Answer):
    """How many people, of whatever status, the filter selects; campaigns reach the active."""

    count: int
    is_estimate: bool = Field(description="The list was too long to count all of it in a second")
    sample: list[str] = Field(description="Up to ten of their addresses")


Tags = Annotated[list[str], Field(max_length=1000), AfterValidator(fields.clean_tags)]


class TagBody(Body):
    """Tags to give and to take, and whose: exactly one of `filter`, `segment` and `emails`."""

    add: Tags = Field(default_factory=list, examples=[["vip"]])
    remove: Tags = Field(default_factory=list)
    filter: Filter | None = None
    segment: SegmentName | None = None
    emails: list[Annotated[str, StringConstraints(max_length=320)]] | None = Field(
        None, max_length=20_000
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> "TagBody":
        if not (self.add or self.remove):
            raise ValueError("give tags to `add`, to `remove`, or both")
        if both := set(self.add) & set(self.remove):
            raise ValueError(f"{min(both)!r} cannot be both added and removed")
        if sum(one is not None for one in (self.filter, self.segment, self.emails)) != 1:
            raise ValueError("give exactly one of `filter`, `segment` and `emails`")
        return self


class TaggedAnswer(Answer):
    changed: int = Field(description="People who had other tags before")
