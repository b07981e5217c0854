"""The parts of an installation, joined once per process, without Flask."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from config.settings import Settings
from database.migrate import migrate
from database.session import Database
from utils.tokens import link_key


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True, kw_only=True)
class System:
    """Everything that a process needs to answer or to send."""

    settings: Settings
    database: Database
    hash_key: bytes
    """Of this installation: keys `email_hash` and `cx_send_id`."""
    link_keys: tuple[bytes, ...]
    """The first signs unsubscribe links, all verify."""
    clock: Callable[[], datetime] = utc_now

    @classmethod
    def open(cls, settings: Settings, clock: Callable[[], datetime] = utc_now) -> "System":
        """Open the database, bring it to the current schema, and join the parts."""
        database = Database(settings.database_url)
        installation = migrate(database, clock())
        return cls(
            settings=settings,
            database=database,
            hash_key=installation.hash_key,
            link_keys=tuple(link_key(secret) for secret in settings.secret_keys),
            clock=clock,
        )

    def close(self) -> None:
        self.database.close()
