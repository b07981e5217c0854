"""Programs under measurement: started, asked, timed and stopped."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from config.settings import ROOT
from tests.environment import API_KEY, live_environment

START_WITHIN_S = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Server:
    """A running program; its process group holds all its processes."""

    port: int
    group: int

    def cpu_s(self) -> float:
        """CPU seconds that its processes have used, in user code and in the kernel."""
        return sum(_cpu_s(stat) for stat in _stats() if int(stat[2]) == self.group)

    def call(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] = {}
    ) -> tuple[int, bytes]:
        """One call with the API key, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(
                method, target, body, {"Authorization": f"Bearer {API_KEY}", **headers}
            )
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@contextmanager
def running(command: Sequence[str], environ: Mapping[str, str], port: int) -> Iterator[Server]:
    """Until the block ends; begins when `/readyz` says 200."""
    with started(command, environ, lambda: _is_ready(port), pause_s=0.05) as group:
        yield Server(port, group)


@contextmanager
def started(
    command: Sequence[str],
    environ: Mapping[str, str],
    is_there: Callable[[], bool],
    *,
    pause_s: float,
) -> Iterator[int]:
    """Its process group, once `is_there()`, asked that often; it ends with the block."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=dict(environ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        ends_at = time.monotonic() + START_WITHIN_S
        while not is_there():
            if process.poll() is not None or time.monotonic() > ends_at:
                raise RuntimeError(f"{command} did not start")
            time.sleep(pause_s)
        yield process.pid
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ours(
    database: Path,
    public_key: str,
    port: int,
    sendgrid_url: str = "http://127.0.0.1:9",
    batch_size: int = 1000,
) -> tuple[list[str], dict[str, str]]:
    """`app.py` in live mode: command and environment."""
    return [sys.executable, "app.py"], live_environment(
        port,
        database,
        SENDGRID_API_KEY="SG.a-key-for-benches",
        SENDGRID_BASE_URL=sendgrid_url,
        SENDGRID_WEBHOOK_PUBLIC_KEY=public_key,
        SENDGRID_BATCH_SIZE=str(batch_size),
    )


def peer(app: str, port: int) -> tuple[list[str], dict[str, str]]:
    """The same server as ours (one process, 64 threads) with another app."""
    gunicorn = ["-k", "gthread", "-w", "1", "--threads", "64", "--keep-alive", "15"]
    place = ["-b", f"127.0.0.1:{port}", "--no-control-socket"]
    return [sys.executable, "-m", "gunicorn", *gunicorn, *place, app], {"PATH": os.environ["PATH"]}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_ready(port: int) -> bool:
    try:
        return Server(port, group=0).call("GET", "/readyz")[0] == 200
    except OSError:
        return False


def _stats() -> Iterator[list[str]]:
    """`/proc/<pid>/stat` of every process, from the state on: see proc(5)."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield (process / "stat").read_text().rpartition(")")[2].split()


def _cpu_s(stat: list[str]) -> float:
    return (int(stat[11]) + int(stat[12])) / _TICKS
