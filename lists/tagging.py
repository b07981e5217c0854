"""Tags given to many people at once, and taken from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, false, func, select, update
from sqlalchemy.orm import Session

from database.models import Subscriber
from database.session import Database
from lists.json_sql import has_all, has_any, with_tags
from lists.segment_filter import Filter
from lists.segment_sql import selects

IDS_PER_STEP = 10_000
EMAILS_PER_STEP = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TagChange:
    """What each person is to have, and not to have; no tag is in both."""

    add: Sequence[str] = ()
    remove: Sequence[str] = ()


def tag_selected(database: Database, filter_: Filter, change: TagChange, now: datetime) -> int:
    """Change the tags of everybody whom the filter selects; how many people that changed.

    Each step is a transaction of its own, so that nobody else waits for long. Cut short, it
    is finished by calling it again.
    """
    changed = 0
    chosen = selects(filter_, now)
    with database.read() as session:
        last = session.scalar(select(func.max(Subscriber.id))) or 0
    for start in range(0, last, IDS_PER_STEP):
        within = Subscriber.id.between(start + 1, min(start + IDS_PER_STEP, last))
        with database.write() as session:
            changed += _change(session, within & chosen, change, now)
    return changed


def tag_addresses(
    database: Database, email_keys: Sequence[str], change: TagChange, now: datetime
) -> int:
    """The same for the people on the list with these addresses (`Address.key`)."""
    changed = 0
    for start in range(0, len(email_keys), EMAILS_PER_STEP):
        keys = email_keys[start : start + EMAILS_PER_STEP]
        with database.write() as session:
            changed += _change(session, Subscriber.email_key.in_(keys), change, now)
    return changed


def _change(session: Session, chosen: ColumnElement[bool], change: TagChange, now: datetime) -> int:
    # Locked in the order of ids, as everybody does who changes many people.
    ids = (
        select(Subscriber.id)
        .where(chosen, _lacks(change))
        .order_by(Subscriber.id)
        .with_for_update()
        .correlate(None)
    )
    tags = with_tags(Subscriber.tags, add=change.add, remove=change.remove)
    changing = update(Subscriber).where(Subscriber.id.in_(ids)).values(tags=tags, updated_at=now)
    return session.connection().execute(changing).rowcount


def _lacks(change: TagChange) -> ColumnElement[bool]:
    """Whether there is anything to change about a person."""
    lacks: ColumnElement[bool] = false()
    if change.add:
        lacks = lacks | ~has_all(Subscriber.tags, change.add)
    if change.remove:
        lacks = lacks | has_any(Subscriber.tags, change.remove)
    return lacks
