"""How often somebody may do something, counted where every process of the installation sees it.

One row a caller, one statement a call: the time at which all that was taken is given back
(GCRA, as in ATM networks; RFC 2697 has the bucket). `most` may be taken at once, and again
after `within`, bit by bit. What is lost in a power cut is a minute's counts, so nothing is
fsync'd: on SQLite they are in a file beside the database, and no call waits for a writer.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import count
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from database.session import Database

_MICROSECOND = timedelta(microseconds=1)
_SWEEP_EVERY = 10_000
"""Calls; and with the first, or a process that is started often would never come to it."""
_LOCK = 0x6C696D697473
"""Any number that nothing else in the database uses."""

_CREATE = """
CREATE {kind} TABLE IF NOT EXISTS rate_limits (who {binary} PRIMARY KEY, full_at BIGINT NOT NULL)
"""
# A time further ahead than `within` was left by a clock that has been set back since.
_TAKE = text("""
INSERT INTO rate_limits AS kept (who, full_at) VALUES (:who, :now + :step)
ON CONFLICT (who) DO UPDATE SET full_at =
    CASE WHEN kept.full_at BETWEEN :now AND :now + :within THEN kept.full_at ELSE :now END + :step
WHERE kept.full_at NOT BETWEEN :now + :within - :step + 1 AND :now + :within
RETURNING full_at
""")
_LOOK = text("SELECT full_at FROM rate_limits WHERE who = :who")
_SWEEP = text("DELETE FROM rate_limits WHERE full_at < :now")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """At most `most` at once, and as many again in each `within`; 0 is no limit."""

    name: str
    """What is counted, as it is told to who takes too much."""
    most: int
    within: timedelta = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Which limit is reached, and in how many seconds there is one again."""

    limit: RateLimit
    seconds: int


class RateLimits:
    """The counts of a database. Raises SQLAlchemy's errors when they cannot be kept."""

    def __init__(self, database: Database, key: bytes) -> None:
        """`key`: hides whom a row is about; it holds no address, token or key."""
        self._engine = database.counter
        self._key = key
        self._is_there = False
        self._turns = count()

    def take(
        self,
        limit: RateLimit,
        who: str,
        now: datetime,
        *,
        barred: tuple[RateLimit, str] | None = None,
    ) -> Refusal | None:
        """Take one, or say why there is none: then none was taken.

        `barred`: a limit that others take from, and whose; none is taken while it is reached.
        """
        if barred is not None and not barred[0].most:
            barred = None
        if barred is None and not limit.most:
            return None
        try:
            with self._engine.begin() as connection:
                self._prepare(connection, now)
                return self._taken(connection, limit, who, now, barred)
        except SQLAlchemyError:
            self._is_there = False  # the file may be another one since
            raise

    def _taken(
        self,
        connection: Connection,
        limit: RateLimit,
        who: str,
        now: datetime,
        barred: tuple[RateLimit, str] | None,
    ) -> Refusal | None:
        if barred is not None:
            left = _seconds_left(connection, self._values(*barred, now))
            if left:
                return Refusal(limit=barred[0], seconds=left)
        if not limit.most:
            return None
        values = self._values(limit, who, now)
        if connection.execute(_TAKE, values).one_or_none() is not None:
            return None
        return Refusal(limit=limit, seconds=_seconds_left(connection, values))

    def _values(self, limit: RateLimit, who: str, now: datetime) -> dict[str, Any]:
        step = limit.within // limit.most // _MICROSECOND
        said = f"{limit.name} {who}".encode("utf-8", "surrogatepass")
        return {
            "who": blake2b(said, key=self._key, digest_size=16, person=b"rate-limit").digest(),
            "now": _microseconds(now),
            "step": step,
            "within": step * limit.most,
        }

    def _prepare(self, connection: Connection, now: datetime) -> None:
        if not self._is_there:
            on_postgresql = connection.dialect.name == "postgresql"
            if on_postgresql:  # two that make a table at once would collide
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            kind, binary = ("UNLOGGED", "BYTEA") if on_postgresql else ("", "BLOB")
            connection.exec_driver_sql(_CREATE.format(kind=kind, binary=binary))
            self._is_there = True
        if next(self._turns) % _SWEEP_EVERY == 0:
            connection.execute(_SWEEP, {"now": _microseconds(now)})


def _microseconds(now: datetime) -> int:
    return int(now.timestamp()) * 1_000_000 + now.microsecond


def _seconds_left(connection: Connection, values: dict[str, Any]) -> int:
    """Until one more fits, rounded up; 0 when it does."""
    full_at: int | None = connection.execute(_LOOK, {"who": values["who"]}).scalar()
    last = values["now"] + values["within"]
    if full_at is None or not last - values["step"] < full_at <= last:
        return 0
    microseconds: int = full_at + values["step"] - last
    return math.ceil(microseconds / 1_000_000)
