"""The settings of an installation: the only reader of the environment.

`.env.example` explains each variable. The process environment wins over `.env`; an
empty value and the placeholder `your_…_here` mean "not set". All faults are told at
once, a line for each, and none of them repeats a secret.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote, urlsplit

from config import values
from config.domain_setup import DomainSetup, load
from config.esp_config import ESPS, EspConfig, EspName
from config.failpoints import Armed, armed
from config.reader import Reader, SettingsError, read_env_file, unknown_lines
from config.values import ROOT, Nameserver

__all__ = [
    "ROOT",
    "DnsGate",
    "EspDistribution",
    "SendingMode",
    "Settings",
    "SettingsError",
    "load_settings",
    "sandbox_esps",
    "secrets_of",
]

SAMPLE_POSTAL_ADDRESS = "Example Ltd, 1 Example Street, Example Town"


class SendingMode(StrEnum):
    SANDBOX = "sandbox"
    """Mails go to the simulator; no key of a real ESP is ever used."""
    LIVE = "live"


class EspDistribution(StrEnum):
    PRIORITY = "priority"
    BALANCED = "balanced"
    """Each batch to the ESP that has had the fewest recipients of this campaign."""


class DnsGate(StrEnum):
    BLOCK = "block"
    """A campaign waits while a DNS record that the ESP needs is known to be wrong."""
    WARN = "warn"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting, checked. `esps` is empty in sandbox mode: see `sandbox_esps`."""

    sending_mode: SendingMode
    database_url: str = field(repr=False)
    data_dir: Path
    """For what belongs to a PostgreSQL database on this machine; it need not exist."""
    api_key: str = field(repr=False)
    read_api_keys: tuple[str, ...] = field(repr=False)
    """These three kinds may do less than `api_key`: `api.auth` has what."""
    sign_up_api_keys: tuple[str, ...] = field(repr=False)
    send_api_keys: tuple[str, ...] = field(repr=False)
    secret_keys: tuple[str, ...] = field(repr=False)
    """The first signs, all verify."""
    host: str
    port: int
    public_base_url: str
    """Without a slash at its end."""
    from_email: str
    from_name: str | None
    allowed_senders: tuple[str, ...]
    """Addresses, and `@` with a domain for all of it; empty: whatever the ESPs let us be."""
    postal_address: str
    sending_domain: str
    sync_budget_seconds: int
    max_recipients_per_campaign: int
    """0: no limit."""
    confirm_count_over: int
    """Campaigns to more people need their number in the request; 0: none does."""
    trusted_proxy_hops: int
    """Proxies of ours in front: so many of the forwarded addresses are believed."""
    api_calls_per_minute: int
    """With the API key; 0 in this and the next three is no limit."""
    wrong_keys_per_minute: int
    """From one address."""
    public_calls_per_minute: int
    """From one address, without a key and without a link of ours."""
    opt_in_mails_per_hour: int
    """That ask somebody to confirm; over all who sign up."""
    dns_nameservers: tuple[Nameserver, ...]
    """Empty: those of the system."""
    dns_blocklist_nameservers: tuple[Nameserver, ...]
    """Empty: blocklists are not asked."""
    sending_ips: tuple[str, ...]
    """Addresses that send our mail alone; those of others are their ESPs' to look after."""
    domain_setup_file: Path
    domain_setups: Mapping[str, DomainSetup]
    """What that file says of each domain; empty when there is none."""
    esp_distribution: EspDistribution
    dns_gate: DnsGate
    esp_limits: dict[EspName, EspConfig]
    """Rank and limits of each ESP, whether it has a key or not."""
    esps: dict[EspName, EspConfig]
    """The ESPs that have a key."""
    failpoint: Armed | None = None
    """Where a test has the server die; never with a real ESP."""
    warnings: tuple[str, ...] = ()
    """Names in `.env` that we do not know, a line for each; print them at the start."""

    def may_send_as(self, address: str) -> bool:
        """`address`: normalised, so that its domain is an A-label in lower case."""
        domain = f"@{address.rpartition('@')[2]}"
        return not self.allowed_senders or not {address, domain}.isdisjoint(self.allowed_senders)


def load_settings(
    environ: Mapping[str, str] | None = None, env_file: Path | None = ROOT / ".env"
) -> Settings:
    """The settings of this process; raises a `SettingsError` that names every fault."""
    lines = read_env_file(env_file) if env_file else {}
    in_file = {name: text for name, (_, text) in lines.items()}
    reader = Reader({**in_file, **(os.environ if environ is None else environ)})
    settings = _settings(reader)
    if not settings.may_send_as(settings.from_email):
        reader.faults.setdefault("ALLOWED_SENDERS", "must also hold FROM_EMAIL, or its domain")
    if not settings.database_url.startswith("sqlite") and not values.can_be_written(
        settings.data_dir
    ):
        reader.faults.setdefault(
            "DATA_DIR",
            "must be a folder that can be written: it keeps the mark of a PostgreSQL database",
        )
    _check_keys(reader, settings)
    if settings.sending_mode is SendingMode.LIVE:
        _check_live(reader, settings)
    if reader.faults:
        raise SettingsError(f"{name}: {fault}" for name, fault in reader.faults.items())
    return replace(settings, warnings=tuple(unknown_lines(lines, reader.names)))


def sandbox_esps(settings: Settings, base_urls: Mapping[EspName, str]) -> dict[EspName, EspConfig]:
    """The ESPs at the simulator: our ranks and limits, its addresses, no real key.

    What checks webhooks (keys, topics, passwords) is the simulator's to add with `replace`.
    """
    return {
        name: ESPS[name].at_simulator(settings.esp_limits[name], url)
        for name, url in base_urls.items()
    }


def secrets_of(settings: Settings) -> frozenset[str]:
    """What nobody may be shown: the values that `repr` leaves out, and a database's password."""
    found: set[str] = set()
    holders: list[Settings | EspConfig] = [settings, *settings.esps.values()]
    for holder in holders:
        hidden = (getattr(holder, one.name) for one in fields(holder) if not one.repr)
        for value in hidden:
            found.update((value,) if isinstance(value, str) else value or ())
    found.discard(settings.database_url)
    if password := urlsplit(settings.database_url).password:
        found.update((password, unquote(password)))
    return frozenset(found - {""})


def _settings(reader: Reader) -> Settings:
    read = reader.read
    people = values.whole_number(0, 1_000_000_000)
    keys = values.several(values.own_secret(16))
    often = values.whole_number(0, 100_000)
    setup_file = _domain_setup_file(reader)
    mode = read("SENDING_MODE", values.choice(SendingMode), SendingMode.SANDBOX)
    live = mode is SendingMode.LIVE
    port = read("PORT", values.whole_number(1, 65535), 5000)
    from_email = read("FROM_EMAIL", values.email_address, "news@example.com")
    limits = {
        name: esp.read_limits(reader, name, rank)
        for rank, (name, esp) in enumerate(ESPS.items(), start=1)
    }
    # All is read in sandbox mode too, so that a typo shows early.
    esps = {name: esp.read(reader, limits[name], live=live) for name, esp in ESPS.items()}
    return Settings(
        sending_mode=mode,
        database_url=_database_url(reader),
        data_dir=read("DATA_DIR", values.folder(ROOT), ROOT / "data"),
        api_key=_api_key(reader),
        read_api_keys=read("READ_API_KEYS", keys, (), secret=True),
        sign_up_api_keys=read("SIGN_UP_API_KEYS", keys, (), secret=True),
        send_api_keys=read("SEND_API_KEYS", keys, (), secret=True),
        secret_keys=_secret_keys(reader),
        host=read("HOST", values.listen_address, "127.0.0.1"),
        port=port,
        public_base_url=read("PUBLIC_BASE_URL", values.base_url, f"http://127.0.0.1:{port}"),
        from_email=from_email,
        from_name=read("FROM_NAME", values.one_line, None),
        allowed_senders=read("ALLOWED_SENDERS", values.several(values.sender), ()),
        postal_address=read("POSTAL_ADDRESS", values.one_line, SAMPLE_POSTAL_ADDRESS),
        sending_domain=read("SENDING_DOMAIN", values.domain, from_email.rpartition("@")[2]),
        trusted_proxy_hops=read("TRUSTED_PROXY_HOPS", values.whole_number(0, 5), 0),
        api_calls_per_minute=read("API_CALLS_PER_MINUTE", often, 1200),
        wrong_keys_per_minute=read("WRONG_KEYS_PER_MINUTE", often, 120),
        public_calls_per_minute=read("PUBLIC_CALLS_PER_MINUTE", often, 120),
        max_recipients_per_campaign=read("MAX_RECIPIENTS_PER_CAMPAIGN", people, 0),
        confirm_count_over=read("CONFIRM_COUNT_OVER", people, 0),
        opt_in_mails_per_hour=read("OPT_IN_MAILS_PER_HOUR", often, 200),
        sync_budget_seconds=read("SYNC_BUDGET_SECONDS", values.whole_number(0, 900), 300),
        dns_nameservers=read("DNS_NAMESERVERS", values.several(values.nameserver), ()),
        sending_ips=read("SENDING_IPS", values.several(values.public_address), ()),
        dns_blocklist_nameservers=read(
            "DNS_BLOCKLIST_NAMESERVERS", values.several(values.nameserver), ()
        ),
        domain_setup_file=setup_file,
        domain_setups=_domain_setups(reader, setup_file),
        esp_distribution=read(
            "ESP_DISTRIBUTION", values.choice(EspDistribution), EspDistribution.PRIORITY
        ),
        dns_gate=read("DNS_GATE", values.choice(DnsGate), DnsGate.BLOCK if live else DnsGate.WARN),
        esp_limits=limits,
        esps={name: esp for name, esp in esps.items() if esp is not None and live},
        failpoint=read("FAILPOINT", armed, None),
    )


def _database_url(reader: Reader) -> str:
    parse = values.database_url(ROOT)
    return reader.read("DATABASE_URL", parse, parse("sqlite:///data/email.db"), secret=True)


def _api_key(reader: Reader) -> str:
    reader.require("API_KEY", "must be set: run ./setup.sh, or write 16 random characters or more")
    return reader.read("API_KEY", values.own_secret(16), "", secret=True)


def _secret_keys(reader: Reader) -> tuple[str, ...]:
    reader.require(
        "SECRET_KEY", "must be set: run ./setup.sh, or write 32 random characters or more"
    )
    return reader.read("SECRET_KEY", values.several(values.own_secret(32)), (), secret=True)


def _domain_setup_file(reader: Reader) -> Path:
    parse = values.existing(ROOT, Path.is_file, "a file")
    return reader.read("DOMAIN_SETUP_FILE", parse, ROOT / "config" / "domain_setup.json")


def _domain_setups(reader: Reader, path: Path) -> dict[str, DomainSetup]:
    if not path.exists():
        return {}
    try:
        return load(path)
    except SettingsError as error:
        for line in error.faults:
            key, _, fault = line.partition(": ")
            reader.faults.setdefault(key, fault)
        return {}


def _check_keys(reader: Reader, settings: Settings) -> None:
    seen = {settings.api_key}
    for name in ("READ_API_KEYS", "SIGN_UP_API_KEYS", "SEND_API_KEYS"):
        keys = getattr(settings, name.lower())
        if not seen.isdisjoint(keys):
            reader.faults.setdefault(name, "must hold no key that is in API_KEY or another list")
        seen.update(keys)


def _check_live(reader: Reader, settings: Settings) -> None:
    """What real mail needs beyond values that are right in themselves."""
    reader.require("PUBLIC_BASE_URL", "must be set in live mode, like https://mail.example.com")
    reader.require("FROM_EMAIL", "must be set in live mode, like news@example.com")
    reader.require("POSTAL_ADDRESS", "must be set in live mode: the law asks for it in every mail")
    keys = [esp.key for esp in ESPS.values()]
    if not any(map(reader.text, keys)):
        fault = f"live needs the key of at least one ESP: {', '.join(keys)}"
        reader.faults.setdefault("SENDING_MODE", fault)
    outside = not all(values.is_loopback(esp.base_url or "") for esp in settings.esps.values())
    if outside and reader.text("PUBLIC_BASE_URL") and values.is_loopback(settings.public_base_url):
        fault = "must be an https URL that recipients can reach, since mail goes to a real ESP"
        reader.faults.setdefault("PUBLIC_BASE_URL", fault)
    if outside and settings.failpoint is not None:
        fault = "is for tests: it kills the server, so no real ESP may be set"
        reader.faults.setdefault("FAILPOINT", fault)
