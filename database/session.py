"""Engines and transactions: who may read, who may write, and when it is on disk.

SQLite as SQLAlchemy opens it loses updates silently (a read-then-write transaction
starts deferred): writers here begin with BEGIN IMMEDIATE, one at a time per process,
and every commit is fsync'd (`synchronous=FULL`), since a claim must survive power loss.
"""

import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.orm import Session

from database.turns import Turns

BUSY_TIMEOUT_MS = 10_000
_PRAGMAS = (
    f"busy_timeout={BUSY_TIMEOUT_MS}",
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "trusted_schema=OFF",
    "journal_size_limit=67108864",
)


class Database:
    """One database, opened for this process.

    `read()` and `write()` give a session in one transaction; `write()` commits at the
    end of the block and rolls back if it raises. Functions that take a session never commit.
    `counter` is for counts that may be lost in a power cut, and for nothing else.
    """

    def __init__(self, url: str, *, folder: Path | None = None) -> None:
        """`folder`: for files that belong to a PostgreSQL database; without one there are none."""
        self.url, self._folder = make_url(url), folder
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self.writer = _sqlite_engine(self.url, begin="BEGIN IMMEDIATE", pool_size=1)
            self.reader = _sqlite_engine(self.url, begin="BEGIN", pool_size=8)
            self.counter = _sqlite_engine(
                _beside(self.url),
                begin="BEGIN IMMEDIATE",
                pool_size=1,
                max_overflow=0,  # threads queue here; in SQLite they would wait by sleeping
                also=("synchronous=NORMAL",),
            )
            self._turns: Turns | None = Turns(self.path)
        else:
            # `hide_parameters`: the values in a failed statement are people's.
            self.writer = create_engine(
                self.url, pool_size=8, max_overflow=64, pool_pre_ping=True, hide_parameters=True
            )
            # Else each statement of a reader would see another moment.
            self.reader = self.writer.execution_options(isolation_level="REPEATABLE READ")
            self.counter = self.writer
            self._turns = None

    @property
    def path(self) -> Path | None:
        """The file of a SQLite database."""
        return Path(self.url.database) if self.is_sqlite and self.url.database else None

    def beside(self, what: str) -> Path | None:
        """The file of that name that belongs to this database, on this machine."""
        if self.path is not None:
            return self.path.with_name(f"{self.path.name}.{what}")
        return self._folder and self._folder / f"postgresql.{what}"

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One consistent view; what is changed in it is thrown away."""
        with Session(self.reader) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction, committed and fsync'd when the block ends."""
        with (
            self._turns or nullcontext(),
            Session(self.writer, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    def close(self) -> None:
        self.writer.dispose()
        self.reader.dispose()
        self.counter.dispose()
        if self._turns is not None:
            self._turns.close()


def _beside(url: URL) -> URL:
    """A file of its own, so that a count waits for no writer and costs no fsync."""
    return url.set(database=f"{url.database}.limits") if url.database else url


def _sqlite_engine(
    url: URL, *, begin: str, pool_size: int, max_overflow: int = 64, also: Sequence[str] = ()
) -> Engine:
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=30,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # or pysqlite opens transactions of its own
        for pragma in (*_PRAGMAS, *also):
            connection.execute(f"PRAGMA {pragma}")
        ensure_power(connection)

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    return engine


def ensure_power(connection: sqlite3.Connection) -> None:
    """SQLite may have been built without its mathematical functions; ours is slower."""
    try:
        connection.execute("SELECT power(1, 1)")
    except sqlite3.OperationalError:
        connection.create_function("power", 2, math.pow, deterministic=True)
