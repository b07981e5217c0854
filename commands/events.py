"""`events`: what ESPs told, drawn again."""

from datetime import timedelta

import click

from commands.opening import opened
from config.esp_config import EspName
from services.event_replay import replay as replay_all


@click.group()
def events() -> None:
    """What ESPs told by webhook."""


@events.command()
@click.option("--esp", type=click.Choice([name.value for name in EspName]), help="Only this one.")
@click.option("--days", type=click.IntRange(1, 30), default=30, help="So many days back (30).")
def replay(esp: str | None, days: int) -> None:
    """Read stored events again, and draw what follows: after an upgrade that understands more.

    What counted before does not count again. Payloads are kept for 30 days.
    """
    total = 0
    with opened() as system:
        since = system.clock() - timedelta(days=days)
        for n in replay_all(system, esp=EspName(esp) if esp else None, since=since):
            total += n
            click.echo(f"{total} events", err=True)
    click.echo(f"Replayed {total} events.")
