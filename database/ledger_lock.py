"""Who moves sends takes turns with the engine, so that neither waits for the other in a circle."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

_KEY = 0x6C6564676572
"""Any number that nothing else in the database uses."""


def lock_ledger(session: Session, *, alone: bool) -> None:
    """Wait for one's turn, until the transaction ends.

    The engine is `alone`: it locks a campaign, then sends. Those who record events, take
    somebody off the list or erase them lock sends first, then campaigns, and only keep out of
    the engine's way. SQLite has one writer anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock if alone else func.pg_advisory_xact_lock_shared
        session.execute(select(lock(_KEY)))
