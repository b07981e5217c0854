"""What would happen to a campaign: who would carry it, and when it would end. Pure."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf

from config.esp_config import EspName
from config.settings import EspDistribution
from services.esp_manager import eligible_again_at
from services.standing import Standing, month_of

MOST_DAYS = 400
"""A campaign that takes longer has limits that somebody must look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """`ends_at` is `None` when the limits, as they are, never let it end."""

    by_esp: Mapping[EspName, int]
    ends_at: datetime | None


def forecast(
    standings: Collection[Standing], n: int, now: datetime, *, distribution: EspDistribution
) -> Forecast:
    """Share `n` recipients out, day by day, as quotas and rates allow.

    An estimate: no ESP fails, answers take no time, a rolling day begins at midnight.
    """
    rooms = [
        _Room(s, now) for s in sorted(standings, key=lambda s: (s.priority, -s.reputation.score))
    ]
    by_esp: Counter[EspName] = Counter()
    at, left = now, n
    for _ in range(MOST_DAYS):
        shares = _shares(rooms, left, at, distribution)
        for room, share in zip(rooms, shares, strict=True):
            room.take(share)
            by_esp[room.esp] += share
        left -= sum(shares)
        if not left:
            seconds = [room.seconds(share) for room, share in zip(rooms, shares, strict=True)]
            takes = max(seconds) if distribution is EspDistribution.BALANCED else sum(seconds)
            starts = [r.opens_at for r, share in zip(rooms, shares, strict=True) if share]
            return Forecast(by_esp=+by_esp, ends_at=max(at, *starts, at) + timedelta(seconds=takes))
        at = _midnight_after(at)
        for room in rooms:
            room.turn(at)
    return Forecast(by_esp=+by_esp, ends_at=None)


class _Room:
    """What an ESP still takes, as the days go by."""

    def __init__(self, standing: Standing, now: datetime) -> None:
        self.esp = standing.esp
        self._limits = (_or_inf(standing.day.limit), _or_inf(standing.month.limit))
        self._day, self._month = _or_inf(standing.day.left), _or_inf(standing.month.left)
        self._per_second = standing.per_second
        resting = standing.left != 0  # a used quota is counted here, not waited for
        again = eligible_again_at(standing, now) if resting else None
        self.opens_at = again or now

    def left(self, at: datetime) -> float:
        """Recipients that it takes between `at` and the next midnight."""
        seconds = (_midnight_after(at) - max(at, self.opens_at)).total_seconds()
        if seconds <= 0:
            return 0
        by_rate = inf if self._per_second is None else int(seconds * self._per_second)
        return min(self._day, self._month, by_rate)

    def take(self, n: int) -> None:
        self._day -= n
        self._month -= n

    def turn(self, midnight: datetime) -> None:
        """A new day, and with the first of a month a new month."""
        self._day = self._limits[0]
        if midnight == month_of(midnight):
            self._month = self._limits[1]

    def seconds(self, n: int) -> float:
        return 0.0 if self._per_second is None else n / self._per_second


def _shares(
    rooms: Collection[_Room], n: int, at: datetime, distribution: EspDistribution
) -> list[int]:
    """How many of `n` each takes on this day."""
    lefts = [room.left(at) for room in rooms]
    shares = [0] * len(lefts)
    if distribution is EspDistribution.BALANCED:
        while n and (open_ := [i for i, left in enumerate(lefts) if left > shares[i]]):
            each = max(1, n // len(open_))
            for i in open_[:n]:
                took = int(min(each, lefts[i] - shares[i]))
                shares[i] += took
                n -= took
        return shares
    for i, left in enumerate(lefts):
        shares[i] = int(min(n, left))
        n -= shares[i]
    return shares


def _midnight_after(moment: datetime) -> datetime:
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day + timedelta(days=1)


def _or_inf(limit: int | None) -> float:
    return inf if limit is None else limit
