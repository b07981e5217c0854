"""What is known about a person, changed by somebody who corrects it; and people by page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, String, cast, exists, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from database.models import Subscriber, SubscriberStatus
from lists import fields

NAMES = ("first_name", "last_name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to be different; what is not named stays."""

    names: Mapping[str, str | None]
    """Some of `NAMES`; `None` empties one."""
    attributes: Mapping[str, Any]
    """Each is set, or goes where it is `None`."""
    tags: frozenset[str] | None = None
    """All that there shall be."""
    tags_add: frozenset[str] = frozenset()
    tags_remove: frozenset[str] = frozenset()


def change(person: Subscriber, wanted: Change, now: datetime) -> bool:
    """Change what is known of a person, never whether they are written to; whether that was
    anything new. Raises `ValueError` when it would be more than may be known of somebody."""
    after: dict[str, Any] = dict(wanted.names)
    if wanted.attributes:
        merged = {**person.attributes, **wanted.attributes}
        kept = {name: value for name, value in merged.items() if value is not None}
        after["attributes"] = fields.clean_attributes(kept)
    tags = set(person.tags) if wanted.tags is None else set(wanted.tags)
    if (tags := (tags | wanted.tags_add) - wanted.tags_remove) != set(person.tags):
        after["tags"] = fields.clean_tags(tags)
    changed = {name: value for name, value in after.items() if getattr(person, name) != value}
    for name, value in changed.items():
        setattr(person, name, value)
    if changed:
        person.updated_at = now
    return bool(changed)


def page(
    session: Session,
    *,
    after: int = 0,
    limit: int,
    status: SubscriberStatus | None = None,
    tag: str | None = None,
    begins: str = "",
) -> Sequence[Subscriber]:
    """People in the order in which they came, after that id; `begins`: how the address does."""
    # "+ 0" where SQLite shall take the index on addresses and not walk the ids.
    position = Subscriber.id + 0 if begins else Subscriber.id
    ids = select(Subscriber.id).where(position > after, *chosen(session, status, tag))
    if begins:
        ids = ids.where(*_begins(session, begins.lower()))
    ids = ids.order_by(position).limit(limit)
    people = select(Subscriber).where(Subscriber.id.in_(ids)).order_by(Subscriber.id)
    return session.scalars(people).all()


def chosen(
    session: Session, status: SubscriberStatus | None, tag: str | None
) -> list[ColumnElement[bool]]:
    """SQL: who has this status and this tag; all where neither is given."""
    conditions: list[ColumnElement[bool]] = []
    if status is not None:
        conditions.append(Subscriber.status == status)
    if tag is not None:
        conditions.append(has_tag(session, tag))
    return conditions


def has_tag(session: Session, tag: str) -> ColumnElement[bool]:
    if session.get_bind().dialect.name == "postgresql":
        wanted = cast(postgresql.array([tag]), postgresql.ARRAY(String))
        return func.jsonb_exists_any(Subscriber.tags, wanted)
    each: Any = func.json_each(Subscriber.tags).table_valued("value")
    return exists(select(1).select_from(each).where(each.c.value == tag))


def _begins(session: Session, text: str) -> list[ColumnElement[bool]]:
    """A range of the index on SQLite; PostgreSQL may sort by other rules than bytes, so there
    only the pattern is sure."""
    if session.get_bind().dialect.name == "postgresql":
        return [Subscriber.email_key.startswith(text, autoescape=True)]
    return [Subscriber.email_key >= text, Subscriber.email_key < text + "\U0010ffff"]
