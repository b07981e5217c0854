"""What is in the JSON of a subscriber, as SQL that says the same on both databases.

Each function takes the JSON column and, where it looks into an object, the steps of a path.
What is not there, or of another kind, is NULL. A value never becomes part of the SQL text:
steps and tags are bound as variables.
"""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Numeric, Text, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from database.models.base import Json

MAX_NUMBER_CHARS = 30


class _OnBoth(FunctionElement[Any]):
    """SQL of its own for each database, with the SQL of its clauses filled in.

    `<first>` is the first clause and `<rest>` the others, which make up a path: `<kind>`,
    `<value>` and `<node>` are the type of what is there, its text or number, and its JSON.
    `<text>` is the last clause, where `has_text` says that it is no part of the path.
    """

    inherit_cache = True
    sqlite: str
    postgresql: str
    has_text = False


@compiles(_OnBoth, "sqlite")
def _sqlite(element: _OnBoth, compiler: SQLCompiler, **said: Any) -> str:
    first, rest, text = _clauses(element, compiler, said)
    path = "'$'" + "".join(f" || '.\"' || {step} || '\"'" for step in rest)
    parts = {
        "kind": f"json_type({first}, {path})",
        "value": f"json_extract({first}, {path})",
        "path": path,
    }
    return _filled(element.sqlite, first=first, rest=", ".join(rest), text=text, **parts)


@compiles(_OnBoth, "postgresql")
def _postgresql(element: _OnBoth, compiler: SQLCompiler, **said: Any) -> str:
    first, steps, text = _clauses(element, compiler, said)
    rest = ", ".join(steps)
    parts = {
        "kind": f"jsonb_typeof(jsonb_extract_path({first}, {rest}))",
        "value": f"jsonb_extract_path_text({first}, {rest})",
        "node": f"jsonb_extract_path({first}, {rest})",
    }
    return _filled(element.postgresql, first=first, rest=rest, text=text, **parts)


def _clauses(element: _OnBoth, compiler: SQLCompiler, said: Any) -> tuple[str, list[str], str]:
    first, *rest = (compiler.process(one, **said) for one in element.clauses)
    return first, rest, rest.pop() if element.has_text else ""


def _filled(template: str, **parts: str) -> str:
    # Not str.format: the templates have braces of their own.
    for name, sql in parts.items():
        template = template.replace(f"<{name}>", sql)
    return f"({template})"


class _Folded(_OnBoth):
    type = Text()
    inherit_cache = True
    sqlite = "lower(<first>)"
    postgresql = 'lower(<first> COLLATE "C")'


class _Domain(_OnBoth):
    type = Text()
    inherit_cache = True
    sqlite = "substr(<first>, instr(<first>, '@') + 1)"
    postgresql = "substr(<first>, strpos(<first>, '@') + 1)"


class _TextAt(_OnBoth):
    type = Text()
    inherit_cache = True
    sqlite = "CASE <kind> WHEN 'text' THEN <value> END"
    postgresql = "CASE <kind> WHEN 'string' THEN <value> END"


class _NumberAt(_OnBoth):
    # The CASE also keeps PostgreSQL from casting what is no number, which would raise.
    type = Numeric(asdecimal=False)
    inherit_cache = True
    sqlite = (
        "CASE WHEN <kind> IN ('integer', 'real') THEN <value> WHEN <kind> = 'text'"
        f" AND length(<value>) <= {MAX_NUMBER_CHARS} AND <value> NOT GLOB '*[^0-9.-]*'"
        " AND json_valid(<value>) THEN CAST(<value> AS NUMERIC) END"
    )
    postgresql = (
        "CASE WHEN <kind> = 'number' OR (<kind> = 'string'"
        f" AND length(<value>) <= {MAX_NUMBER_CHARS}"
        r" AND <value> ~ '^-?(0|[1-9][0-9]*)(\.[0-9]+)?$') THEN (<value>)::numeric END"
    )


class _FlagAt(_OnBoth):
    type = Boolean()
    inherit_cache = True
    sqlite = "CASE <kind> WHEN 'true' THEN 1 WHEN 'false' THEN 0 END"
    postgresql = "CASE <kind> WHEN 'boolean' THEN (<value>)::boolean END"


class _DayAt(_OnBoth):
    type = Text()
    inherit_cache = True
    sqlite = (
        "CASE WHEN <kind> = 'text' AND (length(<value>) = 10 OR <value> GLOB '??????????[T ]*')"
        " AND <value> GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'"
        " THEN substr(<value>, 1, 10) END"
    )
    postgresql = (
        "CASE WHEN <kind> = 'string' AND <value> ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}($|[T ])'"
        " THEN left(<value>, 10) END"
    )


class _IsAt(_OnBoth):
    type = Boolean()
    inherit_cache = True
    sqlite = "coalesce(<kind> <> 'null', 0)"
    postgresql = "coalesce(<kind> <> 'null', false)"


class _ListHas(_OnBoth):
    type = Boolean()
    inherit_cache = True
    has_text = True
    sqlite = (
        "EXISTS (SELECT 1 FROM json_each(<first>, <path>) AS item WHERE <kind> = 'array'"
        " AND item.type = 'text' AND lower(item.value) = <text>)"
    )
    postgresql = (
        "EXISTS (SELECT 1 FROM jsonb_array_elements("
        "CASE <kind> WHEN 'array' THEN <node> ELSE '[]' END) AS item"
        " WHERE jsonb_typeof(item) = 'string' AND lower((item #>> '{}') COLLATE \"C\") = <text>)"
    )


class _HasAny(_OnBoth):
    type = Boolean()
    inherit_cache = True
    sqlite = (
        "EXISTS (SELECT 1 FROM json_each(<first>) AS item"
        " WHERE item.value IN (SELECT wanted.value FROM json_each(<rest>) AS wanted))"
    )
    postgresql = (
        "jsonb_exists_any(<first>, ARRAY(SELECT jsonb_array_elements_text((<rest>)::jsonb)))"
    )


class _HasAll(_OnBoth):
    """`<text>` is how many there are to have."""

    type = Boolean()
    inherit_cache = True
    has_text = True
    sqlite = (
        "SELECT count(DISTINCT item.value) = <text> FROM json_each(<first>) AS item"
        " WHERE item.value IN (SELECT wanted.value FROM json_each(<rest>) AS wanted)"
    )
    postgresql = (
        "jsonb_exists_all(<first>, ARRAY(SELECT jsonb_array_elements_text((<rest>)::jsonb)))"
    )


class _WithTags(_OnBoth):
    """`<rest>` is what to add, `<text>` what to remove, each a list as JSON."""

    type = Json
    inherit_cache = True
    has_text = True
    sqlite = (
        "SELECT json_group_array(value) FROM (SELECT value FROM json_each(<first>)"
        " WHERE value NOT IN (SELECT gone.value FROM json_each(<text>) AS gone)"
        " UNION SELECT value FROM json_each(<rest>) ORDER BY value)"
    )
    postgresql = (
        "SELECT coalesce(jsonb_agg(tag ORDER BY tag COLLATE \"C\"), '[]') FROM ("
        "SELECT tag FROM jsonb_array_elements_text(<first>) AS tag"
        " WHERE tag NOT IN (SELECT jsonb_array_elements_text((<text>)::jsonb))"
        " UNION SELECT jsonb_array_elements_text((<rest>)::jsonb)) AS merged"
    )


def folded_sql(text: Any) -> ColumnElement[str]:
    """A text with A to Z as a to z: `lists.segment_values.folded` in SQL."""
    return _Folded(text)


def domain_sql(email_key: Any) -> ColumnElement[str]:
    return _Domain(email_key)


def text_at(column: Any, path: Sequence[str]) -> ColumnElement[str | None]:
    """The text at a path."""
    return _TextAt(column, *_bound(path))


def number_at(column: Any, path: Sequence[str]) -> ColumnElement[float | None]:
    """The number at a path, or of the text there: a column of a CSV file holds texts."""
    return _NumberAt(column, *_bound(path))


def flag_at(column: Any, path: Sequence[str]) -> ColumnElement[bool | None]:
    return _FlagAt(column, *_bound(path))


def day_at(column: Any, path: Sequence[str]) -> ColumnElement[str | None]:
    """The day (`2026-01-31`) that the text at a path is, or begins with as a time does."""
    return _DayAt(column, *_bound(path))


def is_at(column: Any, path: Sequence[str]) -> ColumnElement[bool]:
    """Whether there is anything but null at a path; never NULL."""
    return _IsAt(column, *_bound(path))


def list_has(column: Any, path: Sequence[str], text: str) -> ColumnElement[bool]:
    """Whether there is a list at a path, with this text (folded) in it; never NULL."""
    return _ListHas(column, *_bound([*path, text]))


def has_any(tags: Any, wanted: Sequence[str]) -> ColumnElement[bool]:
    """Whether a list of texts has one of `wanted`, of which there is at least one."""
    return _HasAny(tags, _as_json(wanted))


def has_all(tags: Any, wanted: Sequence[str]) -> ColumnElement[bool]:
    """Whether a list of texts has each of `wanted`."""
    return _HasAll(tags, _as_json(wanted), literal(len(set(wanted))))


def with_tags(tags: Any, *, add: Sequence[str], remove: Sequence[str]) -> ColumnElement[list[str]]:
    """The list with `add` and without `remove`, sorted, each once."""
    return _WithTags(tags, _as_json(add), _as_json(remove))


def _as_json(texts: Sequence[str]) -> ColumnElement[str]:
    """A list as one variable, however long it is."""
    return literal(json.dumps(list(texts)), Text())


def _bound(texts: Sequence[str]) -> list[Any]:
    return [literal(text, Text()) for text in texts]
