"""`backup`: a copy of the database while the server runs."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import click
from sqlalchemy import make_url

from commands.opening import as_json, print_json, settings
from database import backup as backups
from database.backup import NotABackup

NOT_SQLITE = "the database is not a SQLite file: PostgreSQL has pg_dump and pg_restore"


@click.command()
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the backups; `backups` beside the database, if not given.",
)
@click.option(
    "--keep",
    type=click.IntRange(1),
    default=48,
    show_default=True,
    help="How many of the newest stay.",
)
@as_json
def backup(folder: Path | None, keep: int, json: bool) -> None:
    """Copy the database while the server runs, verify the copy, remove the oldest ones."""
    database = database_file()
    folder = folder or database.parent / "backups"
    try:
        made = backups.back_up(database, folder, datetime.now(UTC))
        removed = backups.rotate(folder, database, keep)
    except NotABackup as error:
        raise click.ClickException(f"the copy is not sound: {error}") from error
    except (OSError, sqlite3.Error) as error:
        raise click.ClickException(f"no backup could be made: {error}") from error
    if json:
        print_json(
            {
                "path": str(made.path),
                "bytes": made.size,
                "rows": made.rows,
                "removed": [str(path) for path in removed],
            }
        )
        return
    click.echo(f"{made.path}: {sum(made.rows.values()):,} rows, {made.size / 1e6:,.1f} MB, sound")


def database_file() -> Path:
    """The file of this installation's database, whether or not it is there."""
    url = make_url(settings().database_url)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise click.ClickException(NOT_SQLITE)
    return Path(url.database)
