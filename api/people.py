"""People on the list, after they came: corrected, erased, kept from mail, listed, exported."""

from datetime import datetime
from typing import Annotated, Any, Literal

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from pydantic import AfterValidator, BaseModel, Field, JsonValue

from api.errors import Problem, invalid
from api.schemas import MAX_ID, Answer, Body, Line, ProblemAnswer, Query
from api.subscribers import (
    Name,
    SubscriberAnswer,
    SubscriberFields,
    SubscriberPath,
    SuppressionAnswer,
    fields_of,
)
from api.system import the_system
from config.failpoints import Failpoint
from database.models import SubscriberStatus, SuppressionReason
from list_manager import Change, change_subscriber, erase, find_traces, suppress, suppression_of
from lists import fields
from lists.exporting import csv_pages
from lists.personal_data import personal_data
from lists.profiles import NAMES, page
from utils.addresses import Address, InvalidAddress, normalise
from utils.failpoints import reach
from utils.tokens import email_hash

api = APIBlueprint("people", __name__)

Tags = Annotated[list[str], Field(max_length=1000), AfterValidator(fields.clean_tags)]


class PatchSubscriberBody(Body):
    """What is left out stays as it is."""

    email: Annotated[str, Field(max_length=1000)] | None = None
    first_name: Name | None = None
    last_name: Name | None = None
    attributes: Annotated[dict[str, JsonValue], AfterValidator(fields.clean_attributes)] = Field(
        default_factory=dict, examples=[{"city": "Oslo", "gone": None}]
    )
    tags: Tags | None = None
    tags_add: Tags = Field(default_factory=list)
    tags_remove: Tags = Field(default_factory=list)


class SuppressBody(Body):
    reason: Literal["manual"] = "manual"
    evidence: Annotated[Line, Field(max_length=200)] | None = None


class SuppressedAnswer(Answer):
    new: bool
    """False: nothing was changed, somebody had said so before."""
    suppression: SuppressionAnswer


class EraseQuery(Query):
    suppress: bool = False
    """Also never write to this address again, whoever adds it."""


class ListQuery(Query):
    after: Annotated[int, Field(ge=0, le=MAX_ID)] = 0
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    status: SubscriberStatus | None = None
    tag: Line | None = None
    q: Annotated[str, Field(max_length=254, pattern=r"^[\x20-\x7e]*$")] = ""
    """How the address begins."""


class SubscribersAnswer(Answer):
    subscribers: list[SubscriberFields]
    next: int | None


class CsvQuery(Query):
    status: SubscriberStatus = SubscriberStatus.ACTIVE
    tag: Line | None = None


class PersonalData(BaseModel):
    """Everything held: profile, opt_ins, suppressions, sends, bounces, complaints, events."""

    email: str
    made_at: datetime
    profile: dict[str, Any] | None
    opt_ins: list[dict[str, Any]]
    suppressions: list[dict[str, Any]]
    sends: list[dict[str, Any]]
    bounces: list[dict[str, Any]]
    complaints: list[dict[str, Any]]
    events: list[dict[str, Any]]
    named_in_campaigns: list[int]
    """Whose audience, a list or a filter, has the address in it."""
    named_in_segments: list[str]
    notes: list[str]


@api.get("/subscribers", responses={200: SubscribersAnswer})
def list_subscribers(query: ListQuery) -> dict[str, Any]:
    """People in the order in which they came. `next` goes into `after` for the next page."""
    system = the_system()
    now = system.clock()
    with system.database.read() as session:
        people = page(
            session,
            after=query.after,
            limit=query.limit,
            status=query.status,
            tag=query.tag,
            begins=query.q,
        )
        told = [fields_of(one, suppression_of(session, one.email_hash, now), now) for one in people]
        following = people[-1].id if len(people) == query.limit else None
    return SubscribersAnswer(subscribers=told, next=following).model_dump(mode="json")


@api.get("/subscribers/export", responses={200: {"content": {"text/csv": {}}}})
def export(query: CsvQuery) -> Response:
    """The list as CSV, as it is at this moment: active people, unless `status` says whom.

    What a spreadsheet would run as a formula has an apostrophe before it, which the import
    takes off again.
    """
    lines = csv_pages(the_system().database, status=query.status, tag=query.tag)
    name = {"Content-Disposition": "attachment; filename=subscribers.csv"}
    return Response(lines, headers=name, content_type="text/csv; charset=utf-8")


@api.patch(
    "/subscribers/<path:email>",
    responses={200: SubscriberAnswer, 404: ProblemAnswer, 422: ProblemAnswer},
)
def patch(path: SubscriberPath, body: PatchSubscriberBody) -> dict[str, Any]:
    """Correct what is known of a person: null empties a name or takes an attribute away; `tags`
    replaces all, `tags_add` and `tags_remove` change some. Whether they are written to is not
    changed here, and another address is another person."""
    system, address = the_system(), _address(path.email)
    _check(body, address)
    wanted = Change(
        names={
            name: getattr(body, name) or None for name in NAMES if name in body.model_fields_set
        },
        attributes=body.attributes,
        tags=None if body.tags is None else frozenset(body.tags),
        tags_add=frozenset(body.tags_add),
        tags_remove=frozenset(body.tags_remove),
    )
    now = system.clock()
    with system.database.write() as session:
        try:
            person = change_subscriber(session, address.key, wanted, now)
        except ValueError as error:
            raise invalid("", str(error)) from error
        if person is None:
            raise _nobody()
        told = fields_of(person, suppression_of(session, person.email_hash, now), now)
    return SubscriberAnswer(subscriber=told).model_dump(mode="json")


@api.delete("/subscribers/<path:email>", responses={204: None, 404: ProblemAnswer})
def erase_subscriber(path: SubscriberPath, query: EraseQuery) -> tuple[str, int]:
    """Erase a person's data. Whoever was suppressed stays so, as a keyed hash; anybody else may
    be added again, unless `suppress` is given. 404 when nothing is held (any more)."""
    system, address, now = the_system(), _address(path.email), the_system().clock()
    with system.database.read() as session:
        traces = find_traces(session, address.key, now)
    with system.database.write() as session:
        found = erase(
            session, address, traces, hash_key=system.hash_key, now=now, for_good=query.suppress
        )
        reach(Failpoint.ERASE_BEFORE_COMMIT)
    reach(Failpoint.ERASE_AFTER_COMMIT)
    if not found:
        raise _nobody()
    return "", 204


@api.get("/subscribers/<path:email>/export", responses={200: PersonalData, 404: ProblemAnswer})
def export_subscriber(path: SubscriberPath) -> dict[str, Any]:
    """Everything that is held about a person, to be given to them."""
    system, address = the_system(), _address(path.email)
    with system.database.read() as session:
        told = personal_data(session, address, hash_key=system.hash_key, now=system.clock())
    if told is None:
        raise _nobody()
    return PersonalData(**told).model_dump(mode="json")


@api.post(
    "/subscribers/<path:email>/suppress",
    responses={200: SuppressedAnswer, 404: ProblemAnswer, 422: ProblemAnswer},
)
def suppress_subscriber(path: SubscriberPath, body: SuppressBody) -> dict[str, Any]:
    """Never write to this address again, on the list or not. Nothing here takes it back."""
    system, address, now = the_system(), _address(path.email), the_system().clock()
    who = email_hash(system.hash_key, address.key)
    with system.database.write() as session:
        new = suppress(
            session,
            who,
            reason=SuppressionReason.MANUAL,
            source="api",
            now=now,
            evidence=body.evidence,
        )
        held = suppression_of(session, who, now)
        assert held is not None
        answer = SuppressedAnswer(
            new=new,
            suppression=SuppressionAnswer(
                reason=held.reason, source=held.source, since=held.created_at, until=held.until
            ),
        )
    return answer.model_dump(mode="json")


def _check(body: PatchSubscriberBody, address: Address) -> None:
    if body.email is not None and body.email.strip().lower() != address.key:
        raise invalid(
            "/email",
            "another address is another person: add the new one, and erase the old one "
            "(DELETE /subscribers/<email>)",
        )
    if body.tags is not None and (body.tags_add or body.tags_remove):
        raise invalid("/tags", "give either all tags, or those to add and to remove")


def _address(email: str) -> Address:
    try:
        return normalise(email)
    except InvalidAddress as error:
        raise Problem("not-found", f"That is not an address: {error.reason}.") from error


def _nobody() -> Problem:
    return Problem("not-found", "Nobody with this address is on the list.")
