"""A filter as SQL: a condition on `subscribers` that is true or false, never NULL.

So `not` means "everybody else": who lacks what a condition speaks of is not selected by it,
and is selected by its negation.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from operator import ge, gt, le, lt
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Float,
    Text,
    and_,
    bindparam,
    false,
    func,
    literal,
    not_,
    or_,
    select,
)
from sqlalchemy.orm import aliased
from sqlalchemy.types import TypeEngine

from database.models import Delivery, EmailSend, SendStatus, Subscriber
from lists.engagement_sql import engagement_sql
from lists.json_sql import (
    day_at,
    domain_sql,
    flag_at,
    folded_sql,
    has_all,
    has_any,
    is_at,
    list_has,
    number_at,
    text_at,
)
from lists.segment_filter import Behaviour, Combination, Condition, Filter, Negation
from lists.segment_values import DaysAgo

_UNDELIVERED = (Delivery.SOFT_BOUNCED, Delivery.DROPPED, Delivery.BOUNCED)
_OPEN = (SendStatus.QUEUED, SendStatus.SENDING, SendStatus.UNKNOWN)
"""It may still reach the person, or may have."""

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {"gt": gt, "gte": ge, "lt": lt, "lte": le}


def selects(filter_: Filter, now: datetime) -> ColumnElement[bool]:
    """Whether a subscriber is selected by the filter when it is used at `now`."""
    match filter_:
        case Combination():
            join = and_ if filter_.word == "and" else or_
            return join(*(selects(part, now) for part in filter_.parts))
        case Negation():
            return not_(selects(filter_.part, now))
        case Behaviour():
            return _behaved(filter_)
        case Condition():
            return _is(filter_, now)


def _is(asked: Condition, now: datetime) -> ColumnElement[bool]:
    if asked.field == "attributes":
        return _attribute(asked, now)
    if asked.field == "tags":
        return _tags(asked)
    return _column(_COLUMNS[asked.field](now), asked.word, _at(asked.value, now))


# Email and domain are kept in lower case, closed sets as they are: only texts are folded.
_COLUMNS: dict[str, Callable[[datetime], Any]] = {
    "status": lambda now: Subscriber.status,
    "email": lambda now: Subscriber.email_key,
    "domain": lambda now: domain_sql(Subscriber.email_key),
    "first_name": lambda now: folded_sql(Subscriber.first_name),
    "last_name": lambda now: folded_sql(Subscriber.last_name),
    "mailbox_provider": lambda now: Subscriber.mailbox_provider,
    "engagement_score": engagement_sql,
    "tier": lambda now: Subscriber.tier,
    "consent_source": lambda now: folded_sql(Subscriber.consent_source),
    "consent_at": lambda now: Subscriber.consent_at,
    "created_at": lambda now: Subscriber.created_at,
    "last_delivered_at": lambda now: Subscriber.last_delivered_at,
    "last_interest_at": lambda now: Subscriber.last_interest_at,
}


def _column(column: Any, word: str, value: Any) -> ColumnElement[bool]:
    match word:
        case "exists":
            there: ColumnElement[bool] = column.is_not(None)
            return there if value else not_(there)
        case "ne":
            return not_(_certain(column == value))
        case "eq":
            return _certain(column == value)
        case "in":
            return _certain(column.in_(value))
        case "contains":
            return _certain(column.contains(value, autoescape=True))
        case "starts_with":
            return _certain(column.startswith(value, autoescape=True))
        case "before":
            return _certain(column < value)
        case "after":
            return _certain(column >= value)
    return _certain(_COMPARE[word](column, value))


def _tags(asked: Condition) -> ColumnElement[bool]:
    match asked.word:
        case "any":
            return has_any(Subscriber.tags, asked.value)
        case "all":
            return has_all(Subscriber.tags, asked.value)
    return not_(has_any(Subscriber.tags, asked.value))


def _attribute(asked: Condition, now: datetime) -> ColumnElement[bool]:
    path, value = asked.path, _at(asked.value, now)
    match asked.word:
        case "exists":
            there = is_at(Subscriber.attributes, path)
            return there if value else not_(there)
        case "eq":
            return _equals(path, [value])
        case "ne":
            return not_(_equals(path, [value]))
        case "in":
            return _equals(path, value)
        case "contains":
            text = folded_sql(text_at(Subscriber.attributes, path))
            held = list_has(Subscriber.attributes, path, value)
            return or_(_certain(text.contains(value, autoescape=True)), held)
        case "starts_with":
            text = folded_sql(text_at(Subscriber.attributes, path))
            return _certain(text.startswith(value, autoescape=True))
    return _compared(path, asked.word, value)


def _compared(path: tuple[str, ...], word: str, value: Any) -> ColumnElement[bool]:
    if isinstance(value, datetime):
        value = value.date().isoformat()
    at, bound = _KINDS[type(value)]
    found = day_at(Subscriber.attributes, path) if isinstance(value, str) else at(path)
    return _certain(_COMPARE[word](found, literal(value, bound)))


def _equals(path: tuple[str, ...], values: Any) -> ColumnElement[bool]:
    """One of `values`, each compared with what is of its own kind."""
    found = []
    for kind, (at, bound) in _KINDS.items():
        wanted = [one for one in values if type(one) is kind]
        if wanted:
            one_of = bindparam(None, wanted, bound, expanding=True)
            found.append(_certain(at(path).in_(one_of)))
    return or_(*found)


# A whole number of 18 digits is not to become a float on its way.
_KINDS: dict[type, tuple[Callable[[tuple[str, ...]], Any], TypeEngine[Any]]] = {
    str: (lambda path: folded_sql(text_at(Subscriber.attributes, path)), Text()),
    bool: (lambda path: flag_at(Subscriber.attributes, path), Boolean()),
    int: (lambda path: number_at(Subscriber.attributes, path), BigInteger()),
    float: (lambda path: number_at(Subscriber.attributes, path), Float()),
}


def _behaved(asked: Behaviour) -> ColumnElement[bool]:
    """One look-up in the unique index (campaign_id, email_key) for each person."""
    send = aliased(EmailSend)
    accepted = send.status == SendStatus.ACCEPTED
    arrived = accepted & send.delivery.not_in(_UNDELIVERED)
    told: dict[str, Any] = {
        "received": arrived,
        "not_received": send.status.in_(_OPEN) | arrived,
        "opened": send.opened,
        "not_opened": accepted & ~send.opened,
        "clicked": send.clicked,
        "not_clicked": accepted & ~send.clicked,
    }
    # Not EXISTS: PostgreSQL would make a join of it, and read the whole campaign for each
    # chunk of a plan.
    found = select(told[asked.word]).where(
        send.campaign_id == asked.campaign_id, send.email_key == Subscriber.email_key
    )
    holds = _certain(found.correlate(Subscriber).scalar_subquery())
    return not_(holds) if asked.word == "not_received" else holds


def _at(value: Any, now: datetime) -> Any:
    return now - timedelta(days=value.days) if isinstance(value, DaysAgo) else value


def _certain(condition: Any) -> ColumnElement[bool]:
    return func.coalesce(condition, false())
