"""`import` and `export`: the list as CSV files; `list`: what becomes of the people on it."""

import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from commands.opening import as_json, console, opened, print_json
from config.settings import ROOT
from database.models import SubscriberStatus
from list_manager import BadHeader, export_csv, import_csv
from lists.sunset import Page, Step, silent_people, sunset
from services.system import System
from utils.intake import refusals


@click.command(name="import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--allow-role", is_flag=True, help="Take addresses of a task (support@) too.")
@click.option("--allow-disposable", is_flag=True, help="Take mailboxes that are thrown away too.")
@as_json
def import_(file: Path, allow_role: bool, allow_disposable: bool, json: bool) -> None:
    """Put the people of a CSV file on the list. Nobody who left is revived.

    Addresses of a task (support@) and mailboxes that are thrown away are refused, unless
    they are allowed; abuse@ and its like always are.
    """
    size = file.stat().st_size
    columns = (TextColumn("importing"), BarColumn(), DownloadColumn())
    with (
        opened() as system,
        file.open("rb", buffering=0) as stream,
        Progress(*columns, console=console(), disable=json) as progress,
    ):
        bar = progress.add_task("", total=size)
        try:
            result = import_csv(
                system.database,
                stream,
                hash_key=system.hash_key,
                now=system.clock(),
                refusals=ROOT / "data" / "refused",
                refuse=refusals(roles=allow_role, disposable=allow_disposable),
                progress=lambda _: progress.update(bar, completed=stream.tell()),
            )
        except BadHeader as error:
            raise click.ClickException(str(error)) from error
        progress.update(bar, completed=size)
    _tell(result, json)


def _tell(result: Any, json: bool) -> None:
    counts = ("rows", "created", "updated", "suppressed", "duplicates", "invalid")
    told = {name: getattr(result, name) for name in counts}
    refused = [{"row": r.row, "email": r.email, "reason": r.reason} for r in result.refused]
    if json:
        print_json({**told, "refused": refused})
        return
    console().print(", ".join(f"{n} {name}" for name, n in told.items()))
    for one in refused:
        console().print(f"  row {one['row']}: {one['email']!r}: {one['reason']}", markup=False)


@click.command()
@click.argument("file", type=click.File("w", encoding="utf-8", lazy=True), default="-")
@click.option(
    "--status",
    type=click.Choice([status.value for status in SubscriberStatus]),
    default=SubscriberStatus.ACTIVE.value,
    show_default=True,
    help="Whom to write.",
)
@click.option("--tag", help="Only who has this tag.")
def export(file: IO[str], status: str, tag: str | None) -> None:
    """Write the list as CSV, to FILE or to standard output."""
    with opened() as system:
        written = export_csv(system.database, file, status=SubscriberStatus(status), tag=tag)
    click.echo(f"{written} people", file=sys.stderr)


@click.group(name="list")
def list_() -> None:
    """Look after the people on the list."""


@list_.command(name="sunset")
@click.option("--apply", is_flag=True, help="Do it; without, only tell how many there are.")
@as_json
def sunset_(apply: bool, json: bool) -> None:
    """Stop writing to people who showed no sign of life for half a year.

    Ten mails delivered meanwhile, or two years, for a weekly newsletter. Only a confirmed
    opt-in of theirs takes it back. Those silent for three months should be asked first.
    """
    found: Counter[Step] = Counter()
    stopped = 0
    with opened() as system:
        now = system.clock()
        for page in _silent_pages(system, now):
            found.update(page.steps.values())
            if apply:
                with system.database.write() as session:
                    stopped += sunset(session, page.people(Step.SUNSET), now)
    told = {"silent": found[Step.SUNSET], "stopped": stopped, "ask": found[Step.RE_ENGAGE]}
    if json:
        print_json(told)
        return
    console().print(
        "{silent} silent for too long, {stopped} of them not written to from now on;"
        " {ask} should be asked whether they want to stay".format(**told)
    )
    if found[Step.SUNSET] and not apply:
        console().print("Nothing was changed: --apply does it.")


def _silent_pages(system: System, now: datetime) -> Iterator[Page]:
    after: int | None = 0
    while after is not None:
        with system.database.read() as session:
            page = silent_people(session, now, after)
        yield page
        after = page.after
