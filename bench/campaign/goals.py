"""What the figures have to come to. Each is a ratio within one run."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.tables import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One run: what is sent, and how."""

    esp: str
    people: int
    latency_ms: int
    """Of the ESP, for each call."""
    workers: int
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """Ours is at least `times` as fast as `side`, in runs of this kind."""

    esp: str
    latency_ms: int
    workers: int | None
    """`None`: any."""
    side: str
    times: float
    people: int = 100_000

    def holds_for(self, setting: Setting) -> bool:
        return (
            (self.esp, self.people, self.latency_ms)
            == (setting.esp, setting.people, setting.latency_ms)
        ) and self.workers in (None, setting.workers)


GOALS = (
    Goal(esp="sendgrid", latency_ms=100, workers=8, side="anymail", times=10),
    Goal(esp="sendgrid", latency_ms=100, workers=8, side="wire", times=0.85),
    Goal(esp="sendgrid", latency_ms=0, workers=None, side="anymail", times=8),
    Goal(esp="sendgrid", latency_ms=0, workers=None, side="floor", times=0.70),
    Goal(esp="postmark", latency_ms=100, workers=8, side="anymail", times=8),
    Goal(esp="postmark", latency_ms=100, workers=8, side="wire", times=0.8),
    Goal(esp="ses", latency_ms=100, workers=16, side="wire", times=0.8),
)


def judged(setting: Setting, rates: Mapping[str, float]) -> list[Row]:
    """The goals of a run, reached or not, from the mails a second of each side."""
    return [
        {
            "goal": f"ours >= {one.times} x {one.side}",
            "measured": round(rates["ours"] / rates[one.side], 2),
            "reached": "yes" if rates["ours"] >= one.times * rates[one.side] else "no",
        }
        for one in GOALS
        if one.holds_for(setting) and one.side in rates
    ]
