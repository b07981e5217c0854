"""`dns`: what is wrong with a sending domain, what to publish, and what changed."""

from collections.abc import Iterable, Mapping
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from commands.opening import as_json, console, opened, print_json
from config import values
from services import dns_results, dns_watch
from services.system import System
from utils.dns.findings import Status
from utils.dns.instructions import as_text, as_zone

_COLOURS = {
    Status.PASS: "green",
    Status.INFO: "cyan",
    Status.WARN: "yellow",
    Status.FAIL: "bold red",
    Status.UNKNOWN: "magenta",
}
_WORST_FIRST = [Status.FAIL, Status.UNKNOWN, Status.WARN, Status.INFO, Status.PASS]


def _domain(_context: click.Context, _option: click.Parameter, given: str | None) -> str | None:
    try:
        return None if given is None else values.domain(given)
    except ValueError as fault:
        raise click.BadParameter(str(fault)) from fault


domain_option = click.option("--domain", callback=_domain, help="Instead of SENDING_DOMAIN.")


@click.group()
def dns() -> None:
    """Look at the DNS of a sending domain."""


@dns.command()
@domain_option
@click.option("--all", "all_of_them", is_flag=True, help="Show what passes too.")
@as_json
def check(domain: str | None, all_of_them: bool, json: bool) -> None:
    """Ask DNS now: every check, the worst first. Exit code 1 if one fails."""
    with opened() as system:
        row, _ = dns_watch.check(system, _of(system, domain), asked_by=dns_watch.BY_PERSON)
        told = dns_watch.told(row)
    if json:
        print_json(told)
    else:
        _print_checks(told, all_of_them)
    if told["status"] == Status.FAIL:
        raise SystemExit(1)


@dns.command()
@domain_option
@click.option("--zone", is_flag=True, help="As a fragment of a BIND zone file.")
@as_json
def instructions(domain: str | None, zone: bool, json: bool) -> None:
    """What to publish, why, and whether it is there now."""
    with opened() as system:
        name = _of(system, domain)
        records = dns_watch.checker(system, name).records()
    if json:
        print_json({"domain": name, "records": [record.as_dict() for record in records]})
    else:
        click.echo((as_zone if zone else as_text)(name, records), nl=False)


@dns.command()
@domain_option
@as_json
def history(domain: str | None, json: bool) -> None:
    """The checks that were kept, the newest first, and what each changed."""
    with opened() as system:
        name = _of(system, domain)
        with system.database.read() as session:
            found = dns_results.history(session, name)
        told: list[dict[str, Any]] = [
            {
                "checked_at": row.checked_at.isoformat(),
                "asked_by": row.asked_by,
                "status": row.status,
                "changes": [str(change) for change in changes],
            }
            for row, changes in found
        ]
    if json:
        print_json({"domain": name, "checks": told})
        return
    table = Table("checked at", "status", "asked by", "changes", title=name)
    for one in told:
        status = Status(one["status"])
        changes = Text("\n".join(one["changes"]))
        table.add_row(one["checked_at"], _coloured(status), Text(one["asked_by"]), changes)
    console().print(table)


def _of(system: System, domain: str | None) -> str:
    return domain or system.settings.sending_domain


def _print_checks(told: Mapping[str, Any], all_of_them: bool) -> None:
    checks = sorted(told["checks"], key=lambda one: _WORST_FIRST.index(Status(one["status"])))
    shown = [
        one for one in checks if all_of_them or one["status"] not in (Status.PASS, Status.INFO)
    ]
    out = console()
    if shown:
        out.print(_table(shown))
    counts = ", ".join(
        f"{n} {status}"
        for status in _WORST_FIRST
        if (n := sum(one["status"] == status for one in checks))
    )
    out.print(
        Text.assemble(f"{told['domain']}: ", _coloured(Status(told["status"])), f" ({counts})")
    )


def _table(checks: Iterable[Mapping[str, Any]]) -> Table:
    table = Table(show_lines=True)
    for name in ("", "check", "host", "found", "what to do"):
        table.add_column(name, overflow="fold")  # half a name is no name
    for one in checks:
        status = Status(one["status"])
        whose = f"{one['id']}\n{one['esp']}" if one["esp"] else one["id"]
        remedy = f"{one['remedy']}\n{one['reference']}".strip()
        label = Text("BLOCKS", style=_COLOURS[status]) if one.get("blocks") else _coloured(status)
        table.add_row(label, *(Text(text) for text in (whose, one["host"], one["found"], remedy)))
    return table


def _coloured(status: Status) -> Text:
    return Text(status.value, style=_COLOURS[status])
