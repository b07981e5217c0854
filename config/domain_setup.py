"""What DNS ought to say of each sending domain: `config/domain_setup.json`, and its checks."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from config import values
from config.domain_values import TYPES, relative_host, value_of
from config.esp_config import EspName
from config.json_reader import Reading, one_of, read_document, shown
from config.reader import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record that ought to be published."""

    host: str
    """Relative to the domain; "@" is the domain itself."""
    type: str
    """CNAME, TXT, MX, A or AAAA."""
    value: str | None
    """`None`: only the ESP knows it, and shows it in its panel. An MX begins with its preference."""

    def fqdn(self, domain: str) -> str:
        return domain if self.host == "@" else f"{self.host}.{domain}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EspRecords:
    """What one ESP wants to be published for one domain."""

    dkim: tuple[Record, ...] = ()
    return_path: tuple[Record, ...] = ()
    """All of one host."""
    tracking: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainSetup:
    """One sending domain."""

    domain: str
    spf: Record | None = None
    dmarc: Record | None = None
    mx: tuple[Record, ...] = ()
    esps: Mapping[EspName, EspRecords] = field(default_factory=dict)


def load(path: Path) -> dict[str, DomainSetup]:
    """The domains of the file; raises a `SettingsError` with a line for each fault."""
    reading = Reading()
    found = _domains(reading, read_document(path))
    if reading.faults:
        raise SettingsError(f"{path.name}, {key}: {text}" for key, text in reading.faults.items())
    return found


def merged(setup: DomainSetup, by_account: Mapping[EspName, EspRecords]) -> DomainSetup:
    """`setup` of the file, completed by what the accounts say of that domain.

    A value in the file wins; one that is null is filled in by host, and what only the account
    has is added.
    """
    names = dict.fromkeys((*setup.esps, *by_account))
    nothing = EspRecords()
    return replace(
        setup,
        esps={
            name: _joined(setup.esps.get(name, nothing), by_account.get(name, nothing))
            for name in names
        },
    )


def _domains(reading: Reading, document: Any) -> dict[str, DomainSetup]:
    if not isinstance(document, dict) or not isinstance(document.get("domains"), dict):
        reading.note("domains", 'must be there: {"domains": {"example.com": { … }}}')
        return {}
    for name in document:
        # There are no comments in JSON.
        if name != "domains" and not name.startswith("_"):
            reading.note(shown(name), "must be domains, or begin with _")
    found: dict[str, DomainSetup] = {}
    for name, part in document["domains"].items():
        key = f"domains.{shown(name)}"
        domain = reading.text(key, name, values.domain)
        if domain in found:
            reading.note(key, "is there twice")
        elif domain is not None:
            found[domain] = _domain(reading, key, domain, part)
    return found


def _domain(reading: Reading, key: str, domain: str, told: Any) -> DomainSetup:
    part = reading.part(key, told, ("spf", "dmarc", "mx", "esps"))
    if "esps" not in part and isinstance(told, dict):
        reading.note(f"{key}.esps", "must be there; {} when no ESP sends for it")
    esps = reading.part(f"{key}.esps", part.get("esps", {}), list(EspName))
    return DomainSetup(
        domain=domain,
        spf=_only_record(reading, f"{key}.spf", part.get("spf"), domain, "@"),
        dmarc=_only_record(reading, f"{key}.dmarc", part.get("dmarc"), domain, "_dmarc"),
        mx=_records(reading, f"{key}.mx", part.get("mx", []), domain, ("MX",)),
        esps={
            name: _esp(reading, f"{key}.esps.{name}", domain, esps[name])
            for name in EspName
            if name in esps
        },
    )


def _only_record(reading: Reading, key: str, told: Any, domain: str, host: str) -> Record | None:
    """A TXT that has just one place."""
    record = None if told is None else _record(reading, key, told, domain, ("TXT",))
    if record is not None and record.host != host:
        reading.note(f"{key}.host", f'must be "{host}"')
    return record


def _esp(reading: Reading, key: str, domain: str, told: Any) -> EspRecords:
    part = reading.part(key, told, ("dkim", "return_path", "tracking"))

    def records(name: str) -> tuple[Record, ...]:
        return _records(reading, f"{key}.{name}", part.get(name, []), domain, TYPES)

    dkim, return_path = records("dkim"), records("return_path")
    for place, record in enumerate(dkim):
        if "._domainkey" not in record.host:
            reading.note(f"{key}.dkim[{place}].host", "must be like s1._domainkey")
    for place, record in enumerate(return_path):
        if record.host != (host := return_path[0].host):
            reading.note(f"{key}.return_path[{place}].host", f'must be "{host}" like the first')
    return EspRecords(dkim=dkim, return_path=return_path, tracking=records("tracking"))


def _records(
    reading: Reading, key: str, told: Any, domain: str, types: tuple[str, ...]
) -> tuple[Record, ...]:
    found: dict[str, Record] = {}
    for at, item in reading.items(key, told):
        record = _record(reading, at, item, domain, types)
        if record is None:
            continue
        for other_at, other in found.items():
            if _clash(record, other):
                reading.note(at, f"cannot be at the same host as {other_at.removeprefix(key)}")
        found[at] = record
    return tuple(found.values())


def _record(
    reading: Reading, key: str, told: Any, domain: str, types: tuple[str, ...]
) -> Record | None:
    """`None` when it is faulty, which is noted."""
    before = len(reading.faults)
    part = reading.part(key, told, ("host", "type", "value"))
    if not isinstance(told, dict):
        return None
    host = reading.text(f"{key}.host", part.get("host"), lambda text: relative_host(text, domain))
    kind = reading.text(f"{key}.type", part.get("type"), lambda text: _kind(text, types))
    value = None
    if "value" not in part:
        reading.note(f"{key}.value", "must be there; null when only the ESP knows it")
    elif part["value"] is not None and kind is not None:
        value = reading.text(f"{key}.value", part["value"], lambda text: value_of(kind, text))
    if host == "@" and kind == "CNAME":
        reading.note(f"{key}.type", "cannot be CNAME at the domain itself")
    if host is None or kind is None or len(reading.faults) > before:
        return None
    return Record(host=host, type=kind, value=value)


def _clash(one: Record, other: Record) -> bool:
    """A CNAME is alone at its host (RFC 1034, 3.6.2), a TXT of a kind has no twin."""
    kinds = {one.type, other.type}
    return one.host == other.host and ("CNAME" in kinds or kinds == {"TXT"} or one == other)


def _kind(text: str, types: tuple[str, ...]) -> str:
    if text.upper() not in types:
        raise ValueError(f"must be {one_of(types)}")
    return text.upper()


def _joined(own: EspRecords, told: EspRecords) -> EspRecords:
    return EspRecords(
        dkim=_filled(own.dkim, told.dkim),
        return_path=_return_path(own.return_path, told.return_path),
        tracking=_filled(own.tracking, told.tracking),
    )


def _return_path(own: tuple[Record, ...], told: tuple[Record, ...]) -> tuple[Record, ...]:
    """Of one host: the file's if it gives a value there, else the account's."""
    if not own or not told:
        return own or told
    host = own[0].host
    if told[0].host != host and all(record.value is None for record in own):
        return told
    return _filled(own, tuple(record for record in told if record.host == host))


def _filled(own: tuple[Record, ...], told: tuple[Record, ...]) -> tuple[Record, ...]:
    known = tuple(_completed(record, told) for record in own)
    return known + tuple(one for one in told if not any(_is_settled(one, by) for by in known))


def _is_settled(told: Record, by: Record) -> bool:
    """A record of the file leaves no room for what the account says of its host."""
    return told.host == by.host and (told.type == by.type or "CNAME" in (told.type, by.type))


def _completed(record: Record, told: tuple[Record, ...]) -> Record:
    """The account's type goes with its value, where the file has only the host right."""
    if record.value is not None:
        return record
    here = [one for one in told if one.host == record.host and one.value is not None]
    same = next((one for one in here if one.type == record.type), None)
    return same or (here[0] if len(here) == 1 else record)
