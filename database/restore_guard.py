"""Tells whether a database is the one that was sent from last.

One that was restored or copied would send again what was sent already, and write to people who
have left since: it takes a person to say that it may send. What shows it is the mark, a file
that says how far claims and suppressions had come, and what the database itself tells of its
origin: `origin_sqlite`, `origin_postgres`.
"""

import time
from dataclasses import replace

from database.mark_file import Mark, MarkFile
from database.models import Suppression
from database.origin import Origin, highest
from database.origin_postgres import PostgresOrigin
from database.origin_sqlite import SqliteOrigin
from database.session import Database

CONFIRM = "python3 cli.py confirm-restore"
_LOOK_EVERY_S = 10.0
"""How long a suppression, or what another machine sends, may be missing from the mark."""


def safe_mode(why: str) -> str:
    """What to tell whoever wants to send, in one sentence."""
    return f"safe mode: the database {why}. Nothing is sent until `{CONFIRM}` says that it may"


class RestoreGuard:
    """The mark of a database. Only who holds the sender lock may `take`, `hold` and `claimed`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._origin: Origin = (SqliteOrigin if database.is_sqlite else PostgresOrigin)(database)
        self._file = MarkFile(database.beside("mark"))
        self._mark = Mark()
        self._looked_at = 0.0

    def why_held(self) -> str | None:
        """Why nothing may be sent from this database now; any process may ask."""
        mark = self._file.read()  # before the database, which only goes on meanwhile
        with self._database.read() as session:
            return self._origin.why_held(session, mark)

    def may_be_moved(self) -> bool:
        """Whether it is held for nothing but where it is: nothing in it is older."""
        mark = self._file.read()
        with self._database.read() as session:
            return self._origin.is_whole(session, mark)

    def take(self) -> None:
        """From now on this database is the one that is sent from, as it stands."""
        self._mark = self._origin.take(self._file)

    def hold(self, why: str) -> None:
        """Nothing is sent from what is put in this place, until a person confirms it."""
        self._origin.hold(self._file, why)

    def report(self) -> None:
        """It is held: tell machines that may not see it."""
        self._origin.report(self._file)

    def claimed(self, batch: int) -> None:
        """The claim of a batch is committed; its call has not begun."""
        self._mark = replace(self._mark, batch=max(batch, self._mark.batch))
        self._file.write(self._mark, sync=False)

    def keep_up(self) -> None:
        """Note, now and then, what others wrote into the database; cheap to call often."""
        if not self._is_time_to_look():
            return
        with self._database.read() as session:
            suppression = highest(session, Suppression)
        if suppression > self._mark.suppression or not self._file.is_synced:
            self._mark = replace(self._mark, suppression=suppression)
            self._file.write(self._mark, sync=True)

    def follow(self) -> None:
        """Note, now and then, how far another process has sent; cheap to call often."""
        if self._is_time_to_look():
            self._origin.follow(self._file)

    def close(self) -> None:
        self._file.close()

    def _is_time_to_look(self) -> bool:
        is_time = time.monotonic() - self._looked_at >= _LOOK_EVERY_S
        if is_time:
            self._looked_at = time.monotonic()
        return is_time
