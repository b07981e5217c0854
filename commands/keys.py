"""`keys`: the secrets of the installation, in .env."""

import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

import click

from config.settings import ROOT


@click.group()
def keys() -> None:
    """Make new secrets. Restart the server afterwards."""


@keys.command()
def api() -> None:
    """A new API_KEY in .env; the old one ends with the restart."""
    key = secrets.token_urlsafe(32)
    _write(ROOT / ".env", "API_KEY", lambda _: key)
    click.echo(key)


def _lesser(command: str, name: str, may: str) -> None:
    """A command for one of the settings that hold several keys, each good for less than API_KEY."""

    @click.option("--only", is_flag=True, help="Take the old ones away: they end with the restart.")
    def add(only: bool) -> None:
        key = secrets.token_urlsafe(32)
        _write(ROOT / ".env", name, lambda old: f"{key},{old}" if old and not only else key)
        click.echo(key)

    about = f"A new key in {name}, beside the old ones: {may}."
    keys.command(name=command, help=about)(add)


_lesser("read", "READ_API_KEYS", "it reads figures")
_lesser("send", "SEND_API_KEYS", "it reads figures and sends campaigns")
_lesser("sign-up", "SIGN_UP_API_KEYS", "it adds people to the list")


@keys.command()
def links() -> None:
    """A new SECRET_KEY before the old ones: links in mails that are out go on working."""
    key = secrets.token_urlsafe(48)
    _write(ROOT / ".env", "SECRET_KEY", lambda old: f"{key},{old}" if old else key)
    click.echo("SECRET_KEY has a new first key; the old ones still verify links.")


def _write(env: Path, name: str, change: Callable[[str], str]) -> None:
    """Replace one value, by a rename: a crash leaves the old file or the new one."""
    if not env.exists():
        raise click.ClickException(f"there is no {env}: run ./setup.sh first")
    line = re.compile(rf"^{name}=(.*)$", re.MULTILINE)
    text = env.read_text("utf-8")
    if not line.search(text):
        text = f"{text.rstrip()}\n{name}=\n"
    text = line.sub(lambda found: f"{name}={change(found.group(1).strip())}", text, count=1)
    fresh = env.with_name(".env.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(env)
