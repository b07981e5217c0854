"""`simulator`: the three ESPs on loopback, as a process of its own."""

import runpy
import sys

import click


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def simulator(arguments: tuple[str, ...]) -> None:
    """Run the simulator of the three ESPs (`simulator --help` for its options)."""
    sys.argv = ["cli.py simulator", *arguments]
    runpy.run_module("services.simulator", run_name="__main__")
