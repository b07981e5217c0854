"""Whom a filter selects, evaluated naively in Python, and made-up people and filters.

Shares nothing with the code under test but the score: it reads the JSON of the filter itself.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from database.models import Delivery, EngagementTier, SendStatus, SubscriberStatus

NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?", re.ASCII)
DAY = re.compile(r"(\d{4}-\d{2}-\d{2})([T ].*)?", re.ASCII | re.DOTALL)

VIP = {"tags": {"any": ["vip"]}}
"""A filter, where any will do."""

Person = dict[str, Any]
"""Columns by name; `score`; and `sends`: by campaign (status, delivery, opened, clicked)."""


def is_selected(said: Any, person: Person, now: datetime) -> bool:
    [(word, below)] = said.items()
    match word:
        case "and":
            return all(is_selected(one, person, now) for one in below)
        case "or":
            return any(is_selected(one, person, now) for one in below)
        case "not":
            return not is_selected(below, person, now)
        case "tags":
            return all(_tags(ask, set(tags), set(person["tags"])) for ask, tags in below.items())
    if not isinstance(below, dict):
        return _behaved(word, person["sends"].get(below))
    if word in ("email", "domain"):
        below = {ask: _ascii(ask, given) for ask, given in below.items()}
    value, meets = _value(word, person), _text_meets
    if word.startswith("attributes."):
        meets = _attribute_meets
    return all(meets(ask, _resolved(given, now), value) for ask, given in below.items())


def _value(field: str, person: Person) -> Any:
    if field.startswith("attributes."):
        value: Any = person["attributes"]
        for step in field.split(".")[1:]:
            value = value.get(step) if isinstance(value, dict) else None
        return value
    match field:
        case "email":
            return person["email_key"]
        case "domain":
            return person["email_key"].split("@")[1]
        case "engagement_score":
            return person["score"]
    return person[field]


def _ascii(ask: str, given: Any) -> Any:
    """Whole addresses and domains are known by their ASCII form; parts are as they are."""
    if ask == "in":
        return [_ascii("eq", one) for one in given]
    return given.replace("bücher", "xn--bcher-kva") if ask in ("eq", "ne") else given


def _resolved(given: Any, now: datetime) -> Any:
    return now - timedelta(days=given["days_ago"]) if isinstance(given, dict) else given


def _tags(ask: str, asked: set[str], has: set[str]) -> bool:
    return {"any": bool(asked & has), "all": asked <= has, "none": not asked & has}[ask]


def _fold(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub("[A-Z]", lambda found: found[0].lower(), value)
    return value


def _text_meets(ask: str, given: Any, value: Any) -> bool:
    if ask == "exists":
        return (value is not None) == bool(given)
    if ask == "ne":
        return not _text_meets("eq", given, value)
    if value is None:
        return False
    meets: dict[str, Callable[[], Any]] = {
        "eq": lambda: _fold(value) == _fold(given),
        "in": lambda: _fold(value) in [_fold(one) for one in given],
        "contains": lambda: _fold(given) in _fold(value),
        "starts_with": lambda: _fold(value).startswith(_fold(given)),
        "gte": lambda: value >= given,
        "lte": lambda: value <= given,
        "before": lambda: value < _moment(given),
        "after": lambda: value >= _moment(given),
    }
    return bool(meets[ask]())


def _moment(given: Any) -> datetime:
    if isinstance(given, datetime):
        return given
    moment = datetime.fromisoformat(given)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _attribute_meets(ask: str, given: Any, value: Any) -> bool:
    match ask:
        case "exists":
            return (value is not None) == bool(given)
        case "ne":
            return not _same(value, given)
        case "eq":
            return _same(value, given)
        case "in":
            return any(_same(value, one) for one in given)
        case "contains" if isinstance(value, list):
            return any(_same(one, given) for one in value if isinstance(one, str))
        case "contains":
            return isinstance(value, str) and _fold(given) in _fold(value)
        case "starts_with":
            return isinstance(value, str) and bool(_fold(value).startswith(_fold(given)))
    if isinstance(given, str | datetime):
        day = given if isinstance(given, str) else given.date().isoformat()
        found = DAY.fullmatch(value) if isinstance(value, str) else None
        return found is not None and _compare(ask, found[1], day)
    number = _number(value)
    return number is not None and _compare(ask, number, given)


def _compare(ask: str, left: Any, right: Any) -> bool:
    return bool(
        {"gt": left > right, "gte": left >= right, "lt": left < right, "lte": left <= right}[ask]
    )


def _same(value: Any, given: Any) -> bool:
    if isinstance(given, str):
        return isinstance(value, str) and _fold(value) == _fold(given)
    if isinstance(given, bool):
        return value is given
    return bool(_number(value) == given)


def _number(value: Any) -> int | float | None:
    if isinstance(value, str):
        if len(value) > 30 or not NUMBER.fullmatch(value):
            return None
        return float(value) if "." in value else int(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _behaved(word: str, send: tuple[SendStatus, Delivery, bool, bool] | None) -> bool:
    if send is None:
        return word == "not_received"
    status, delivery, opened, clicked = send
    accepted = status is SendStatus.ACCEPTED
    returned = delivery in (Delivery.SOFT_BOUNCED, Delivery.BOUNCED, Delivery.DROPPED)
    on_its_way = status in (SendStatus.QUEUED, SendStatus.SENDING, SendStatus.UNKNOWN)
    return {
        "received": accepted and not returned,
        "not_received": not (accepted and not returned) and not on_its_way,
        "opened": opened,
        "not_opened": accepted and not opened,
        "clicked": clicked,
        "not_clicked": accepted and not clicked,
    }[word]


# made-up people: few different values, so that filters meet them

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
CAMPAIGNS = (1, 2, 3)
_TEXTS = ("Ann", "ann", "Änn", "änn", "a%", "a_b", "axb", "%", "/", "\\", "'", '"', "", "O'Neil")
_NUMBERS = (0, 7, -3, 7.5, 0.1, 1e20, 10**15, 2**53 + 1)
_ODD_TEXTS = ("7", "7.50", "-3", "007", "7.", ".5", "1e1", " 7", "--", "1-2", "9" * 31, "true")
_DAYS = ("2026-11-24", "2026-11-01", "1999-12-31", "2026-02-31", "2026-11-24T23:59:59Z")
_NO_DAYS = ("2026-11-2", "2026-11-240", "2026-11-24x", "x2026-11-24", "2026-11-24 x\ny", "now")

moments = st.sampled_from(
    [NOW - timedelta(days=days, microseconds=us) for days in (-1, 0, 1, 30, 400) for us in (0, 1)]
)
_scalars = st.sampled_from((*_TEXTS, *_NUMBERS, *_ODD_TEXTS, *_DAYS, *_NO_DAYS, True, False, None))
_attributes = st.dictionaries(
    st.sampled_from(["a", "b", "C"]),
    _scalars
    | st.lists(_scalars, max_size=3)
    | st.dictionaries(st.sampled_from(["a", "b-c"]), _scalars, max_size=2),
    max_size=3,
)
_sends = st.dictionaries(
    st.sampled_from(CAMPAIGNS[:2]),
    st.tuples(st.sampled_from(SendStatus), st.sampled_from(Delivery), st.booleans(), st.booleans()),
)
_TAGS = ("red", "Red", "blüe", "'", "a b")
people = st.fixed_dictionaries(
    {
        "local": st.sampled_from(["Ann", "bob", "a_b", "a+b", "o'n"]),
        "host": st.sampled_from(["gmail.com", "xn--bcher-kva.example", "example.org"]),
        "first_name": st.sampled_from([None, *_TEXTS]),
        "last_name": st.sampled_from([None, *_TEXTS]),
        "attributes": _attributes,
        "tags": st.lists(st.sampled_from(_TAGS), unique=True, max_size=3),
        "status": st.sampled_from(SubscriberStatus),
        "mailbox_provider": st.sampled_from(["gmail", "other"]),
        "consent_source": st.sampled_from([None, *_TEXTS]),
        "consent_at": st.none() | moments,
        "interest": st.sampled_from([0.0, 2.0, 9.0]),
        "interest_mails": st.sampled_from([0.0, 10.0]),
        "interest_at": st.none() | moments,
        "last_interest_at": st.none() | moments,
        "last_delivered_at": st.none() | moments,
        "tier": st.none() | st.sampled_from(EngagementTier),
        "soft_bounces": st.sampled_from([0, 3]),
        "soft_bounce_last_at": st.none() | moments,
        "created_at": moments,
        "sends": _sends,
    }
)

# made-up filters, all of them in the language

_given_texts = st.sampled_from([text for text in (*_TEXTS, *_ODD_TEXTS, *_DAYS) if text])
_given_scalars = st.sampled_from([one for one in (*_TEXTS, *_NUMBERS, *_ODD_TEXTS) if one != ""])
_days_ago = st.integers(-2, 40).map(lambda days: {"days_ago": days})
_given_moments = _days_ago | st.sampled_from(
    ["2026-11-24", "2026-11-24T12:00:00Z", "2026-11-24T13:00+01:00", "2025-01-01"]
)
_given_days = st.sampled_from(_DAYS[:3]) | _days_ago
_flags = st.booleans()


def _some(values: Any) -> Any:
    return st.lists(values, min_size=1, max_size=4)


def _asked(**words: Any) -> Any:
    return st.dictionaries(st.sampled_from(list(words)), st.none(), min_size=1, max_size=2).flatmap(
        lambda chosen: st.fixed_dictionaries({word: words[word] for word in chosen})
    )


def _one_of(values: Any) -> dict[str, Any]:
    return {"eq": values, "ne": values, "in": _some(values)}


_of_text = {
    **_one_of(_given_texts),
    "contains": _given_texts,
    "starts_with": _given_texts,
    "exists": _flags,
}
_of_moments = {"before": _given_moments, "after": _given_moments}
_of_attributes = {
    **_one_of(_given_scalars | _flags),
    "contains": _given_texts,
    "starts_with": _given_texts,
    "exists": _flags,
    **dict.fromkeys(("gt", "gte", "lt", "lte"), _given_days | st.sampled_from(_NUMBERS)),
}
_part_of_address = {"contains": _given_texts, "starts_with": _given_texts}
_FIELDS = {
    "status": _one_of(st.sampled_from([one.value for one in SubscriberStatus])),
    "tags": dict.fromkeys(("any", "all", "none"), _some(st.sampled_from([*_TAGS, "gone"]))),
    "email": {
        **_one_of(st.sampled_from(["ANN@gmail.com", "bob@bücher.example", "x@example.org"])),
        **_part_of_address,
    },
    "domain": {
        **_one_of(st.sampled_from(["GMAIL.com", "bücher.example", "example.net"])),
        **_part_of_address,
    },
    "first_name": _of_text,
    "last_name": _of_text,
    "mailbox_provider": _one_of(st.sampled_from(["gmail", "other", "yahoo"])),
    "engagement_score": dict.fromkeys(("gte", "lte"), st.integers(0, 100)),
    "tier": {**_one_of(st.sampled_from([one.value for one in EngagementTier])), "exists": _flags},
    "consent_source": _of_text,
    "consent_at": {**_of_moments, "exists": _flags},
    "created_at": _of_moments,
    "last_delivered_at": {**_of_moments, "exists": _flags},
    "last_interest_at": {**_of_moments, "exists": _flags},
    **dict.fromkeys(
        ["attributes.a", "attributes.b", "attributes.C", "attributes.a.b-c", "attributes.x.y.z"],
        _of_attributes,
    ),
}
_conditions = st.one_of(
    *(
        _asked(**words).map(lambda below, field=field: {field: below})
        for field, words in _FIELDS.items()
    )
)
_behaviours = st.tuples(
    st.sampled_from(["received", "not_received", "opened", "not_opened", "clicked", "not_clicked"]),
    st.sampled_from(CAMPAIGNS),
).map(lambda pair: dict([pair]))
_leaves = _conditions | _behaviours


def _joined(parts: Any) -> Any:
    return (
        st.lists(parts, min_size=1, max_size=3).map(lambda some: {"and": some})
        | st.lists(parts, min_size=1, max_size=3).map(lambda some: {"or": some})
        | parts.map(lambda one: {"not": one})
    )


filters = _leaves | _joined(_leaves | _joined(_leaves | _joined(_leaves)))
