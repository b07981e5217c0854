"""A PostgreSQL database is the original if the row that it was sent from under is in its place.

The row (`SentFrom`) says in which server, timeline and database it was written, and by which
transaction. A dump brings its values along but is written by another transaction; a copy of the
database has another number; a copy of the server another identifier, or, once it was recovered
or promoted, another timeline. So any machine sees it, whether or not it has sent from it before.

What is the same in all of these, as a snapshot of the server's disk that was put back, only a
mark can tell: a file on each machine that sends or waits to. It counts within its generation:
after a confirmation on one machine, the marks of the others are out of date.
"""

from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, delete, insert, literal_column, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from database.mark_file import Mark, MarkFile, is_older
from database.models import SendBatch, SentFrom, Suppression
from database.origin import OLDER, highest, identity_of
from database.session import Database

_SERVER = "SELECT system_identifier FROM pg_control_system()"
# The control file has the new timeline only after the first checkpoint of a promoted server.
_TIMELINE = "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)"
_DATABASE = "SELECT oid FROM pg_database WHERE datname = current_database()"

# Kept with each row: the lower 32 bits of the number of the transaction that wrote it. To freeze
# or move rows, as VACUUM and CLUSTER do, leaves it.
_WRITER: ColumnElement[int] = literal_column("sent_from.xmin::text::bigint")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a database is. Of a server that does not tell, the first two are empty, which is
    another place than one that was told: who takes the right away has to confirm."""

    server: str
    """The identifier that `initdb` made."""
    timeline: str
    """Another one after each recovery to a point in time, and each promotion of a replica."""
    database: int
    """Another one for each CREATE DATABASE; the same after a new name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """What the row says that the database was sent from under."""

    generation: int
    place: Place
    is_original: bool
    """Whether the transaction that it names wrote it."""
    held: str | None


def why_held(seal: Seal | None, place: Place, mark: Mark | None, now: Mark) -> str | None:
    """As `Origin.why_held`. Without a seal the database was never sent from, or by a version
    before there were any; without a mark, not from this machine."""
    if seal is not None and (why := _why_of_seal(seal, place)) is not None:
        return why
    if mark is None or mark.held is not None:
        return None if mark is None else mark.held
    return OLDER if mark.identity == now.identity and is_older(now, mark) else None


def _why_of_seal(seal: Seal, place: Place) -> str | None:
    if seal.held is not None:
        return seal.held
    if seal.place.server != place.server:
        return "was copied or restored to another PostgreSQL server"
    if seal.place.database != place.database:
        return "was copied or restored from another database of its server"
    if not seal.is_original:
        return "was restored from a dump"
    if seal.place.timeline != place.timeline:
        return "was recovered to a point in time, or its server was promoted from a replica"
    return None


class PostgresOrigin:
    def __init__(self, database: Database) -> None:
        self._database = database

    def why_held(self, session: Session, mark: Mark | None) -> str | None:
        seal = _seal(session)
        return why_held(seal, _place(session), mark, _stand(session, seal))

    def is_whole(self, session: Session, mark: Mark | None) -> bool:
        seal = _seal(session)
        now = _stand(session, seal)
        return (
            seal is not None
            and seal.held is None
            and mark is not None
            and not mark.is_noted
            and (mark.held, mark.identity, mark.generation) == (None, now.identity, now.generation)
            and not is_older(now, mark)
        )

    def take(self, file: MarkFile) -> Mark:
        mark = file.read()
        with self._database.write() as session:
            seal = _seal(session)
            now = _stand(session, seal)
            if seal is None or why_held(seal, _place(session), mark, now) is not None:
                now = replace(now, generation=1 + max(now.generation, _generation(mark, now)))
                _write(session, now.generation, held=None)
        file.write(now, sync=True)
        return now

    def hold(self, file: MarkFile, why: str) -> None:
        with self._database.write() as session:
            _write(session, _stand(session, _seal(session)).generation, held=why)

    def report(self, file: MarkFile) -> None:
        with self._database.read() as session:
            seal = _seal(session)
            is_only_ours = seal is None or _why_of_seal(seal, _place(session)) is None
            is_told = self.why_held(session, file.read()) == OLDER
        if is_only_ours and is_told:
            self.hold(file, OLDER)

    def follow(self, file: MarkFile) -> None:
        mark = file.read()
        with self._database.read() as session:
            if self.why_held(session, mark) is not None:
                return
            now = _stand(session, _seal(session))
        is_noted = mark is None or mark.is_noted or now.batch > mark.batch
        if replace(now, is_noted=is_noted) != mark:
            file.write(replace(now, is_noted=is_noted), sync=True)


def _generation(mark: Mark | None, now: Mark) -> int:
    return mark.generation if mark is not None and mark.identity == now.identity else 0


def _stand(session: Session, seal: Seal | None) -> Mark:
    return Mark(
        generation=0 if seal is None else seal.generation,
        batch=highest(session, SendBatch),
        suppression=highest(session, Suppression),
        identity=identity_of(session),
    )


def _seal(session: Session) -> Seal | None:
    row = session.execute(select(SentFrom, _WRITER)).one_or_none()
    if row is None:
        return None
    said, writer = row
    place = Place(server=said.server, timeline=said.timeline, database=said.database)
    return Seal(
        generation=said.generation,
        place=place,
        is_original=said.transaction == writer,
        held=said.held,
    )


def _write(session: Session, generation: int, *, held: str | None) -> None:
    place = _place(session)
    session.execute(delete(SentFrom))
    session.execute(
        insert(SentFrom).values(
            id=1,
            generation=generation,
            server=place.server,
            timeline=place.timeline,
            database=place.database,
            transaction=0,
            held=held,
        )
    )
    # Only the row itself knows: what follows a savepoint has another number than the whole.
    session.execute(update(SentFrom).values(transaction=_WRITER))


def _place(session: Session) -> Place:
    return Place(
        server=_told(session, _SERVER),
        timeline=_told(session, _TIMELINE),
        database=session.execute(text(_DATABASE)).scalar_one(),
    )


def _told(session: Session, question: str) -> str:
    """Every role may ask, unless somebody took that right away or the server has no such thing."""
    try:
        with session.begin_nested():
            return str(session.execute(text(question)).scalar_one())
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        return ""
