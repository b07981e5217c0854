"""The filter of a segment: JSON that says whom it selects, checked word by word.

`docs/segments.md` tells the language. `parse` makes a tree of it that nothing but checked
values is in; `lists.segment_sql` makes SQL of the tree.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lists.segment_values import (
    ATTRIBUTE_STEP,
    CAMPAIGN,
    DAY_OR_NUMBER,
    DOMAIN,
    EMAIL,
    FLAG,
    MOMENT,
    PROVIDER,
    SCALAR,
    SCORE,
    STATUS,
    TAG,
    TEXT,
    TIER,
    Kind,
    Refused,
)

MAX_DEPTH = 5
MAX_NODES = 50
MAX_LIST = 1_000
MAX_VALUES = 5_000
"""In all lists together: each is a variable of the statement, and SQLite takes 32,766."""
MAX_PATH = 5
"""As deep as an attribute may be nested (`lists.fields`)."""

Place: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """What one field must be. `path` leads into `attributes`."""

    field: str
    word: str
    value: Any
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a person did with a campaign, or what became of it on the way."""

    word: str
    campaign_id: int
    place: Place
    """Where in the filter it is said."""


@dataclass(frozen=True, slots=True)
class Combination:
    """`and` or `or` of at least one part."""

    word: str
    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """Everybody whom `part` does not select."""

    part: "Filter"


Filter: TypeAlias = Condition | Behaviour | Combination | Negation


class InvalidFilter(Exception):
    """The filter says something that is not in the language: where, and what may stand there."""

    def __init__(self, faults: Sequence[tuple[Place, str]]) -> None:
        super().__init__("; ".join(f"{_pointer(place)}: {said}" for place, said in faults[:5]))
        self.faults = faults


def _pointer(place: Place) -> str:
    return "".join(f"/{step}" for step in place) or "the filter"


@dataclass(frozen=True, slots=True)
class Many:
    """A list of values of one kind, each counted once."""

    kind: Kind


Words: TypeAlias = Mapping[str, Kind | Many]

_OF_TEXT: Words = {
    "eq": TEXT,
    "ne": TEXT,
    "in": Many(TEXT),
    "contains": TEXT,
    "starts_with": TEXT,
    "exists": FLAG,
}
_OF_A_MOMENT: Words = {"before": MOMENT, "after": MOMENT}
_OF_A_LATER_MOMENT: Words = {**_OF_A_MOMENT, "exists": FLAG}


def _one_of(kind: Kind) -> Words:
    return {"eq": kind, "ne": kind, "in": Many(kind)}


FIELDS: dict[str, Words] = {
    "status": _one_of(STATUS),
    "tags": {"any": Many(TAG), "all": Many(TAG), "none": Many(TAG)},
    "email": {**_one_of(EMAIL), "contains": TEXT, "starts_with": TEXT},
    "domain": {**_one_of(DOMAIN), "contains": TEXT, "starts_with": TEXT},
    "first_name": _OF_TEXT,
    "last_name": _OF_TEXT,
    "mailbox_provider": _one_of(PROVIDER),
    "engagement_score": {"gte": SCORE, "lte": SCORE},
    "tier": {**_one_of(TIER), "exists": FLAG},
    "consent_source": _OF_TEXT,
    "consent_at": _OF_A_LATER_MOMENT,
    "created_at": _OF_A_MOMENT,
    "last_delivered_at": _OF_A_LATER_MOMENT,
    "last_interest_at": _OF_A_LATER_MOMENT,
}
"""What each field may be asked."""

ATTRIBUTE: Words = {
    "eq": SCALAR,
    "ne": SCALAR,
    "in": Many(SCALAR),
    "contains": TEXT,
    "starts_with": TEXT,
    "exists": FLAG,
    **dict.fromkeys(("gt", "gte", "lt", "lte"), DAY_OR_NUMBER),
}
BEHAVIOURS = ("received", "not_received", "opened", "not_opened", "clicked", "not_clicked")

_ALLOWED = f"and, or, not, {', '.join(FIELDS)}, attributes.<name>, {', '.join(BEHAVIOURS)}"


def parse(said: object) -> Filter:
    """The filter that `said` (JSON as Python reads it) is. Raises `InvalidFilter`."""
    reader = _Reader()
    found = reader.filter(said, (), depth=1)
    if found is None or reader.faults:
        raise InvalidFilter(reader.faults)
    return found


def behaviours(filter_: Filter) -> Iterator[Behaviour]:
    """Each place where it speaks of a campaign."""
    match filter_:
        case Behaviour():
            yield filter_
        case Negation():
            yield from behaviours(filter_.part)
        case Combination():
            for part in filter_.parts:
                yield from behaviours(part)


class _Reader:
    """Reads on after a fault, so that one answer tells them all."""

    def __init__(self) -> None:
        self.faults: list[tuple[Place, str]] = []
        self._nodes = 0
        self._values = 0

    def filter(self, said: object, place: Place, *, depth: int) -> Filter | None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._fault((), f"has more than {MAX_NODES} conditions and combinations")
            return None
        if depth > MAX_DEPTH:
            self._fault(place, f"is nested deeper than {MAX_DEPTH} levels")
            return None
        if not isinstance(said, dict) or len(said) != 1:
            self._fault(place, f"must be an object with exactly one of: {_ALLOWED}")
            return None
        [(word, below)] = said.items()
        place = (*place, word)
        if word in ("and", "or"):
            return self._combination(word, below, place, depth)
        if word == "not":
            part = self.filter(below, place, depth=depth + 1)
            return None if part is None else Negation(part)
        if word in BEHAVIOURS:
            campaign_id = self._value(CAMPAIGN, below, place)
            return None if campaign_id is None else Behaviour(word, campaign_id, place)
        return self._conditions(word, below, place)

    def _combination(self, word: str, said: object, place: Place, depth: int) -> Filter | None:
        if not isinstance(said, list) or not said:
            self._fault(place, "must be a list of filters, at least one")
            return None
        if self._nodes + len(said) > MAX_NODES:
            self._fault((), f"has more than {MAX_NODES} conditions and combinations")
            return None
        parts = [self.filter(one, (*place, n), depth=depth + 1) for n, one in enumerate(said)]
        return Combination(word, tuple(part for part in parts if part is not None))

    def _conditions(self, field: str, said: object, place: Place) -> Filter | None:
        name, _, dotted = field.partition(".")
        path = tuple(dotted.split(".")) if dotted else ()
        words = self._words(name, path) if path or name == "attributes" else FIELDS.get(field)
        if words is None:
            self._fault(place, f"is not one of: {_ALLOWED}")
            return None
        if not isinstance(said, dict) or not 1 <= len(said) <= len(words):
            self._fault(place, f"must be an object with any of: {', '.join(words)}")
            return None
        found = []
        for word, value in said.items():
            if word not in words:
                self._fault((*place, word), f"is not one of: {', '.join(words)}")
                continue
            read = self._read(words[word], value, (*place, word))
            found.append(Condition(name, word, read, path))
        return found[0] if len(found) == 1 else Combination("and", tuple(found))

    def _words(self, name: str, path: tuple[str, ...]) -> Words | None:
        good = name == "attributes" and 1 <= len(path) <= MAX_PATH
        return ATTRIBUTE if good and all(map(ATTRIBUTE_STEP.fullmatch, path)) else None

    def _read(self, kind: Kind | Many, said: object, place: Place) -> Any:
        if isinstance(kind, Kind):
            return self._value(kind, said, place)
        if not isinstance(said, list) or not 1 <= len(said) <= MAX_LIST:
            self._fault(place, f"must be a list of 1 to {MAX_LIST} values")
            return None
        self._values += len(said)
        if self._values > MAX_VALUES:
            self._fault(place, f"the lists of a filter hold more than {MAX_VALUES} values")
            return None
        read = [self._value(kind.kind, one, (*place, n)) for n, one in enumerate(said)]
        # By type too: True is 1 to Python, and not to JSON.
        return tuple({(type(one), one): one for one in read}.values())

    def _value(self, kind: Kind, said: object, place: Place) -> Any:
        try:
            return kind.read(said)
        except Refused:
            self._fault(place, f"must be {kind.words}")
            return None

    def _fault(self, place: Place, said: str) -> None:
        if (place, said) not in self.faults[-1:]:
            self.faults.append((place, said))
