"""The soak, for some seconds: its half hour is run by hand (docs/reliability.md)."""

from pathlib import Path

from tests.faults.soak import Plan, soak
from tests.faults.soak_figures import Sample, memory, most

SECONDS = 8.0


def test_a_soak_kills_backs_up_and_finds_no_fault(tmp_path: Path) -> None:
    plan = Plan(
        minutes=SECONDS / 60,
        sends_per_s=40,
        backup_every_s=SECONDS / 2,
        kill_every_s=SECONDS / 2,
        row_every_s=SECONDS / 4,
    )
    rows: list[str] = []
    found = soak(plan, tmp_path, rows.append)
    assert found["faults"] == []
    assert min(found[name] for name in ("kills", "backups", "mails", "events_told")) > 0
    assert found["memory"]["most_mb"] > 0
    assert len(rows) > 1


def sample(at_s: float, life: int, rss_mb: float) -> Sample:
    return Sample(
        at_s=at_s, life=life, rss_mb=rss_mb, files=30, threads=20, wal_mb=at_s, database_mb=1
    )


def test_memory_is_told_by_least_squares_within_each_life_and_across_them() -> None:
    """Two lives of an hour; each grows by 2 MB/h after a first third that says nothing, the
    second from 10 MB more."""
    samples = [
        sample(3600 * life + 60 * minute, life, 100 + 10 * life + minute / 30 + 50 * (minute < 20))
        for life in (0, 1)
        for minute in range(60)
    ]
    told = memory(samples)
    assert told["within_each_life_mb_per_h"] == [2.0, 2.0]
    assert told["across_lives_mb_per_h"] == 10.0
    assert most(samples) == {"files": 30, "threads": 20, "wal_mb": 7140, "database_mb": 1}
