"""Campaigns: send one, and see how it stands."""

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from flask import Response, jsonify, request
from flask_openapi.blueprint import APIBlueprint
from pydantic import Field, StringConstraints, field_validator, model_validator

from api.errors import Problem, invalid
from api.schemas import Answer, Body, Id, Line, Path, Query
from api.system import the_system
from config.esp_config import EspName
from database.models import Campaign, CampaignStatus, SendStatus
from services import campaigns
from services.campaigns import NewCampaign
from services.system import System
from utils.addresses import InvalidAddress, normalise
from utils.personalisation import Template, TemplateError

api = APIBlueprint("campaigns", __name__)

MOST_WAITING = 8
"""Requests that wait for their campaign; a further one gets its 202 at once."""
LONGEST_WAIT_S = 900
MAX_PART_CHARS = 500_000
RETRY_AFTER_S = "2"

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_WAIT = re.compile(r"\s*wait\s*=\s*\"?(\d{1,6})\"?\s*", re.IGNORECASE)
_waiting = threading.BoundedSemaphore(MOST_WAITING)

Part = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PART_CHARS)]
Tag = Annotated[
    str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f;,]+$")
]


class AudienceBody(Body):
    """Absent: everybody who is active. Else one of these."""

    tags: list[Tag] | None = Field(None, min_length=1, max_length=50)
    """People with any of these tags."""
    emails: list[Annotated[str, StringConstraints(max_length=320)]] | None = Field(
        None, max_length=20_000
    )
    """People on the list with these addresses; others are counted as skipped."""

    @model_validator(mode="after")
    def _one_kind(self) -> "AudienceBody":
        if (self.tags is None) == (self.emails is None):
            raise ValueError("give either `tags` or `emails`; leave `audience` out to reach all")
        return self


class CampaignBody(Body):
    """What to send, and to whom. `html`, `text` or both."""

    subject: Annotated[str, StringConstraints(min_length=1, max_length=998)]
    html: Part | None = None
    text: Part | None = None
    name: Line | None = None
    from_email: Annotated[str, StringConstraints(max_length=320)] | None = None
    from_name: Line | None = None
    reply_to: Annotated[str, StringConstraints(max_length=320)] | None = None
    audience: AudienceBody | None = None
    esp: EspName | None = Field(None, strict=False)
    track_opens: bool = False
    track_clicks: bool = False
    tags: list[Tag] = Field(default_factory=list, max_length=10)
    allow_duplicate: bool = False

    @field_validator("from_email", "reply_to")
    @classmethod
    def _address(cls, given: str | None) -> str | None:
        if given is None:
            return None
        try:
            return normalise(given).email
        except InvalidAddress as error:
            raise ValueError(
                f"is not an address that mail can come from: {error.reason}"
            ) from error

    @model_validator(mode="after")
    def _has_content(self) -> "CampaignBody":
        if self.html is None and self.text is None:
            raise ValueError("give `html`, `text` or both")
        return self


class FailoverAnswer(Answer):
    """Sends that one ESP definitely refused and another one got."""

    from_: str = Field(alias="from")
    to: str
    sends: int
    reason: str | None


class CampaignAnswer(Answer):
    """How a campaign stands; `planned` is the sum of `counts` and `skipped`."""

    campaign_id: int
    name: str
    subject: str
    status: CampaignStatus
    reason: str | None
    planned: int
    counts: dict[str, int]
    skipped: dict[str, int]
    by_esp: dict[str, int]
    delivery: dict[str, int]
    failovers: list[FailoverAnswer]
    duration_seconds: float
    sandbox: bool
    created_at: str
    resume_at: str | None


class CampaignsAnswer(Answer):
    campaigns: list[CampaignAnswer]
    next: int | None


class SendAnswer(Answer):
    """One email of a campaign to one subscriber."""

    id: int
    email: str
    status: SendStatus
    reason: str | None
    esp: EspName | None
    esp_message_id: str | None
    attempt: int
    delivery: str
    opened: bool
    clicked: bool
    unsubscribed: bool
    settled_at: str | None


class SendsAnswer(Answer):
    sends: list[SendAnswer]
    next: int | None


class CampaignPath(Path):
    campaign_id: Id


class PageQuery(Query):
    after: Id | None = None
    limit: int = Field(50, ge=1, le=200)


class SendsQuery(Query):
    status: SendStatus | None = None
    after: int = Field(0, ge=0, le=2**63 - 1)
    limit: int = Field(200, ge=1, le=1000)


@api.post("/send-campaign", responses={200: CampaignAnswer, 202: CampaignAnswer})
def send_campaign(body: CampaignBody) -> Response:
    """Send a mailing to the audience; answers when the campaign stands still.

    200: it does (sent, needs_review, paused, cancelled). 202 with `Location`: it goes on by
    itself. 409: it runs already, or the same mailing went out within a day. 503: another
    process sends from this database; try again.
    """
    system = the_system()
    new = _new_campaign(body, system)
    key = _idempotency_key()
    wait_s = _wait_seconds(system)
    campaign_id = _make(system, new, key, allow_duplicate=body.allow_duplicate)
    with _a_place_to_wait() as may_wait:
        return _answer_when_still(system, campaign_id, wait_s if may_wait else 0)


@api.get("/campaigns", responses={200: CampaignsAnswer})
def list_campaigns(query: PageQuery) -> dict[str, Any]:
    """Campaigns, the newest first. `next` goes into `after` for the next page."""
    system = the_system()
    with system.database.read() as session:
        page = campaigns.page(session, after=query.after, limit=query.limit)
        told = [campaigns.report(session, campaign, system.clock()) for campaign in page]
    more = told[-1]["campaign_id"] if len(told) == query.limit else None
    return {"campaigns": told, "next": more}


@api.get("/campaigns/<int:campaign_id>", responses={200: CampaignAnswer})
def get_campaign(path: CampaignPath) -> dict[str, Any]:
    """How a campaign stands now."""
    system = the_system()
    with system.database.read() as session:
        found = session.get(Campaign, path.campaign_id)
        if found is None:
            raise _no_campaign(path.campaign_id)
        return campaigns.report(session, found, system.clock())


@api.get("/campaigns/<int:campaign_id>/sends", responses={200: SendsAnswer})
def list_sends(path: CampaignPath, query: SendsQuery) -> dict[str, Any]:
    """The ledger of a campaign, in the order of ids. `next` goes into `after`."""
    with the_system().database.read() as session:
        campaign = session.get(Campaign, path.campaign_id)
        if campaign is None:
            raise _no_campaign(path.campaign_id)
        sends = campaigns.sends_page(
            session, campaign, status=query.status, after=query.after, limit=query.limit
        )
    return {"sends": sends, "next": sends[-1]["id"] if len(sends) == query.limit else None}


def _new_campaign(body: CampaignBody, system: System) -> NewCampaign:
    audience = body.audience.model_dump(exclude_none=True) if body.audience else {}
    name = body.name or " ".join(body.subject.split())[:200] or "(no subject)"
    try:
        Template(
            subject=body.subject,
            html=body.html,
            text=body.text,
            campaign={"id": 0, "name": name, "subject": body.subject},
        )
    except TemplateError as error:
        raise invalid(f"/{error.field}", str(error)) from error
    if body.esp is not None and body.esp not in system.esps:
        configured = ", ".join(system.esps) or "none"
        raise invalid("/esp", f"{body.esp} is not configured here; configured: {configured}")
    return NewCampaign(
        name=name,
        subject=body.subject,
        html=body.html,
        text=body.text,
        from_email=body.from_email or system.settings.from_email,
        from_name=body.from_name or system.settings.from_name,
        reply_to=body.reply_to,
        audience=audience,
        esp=body.esp,
        track_opens=body.track_opens,
        track_clicks=body.track_clicks,
        tags=tuple(body.tags),
    )


def _make(system: System, new: NewCampaign, key: str | None, *, allow_duplicate: bool) -> int:
    """The campaign of this request: a new one, or the one that the key made before."""
    now = system.clock()
    fingerprint = _fingerprint()
    with system.database.write() as session:
        if key is not None:
            told = campaigns.find_by_key(session, key, fingerprint)
            if told is not None:
                return _told_again(session.get_one(Campaign, told.campaign_id), told.same_request)
        if system.engine is None or not system.engine.may_send:
            raise Problem(
                "unavailable",
                "This process cannot send now: another one sends from this database, or this "
                "one is starting or stopping. Nothing was stored; try again.",
                headers={"Retry-After": RETRY_AFTER_S},
            )
        if key is None and not allow_duplicate:
            told = campaigns.find_duplicate(session, new, now)
            if told is not None:
                raise _possible_duplicate(told.campaign_id)
        campaign = campaigns.create(
            session,
            new,
            now=now,
            sandbox=system.is_sandbox,
            idempotency_key=key,
            fingerprint=fingerprint,
        )
    system.engine.wake()
    return campaign.id


def _told_again(campaign: Campaign, same_request: bool) -> int:
    if not same_request:
        raise Problem(
            "key-reused",
            f"This Idempotency-Key made campaign {campaign.id} from another request. "
            "Use a new key for a new mailing.",
        )
    if not campaigns.stands_still(campaign):
        raise Problem(
            "in-progress",
            f"Campaign {campaign.id} of this Idempotency-Key runs ({campaign.status}).",
            headers={"Location": _location(campaign.id), "Retry-After": RETRY_AFTER_S},
        )
    return campaign.id


def _answer_when_still(system: System, campaign_id: int, wait_s: float) -> Response:
    ends_at = time.monotonic() + wait_s
    while True:
        with system.database.read() as session:
            campaign = session.get_one(Campaign, campaign_id)
            told = campaigns.report(session, campaign, system.clock())
            still = campaigns.stands_still(campaign)
        engine = system.engine
        left = ends_at - time.monotonic()
        goes_on = told["status"] == CampaignStatus.WAITING
        if still or goes_on or left <= 0 or engine is None or not engine.may_send:
            break
        engine.wait_for_stand(min(left, 1.0))
    response = jsonify(told)
    response.status_code = 200 if still else 202
    if not still:
        response.headers["Location"] = _location(campaign_id)
    return response


@contextmanager
def _a_place_to_wait() -> Iterator[bool]:
    taken = _waiting.acquire(blocking=False)
    try:
        yield taken
    finally:
        if taken:
            _waiting.release()


def _wait_seconds(system: System) -> float:
    """How long this request may wait: `Prefer: wait=N`, `respond-async`, or the budget."""
    wait_s: float = system.settings.sync_budget_seconds
    for preference in ",".join(request.headers.getlist("Prefer")).split(","):
        if preference.strip().lower() == "respond-async":
            return 0
        if match := _WAIT.fullmatch(preference):
            wait_s = min(int(match.group(1)), LONGEST_WAIT_S)
    return wait_s


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        raise Problem(
            "bad-request",
            "Idempotency-Key: give 1 to 255 visible ASCII characters, best a new UUID.",
        )
    return key


def _fingerprint() -> str:
    """SHA-256 of method, path and JSON body; the order of names does not matter."""
    body = json.dumps(json.loads(request.get_data()), sort_keys=True)
    return hashlib.sha256(f"{request.method} {request.path} {body}".encode()).hexdigest()


def _location(campaign_id: int) -> str:
    return f"/campaigns/{campaign_id}"


def _possible_duplicate(campaign_id: int) -> Problem:
    return Problem(
        "possible-duplicate",
        f"Campaign {campaign_id} sent the same content to the same audience within 24 hours. "
        'Add "allow_duplicate": true to send it again.',
        headers={"Location": _location(campaign_id)},
    )


def _no_campaign(campaign_id: int) -> Problem:
    return Problem("not-found", f"There is no campaign {campaign_id}; GET /campaigns lists them.")
