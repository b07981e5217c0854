"""`esp`: how each ESP stands, and whether its account answers."""

from datetime import datetime
from typing import Any

import click
from rich.table import Table

from commands.opening import as_json, console, opened, override_options, print_json
from config.esp_config import EspName
from services import standing
from services.adapters import build_adapter
from services.base import EspError
from services.brake import Override
from services.braking import NothingToOverride, OverrideOrder, override_esp
from services.esp_manager import webhook_warning, why_not


@click.group()
def esp() -> None:
    """Look at the ESPs."""


@esp.command()
@as_json
def status(json: bool) -> None:
    """Each configured ESP: may it get mail now, and why not; quota, reputation, events."""
    with opened() as system:
        if system.is_sandbox:
            system.start_simulator()
        now = system.clock()
        with system.database.read() as session:
            standings = standing.load(session, system.esps, now)
        told = [
            {
                "esp": known.esp.value,
                "available": (why := why_not(known, now, domain=system.gated_domain)) is None,
                "why_not": why,
                "priority": known.priority,
                "used_today": known.day.used,
                "daily_limit": known.day.limit,
                "score": round(100 * known.reputation.score, 1),
                "complaints_7d": known.reputation.week.complaints,
                "invalid_7d": known.reputation.week.invalid,
                "brake_override": _told(known.override),
                "closed_to": ", ".join(sorted(known.reputation.closed_to(now))) or None,
                "last_event_at": known.last_event_at and known.last_event_at.isoformat(),
                "unheard": known.unheard,
                "warning": webhook_warning(known, now, system.settings.public_base_url),
            }
            for known in standings.values()
        ]
    if json:
        print_json(told)
        return
    warnings = [one.pop("warning") for one in told]
    _print(told, json)
    for warning in filter(None, warnings):
        console().print(warning)


def _told(override: Override | None) -> str | None:
    if override is None:
        return None
    end = f"{override.until:%Y-%m-%d %H:%M} UTC" if override.until else "figures are worse"
    return f"by {override.ordered_by} until {end}: {override.why}"


@esp.command()
@click.argument("name", metavar="ESP", type=click.Choice([name.value for name in EspName]))
@override_options
@as_json
def override(name: str, ordered_by: str, why: str, until: datetime | None, json: bool) -> None:
    """Let an ESP that brakes, for its complaints or invalid addresses, carry mail again."""
    order = OverrideOrder(ordered_by=ordered_by, why=why, until=until)
    with opened() as system:
        if system.is_sandbox:
            system.start_simulator()
        now = system.clock()
        with system.database.write() as session:
            known = standing.load(session, system.esps, now).get(EspName(name))
            if known is None:
                raise click.ClickException(f"{name} is not configured: see .env.example")
            try:
                override_esp(session, known, order, now)
            except NothingToOverride as error:
                raise click.ClickException(str(error)) from error
            after = standing.load(session, system.esps, now)[EspName(name)]
        why_still = why_not(after, now, domain=system.gated_domain)
    row = {"esp": name, "available": why_still is None, "why_not": why_still}
    _print([{**row, "brake_override": _told(after.override)}], json)


@esp.command()
@as_json
def check(json: bool) -> None:
    """Look up the account of each configured ESP; nothing is sent. Exit code 1 if one fails."""
    with opened() as system:
        if system.is_sandbox:
            system.start_simulator()
        told = [check_account(build_adapter(config)) for config in system.esps.values()]
    _print(told, json)
    if not all(one["ok"] for one in told):
        raise SystemExit(1)


def check_account(adapter: Any) -> dict[str, Any]:
    """What an account look-up says, as a row."""
    name: EspName = adapter.name
    try:
        account = adapter.account()
    except EspError as error:
        return {"esp": name.value, "ok": False, "says": error.reason}
    limits = {
        "per_second": account.per_second,
        "daily_limit": account.daily_limit,
        "monthly_limit": account.monthly_limit,
    }
    return {
        "esp": name.value,
        "ok": account.sending_enabled is not False,
        **limits,
        "says": account.detail,
    }


def _print(told: list[dict[str, Any]], json: bool) -> None:
    if json:
        print_json(told)
        return
    if not told:
        console().print("No ESP is configured: see .env.example")
        return
    names = list(dict.fromkeys(name for one in told for name in one))
    table = Table(*names)
    for one in told:
        table.add_row(*("" if one.get(name) is None else str(one[name]) for name in names))
    console().print(table)
