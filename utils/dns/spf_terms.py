"""The terms of an SPF record (RFC 7208): what is written where, and what is wrong with it."""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

LOOKUP_TERMS = frozenset({"include", "a", "mx", "ptr", "exists", "redirect"})
"""Those that cost one of the ten lookups (4.6.4)."""
_WITH_DOMAIN = frozenset({"include", "exists"})
_WITH_PREFIX = frozenset({"a", "mx"})
_MECHANISMS = frozenset({"all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists"})

_SPF = re.compile(r"v=spf1(?: |\Z)", re.IGNORECASE)
_TERM = re.compile(r"([+?~-]?)([A-Za-z][A-Za-z0-9_.-]*)([:/=]?)(.*)", re.DOTALL)
_PREFIXES = re.compile(r"(?:/(0|[1-9][0-9]?[0-9]?))?(?://(0|[1-9][0-9]?[0-9]?))?$")
# c, r and t belong into the text of an explanation alone (7.2).
_MACRO = r"%(?:\{([slodiphv])(0*[1-9][0-9]*)?(r?)([.\-+,/_=]*)\}|([%_-]))"
_MACROS = re.compile(_MACRO, re.IGNORECASE)
_MACRO_STRING = re.compile(rf"(?:[\x21-\x24\x26-\x7e]|{_MACRO})*", re.IGNORECASE)
_MACRO_LAST = re.compile(r"%(?:\{[^{}]*\}|[%_-])$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One mechanism or modifier."""

    text: str
    """As it is written."""
    position: int
    """Of its first character in the record; the record's first is 1."""
    name: str = ""
    """In lower case; "" where the term is wrong."""
    qualifier: str = ""
    """`+` (also where none is written), `-`, `~` or `?`; "" for a modifier, and what is wrong."""
    target: str = ""
    """The domain-spec with its macros; "": the domain of the record."""
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    """Of an `ip4` or `ip6`."""
    prefixes: tuple[int | None, int | None] = (None, None)
    """Of an `a` or `mx`: for IPv4 and IPv6."""
    wrong: str = ""
    """Why the record is a permanent error; "": it is not."""


def is_spf(text: str) -> bool:
    """Whether a TXT record is one of SPF (4.5)."""
    return bool(_SPF.match(text))


def parsed(record: str) -> tuple[Term, ...]:
    """The terms after the version, in their order; what is wrong with one is in it."""
    words = list(re.finditer("[^ ]+", record))[1:]
    terms = [_term(word.group(), word.start() + 1) for word in words]
    seen: set[str] = set()
    for index, term in enumerate(terms):
        if term.name in ("redirect", "exp") and not term.qualifier:
            if term.name in seen:
                terms[index] = _wrong(term.text, term.position, f"{term.name}= is there twice")
            seen.add(term.name)
    return tuple(terms)


def evaluated(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """Those that a receiver looks at: nothing after `all`, and no `redirect` beside it (6.1)."""
    good = [term for term in terms if term.qualifier or term.name == "redirect"]
    at = next((index for index, term in enumerate(good) if term.name == "all"), None)
    kept = good if at is None else [one for one in good[: at + 1] if one.name != "redirect"]
    # A redirect counts when nothing else has matched, wherever it stands.
    return tuple(sorted(kept, key=lambda term: term.name == "redirect"))


def expanded(spec: str, domain: str, sender: str) -> str | None:
    """The name that a domain-spec stands for in the record of `domain`, for mail of `sender`;
    `None` where it depends on the mail (its address, its user, its host)."""
    values = {"d": domain, "o": sender}

    def value(macro: re.Match[str]) -> str:
        letter, digits, is_reversed, delimiters, literal = macro.groups()
        if literal:
            return {"%": "%", "_": " ", "-": "%20"}[literal]
        parts = re.split(f"[{re.escape(delimiters or '.')}]", values[letter.lower()])
        parts = parts[::-1] if is_reversed else parts
        # More than a name has labels is all of them.
        return ".".join(parts[-int((digits or "").lstrip("0")[:4] or 0) :])

    try:
        return _MACROS.sub(value, spec).lower().rstrip(".")
    except KeyError:
        return None


def _term(text: str, position: int) -> Term:
    found = _TERM.fullmatch(text)
    if found is None or not text.isascii() or not text.isprintable():
        return _wrong(text, position, "not a term of SPF")
    qualifier, name, sign, rest = found.groups()
    name = name.lower()
    if sign == "=":
        return _modifier(text, position, qualifier, name, rest)
    if name not in _MECHANISMS:
        hint = f"; write {name}=" if name in ("redirect", "exp") else ""
        return _wrong(text, position, f"no such mechanism{hint}")
    term = Term(text=text, position=position, name=name, qualifier=qualifier or "+")
    read = _READERS.get(name, _with_domain)
    try:
        return read(term, sign, f"/{rest}" if sign == "/" else rest)
    except ValueError as error:
        return _wrong(text, position, str(error))


def _modifier(text: str, position: int, qualifier: str, name: str, value: str) -> Term:
    if qualifier:
        return _wrong(text, position, "a modifier has no qualifier")
    if name in ("redirect", "exp") and not _is_domain(value):
        return _wrong(text, position, "not a domain")
    if not _MACRO_STRING.fullmatch(value):
        return _wrong(text, position, "not a macro of SPF")
    return Term(text=text, position=position, name=name, target=value)


def _wrong(text: str, position: int, why: str) -> Term:
    return Term(text=text, position=position, wrong=why)


def _all(term: Term, sign: str, value: str) -> Term:
    if sign or value:
        raise ValueError("nothing may follow all")
    return term


def _address(term: Term, sign: str, value: str) -> Term:
    if sign != ":" or "%" in value:
        raise ValueError(f"{term.name} needs an address")
    make = ipaddress.IPv4Interface if term.name == "ip4" else ipaddress.IPv6Interface
    _, slash, prefix = value.partition("/")
    if slash and not re.fullmatch("0|[1-9][0-9]{0,2}", prefix):
        raise ValueError("not a prefix length")
    try:
        return replace(term, network=make(value).network)
    except ValueError:
        raise ValueError(f"not an {term.name} address or network") from None


def _with_domain(term: Term, sign: str, value: str) -> Term:
    if value and not sign:
        raise ValueError("no such mechanism")
    prefixes: tuple[int | None, int | None] = (None, None)
    if term.name in _WITH_PREFIX and (found := _PREFIXES.search(value)):
        value = value[: found.start()]
        four, six = (None if one is None else int(one) for one in found.groups())
        if (four or 0) > 32 or (six or 0) > 128:
            raise ValueError("not a prefix length")
        prefixes = four, six
    if value or sign == ":":
        if not _is_domain(value):
            raise ValueError("not a domain")
    elif term.name in _WITH_DOMAIN:
        raise ValueError(f"{term.name} needs a domain")
    return replace(term, target=value, prefixes=prefixes)


_READERS: dict[str, Callable[[Term, str, str], Term]] = {
    "all": _all,
    "ip4": _address,
    "ip6": _address,
}


def _is_domain(spec: str) -> bool:
    """Whether it is a domain-spec: two labels at least, or a macro at its end (7.1)."""
    if not _MACRO_STRING.fullmatch(spec):
        return False
    if _MACRO_LAST.search(spec):
        return True
    _, dot, last = spec.removesuffix(".").rpartition(".")
    return (
        bool(dot and last)
        and re.fullmatch("[0-9A-Za-z-]+", last) is not None
        and not (last.startswith("-") or last.endswith("-") or last.isdigit())
    )
