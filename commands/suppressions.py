"""`suppressions`: who must not be written to; and the ESPs' own lists, read and filled."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from commands.opening import as_json, console, opened, print_json
from config.esp_config import EspName
from database.models import Suppression, SuppressionReason
from list_manager import suppress, suppression_of
from lists import suppression_log
from services import suppression_sync
from services.suppression_sync import Progress as Told
from services.system import System
from utils.addresses import Address, InvalidAddress, normalise
from utils.tokens import email_hash

SHOWN_FAILURES = 20
BY_HAND = ("manual", "unsubscribed", "complaint", "hard_bounce")

esp_option = click.option(
    "--esp", type=click.Choice([esp.value for esp in EspName]), help="Only this ESP."
)
full_option = click.option(
    "--full", is_flag=True, help="Everything, not only what is new: for another account or stream."
)


@click.group()
def suppressions() -> None:
    """Look at who must not be written to, and keep the ESPs' own lists in step."""


@suppressions.command()
@esp_option
@full_option
@as_json
def pull(esp: str | None, full: bool, json: bool) -> None:
    """Suppress whom an ESP's own list holds. Exit code 1 if an ESP failed."""
    with opened() as system, _progress(system, json) as told:
        reports = suppression_sync.pull_all(
            system, only=EspName(esp) if esp else None, full=full, progress=told
        )
    rows = [
        {
            "esp": one.esp.value,
            "seen": one.taken.seen,
            "new": one.taken.new,
            "known": one.taken.known,
            "back": one.taken.back,
            "invalid": one.taken.invalid,
            "error": one.error,
        }
        for one in reports
    ]
    _tell(rows, json)


@suppressions.command()
@esp_option
@full_option
@as_json
def push(esp: str | None, full: bool, json: bool) -> None:
    """Put whom we suppressed on the list of every ESP. Exit code 1 if an ESP failed."""
    with opened() as system, _progress(system, json) as told:
        reports = suppression_sync.push_all(
            system, only=EspName(esp) if esp else None, full=full, progress=told
        )
    rows = [
        {
            "esp": one.esp.value,
            "pushed": one.pushed,
            "failed": len(one.failed),
            "error": one.error,
            "failures": [
                {"email": failed.address, "why": failed.why}
                for failed in one.failed[:SHOWN_FAILURES]
            ],
        }
        for one in reports
    ]
    _tell(rows, json)


@suppressions.command()
@click.argument("email")
@click.option("--reason", type=click.Choice(BY_HAND), default=BY_HAND[0], show_default=True)
@click.option("--evidence", help="How you know; kept with it. No personal data.")
@as_json
def add(email: str, reason: str, evidence: str | None, json: bool) -> None:
    """Never write to EMAIL again, whether it is on the list or not."""
    address = _address(email)
    with opened() as system, system.database.write() as session:
        who = email_hash(system.hash_key, address.key)
        is_new = suppress(
            session,
            who,
            reason=SuppressionReason(reason),
            source="operator",
            evidence=evidence,
            now=system.clock(),
        )
    if json:
        print_json({"email": address.email, "new": is_new})
        return
    console().print(f"{address.email}: {'suppressed' if is_new else 'was suppressed already'}")


@suppressions.command()
@click.argument("email")
@as_json
def check(email: str, json: bool) -> None:
    """Whether EMAIL is suppressed, and all that was ever said about it."""
    address = _address(email)
    with opened() as system, system.database.read() as session:
        who = email_hash(system.hash_key, address.key)
        holds = suppression_of(session, who, system.clock())
        rows = [_row(row) for row in suppression_log.history(session, who)]
        told = {"email": address.email, "suppressed": holds is not None, "history": rows}
    if json:
        print_json(told)
        return
    console().print(f"{address.email}: {'suppressed' if told['suppressed'] else 'not suppressed'}")
    _table(rows)


@suppressions.command(name="list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--before", type=click.IntRange(1), help="Go on after the row with this id.")
@as_json
def list_(limit: int, before: int | None, json: bool) -> None:
    """The newest rows; an address shows while its person is on the list."""
    with opened() as system, system.database.read() as session:
        page = suppression_log.newest(session, before=before, limit=limit)
        emails = suppression_log.addresses(session, page)
        rows = [{**_row(row), "email": emails.get(row.email_hash)} for row in page]
    if json:
        print_json(rows)
    else:
        _table(rows)


def _address(email: str) -> Address:
    try:
        return normalise(email)
    except InvalidAddress as error:
        raise click.ClickException(f"{email!r}: {error.reason}") from error


def _row(row: Suppression) -> dict[str, Any]:
    return {
        "id": row.id,
        "reason": row.reason.value,
        "source": row.source,
        "since": row.created_at.isoformat(timespec="seconds"),
        "until": row.until and row.until.isoformat(timespec="seconds"),
        "evidence": row.evidence,
    }


@contextmanager
def _progress(system: System, quiet: bool) -> Iterator[Told]:
    if system.is_sandbox:
        system.start_simulator()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}"))
    with Progress(*columns, console=console(), disable=quiet) as bars:
        bar_of = {esp: bars.add_task(esp.value, total=None) for esp in system.esps}
        yield lambda esp, done: bars.update(bar_of[esp], completed=done)


def _tell(rows: list[dict[str, Any]], json: bool) -> None:
    """The reports; exit code 1 when one of them is of a failure."""
    if json:
        print_json(rows)
    else:
        failures = [failed for row in rows for failed in row.pop("failures", [])]
        _table(rows)
        for failed in failures:
            console().print(f"  {failed['email']!r}: {failed['why']}", markup=False)
    if any(row["error"] for row in rows):
        raise SystemExit(1)


def _table(rows: list[dict[str, Any]]) -> None:
    if not rows:
        console().print("Nothing")
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    console().print(table)
