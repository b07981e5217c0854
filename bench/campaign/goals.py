"""What the figures have to come to. Each is a ratio within one run."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.tables import Row, goal


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One run: what is sent, and how."""

    esp: str
    people: int
    latency_ms: int
    """Of the ESP, for each call."""
    workers: int
    batch: int


ONE_WORKER = "ours, 1 worker, a tenth of the people"
A_TENTH = "ours, a tenth of the people"
WITH_LOGIC = "ours, conditions and loops"
MOST_MEMORY = 1.15
"""Times that of a tenth of the people."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians of one side."""

    rate: float
    """Mails a second."""
    cpu_us: float
    """Of one mail."""
    peak_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """`side` is at least `times` as fast as `of`, in runs of this kind."""

    of: str
    times: float
    side: str = "ours"
    esp: str | None = None
    latency_ms: int | None = None
    workers: int | None = None
    """`None`: any."""
    people: int = 100_000

    def holds_for(self, setting: Setting) -> bool:
        pairs = (
            (self.esp, setting.esp),
            (self.latency_ms, setting.latency_ms),
            (self.workers, setting.workers),
            (self.people, setting.people),
        )
        return all(wanted in (None, given) for wanted, given in pairs)


GOALS = (
    Goal(esp="sendgrid", latency_ms=100, workers=8, of="anymail", times=10),
    Goal(esp="sendgrid", latency_ms=100, workers=8, of="wire", times=0.85),
    Goal(esp="sendgrid", latency_ms=0, of="anymail", times=8),
    Goal(esp="sendgrid", latency_ms=0, of="floor", times=0.70),
    Goal(esp="sendgrid", side=WITH_LOGIC, of="ours", times=0.6),
    Goal(esp="postmark", latency_ms=100, workers=8, of="anymail", times=8),
    Goal(esp="postmark", latency_ms=100, workers=8, of="wire", times=0.8),
    Goal(esp="ses", latency_ms=100, workers=16, of="wire", times=0.8),
    Goal(esp="ses", latency_ms=100, workers=16, of=ONE_WORKER, times=8),
    Goal(people=1_000_000, of=A_TENTH, times=0.85),
)


def judged(setting: Setting, sides: Mapping[str, Figures]) -> list[Row]:
    """The goals of a run, reached or not; those of sides that could not be had are left out."""
    rows = [
        goal(f"{one.side} >= {one.times} x {one.of}", ratio, ratio >= one.times)
        for one in GOALS
        if one.holds_for(setting) and {one.side, one.of} <= sides.keys()
        for ratio in [sides[one.side].rate / sides[one.of].rate]
    ]
    if A_TENTH in sides:
        ratio = sides["ours"].peak_mb / sides[A_TENTH].peak_mb
        rows.append(goal(f"memory <= {MOST_MEMORY} x {A_TENTH}", ratio, ratio <= MOST_MEMORY))
    return rows
