"""A PostgreSQL server of a test's own, which may be shut down as if the power had failed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.faults.driver import free_port

USER = "postgres"
"""Of the database, and who runs the programs where we are root, as whom they refuse to run."""


@cache
def programs() -> Path | None:
    """The folder of the newest `initdb` and `pg_ctl` on this machine."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(found, key=lambda one: int(one.parts[-3]), default=None) or shutil.which("initdb")
    return Path(newest).parent if newest else None


@dataclass(frozen=True, slots=True)
class Cluster:
    """One server on a port of its own, with `fsync` as a new cluster has it: on."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Returns when it takes connections, its recovery included."""
        said = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder}"
        self._control("start", "-l", str(self.folder / "log"), "-o", said)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Shut down as `immediate`: no transaction ends, no checkpoint is made. Back after it."""
        self.stop_at_once()
        try:
            yield
        finally:
            self.start()

    def stop(self) -> None:
        self._control("stop", "-m", "fast")

    def promote(self) -> None:
        """Returns when it takes writes; its first checkpoint may come later."""
        self._control("promote")

    def stop_at_once(self) -> None:
        self._control("stop", "-m", "immediate")

    def _control(self, *arguments: str) -> None:
        run("pg_ctl", "-D", str(self.folder / "data"), "-w", *arguments)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A new one, started; it is gone with the block."""
    with _place() as cluster:
        data = str(cluster.folder / "data")
        run("initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8")
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop_at_once()


@contextmanager
def base_backup(of: Cluster, signal: str) -> Iterator[Cluster]:
    """Of one that runs, started with `recovery.signal` or `standby.signal`, and no WAL but that
    of the backup itself; gone with the block."""
    with _place() as cluster:
        data = cluster.folder / "data"
        run("pg_basebackup", "-d", of.url, "-D", str(data), "-c", "fast")
        with (data / "postgresql.auto.conf").open("a") as conf:
            conf.write("restore_command = 'false'\n")
        (data / signal).touch()
        if os.geteuid() == 0:
            shutil.chown(data / signal, USER)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop_at_once()


@contextmanager
def _place() -> Iterator[Cluster]:
    # Not below pytest's folder, which nobody but its owner may enter.
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
        yield Cluster(folder, free_port())


def run(program: str, *arguments: str) -> None:
    folder = programs()
    assert folder is not None
    as_whom = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
    done = subprocess.run(
        [folder / program, *arguments],
        cwd="/",
        # The server holds what it is given; a pipe would never end.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        **as_whom,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, f"{program} {' '.join(arguments)}: {done.returncode}"
