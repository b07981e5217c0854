"""What all tables share: naming of constraints, UTC times, enums by value."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Enum, Integer, MetaData, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy.types import TypeDecorator

BigInt = BigInteger().with_variant(Integer, "sqlite")
"""64 bits on both databases; SQLite gives a rowid only to INTEGER."""


class _Json(JSON):
    """On SQLite; most people have no attributes and no tags, and what is empty is not parsed."""

    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        parse: Any = super().result_processor(dialect, coltype)

        def process(value: str | None) -> Any:
            if value in ("{}", "[]"):
                return {} if value == "{}" else []
            return parse(value)

        return process


Json = _Json().with_variant(JSONB, "postgresql")

Id = Annotated[int, mapped_column(BigInt, primary_key=True)]
Counter = Annotated[int, mapped_column(BigInt, default=0, server_default="0")]
Name = Annotated[str, mapped_column(String(200))]


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time. SQLite drops time zones, so naive values are refused going in."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else _in_utc(value)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    # The same for SQLite, in one step instead of four: every row of the ledger has its times.
    def bind_processor(self, dialect: Dialect) -> Any:
        return _written if dialect.name == "sqlite" else super().bind_processor(dialect)

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        if dialect.name == "sqlite":
            return _read
        return super().result_processor(dialect, coltype)


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time without time zone")
    return value.astimezone(UTC)


def _written(value: datetime | None) -> str | None:
    return None if value is None else _in_utc(value).isoformat(" ", "microseconds")[:26]


def _read(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value).replace(tzinfo=UTC)


def stored_by_value(members: type[StrEnum]) -> Enum:
    """VARCHAR(32) holding the member's value; a new, longer member still fits."""
    return Enum(
        members,
        native_enum=False,
        length=32,
        values_callable=lambda enum: [member.value for member in enum],
    )


class Base(DeclarativeBase):
    """Constraints get names, so that SQLite's batch migrations can drop them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads the attribute by this name
        datetime: UtcDateTime,
        dict[str, Any]: Json,
        list[str]: Json,
        int: BigInt,
    }
