"""When an address that keeps bouncing softly is given a rest, and when it is given up.

Facts 5.5. A function of the set of bounces: whoever records one more asks again with all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

REST = timedelta(days=30)
"""How long nobody writes to the address before it gets one more try."""

_BOUNCES = 5
_DAYS = 3
_WINDOW = timedelta(days=30)

_DISABLED_WINDOW = timedelta(days=7)

_SLOW_BOUNCES = 3
_SLOW_SPAN = timedelta(days=15)
"""Of mailings slower than weekly: two weeks, and a day for when a weekly one goes out late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftVerdict:
    """What the soft bounces of one address since its last sign of life come to."""

    count: int = 0
    days: int = 0
    """Different UTC days among them."""
    first_at: datetime | None = None
    last_at: datetime | None = None
    until: datetime | None = None
    """The end of a rest, perhaps over by now; `None` too once it is given up."""
    permanent: bool = False
    """It had its rest, and bounced again."""


def soft_verdict(softs: Sequence[datetime], last_delivered_at: datetime | None) -> SoftVerdict:
    """What becomes of an address, from the times of its soft bounces in any order, repeated or not.

    `last_delivered_at` is the newest delivery: bounces up to it are forgotten.
    Five within 30 days on three days bring a rest of 30 days, and so do three in a row over
    more than two weeks, as mailings slower than weekly have them. Bounces during the rest
    are of mails that were on their way, and do not count; the first after it is the last.
    """
    counted: list[datetime] = []
    until = None
    for at in sorted(set(softs)):
        if last_delivered_at is not None and at <= last_delivered_at:
            continue
        if until is None:
            counted.append(at)
            if _is_enough(counted):
                until = at + REST
        elif at >= until:
            return _verdict([*counted, at], None, permanent=True)
    return _verdict(counted, until)


def is_disabled(refusals: Sequence[datetime]) -> bool:
    """Whether a mailbox that was refused as disabled (5.2.1) at these times is gone: twice
    within a week."""
    return any(later - earlier <= _DISABLED_WINDOW for earlier, later in pairwise(sorted(refusals)))


def _is_enough(counted: Sequence[datetime]) -> bool:
    """Whether the last of these bounces, in their order, is the one too many."""
    last = counted[-1]
    within = [at for at in counted if last - at <= _WINDOW]
    if len(within) >= _BOUNCES and len(_days(within)) >= _DAYS:
        return True
    return len(counted) >= _SLOW_BOUNCES and last - counted[-_SLOW_BOUNCES] >= _SLOW_SPAN


def _verdict(
    counted: Sequence[datetime], until: datetime | None, *, permanent: bool = False
) -> SoftVerdict:
    return SoftVerdict(
        count=len(counted),
        days=len(_days(counted)),
        first_at=counted[0] if counted else None,
        last_at=counted[-1] if counted else None,
        until=until,
        permanent=permanent,
    )


def _days(times: Sequence[datetime]) -> set[date]:
    return {at.astimezone(UTC).date() for at in times}
