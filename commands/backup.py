"""`backup`, `restore` and `confirm-restore`: copies of the database, and one put back."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import click
from sqlalchemy import make_url

from commands.opening import as_json, opened, print_json, settings
from database import backup as backups
from database.backup import InUse, NotABackup
from database.restore_guard import CONFIRM, RestoreGuard
from database.sender_lock import SenderLock
from database.session import Database
from services import restoring
from services.restoring import CannotConfirm
from services.system import System

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
        now = datetime.now(UTC)
        made = backups.back_up(database, folder, now)
        removed = backups.rotate(folder, database, keep, now)
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


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def restore(file: Path) -> None:
    """Make a backup the database; the server must be stopped. Nothing is sent from it until
    `confirm-restore`."""
    path = database_file()
    database = Database(settings().database_url)
    guard, lock = RestoreGuard(database), SenderLock(database)
    try:
        backups.verify(file)
        if not lock.try_acquire():
            raise InUse
        why = f"was restored from {file.name}"
        kept = backups.put_back(file, path, datetime.now(UTC), hold=lambda: guard.hold(why))
    except NotABackup as error:
        raise click.ClickException(f"{file} cannot be restored: {error}") from error
    except InUse as error:
        raise click.ClickException("a process has the database open: stop it") from error
    except OSError as error:
        raise click.ClickException(f"the database cannot be replaced: {error}") from error
    finally:
        guard.close()
        lock.release()
        database.close()
    if kept is not None:
        click.echo(f"What was there is kept: {kept}")
    click.echo(f"Restored. A server started now sends nothing until `{CONFIRM}` says that it may.")


@click.command()
@click.option("--moved", is_flag=True, help="It was only moved, and complete: campaigns go on.")
@click.option("--no-pull", is_flag=True, help="Do not read the ESPs' suppression lists before.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def confirm_restore(moved: bool, no_pull: bool, yes: bool, json: bool) -> None:
    """Let a database that was restored or copied send again, once no other copy of it does.

    Campaigns that were going on end: what they had queued may have been sent since the backup,
    so it becomes unknown, and `campaigns resolve` decides. In live mode the ESPs' suppression
    lists are read first. With a server running, it begins to send within a second.
    """
    with opened() as system:
        if system.safe_mode and not yes:
            _ask(system, moved)
        try:
            told = restoring.confirm(system, moved=moved, pull=not no_pull)
        except CannotConfirm as error:
            raise click.ClickException(str(error)) from error
    if json:
        print_json({"why": told.why, "unknown": told.unknown})
        return
    for campaign, unknown in told.unknown.items():
        click.echo(f"Campaign {campaign}: {unknown:,} sends may have been sent; campaigns resolve")
    click.echo("Confirmed: this database sends again.")


def _ask(system: System, moved: bool) -> None:
    click.echo(f"{system.safe_mode}.")
    with system.database.read() as session:
        for campaign in restoring.unfinished(session):
            fate = "goes on" if moved else f"ends; its {campaign.queued:,} queued become unknown"
            click.echo(f"Campaign {campaign.id} ({campaign.name}, {campaign.status}) {fate}")
    click.confirm("Is this the only copy of the database that will send?", abort=True)


def database_file() -> Path:
    """The file of this installation's database, whether or not it is there."""
    url = make_url(settings().database_url)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise click.ClickException(NOT_SQLITE)
    return Path(url.database)
