"""What commands share: opening the installation (a fault is a line), and how they print."""

import json as json_text
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC
from typing import Any

import click
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from config.settings import Settings, SettingsError, load_settings
from database.migrate import SchemaNewerThanCode
from services.system import System, WrongDatabase


def settings() -> Settings:
    try:
        return load_settings()
    except SettingsError as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def opened(**changes: Any) -> Iterator[System]:
    """The system of this installation, with settings changed for this command."""
    try:
        system = System.open(replace(settings(), **changes))
    except (SchemaNewerThanCode, WrongDatabase) as error:
        raise click.ClickException(str(error)) from error
    except (SQLAlchemyError, OSError) as error:
        raise click.ClickException(f"the database cannot be used: {error}") from error
    try:
        yield system
    finally:
        system.close()


def override_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of an order to go on although the brake holds: by, why, until."""
    for option in (
        click.option(
            "--until",
            type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]),
            callback=lambda _context, _option, moment: moment and moment.replace(tzinfo=UTC),
            help="UTC; worse figures than now end it before. Without it, only they do.",
        ),
        click.option("--why", required=True, help="The reason, for whoever reads it later."),
        click.option("--by", "ordered_by", required=True, help="Who orders it."),
    ):
        command = option(command)
    return command


as_json = click.option("--json", is_flag=True, help="Print JSON.")


def console() -> Console:
    """For people: tables and progress, without guessing what to colour."""
    return Console(highlight=False)


def print_json(told: Any) -> None:
    click.echo(json_text.dumps(told, indent=2, default=str))
