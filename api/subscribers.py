"""The people on the list, one by one."""

from datetime import UTC, date, datetime
from typing import Annotated, Any

from flask_openapi.blueprint import APIBlueprint
from pydantic import AfterValidator, AwareDatetime, Field, JsonValue

from api.errors import Problem, invalid
from api.intake import IntakeWarning, look_at
from api.limits import count_opt_in_mail
from api.schemas import Answer, Body, Path, ProblemAnswer
from api.system import the_system
from config.failpoints import Failpoint
from database.models import Subscriber, Suppression
from database.reports import subscriber_stats
from list_manager import (
    Added,
    AddedAs,
    Consent,
    Person,
    find_subscriber,
    suppression_of,
)
from lists import fields
from lists.departures import wave_of_unsubscribes
from lists.engagement import score_of
from services.opt_in import Sender, sign_up
from services.system import System
from utils.addresses import Address, InvalidAddress, normalise
from utils.dns.lookup import Resolver
from utils.failpoints import reach
from utils.ip_addresses import read_ip

api = APIBlueprint("subscribers", __name__)

Name = Annotated[str, Field(max_length=fields.MAX_NAME), AfterValidator(fields.clean_name)]


def _ip(text: str) -> str:
    found = read_ip(text)
    if found is None:
        raise ValueError("must be an IP address")
    return str(found)


class ConsentBody(Body):
    """How you know that this person wants your mail."""

    source: Name | None = Field(None, examples=["checkout form"])
    ip: Annotated[str, AfterValidator(_ip)] | None = None
    at: Annotated[AwareDatetime, Field(ge=datetime(1990, 1, 1, tzinfo=UTC))] | None = None


class AddSubscriberBody(Body):
    email: Annotated[str, Field(max_length=1000, examples=["ann@example.com"])]
    first_name: Name | None = None
    last_name: Name | None = None
    attributes: Annotated[dict[str, JsonValue], AfterValidator(fields.clean_attributes)] = Field(
        default_factory=dict, examples=[{"city": "Oslo"}]
    )
    tags: Annotated[list[str], Field(max_length=1000), AfterValidator(fields.clean_tags)] = Field(
        default_factory=list
    )
    consent: ConsentBody | None = None
    double_opt_in: bool = False
    """Somebody new is pending, and gets a mail that asks them to confirm."""
    resubscribe: bool = False
    """Somebody who left, bounced or complained gets that mail, and is back when they confirm."""
    allow_risky: bool = False
    """Takes a mailbox that is thrown away after use; never `abuse@` and its like."""
    check_mx: bool = False
    """Asks the DNS whether the domain takes mail, for some seconds at most."""


class SubscriberPath(Path):
    email: str


class SuppressionAnswer(Answer):
    reason: str
    source: str
    since: datetime
    until: datetime | None


class ConsentAnswer(Answer):
    source: str | None
    ip: str | None
    at: datetime | None


class SubscriberFields(Answer):
    email: str
    status: str
    engagement_score: int
    tier: str | None
    first_name: str | None
    last_name: str | None
    attributes: dict[str, JsonValue]
    tags: list[str]
    mailbox_provider: str
    consent: ConsentAnswer
    suppression: SuppressionAnswer | None
    created_at: datetime
    updated_at: datetime


class SubscriberAnswer(Answer):
    subscriber: SubscriberFields


class ConfirmationAnswer(Answer):
    """The mail that asks the person to confirm."""

    sent: bool
    """False: the limits have it that none is sent now."""
    campaign_id: int | None
    next_possible_at: datetime
    """One mail to an address in 24 hours, and three in 30 days."""


class AddedAnswer(SubscriberAnswer):
    suggestion: str | None
    """What was probably meant, where the domain looks like a slip."""
    confirmation: ConfirmationAnswer | None
    """Where the person has to confirm."""
    warnings: list[IntakeWarning]


class GrowthDay(Answer):
    day: date
    joined: int
    confirmed: int = Field(description="Confirmed their opt-in, or came back by one")
    unsubscribed: int
    bounced: int
    complained: int
    net: int = Field(description="Joined, less unsubscribed, bounced and complained")


class StatsAnswer(Answer):
    total: int
    by_status: dict[str, int]
    engagement: dict[str, int] = Field(description="People who are written to, by tier")
    bounces: dict[str, int] = Field(description="Told so far, by class: hard, soft, blocked")
    complaints: int = Field(description="Told so far")
    suppressions: dict[str, int] = Field(
        description="Addresses at which a reason holds for good, by reason"
    )
    growth: list[GrowthDay]
    """The last 30 UTC days, the oldest first."""
    warnings: list[str] = Field(description="What a person should look at")


@api.post(
    "/add-subscriber",
    responses={
        200: AddedAnswer,
        201: AddedAnswer,
        409: ProblemAnswer,
        422: ProblemAnswer,
        429: ProblemAnswer,
    },
)
def add(body: AddSubscriberBody) -> tuple[dict[str, Any], int]:
    """Put a person on the list.

    201 when they are new, 200 when they were known: fields that are given overwrite,
    attributes merge, tags are added. 409 when they unsubscribed, bounced or complained:
    nothing changes; with `resubscribe` it is a 200, and they are asked to confirm.
    422 when nobody can be written to at the address: also `abuse@` and its like, and, without
    `allow_risky`, mailboxes that are thrown away after use. 429 when too many people were asked
    to confirm, over all or from that `consent.ip`: nothing is stored; come back later.
    """
    system = the_system()
    now = system.clock()
    person = _person(body)
    resolver = Resolver(system.settings.dns_nameservers) if body.check_mx else None
    warnings = look_at(person.address, allow_risky=body.allow_risky, resolver=resolver)
    with system.database.write() as session:
        signed_up = sign_up(
            session,
            person,
            sender=_sender(system),
            now=now,
            double_opt_in=body.double_opt_in,
            resubscribe=body.resubscribe,
        )
        if signed_up.asking is not None and signed_up.asking.campaign_id is not None:
            count_opt_in_mail(body.consent.ip if body.consent else None)
        reach(Failpoint.SIGN_UP_BEFORE_COMMIT)
    reach(Failpoint.SIGN_UP_AFTER_COMMIT)
    added, asking = signed_up.added, signed_up.asking
    if added.subscriber is None or (added.outcome is AddedAs.SUPPRESSED and asking is None):
        raise _left_alone(added)
    if asking is not None and system.engine is not None:
        system.engine.wake()
    answer = AddedAnswer(
        subscriber=fields_of(added.subscriber, added.suppression, now),
        suggestion=person.address.suggestion,
        confirmation=asking
        and ConfirmationAnswer(
            sent=asking.campaign_id is not None,
            campaign_id=asking.campaign_id,
            next_possible_at=asking.next_possible_at,
        ),
        warnings=warnings,
    )
    return answer.model_dump(mode="json"), 201 if added.outcome is AddedAs.CREATED else 200


@api.get("/subscribers/<path:email>", responses={200: SubscriberAnswer, 404: ProblemAnswer})
def find(path: SubscriberPath) -> dict[str, Any]:
    """What is known about a person, by their address; 404 when they are not on the list."""
    system = the_system()
    with system.database.read() as session:
        try:
            subscriber = find_subscriber(session, normalise(path.email).key)
        except InvalidAddress as error:
            raise Problem("not-found", f"That is not an address: {error.reason}.") from error
        if subscriber is None:
            raise Problem("not-found", "Nobody with this address is on the list.")
        now = system.clock()
        suppression = suppression_of(session, subscriber.email_hash, now)
        answer = SubscriberAnswer(subscriber=fields_of(subscriber, suppression, now))
    return answer.model_dump(mode="json")


@api.get("/subscriber-stats", responses={200: StatsAnswer})
def stats() -> dict[str, Any]:
    """How many people there are, by status and by engagement; bounces, complaints and
    suppressions; and who came and went in the last 30 days."""
    system = the_system()
    with system.database.read() as session:
        wave = wave_of_unsubscribes(session, system.clock())
        told = subscriber_stats(session, system.clock())
    return {**told, "warnings": [wave] if wave else []}


def _sender(system: System) -> Sender:
    settings = system.settings
    return Sender(
        identity=system.identity,
        from_email=settings.from_email,
        from_name=settings.from_name,
        postal_address=settings.postal_address,
        sandbox=system.is_sandbox,
    )


def _person(body: AddSubscriberBody) -> Person:
    return Person(
        address=_address(body.email),
        first_name=body.first_name or None,
        last_name=body.last_name or None,
        attributes=body.attributes,
        tags=frozenset(body.tags),
        consent=Consent(**body.consent.model_dump()) if body.consent else None,
    )


def _address(email: str) -> Address:
    try:
        return normalise(email)
    except InvalidAddress as error:
        more = {"suggestion": error.suggestion} if error.suggestion else {}
        raise invalid("/email", error.reason, more) from error


def _left_alone(added: Added) -> Problem:
    because = added.suppression.reason if added.suppression else None
    status = added.subscriber.status.value if added.subscriber else None
    return Problem(
        "suppressed",
        f"Not added and not changed: {because or status}. Only the person can undo that.",
        more={"reason": because or status},
    )


def fields_of(
    subscriber: Subscriber, suppression: Suppression | None, now: datetime
) -> SubscriberFields:
    return SubscriberFields(
        email=subscriber.email,
        status=subscriber.status,
        engagement_score=score_of(subscriber, now),
        tier=subscriber.tier,
        first_name=subscriber.first_name,
        last_name=subscriber.last_name,
        attributes=subscriber.attributes,
        tags=subscriber.tags,
        mailbox_provider=subscriber.mailbox_provider,
        consent=ConsentAnswer(
            source=subscriber.consent_source, ip=subscriber.consent_ip, at=subscriber.consent_at
        ),
        suppression=suppression
        and SuppressionAnswer(
            reason=suppression.reason,
            source=suppression.source,
            since=suppression.created_at,
            until=suppression.until,
        ),
        created_at=subscriber.created_at,
        updated_at=subscriber.updated_at,
    )
