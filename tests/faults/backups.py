"""Backups as an operator makes and restores them, by command, while the server may be killed."""

import json
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from config.settings import ROOT
from tests.faults import oracle
from tests.faults.oracle import Fault, Taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A file that the command said is sound, and what must be in it."""

    path: Path
    begun_at: datetime
    """What was so by then is in it."""
    left: frozenset[str]
    """Who was off the list by then."""


def back_up(environ: Mapping[str, str], folder: Path, left: Collection[str]) -> Backup:
    """`cli.py backup`; AssertionError when it fails."""
    begun_at, left = datetime.now(UTC), frozenset(left)
    said = command(environ, "backup", "--to", str(folder), "--keep", "1000", "--json")
    assert said.returncode == 0, said.stderr
    return Backup(path=Path(json.loads(said.stdout)["path"]), begun_at=begun_at, left=left)


def restore(backup: Path, environ: Mapping[str, str], folder: Path) -> tuple[dict[str, str], Path]:
    """`cli.py restore` into an empty folder: the environment of the restored installation, and
    its database."""
    database = folder / "email.db"
    elsewhere = {**environ, "DATABASE_URL": f"sqlite:///{database}"}
    said = command(elsewhere, "restore", str(backup))
    assert said.returncode == 0, said.stderr
    return elsewhere, database


def faults_of(
    backup: Backup, environ: Mapping[str, str], scratch: Path, taken: Sequence[Taken]
) -> list[Fault]:
    """Restored into `scratch`, which goes away: what the oracle says of it as of its moment."""
    scratch.mkdir()
    try:
        _, database = restore(backup.path, environ, scratch)
        return oracle.examine_as_of(
            oracle.sqlite_query(database), taken, backup.begun_at, backup.left
        )
    finally:
        shutil.rmtree(scratch)


def command(environ: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "cli.py", *arguments],
        cwd=ROOT,
        env=dict(environ),
        capture_output=True,
        text=True,
        check=False,
    )
