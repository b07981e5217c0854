"""The parts of an installation, joined once per process, without Flask."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from config.esp_config import EspConfig, EspName
from config.settings import SendingMode, Settings, sandbox_esps
from database.migrate import migrate
from database.models import Campaign
from database.restore_guard import RestoreGuard, safe_mode
from database.session import Database
from email_sender import CampaignEngine
from services.adapters import build_adapter
from services.esp_manager import gated_domain
from services.mailing import Identity
from services.simulator.server import Simulator
from services.unsubscribe_spool import UnsubscribeSpool
from services.webhooks import Webhooks
from utils.tokens import link_key


def utc_now() -> datetime:
    return datetime.now(UTC)


class WrongDatabase(Exception):
    """A database that holds sends of the other mode: what was simulated was never mailed."""


@dataclass(slots=True, kw_only=True)
class System:
    """Everything that a process needs to answer; after `start`, also to send."""

    settings: Settings
    database: Database
    hash_key: bytes = field(repr=False)
    """Of this installation: keys `email_hash` and `cx_send_id`."""
    link_keys: tuple[bytes, ...] = field(repr=False)
    """The first signs unsubscribe links, all verify."""
    clock: Callable[[], datetime] = utc_now
    simulator: Simulator | None = None
    """In sandbox mode, once started: where the mails go."""
    esps: Mapping[EspName, EspConfig] = field(default_factory=dict)
    engine: CampaignEngine | None = None
    unsubscribes: UnsubscribeSpool = field(init=False)
    _webhooks: Webhooks | None = None

    def __post_init__(self) -> None:
        self.unsubscribes = UnsubscribeSpool(self.database)

    @classmethod
    def open(cls, settings: Settings, clock: Callable[[], datetime] = utc_now) -> "System":
        """Open the database, bring it to the current schema, and join the parts.

        Raises `WrongDatabase` when it belongs to the other sending mode.
        """
        database = Database(settings.database_url, folder=settings.data_dir)
        installation = migrate(database, clock())
        with database.read() as session:
            _check_mode(session, settings)
        system = cls(
            settings=settings,
            database=database,
            hash_key=installation.hash_key,
            link_keys=tuple(link_key(secret) for secret in settings.secret_keys),
            clock=clock,
            esps=settings.esps,
        )
        system.unsubscribes.replay()
        return system

    @property
    def is_sandbox(self) -> bool:
        return self.settings.sending_mode is SendingMode.SANDBOX

    @property
    def identity(self) -> Identity:
        """What signs our mails, and where their links lead."""
        return Identity(
            hash_key=self.hash_key,
            link_key=self.link_keys[0],
            public_base_url=self.settings.public_base_url,
        )

    @property
    def safe_mode(self) -> str | None:
        """Why nothing may be sent, and what to do: the database was restored or copied."""
        why = RestoreGuard(self.database).why_held()
        return None if why is None else safe_mode(why)

    @property
    def gated_domain(self) -> str | None:
        """The domain of FROM_EMAIL, where faults in its DNS keep mail back."""
        return gated_domain(self.settings.from_email, self.settings.dns_gate)

    @property
    def webhooks(self) -> Webhooks:
        """Of the ESPs as they are now."""
        if self._webhooks is None:
            self._webhooks = Webhooks(
                self.database, self.esps, hash_key=self.hash_key, clock=self.clock
            )
        return self._webhooks

    def start_simulator(self) -> Simulator:
        """The ESPs of sandbox mode, in this process; its mails are kept beside the database."""
        if self.simulator is None:
            path = self.database.path
            mailbox = path.with_name(f"{path.name}.sandbox-mails") if path else None
            self.simulator = Simulator(mailbox=mailbox, clock=self.clock).start()
            esps = sandbox_esps(self.settings, self.simulator.base_urls)
            checks = self.simulator.webhook_settings
            self.esps = {name: replace(esp, **checks[name]) for name, esp in esps.items()}
            self._webhooks = None
        return self.simulator

    def start(self) -> CampaignEngine:
        """Begin to send, if no other process does; in sandbox mode to the simulator."""
        if self.is_sandbox:
            self.start_simulator()
        self.engine = CampaignEngine(
            self.database,
            self.esps,
            build=build_adapter,
            identity=self.identity,
            clock=self.clock,
            distribution=self.settings.esp_distribution,
            dns_gate=self.settings.dns_gate,
            may_send_as=self.settings.may_send_as,
        )
        self.engine.start()
        self.webhooks.resume()
        return self.engine

    def stop_claiming(self) -> None:
        """The process is about to end; safe in a signal handler."""
        if self.engine is not None:
            self.engine.stop_claiming()

    def close(self) -> None:
        """Let what is under way end, and close."""
        if self.engine is not None:
            self.engine.close()
        if self._webhooks is not None:
            self._webhooks.close()
        if self.simulator is not None:
            self.simulator.stop()
        self.database.close()


def _check_mode(session: Session, settings: Settings) -> None:
    sandbox = settings.sending_mode is SendingMode.SANDBOX
    other = session.scalar(select(Campaign.id).where(Campaign.sandbox.is_(not sandbox)).limit(1))
    if other is not None:
        held = "live" if sandbox else "sandbox"
        raise WrongDatabase(
            f"the database holds {held} campaigns and SENDING_MODE is {settings.sending_mode}: "
            "set DATABASE_URL to another database (a new one is made)"
        )
