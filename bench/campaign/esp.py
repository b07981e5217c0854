"""The ESP's side of a run: the sink as a process of its own, and what is asked of it."""

import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from config.settings import ROOT


@dataclass(frozen=True, slots=True)
class RunningSink:
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def counts(self) -> dict[str, int]:
        """`calls`, `messages`, `bytes` and `connections` since the last reset."""
        return cast(dict[str, int], json.loads(self.ask("GET", "/counts")))

    def reset(self) -> None:
        self.ask("POST", "/reset")

    def ask(self, method: str, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path)
            return connection.getresponse().read()
        finally:
            connection.close()


@contextmanager
def running_sink(python: str, latency_ms: int) -> Iterator[RunningSink]:
    """`python` may be of an environment that has uvloop."""
    command = [python, "-m", "bench.sink", "--latency-ms", str(latency_ms)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield RunningSink(int(process.stdout.readline().rpartition(":")[2]))
        finally:
            process.terminate()
