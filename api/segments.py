"""Saved segments, how many people a filter selects, and tags for many at once."""

from collections.abc import Sequence
from typing import Any

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from api.errors import Problem, invalid
from api.filters import read_filter, refusals
from api.schemas import ProblemAnswer
from api.segment_schemas import (
    SegmentAnswer,
    SegmentBody,
    SegmentPath,
    SegmentPreviewAnswer,
    SegmentsAnswer,
    TagBody,
    TaggedAnswer,
)
from api.system import the_system
from database.models import Segment
from lists import segments
from lists.segment_filter import parse
from lists.segments import UnknownSegment
from lists.tagging import TagChange, tag_addresses, tag_selected
from utils.addresses import InvalidAddress, normalise

api = APIBlueprint("segments", __name__)


@api.get("/segments", responses={200: SegmentsAnswer})
def list_segments() -> dict[str, Any]:
    """All saved segments, by name."""
    with the_system().database.read() as session:
        return {"segments": [_told(segment) for segment in segments.all_segments(session)]}


@api.get("/segments/<name>", responses={200: SegmentAnswer, 404: ProblemAnswer})
def get_segment(path: SegmentPath) -> dict[str, Any]:
    """One saved segment."""
    with the_system().database.read() as session:
        try:
            return _told(segments.find_segment(session, path.name))
        except UnknownSegment as error:
            raise _no_segment() from error


@api.put("/segments/<name>", responses={200: SegmentAnswer, 201: SegmentAnswer})
def save_segment(path: SegmentPath, body: SegmentBody) -> tuple[dict[str, Any], int]:
    """Keep a filter under a name: 201 when the name is new, 200 when it replaces another.

    422 names what is wrong in the filter, each with its pointer. Campaigns that were sent to
    the segment before are not touched.
    """
    system = the_system()
    read_filter(body.filter.root, "/filter")
    with system.database.write() as session, refusals(""):
        is_new = segments.save_segment(session, path.name, body.filter.root, system.clock())
        told = _told(segments.find_segment(session, path.name))
    return told, 201 if is_new else 200


@api.delete("/segments/<name>", responses={204: None, 404: ProblemAnswer})
def delete_segment(path: SegmentPath) -> Response:
    """Forget a segment. Campaigns that were sent to it go on."""
    with the_system().database.write() as session:
        try:
            segments.delete_segment(session, path.name)
        except UnknownSegment as error:
            raise _no_segment() from error
    return Response(status=204)


@api.post("/segments/preview", responses={200: SegmentPreviewAnswer})
def preview(body: SegmentBody) -> dict[str, Any]:
    """How many people a filter selects, and some of them. Takes about a second at most.

    `is_estimate` says that the list was too long to count it all in that time.
    """
    system = the_system()
    filter_ = read_filter(body.filter.root, "/filter")
    with system.database.read() as session, refusals(""):
        segments.check_campaigns(session, filter_)
        found = segments.preview(session, filter_, system.clock())
    return {"count": found.count, "is_estimate": found.is_estimate, "sample": found.sample}


@api.post("/subscribers/tag", responses={200: TaggedAnswer})
def tag(body: TagBody) -> dict[str, Any]:
    """Give tags to people, or take them: those of a filter, of a segment, or with addresses.

    `changed` is how many had other tags before. A long list is changed step by step; a call
    that was cut short is finished by repeating it.
    """
    system = the_system()
    change, now = TagChange(add=body.add, remove=body.remove), system.clock()
    if body.emails is not None:
        return {"changed": tag_addresses(system.database, _keys(body.emails), change, now)}
    with system.database.read() as session, refusals(""):
        if body.segment is not None:
            filter_ = parse(segments.find_segment(session, body.segment).filter)
        else:
            filter_ = read_filter(body.filter and body.filter.root, "/filter")
            segments.check_campaigns(session, filter_)
    return {"changed": tag_selected(system.database, filter_, change, now)}


def _keys(emails: Sequence[str]) -> list[str]:
    keys = []
    for number, email in enumerate(emails):
        try:
            keys.append(normalise(email).key)
        except InvalidAddress as error:
            raise invalid(f"/emails/{number}", error.reason) from error
    return keys


def _told(segment: Segment) -> dict[str, Any]:
    answer = SegmentAnswer(
        name=segment.name,
        filter=segment.filter,
        created_at=segment.created_at,
        updated_at=segment.updated_at,
    )
    return answer.model_dump(mode="json")


def _no_segment() -> Problem:
    return Problem("not-found", "There is no segment of this name; GET /segments lists them.")
