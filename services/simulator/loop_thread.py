"""An event loop in a daemon thread of its own, for callers in any other thread."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

PATIENCE_S = 30.0


class LoopThread:
    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)

    @property
    def is_closed(self) -> bool:
        return self._loop.is_closed()

    def start(self) -> None:
        self._thread.start()

    def wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        """Until it is done, before `start` too; raises what it raises, TimeoutError included."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)
        else:
            self._loop.run_until_complete(work)

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE_S)
        self._loop.close()
