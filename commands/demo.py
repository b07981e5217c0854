"""`demo`: a campaign through three ESPs, one of which fails half-way."""

import io
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from app import serving
from commands.opening import opened, settings
from config.settings import ROOT, SendingMode
from list_manager import import_csv
from services import demo as story
from services.demo import Ending
from services.system import System

DATABASE = ROOT / "data" / "demo.db"


@click.command()
@click.option(
    "--keep-open", is_flag=True, help="Keep the mailbox open in the browser until Ctrl-C."
)
def demo(keep_open: bool) -> None:
    """Send a campaign to a sample list, in the sandbox: no mail leaves this machine."""
    console = Console(highlight=False)
    _remove(DATABASE)
    with opened(
        sending_mode=SendingMode.SANDBOX,
        database_url=f"sqlite:///{DATABASE}",
        esps={},
        esp_limits=story.limits(settings().esp_limits),
    ) as system:
        _import(console, system)
        with serving(system) as address:
            ending = _send(console, system, address)
        _tell(console, ending)
        if keep_open and system.simulator is not None:
            click.pause(f"The mails are at {system.simulator.control_url} (any key ends it)")
    if ending.faults:
        raise click.ClickException("; ".join(ending.faults))


def _remove(database: Path) -> None:
    """Each demo begins anew; its database is its own."""
    for path in database.parent.glob(f"{database.name}*"):
        path.unlink()


def _import(console: Console, system: System) -> None:
    console.rule("1. A list is imported")
    result = import_csv(
        system.database,
        io.BytesIO(story.sample_list()),
        hash_key=system.hash_key,
        now=system.clock(),
        refusals=DATABASE.parent / "refused",
    )
    console.print(
        f"{result.rows} rows: {result.created} new subscribers, "
        f"{result.duplicates} given twice, {result.invalid} refused"
    )
    for refusal in result.refused:
        console.print(f"  row {refusal.row}: {refusal.email!r}: {refusal.reason}", style="dim")


def _send(console: Console, system: System, address: str) -> Ending:
    console.rule("2. A campaign is sent")
    console.print(
        f"SendGrid comes first, and will close our account after {story.SENDGRID_TAKES} mails.\n"
        f"Amazon SES comes next, with a daily limit of {story.SES_DAILY_LIMIT}. "
        "Postmark takes what is left."
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("sent", total=None)
        for told in story.send(system, address):
            done = told["planned"] - told["counts"]["queued"] - told["counts"]["sending"]
            progress.update(bar, completed=done, total=told["planned"] or None)
    with console.status("webhooks come back"):
        told = story.listen(system, told)
    return story.ending(system, told)


def _tell(console: Console, ending: Ending) -> None:
    console.rule("3. What became of it")
    told = ending.report
    table = Table("ESP", "our ledger says", "it received", "what happened")
    for esp in ending.words:
        accepted, received = told["by_esp"].get(esp.value, 0), ending.received[esp]
        table.add_row(esp.value, str(accepted), str(received), ending.words[esp])
    console.print(table)
    for change in told["failovers"]:
        console.print(
            f"{change['sends']} mails went on from {change['from']} to {change['to']}: "
            f"{change['reason']}"
        )
    console.print(
        f"{told['planned']} planned = {told['counts']['accepted']} accepted + "
        f"{told['counts']['rejected']} rejected + {sum(told['skipped'].values())} skipped + "
        f"{told['counts']['unknown']} unknown"
    )
    console.print(f"People who got it twice: {ending.duplicates}")
    heard = ", ".join(f"{n} {what}" for what, n in told["delivery"].items())
    console.print(f"By signed webhooks the ESPs told: {heard}")
    console.print(f"Status: {told['status']}, after {told['duration_seconds']} s\n")
    console.print("One of the mails, as it arrived:", style="bold")
    console.print(ending.sample, markup=False)
    console.print(
        "\nNext: python3 app.py, then the README's first campaign with curl.", style="bold"
    )
