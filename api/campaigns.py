"""How campaigns stand, down to each send; and what a person orders about one."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from flask_openapi.blueprint import APIBlueprint
from sqlalchemy.orm import Session

from api.campaign_schemas import (
    CampaignAnswer,
    CampaignPath,
    CampaignsAnswer,
    PageQuery,
    ResolveBody,
    SendsAnswer,
    SendsQuery,
)
from api.errors import Problem
from api.schemas import OverrideBody
from api.system import the_system
from database.models import Campaign
from services import campaign_control, campaigns
from services.braking import NothingToOverride, OverrideOrder, override_campaign
from services.campaign_control import Conflict

api = APIBlueprint("campaigns", __name__)


@api.get("/campaigns", responses={200: CampaignsAnswer})
def list_campaigns(query: PageQuery) -> dict[str, Any]:
    """Campaigns, the newest first. `next` goes into `after` for the next page."""
    system = the_system()
    with system.database.read() as session:
        page = campaigns.page(session, after=query.after, limit=query.limit)
        told = campaigns.reports(session, page, system.clock())
    more = told[-1]["campaign_id"] if len(told) == query.limit else None
    return {"campaigns": told, "next": more}


@api.get("/campaigns/<int:campaign_id>", responses={200: CampaignAnswer})
def get_campaign(path: CampaignPath) -> dict[str, Any]:
    """How a campaign stands now."""
    system = the_system()
    with system.database.read() as session:
        found = campaigns.find(session, path.campaign_id)
        if found is None:
            raise _no_campaign(path.campaign_id)
        return campaigns.report(session, found, system.clock())


@api.get("/campaigns/<int:campaign_id>/sends", responses={200: SendsAnswer})
def list_sends(path: CampaignPath, query: SendsQuery) -> dict[str, Any]:
    """The ledger of a campaign, in the order of ids. `next` goes into `after`."""
    with the_system().database.read() as session:
        campaign = campaigns.find(session, path.campaign_id)
        if campaign is None:
            raise _no_campaign(path.campaign_id)
        sends = campaigns.sends_page(
            session, campaign, status=query.status, after=query.after, limit=query.limit
        )
    return {"sends": sends, "next": sends[-1]["id"] if len(sends) == query.limit else None}


@api.post("/campaigns/<int:campaign_id>/pause", responses={200: CampaignAnswer})
def pause(path: CampaignPath) -> dict[str, Any]:
    """Claim nothing more; what is under way ends. Again: 200 as it stands. 409: it has ended."""
    return _order(path, lambda session, campaign, now: campaign_control.pause(campaign))


@api.post("/campaigns/<int:campaign_id>/resume", responses={200: CampaignAnswer})
def resume(path: CampaignPath) -> dict[str, Any]:
    """Go on where it was paused. Again: 200 as it stands. 409: it has ended, or its
    sender (`ALLOWED_SENDERS`) or the brake would pause it again at once."""
    system = the_system()
    return _order(
        path,
        lambda session, campaign, now: campaign_control.resume(
            session, campaign, system.esps, now, may_send_as=system.settings.may_send_as
        ),
    )


@api.post("/campaigns/<int:campaign_id>/override-brake", responses={200: CampaignAnswer})
def override_brake(path: CampaignPath, body: OverrideBody) -> dict[str, Any]:
    """Let a campaign that braked by its own figures go on, once it is resumed: until `until`,
    or until the figures are worse than now. 409: it does not brake."""
    order = OverrideOrder(ordered_by=body.by, why=body.why, until=body.until)
    return _order(
        path, lambda session, campaign, now: override_campaign(session, campaign, order, now)
    )


@api.post("/campaigns/<int:campaign_id>/cancel", responses={200: CampaignAnswer})
def cancel(path: CampaignPath) -> dict[str, Any]:
    """End it for good: what is queued is never sent. Again: 200 as it stands. 409: it has ended."""
    return _order(path, campaign_control.cancel)


@api.post("/campaigns/<int:campaign_id>/resolve", responses={200: CampaignAnswer})
def resolve(path: CampaignPath, body: ResolveBody) -> dict[str, Any]:
    """Settle the sends whose outcome is not known, if there are `expect` of them (else 409).

    `accept` takes them as sent; `requeue` sends them again, so that who got one gets it twice.
    """
    return _order(
        path,
        lambda session, campaign, now: campaign_control.resolve(
            session, campaign, body.action, body.expect, now
        ),
    )


def _order(
    path: CampaignPath, carry_out: Callable[[Session, Campaign, datetime], None]
) -> dict[str, Any]:
    system = the_system()
    now = system.clock()
    with system.database.write() as session:
        campaign = session.get(Campaign, path.campaign_id, with_for_update=True)
        if campaign is None:
            raise _no_campaign(path.campaign_id)
        try:
            carry_out(session, campaign, now)
        except (Conflict, NothingToOverride) as error:
            raise Problem("conflict", f"{str(error)[0].upper()}{str(error)[1:]}.") from error
        session.flush()
        session.refresh(campaign)
        told = campaigns.report(session, campaign, now)
    if system.engine is not None:
        system.engine.wake()
    return told


def _no_campaign(campaign_id: int) -> Problem:
    return Problem("not-found", f"There is no campaign {campaign_id}; GET /campaigns lists them.")
