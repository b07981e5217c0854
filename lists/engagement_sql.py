"""The score of `lists.engagement` as SQL, for whoever selects people by it."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Float, Integer, case, cast, func, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from database.models import Subscriber
from lists.engagement import (
    INTEREST_HALF_LIFE,
    LEFT,
    MAIL_HALF_LIFE,
    SOFT_BOUNCE_PENALTY,
    SOFT_BOUNCE_WINDOW,
)

_DAY_S = 86_400


def engagement_sql(now: datetime) -> ColumnElement[int]:
    """SQL: a subscriber's score at `now`, as `score_of` says it.

    The databases round a half each in its own way, so that it may be one off.
    """
    left = _halved(Subscriber.interest_at, now, MAIL_HALF_LIFE.days)
    rate = (1 + Subscriber.interest * left) / (5 + Subscriber.interest_mails * left)
    recency = _larger(
        _halved(Subscriber.last_interest_at, now, INTEREST_HALF_LIFE.days),
        0.5
        * _halved(
            func.coalesce(Subscriber.consent_at, Subscriber.created_at),
            now,
            INTEREST_HALF_LIFE.days,
        ),
    )
    worth = func.round(60 * recency + 80 * -_larger(-rate, literal(-0.5)))
    recent = Subscriber.soft_bounce_last_at > now - SOFT_BOUNCE_WINDOW
    penalty = case((recent, SOFT_BOUNCE_PENALTY * Subscriber.soft_bounces), else_=0)
    points = cast(_larger(worth - penalty, literal(0.0)), Integer)
    return case((Subscriber.status.in_(LEFT), 0), else_=points)


def _halved(since: Any, now: datetime, half_life_days: int) -> ColumnElement[float]:
    """What is left at `now` of 1 at `since`; 0 when there is no such moment."""
    days = _larger(_DaysBetween(since, literal(now, Subscriber.created_at.type)), literal(0.0))
    return case((since.is_(None), 0.0), else_=func.power(0.5, days / half_life_days, type_=Float))


class _DaysBetween(FunctionElement[float]):
    """Two moments: days from the first to the second."""

    type = Float()
    inherit_cache = True


class _larger(FunctionElement[float]):  # noqa: N801 - used as SQL's functions are
    """The larger of two numbers, neither NULL."""

    type = Float()
    inherit_cache = True


@compiles(_DaysBetween, "sqlite")
def _days_sqlite(between: _DaysBetween, compiler: SQLCompiler, **said: Any) -> str:
    first, last = (compiler.process(one, **said) for one in between.clauses)
    return f"(julianday({last}) - julianday({first}))"


@compiles(_DaysBetween, "postgresql")
def _days_postgresql(between: _DaysBetween, compiler: SQLCompiler, **said: Any) -> str:
    first, last = (compiler.process(one, **said) for one in between.clauses)
    return f"(extract(epoch FROM {last} - {first})::float8 / {_DAY_S})"


@compiles(_larger, "sqlite")
def _larger_sqlite(pair: _larger, compiler: SQLCompiler, **said: Any) -> str:
    return f"max({compiler.process(pair.clauses, **said)})"


@compiles(_larger, "postgresql")
def _larger_postgresql(pair: _larger, compiler: SQLCompiler, **said: Any) -> str:
    return f"greatest({compiler.process(pair.clauses, **said)})"
