"""Our suppressions and the ESPs' own lists, brought together, one ESP after the other.

An ESP that fails is told in its report, and the others go on. Whatever breaks off may be
begun again: what was taken in stays, what was pushed is pushed again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from config.esp_config import EspConfig, EspName
from lists import suppression_sync as sync
from lists.suppression_sync import Taken
from services.adapters import build_suppression_list
from services.base import EspError
from services.suppression_lists import NotPushed, PushResult, Released
from services.system import System

CHUNK = 500
"""Entries in one transaction, addresses in one push."""
MOST_FAILURES = 3
"""In a row, of people to be released: then it is the ESP that fails, not their addresses."""

Progress = Callable[[EspName, int], None]
"""Told the ESP and how many entries of it are done so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What a pull from one ESP came to."""

    esp: EspName
    taken: Taken
    error: str | None = None
    """Why it broke off; what was taken until then stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What a push to one ESP came to."""

    esp: EspName
    pushed: int = 0
    failed: tuple[NotPushed, ...] = ()
    """Addresses that the ESP would not take; they are not tried again."""
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What one ESP made of one person who confirmed."""

    row: int
    """Of `suppressions`, which lifted what suppressed them."""
    became: Released | None = None
    error: str | None = None
    """Why nothing became of it yet."""


def pull_all(
    system: System,
    *,
    only: EspName | None = None,
    full: bool = False,
    progress: Progress | None = None,
) -> list[Pulled]:
    """Take in what came on each ESP's list since the last pull; `full`: all that is on it."""
    return [_pull(system, config, full, progress) for config in _configs(system, only)]


def push_all(
    system: System,
    *,
    only: EspName | None = None,
    full: bool = False,
    progress: Progress | None = None,
) -> list[Pushed]:
    """Put on each ESP's list whom we suppressed since the last push; `full`: ever."""
    return [_push(system, config, full, progress) for config in _configs(system, only)]


def release(system: System, config: EspConfig) -> Iterator[Release]:
    """Take everybody off the ESP's list who confirmed since the last time, one by one.

    It is pulled from first: who left by way of the ESP after they confirmed stays there, also
    when its webhook never came. Whoever fails is tried again the next time, after all who are
    new, and holds up nobody; `MOST_FAILURES` in a row end the pass.
    """
    with system.database.read() as session:
        through, waiting = sync.released(session, config.name)
    failed: list[int] = []
    in_a_row = 0
    while in_a_row < MOST_FAILURES and (lifts := _next_lifts(system, through, waiting)) is not None:
        if lifts.people:
            pulled = _pull(system, config, full=False, progress=None)
            if pulled.error is not None:
                yield Release(row=lifts.people[0].row, error=pulled.error)
                return
            lifts = _next_lifts(system, through, waiting) or lifts
        is_again, done_through = lifts.through == through, lifts.through
        if is_again:  # of the others nobody is to be released any more
            waiting = [lift.row for lift in lifts.people]
        for told in _released(config, lifts.people):
            yield told
            if is_again:
                waiting.remove(told.row)
            if told.error is None:
                in_a_row = 0
                continue
            failed.append(told.row)
            in_a_row += 1
            if in_a_row == MOST_FAILURES:
                done_through = max(through, told.row)
                break
        through = done_through
        with system.database.write() as session:
            sync.note_released(session, config.name, through, [*waiting, *failed])


def _released(config: EspConfig, people: Sequence[sync.Lift]) -> Iterator[Release]:
    if not people:
        return
    own_list = build_suppression_list(config)
    for lift in people:
        try:
            yield Release(row=lift.row, became=own_list.release(lift.address))
        except EspError as error:
            yield Release(row=lift.row, error=error.reason)


def _next_lifts(system: System, after: int, waiting: Sequence[int]) -> sync.Lifts | None:
    """Who is new, or else who waits since an earlier pass."""
    with system.database.read() as session:
        new = sync.next_lifts(session, after, system.clock())
        if new is None and waiting:
            return sync.lifts_again(session, waiting, through=after)
        return new


def _configs(system: System, only: EspName | None) -> Iterator[EspConfig]:
    for config in system.esps.values():
        if config.suppressions and only in (None, config.name):
            yield config


def _pull(system: System, config: EspConfig, full: bool, progress: Progress | None) -> Pulled:
    started_at, esp, taken = system.clock(), config.name, Taken()
    with system.database.read() as session:
        since = None if full else sync.pull_from(session, esp)
    try:
        for page in build_suppression_list(config).pull(since):
            for entries in _chunks(page):
                with system.database.write() as session:
                    taken += sync.take(
                        session, esp, entries, hash_key=system.hash_key, now=system.clock()
                    )
                _tell(progress, esp, taken.seen)
    except EspError as error:
        return Pulled(esp=esp, taken=taken, error=error.reason)
    with system.database.write() as session:
        sync.note_pulled(session, esp, started_at)
    return Pulled(esp=esp, taken=taken)


def _push(system: System, config: EspConfig, full: bool, progress: Progress | None) -> Pushed:
    esp, result = config.name, PushResult(pushed=0)
    with system.database.read() as session:
        after = 0 if full else sync.pushed_through(session, esp)
    own_list = build_suppression_list(config)
    try:
        while (part := _next_round(system, esp, after)) is not None:
            for people in _chunks(part.people):
                result = _sum(result, own_list.push(people))
                _tell(progress, esp, result.pushed + len(result.failed))
            after = part.through
            with system.database.write() as session:
                sync.note_pushed(session, esp, after)
    except EspError as error:
        return Pushed(esp=esp, pushed=result.pushed, failed=result.failed, error=error.reason)
    return Pushed(esp=esp, pushed=result.pushed, failed=result.failed)


def _next_round(system: System, esp: EspName, after: int) -> sync.Round | None:
    # Closed before the ESP is called: no transaction is open meanwhile.
    with system.database.read() as session:
        return sync.next_round(session, esp, after, system.clock())


def _sum(one: PushResult, other: PushResult) -> PushResult:
    return PushResult(pushed=one.pushed + other.pushed, failed=one.failed + other.failed)


def _tell(progress: Progress | None, esp: EspName, done: int) -> None:
    if progress is not None:
        progress(esp, done)


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
