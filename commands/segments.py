"""`segment`: saved audiences, and whom a filter selects."""

import json as json_text
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click
from rich.table import Table
from rich.text import Text

from commands.opening import as_json, console, opened, print_json
from lists import segments
from lists.segment_filter import InvalidFilter, parse
from lists.segments import UnknownSegment

FILTER = click.File("r", encoding="utf-8")


@click.group()
def segment() -> None:
    """Saved audiences: a name for a filter over the list (docs/segments.md)."""


@segment.command(name="list")
@as_json
def list_(json: bool) -> None:
    """All saved segments."""
    with opened() as system, system.database.read() as session:
        told = [(one.name, one.filter, one.updated_at) for one in segments.all_segments(session)]
    if json:
        print_json([{"name": name, "filter": said} for name, said, _ in told])
        return
    table = Table("name", "filter", "changed")
    for name, said, changed in told:
        table.add_row(name, Text(json_text.dumps(said)), f"{changed:%Y-%m-%d %H:%M}")
    console().print(table)


@segment.command()
@click.argument("name")
def show(name: str) -> None:
    """The filter of a segment, as JSON."""
    with opened() as system, system.database.read() as session, _refusals():
        print_json(segments.find_segment(session, name).filter)


@segment.command()
@click.argument("name")
@click.argument("file", type=FILTER)
def save(name: str, file: IO[str]) -> None:
    """Keep the filter in FILE (JSON; - is standard input) under NAME; an older one is replaced."""
    with opened() as system, system.database.write() as session, _refusals():
        is_new = segments.save_segment(
            session, segments.check_name(name), _json_of(file), system.clock()
        )
    click.echo(f"{name}: {'saved' if is_new else 'replaced'}")


@segment.command()
@click.argument("name")
def delete(name: str) -> None:
    """Forget a segment. Campaigns that were sent to it go on."""
    with opened() as system, system.database.write() as session, _refusals():
        segments.delete_segment(session, name)
    click.echo(f"{name}: deleted")


@segment.command()
@click.argument("name", required=False)
@click.option("--file", type=FILTER, help="A filter that is not saved (JSON; - is standard input).")
@as_json
def preview(name: str | None, file: IO[str] | None, json: bool) -> None:
    """How many people a segment selects, of whatever status, and some of them."""
    if (name is None) == (file is None):
        raise click.UsageError("give either NAME or --file")
    with opened() as system, system.database.read() as session, _refusals():
        said = _json_of(file) if file else segments.find_segment(session, str(name)).filter
        filter_ = parse(said)
        if file:
            segments.check_campaigns(session, filter_)
        found = segments.preview(session, filter_, system.clock())
    if json:
        told = {"count": found.count, "is_estimate": found.is_estimate, "sample": found.sample}
        print_json(told)
        return
    click.echo(f"{'about ' if found.is_estimate else ''}{found.count} selected")
    for email in found.sample:
        click.echo(f"  {email}")


def _json_of(file: IO[str]) -> Any:
    try:
        return json_text.load(file)
    except (ValueError, RecursionError) as error:
        raise click.ClickException(f"{file.name} is not JSON: {error}") from error


@contextmanager
def _refusals() -> Iterator[None]:
    """What is wrong with a name or a filter, as a line."""
    try:
        yield
    except UnknownSegment as error:
        raise click.ClickException(f"there is no segment {error}: segment list") from error
    except (InvalidFilter, ValueError) as error:
        raise click.ClickException(str(error)) from error
