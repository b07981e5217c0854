"""A wall clock for the server under test (`serve_with_a_clock`), moved from the test's process."""

from datetime import UTC, datetime, timedelta
from pathlib import Path


class Clock:
    """The seconds that it is ahead of this machine's clock, or behind it, stand in a file, which
    is looked at each time that somebody asks for the time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.write_text("0")

    def ahead_s(self) -> float:
        return float(self.path.read_text())

    def move(self, seconds: float) -> None:
        """Forward, or back, from where it is; in one step, as the server may look at any time."""
        new = self.path.with_suffix(".new")
        new.write_text(str(self.ahead_s() + seconds))
        new.replace(self.path)

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead_s())
