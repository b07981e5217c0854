"""`send` and `campaigns`: a campaign from files, its progress, and orders about one."""

import json as json_text
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sqlalchemy.orm import Session

from commands.opening import as_json, console, opened, override_options, print_json
from config.esp_config import EspName
from database.models import Campaign, CampaignStatus
from email_sender import CampaignEngine
from lists.segments import UnknownSegment
from services import campaign_control, campaigns, trial
from services.audience_size import NotConfirmed, TooMany, check_size, measure
from services.braking import NothingToOverride, OverrideOrder, override_campaign
from services.campaign_control import Conflict, Resolution
from services.campaigns import NewCampaign
from services.content import prepared
from services.system import System
from utils.personalisation import TemplateError

LOOK_EVERY_S = 0.25
CANNOT_TELL = 3
"""Exit code: it went as far as it goes by itself, and a person has to look."""

PART = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--subject", required=True, help="May hold {{ first_name }} and the like.")
@click.option("--html", type=PART, help="File with the HTML part.")
@click.option("--text", type=PART, help="File with the text part.")
@click.option("--name", help="What the campaign is called; the subject, if not given.")
@click.option("--tag", "tags", multiple=True, help="Only people with this tag (or another one).")
@click.option("--segment", help="Only people of this saved segment.")
@click.option("--esp", type=click.Choice([esp.value for esp in EspName]), help="Only this ESP.")
@click.option("--dry-run", is_flag=True, help="Tell what would happen; store and send nothing.")
@click.option("--allow-duplicate", is_flag=True, help="Even if the same went out today.")
@click.option(
    "--confirm-count", type=click.IntRange(0), help="How many it must go to, else nothing is sent."
)
@as_json
def send(
    subject: str,
    html: Path | None,
    text: Path | None,
    name: str | None,
    tags: tuple[str, ...],
    segment: str | None,
    esp: str | None,
    dry_run: bool,
    allow_duplicate: bool,
    confirm_count: int | None,
    json: bool,
) -> None:
    """Send a campaign and show how it goes; Ctrl-C leaves it to go on with the next process.

    Exit code 3: it ended with sends whose outcome is not known, or it is paused or waits.
    """
    if html is None and text is None:
        raise click.UsageError("give --html, --text or both")
    if tags and segment is not None:
        raise click.UsageError("give either --tag or --segment")
    audience = {"tags": list(tags)} if tags else {} if segment is None else {"segment": segment}
    with opened() as system:
        new = _new(system, subject, html, text, name, audience, esp)
        if dry_run:
            _print(_dry_run(system, new), json)
            return
        told = _send(system, new, allow_duplicate, confirm_count, json)
    _print(told, json)
    if told["status"] != CampaignStatus.SENT:
        raise SystemExit(CANNOT_TELL)


def _dry_run(system: System, new: NewCampaign) -> dict[str, Any]:
    if system.is_sandbox:
        system.start_simulator()
    with system.database.read() as session, _a_known_segment():
        return trial.dry_run(
            session,
            new,
            system.esps,
            now=system.clock(),
            distribution=system.settings.esp_distribution,
            dns_gate=system.settings.dns_gate,
        )


def _new(
    system: System,
    subject: str,
    html: Path | None,
    text: Path | None,
    name: str | None,
    audience: dict[str, Any],
    esp: str | None,
) -> NewCampaign:
    settings = system.settings
    try:
        content = prepared(
            subject=subject,
            html=html.read_text("utf-8") if html else None,
            text=text.read_text("utf-8") if text else None,
            name=name or subject,
            address=settings.postal_address,
        )
    except TemplateError as error:
        raise click.ClickException(f"{error.field}: {error}") from error
    return NewCampaign(
        name=(name or subject)[:200],
        subject=subject,
        html=content.html,
        text=content.text,
        from_email=settings.from_email,
        from_name=settings.from_name,
        reply_to=None,
        audience=audience,
        esp=EspName(esp) if esp else None,
        track_opens=False,
        track_clicks=False,
        tags=(),
    )


def _send(
    system: System, new: NewCampaign, allow_duplicate: bool, confirmed: int | None, json: bool
) -> dict[str, Any]:
    if held := system.safe_mode:
        raise click.ClickException(held)
    engine = system.start()
    now = system.clock()
    with system.database.read() as session, _a_known_segment():
        new = campaigns.with_fixed_audience(session, new)
        size = measure(session, new, system.settings, confirmed, now)
    with system.database.write() as session:
        same = None if allow_duplicate else campaigns.find_duplicate(session, new, now)
        if same is not None:
            raise click.ClickException(
                f"campaign {same} sent the same within 24 hours; --allow-duplicate sends it again"
            )
        if size is not None:
            with _a_right_size():
                check_size(size, system.settings, confirmed)
        until = size.counted_until if size else None
        made = campaigns.create(session, new, now=now, sandbox=system.is_sandbox, plan_until=until)
    engine.wake()
    return _follow(system, engine, made.id, json)


def _follow(system: System, engine: CampaignEngine, campaign_id: int, json: bool) -> dict[str, Any]:
    """Show how it goes until it stands still, or waits."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console(), disable=json) as progress:
        bar = progress.add_task("planning", total=None)
        while True:
            report, still = _look(system, campaign_id)
            done = report["planned"] - report["counts"]["queued"] - report["counts"]["sending"]
            progress.update(
                bar, description=report["status"], completed=done, total=report["planned"] or None
            )
            if still or report["status"] == CampaignStatus.WAITING:
                return report
            engine.wait_for_stand(LOOK_EVERY_S)


@contextmanager
def _a_known_segment() -> Iterator[None]:
    try:
        yield
    except UnknownSegment as error:
        raise click.ClickException(f"there is no segment {error}: segment list") from error


@contextmanager
def _a_right_size() -> Iterator[None]:
    try:
        yield
    except TooMany as error:
        raise click.ClickException(f"the audience is {error}") from error
    except NotConfirmed as error:
        raise click.ClickException(f"{error}: --confirm-count {error.recipients}") from error


def _look(system: System, campaign_id: int) -> tuple[dict[str, Any], bool]:
    with system.database.read() as session:
        campaign = session.get_one(Campaign, campaign_id)
        report = campaigns.report(session, campaign, system.clock())
        return report, campaigns.stands_still(campaign)


@click.group(name="campaigns")
def campaigns_() -> None:
    """Look at campaigns, and order what is to become of one."""


@campaigns_.command(name="list")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@as_json
def list_(limit: int, json: bool) -> None:
    """The newest campaigns."""
    with opened() as system, system.database.read() as session:
        page = campaigns.page(session, after=None, limit=limit)
        told = [campaigns.report(session, campaign, system.clock()) for campaign in page]
    if json:
        print_json(told)
        return
    table = Table("id", "name", "status", "planned", "accepted", "rejected", "skipped", "unknown")
    for one in told:
        counts = one["counts"]
        table.add_row(
            *(str(one["campaign_id"]), one["name"], one["status"], str(one["planned"])),
            *(str(counts["accepted"]), str(counts["rejected"])),
            *(str(sum(one["skipped"].values())), str(counts["unknown"])),
        )
    console().print(table)


@campaigns_.command()
@click.argument("campaign_id", type=click.IntRange(1))
@as_json
def show(campaign_id: int, json: bool) -> None:
    """How a campaign stands."""
    with opened() as system, _found(system.database.read(), campaign_id) as (session, campaign):
        _print(campaigns.report(session, campaign, system.clock()), json)


@campaigns_.command()
@click.argument("campaign_id", type=click.IntRange(1))
@as_json
def pause(campaign_id: int, json: bool) -> None:
    """Claim nothing more; what is under way ends."""
    _order(campaign_id, json, lambda session, campaign, now: campaign_control.pause(campaign))


@campaigns_.command()
@click.argument("campaign_id", type=click.IntRange(1))
@as_json
def resume(campaign_id: int, json: bool) -> None:
    """Let a paused campaign go on, with the process that sends."""
    with opened() as system:
        if system.is_sandbox:
            system.start_simulator()
        _carry_out(
            system,
            campaign_id,
            json,
            lambda session, campaign, now: campaign_control.resume(
                session, campaign, system.esps, now, may_send_as=system.settings.may_send_as
            ),
        )


@campaigns_.command()
@click.argument("campaign_id", type=click.IntRange(1))
@override_options
@as_json
def override(
    campaign_id: int, ordered_by: str, why: str, until: datetime | None, json: bool
) -> None:
    """Let a campaign that braked by its own figures go on, once it is resumed."""
    order = OverrideOrder(ordered_by=ordered_by, why=why, until=until)
    _order(
        campaign_id,
        json,
        lambda session, campaign, now: override_campaign(session, campaign, order, now),
    )


@campaigns_.command()
@click.argument("campaign_id", type=click.IntRange(1))
@as_json
def cancel(campaign_id: int, json: bool) -> None:
    """End a campaign for good: what is queued is never sent."""
    _order(campaign_id, json, campaign_control.cancel)


@campaigns_.command()
@click.argument("campaign_id", type=click.IntRange(1))
@click.argument("action", type=click.Choice([action.value for action in Resolution]))
@click.option("--expect", type=click.IntRange(0), required=True, help="How many are unknown.")
@as_json
def resolve(campaign_id: int, action: str, expect: int, json: bool) -> None:
    """Settle the sends whose outcome is not known: take them as sent, or send them again."""
    _order(
        campaign_id,
        json,
        lambda session, campaign, now: campaign_control.resolve(
            session, campaign, Resolution(action), expect, now
        ),
    )


def _order(
    campaign_id: int, json: bool, carry_out: Callable[[Session, Campaign, datetime], None]
) -> None:
    with opened() as system:
        _carry_out(system, campaign_id, json, carry_out)


def _carry_out(
    system: System,
    campaign_id: int,
    json: bool,
    carry_out: Callable[[Session, Campaign, datetime], None],
) -> None:
    with _found(system.database.write(), campaign_id) as (session, campaign):
        try:
            carry_out(session, campaign, system.clock())
        except (Conflict, NothingToOverride) as error:
            raise click.ClickException(str(error)) from error
        session.flush()
        session.refresh(campaign)
        _print(campaigns.report(session, campaign, system.clock()), json)


@contextmanager
def _found(opening: Any, campaign_id: int) -> Iterator[tuple[Session, Campaign]]:
    with opening as session:
        campaign = session.get(Campaign, campaign_id)
        if campaign is None:
            raise click.ClickException(f"there is no campaign {campaign_id}: campaigns list")
        yield session, campaign


def _print(told: dict[str, Any], json: bool) -> None:
    if json:
        print_json(told)
        return
    table = Table(show_header=False, box=None)
    for name, value in told.items():
        if value not in (None, {}, []):
            shown = value if isinstance(value, str) else json_text.dumps(value)
            table.add_row(name, shown)
    console().print(table)
