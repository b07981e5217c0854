"""`init` and `serve`."""

from importlib import import_module

import click

from commands.opening import opened


@click.command()
def init() -> None:
    """Check the settings and bring the database to the current schema."""
    with opened() as system:
        click.echo(f"Database ready: {system.database.url.render_as_string(hide_password=True)}")


@click.command()
def serve() -> None:
    """Serve the API, and send; the same as `python3 app.py`."""
    import_module("app").serve()
