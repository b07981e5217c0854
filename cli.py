"""Commands for people who run an installation: `python3 cli.py --help`.

Each command is a function in `commands/`, imported when it is called: a command that
needs no ESP does not wait for the SDKs of three.
"""

from utils.environment import ensure_environment

if __name__ == "__main__":
    ensure_environment()

import logging
import os
from importlib import import_module

import click

COMMANDS = {
    "init": ("commands.installation", "init"),
    "serve": ("commands.installation", "serve"),
    "import": ("commands.people", "import_"),
    "export": ("commands.people", "export"),
    "list": ("commands.people", "list_"),
    "people": ("commands.person", "people"),
    "segment": ("commands.segments", "segment"),
    "send": ("commands.sending", "send"),
    "campaigns": ("commands.sending", "campaigns_"),
    "suppressions": ("commands.suppressions", "suppressions"),
    "events": ("commands.events", "events"),
    "esp": ("commands.esps", "esp"),
    "dns": ("commands.dns", "dns"),
    "keys": ("commands.keys", "keys"),
    "backup": ("commands.backup", "backup"),
    "restore": ("commands.backup", "restore"),
    "confirm-restore": ("commands.backup", "confirm_restore"),
    "simulator": ("commands.simulator", "simulator"),
    "demo": ("commands.demo", "demo"),
}


class _Commands(click.Group):
    """Knows the names; imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name]
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command


@click.command(cls=_Commands)
def cli() -> None:
    """Email delivery: campaigns through SendGrid, Amazon SES and Postmark."""
    os.umask(0o077)
    logging.basicConfig(level=logging.ERROR)  # what a command comes to, it tells itself


if __name__ == "__main__":
    cli()
