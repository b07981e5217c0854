"""Send a campaign, or look at it before it is sent."""

import time
from dataclasses import replace
from typing import Any

from flask import Response, jsonify
from flask_openapi.blueprint import APIBlueprint

from api import limits
from api.campaign_schemas import (
    CampaignAnswer,
    CampaignBody,
    ContentBody,
    PreviewAnswer,
    PreviewBody,
    SendAnswer,
)
from api.errors import Problem, invalid
from api.filters import read_filter, refusals
from api.making import cannot_send, idempotency_key, location, make
from api.system import the_system
from api.waiting import a_place_to_wait, wait_seconds
from database.models import CampaignStatus
from list_manager import find_subscriber
from services import campaigns, trial
from services.campaigns import NewCampaign
from services.content import prepared
from services.mailing import Mailing, Sample
from services.system import System
from utils.addresses import InvalidAddress, normalise
from utils.message_lint import Severity, lint
from utils.personalisation import TemplateError

api = APIBlueprint("sending", __name__)


@api.post("/send-campaign", responses={200: SendAnswer, 202: CampaignAnswer})
def send_campaign(body: CampaignBody) -> Response:
    """Send a mailing to the audience; answers when the campaign stands still.

    200: it does (sent, needs_review, paused, cancelled). 202 with `Location`: it goes on by
    itself. 409: it runs already, the same mailing went out within a day, or its number of
    people has to be confirmed. 503: another process sends from this database, so try again; or
    it was restored: a person has to confirm.
    """
    system = the_system()
    new = _new_campaign(body, system)
    warnings = _warnings(body, new, system)
    if body.dry_run:
        return jsonify({**_dry_run(system, new), "warnings": warnings})
    if body.test_to is not None:
        return jsonify({**_send_tests(system, new, body.test_to), "warnings": warnings})
    key = idempotency_key()
    wait_s = wait_seconds(system.settings.sync_budget_seconds)
    campaign_id = make(system, new, key, body)
    with a_place_to_wait() as may_wait:
        return _answer_when_still(system, campaign_id, wait_s if may_wait else 0, warnings)


@api.post("/preview", responses={200: PreviewAnswer})
def preview(body: PreviewBody) -> dict[str, Any]:
    """The mail that one person would get: subject, html, text and headers. Nothing is sent."""
    system = the_system()
    new = _new_mailing(body, system)
    warnings = _warnings(body, new, system)
    sample = _sample(system, body.email) if body.email else Sample(email="ann@example.com")
    if sample is None:
        raise invalid("/email", "is nobody on the list")
    try:
        return {**trial.preview(new, system.identity, sample), "warnings": warnings}
    except TemplateError as error:
        raise invalid(f"/{error.field}", str(error)) from error


def _dry_run(system: System, new: NewCampaign) -> dict[str, Any]:
    with system.database.read() as session, refusals("/audience"):
        told = trial.dry_run(
            session,
            new,
            system.esps,
            now=system.clock(),
            distribution=system.settings.esp_distribution,
            dns_gate=system.settings.dns_gate,
        )
    about = {"campaign_id": None, "name": new.name, "subject": new.subject, "dry_run": True}
    return {**about, **told, "sandbox": system.is_sandbox}


def _send_tests(system: System, new: NewCampaign, addresses: list[str]) -> dict[str, Any]:
    if system.engine is None or not system.engine.adapters:
        raise cannot_send(system)
    samples = [_test_sample(system, n, address) for n, address in enumerate(addresses)]
    for _ in samples:
        limits.count_test_mail()
    subject = f"{trial.TEST_PREFIX}{new.subject}"
    try:
        told = trial.send_test(
            system.database,
            system.engine.adapters,
            system.esps,
            Mailing(replace(new, subject=subject), system.identity),
            samples,
            esp=new.esp,
            now=system.clock(),
        )
    except TemplateError as error:
        raise invalid(f"/{error.field}", str(error)) from error
    return {"tests": told, "sandbox": system.is_sandbox}


def _test_sample(system: System, number: int, address: str) -> Sample:
    try:
        return _sample(system, address) or Sample(email=normalise(address).email)
    except InvalidAddress as error:
        raise invalid(f"/test_to/{number}", error.reason) from error


def _sample(system: System, address: str) -> Sample | None:
    """The person on the list with this address, as a reader."""
    try:
        key = normalise(address).key
    except InvalidAddress:
        return None
    with system.database.read() as session:
        found = find_subscriber(session, key)
        return trial.sample_of(found) if found else None


def _new_campaign(body: CampaignBody, system: System) -> NewCampaign:
    if body.esp is not None and body.esp not in system.esps:
        configured = ", ".join(system.esps) or "none"
        raise invalid("/esp", f"{body.esp} is not configured here; configured: {configured}")
    audience = body.audience.model_dump(exclude_none=True) if body.audience else {}
    if "filter" in audience:
        read_filter(audience["filter"], "/audience/filter")
    return replace(_new_mailing(body, system), audience=audience, esp=body.esp)


def _new_mailing(body: ContentBody, system: System) -> NewCampaign:
    """The content, checked and made ready, for nobody yet."""
    settings = system.settings
    from_email = body.from_email or settings.from_email
    if not settings.may_send_as(from_email):
        raise invalid("/from_email", "is none of ALLOWED_SENDERS, the setting for this")
    name = body.name or " ".join(body.subject.split())[:200] or "(no subject)"
    try:
        content = prepared(
            subject=body.subject,
            html=body.html,
            text=body.text,
            name=name,
            address=settings.postal_address,
        )
    except TemplateError as error:
        raise invalid(f"/{error.field}", str(error)) from error
    return NewCampaign(
        name=name,
        subject=body.subject,
        html=content.html,
        text=content.text,
        from_email=from_email,
        from_name=body.from_name or settings.from_name,
        reply_to=body.reply_to,
        audience={},
        esp=None,
        track_opens=body.track_opens,
        track_clicks=body.track_clicks,
        tags=tuple(body.tags),
    )


def _warnings(body: ContentBody, new: NewCampaign, system: System) -> list[dict[str, Any]]:
    """What the lint finds in the mailing as its author wrote it; with `strict` a 422."""
    findings = lint(
        subject=body.subject,
        html=body.html,
        text=body.text,
        from_email=new.from_email,
        from_name=new.from_name,
        reply_to=new.reply_to,
        postal_address=system.settings.postal_address,
        html_prepared=new.html,
    )
    serious = [one for one in findings if one.severity is Severity.WARN]
    if body.strict and serious:
        raise Problem(
            "invalid",
            f"{serious[0].message} {serious[0].remedy}",
            errors=[
                {"pointer": f"/{one.where}", "detail": f"{one.id}: {one.message} {one.remedy}"}
                for one in serious
            ],
        )
    return [
        {
            "id": one.id.value,
            "severity": one.severity.value,
            "where": one.where,
            "line": one.line,
            "message": one.message,
            "remedy": one.remedy,
        }
        for one in findings
    ]


def _answer_when_still(
    system: System, campaign_id: int, wait_s: float, warnings: list[dict[str, Any]]
) -> Response:
    ends_at = time.monotonic() + wait_s
    while True:
        with system.database.read() as session:
            campaign = campaigns.find(session, campaign_id)
            assert campaign is not None  # nothing deletes one
            told = campaigns.report(session, campaign, system.clock())
            still = campaigns.stands_still(campaign)
        engine = system.engine
        left = ends_at - time.monotonic()
        goes_on = told["status"] == CampaignStatus.WAITING
        if still or goes_on or left <= 0 or engine is None or not engine.may_send:
            break
        engine.wait_for_stand(min(left, 1.0))
    response = jsonify({**told, "warnings": warnings})
    response.status_code = 200 if still else 202
    if not still:
        response.headers["Location"] = location(campaign_id)
    return response
