"""Make the campaign of a request, once however often the request comes."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

from flask import request
from sqlalchemy.orm import Session

from api.campaign_schemas import CampaignBody
from api.errors import Problem, invalid
from api.filters import refusals
from config.failpoints import Failpoint
from database.models import Campaign
from services import campaigns
from services.audience_size import NotConfirmed, TooMany, check_size, measure
from services.campaigns import NewCampaign
from services.system import System
from utils.failpoints import reach

RETRY_AFTER_S = "2"

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def make(system: System, new: NewCampaign, key: str | None, body: CampaignBody) -> int:
    """The campaign of this request: a new one, or the one that the key made before."""
    now = system.clock()
    fingerprint = _fingerprint()
    with system.database.read() as session:
        if made := _made_before(session, key, fingerprint):
            return made
        if system.engine is None or not system.engine.may_send:
            raise cannot_send(system)
        with refusals("/audience"):
            new = campaigns.with_fixed_audience(session, new)
        size = measure(session, new, system.settings, body.confirm_count, now)
    with system.database.write() as session:
        if key is not None:
            campaigns.one_at_a_time(session, key)
        if made := _made_before(session, key, fingerprint):
            return made
        if key is None and not body.allow_duplicate:
            campaigns.one_at_a_time(session, new.content_hash)
            same = campaigns.find_duplicate(session, new, now)
            if same is not None:
                raise _possible_duplicate(same)
        if size is not None:
            with _size_refusals():
                check_size(size, system.settings, body.confirm_count)
        campaign = campaigns.create(
            session,
            new,
            now=now,
            sandbox=system.is_sandbox,
            idempotency_key=key,
            fingerprint=fingerprint,
            plan_until=size.counted_until if size else None,
        )
        reach(Failpoint.CAMPAIGN_BEFORE_COMMIT)
    reach(Failpoint.CAMPAIGN_AFTER_COMMIT)
    system.engine.wake()
    return campaign.id


@contextmanager
def _size_refusals() -> Iterator[None]:
    try:
        yield
    except TooMany as error:
        raise invalid("/audience", f"is {error}", {"recipients": error.recipients}) from error
    except NotConfirmed as error:
        raise Problem(
            "count-not-confirmed",
            f'This would go to {error.recipients} people. Add "confirm_count": '
            f"{error.recipients} if it is to.",
            more={"recipients": error.recipients},
        ) from error


def _made_before(session: Session, key: str | None, fingerprint: str) -> int | None:
    """The campaign that the key made, if it did and the campaign stands still."""
    told = campaigns.find_by_key(session, key, fingerprint) if key is not None else None
    if told is None:
        return None
    campaign = session.get_one(Campaign, told.campaign_id)
    if not told.same_request:
        raise Problem(
            "key-reused",
            f"This Idempotency-Key made campaign {campaign.id} from another request. "
            "Use a new key for a new mailing.",
        )
    if not campaigns.stands_still(campaign):
        raise Problem(
            "in-progress",
            f"Campaign {campaign.id} of this Idempotency-Key runs ({campaign.status}).",
            headers={"Location": location(campaign.id), "Retry-After": RETRY_AFTER_S},
        )
    return campaign.id


def idempotency_key() -> str | None:
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


def cannot_send(system: System) -> Problem:
    """Why this process does not send now, and what to do."""
    why = (
        "another one sends from this database, or this one is starting or stopping. Nothing "
        "was stored; try again"
    )
    if system.engine is not None and system.engine.fault is not None:
        why = system.engine.fault
    elif held := system.safe_mode:
        why = held
    return Problem(
        "unavailable",
        f"This process cannot send now: {why}.",
        headers={"Retry-After": RETRY_AFTER_S},
    )


def location(campaign_id: int) -> str:
    return f"/campaigns/{campaign_id}"


def _possible_duplicate(campaign_id: int) -> Problem:
    return Problem(
        "possible-duplicate",
        f"Campaign {campaign_id} sent the same content to the same audience within 24 hours. "
        'Add "allow_duplicate": true to send it again.',
        headers={"Location": location(campaign_id)},
    )
