"""A whole installation below the HTTP API: database, engine, and the simulator as the ESPs."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select

from config.esp_config import EspConfig, EspName, PostmarkConfig, SendGridConfig, SesConfig
from config.settings import DnsGate, EspDistribution
from database.migrate import migrate
from database.models import (
    Campaign,
    CampaignStatus,
    EmailSend,
    Subscriber,
    SubscriberStatus,
    SuppressionReason,
)
from database.session import Database
from email_sender import CampaignEngine
from list_manager import suppress
from services.adapters import build_adapter
from services.campaigns import NewCampaign, create, report, stands_still
from services.mailing import Identity
from services.simulator.server import Simulator
from utils.tokens import email_hash

LINK_KEY = b"k" * 32
WAIT_S = 30.0
NEW = NewCampaign(
    name="News",
    subject="Hello {{ first_name }}",
    html="<p>Hello {{ first_name }}, <a href='{{ unsubscribe_url }}'>leave</a></p>",
    text="Hello {{ first_name }}",
    from_email="news@example.com",
    from_name="Example",
    reply_to=None,
    audience={},
    esp=None,
    track_opens=False,
    track_clicks=False,
    tags=(),
)


def configs_at(base_urls: Mapping[EspName, str], **limits: Any) -> dict[EspName, EspConfig]:
    """The three ESPs at these addresses, SendGrid first; `limits` go to all of them."""
    limits = {"concurrency": 4, "batch_size": 50, **limits}
    return {
        EspName.SENDGRID: SendGridConfig(
            name=EspName.SENDGRID,
            priority=1,
            api_key="SG.key",
            base_url=base_urls[EspName.SENDGRID],
            **limits,
        ),
        EspName.SES: SesConfig(
            name=EspName.SES,
            priority=2,
            access_key_id="AKID",
            secret_access_key="secret",
            region="eu-west-1",
            base_url=base_urls[EspName.SES],
            **{**limits, "batch_size": min(50, limits["batch_size"])},
        ),
        EspName.POSTMARK: PostmarkConfig(
            name=EspName.POSTMARK,
            priority=3,
            api_key="token",
            base_url=base_urls[EspName.POSTMARK],
            **limits,
        ),
    }


class Rig:
    """What a test of the engine works with; `start` again after `stop` is a restart."""

    def __init__(
        self, database: Database, simulator: Simulator, clock: Callable[[], datetime]
    ) -> None:
        self.database, self.simulator, self.clock = database, simulator, clock
        self.configs = configs_at(simulator.base_urls)
        self.distribution = EspDistribution.PRIORITY
        self.dns_gate = DnsGate.OFF
        self.may_send_as: Callable[[str], bool] = lambda _: True
        self.installation = migrate(database, clock())
        self.engine: CampaignEngine | None = None

    def configure(self, esp: EspName, **changes: Any) -> None:
        self.configs[esp] = replace(self.configs[esp], **changes)

    def start(self) -> CampaignEngine:
        self.engine = CampaignEngine(
            self.database,
            self.configs,
            build=build_adapter,
            identity=Identity(
                hash_key=self.installation.hash_key,
                link_key=LINK_KEY,
                public_base_url="https://mail.example.com",
            ),
            clock=self.clock,
            distribution=self.distribution,
            dns_gate=self.dns_gate,
            may_send_as=self.may_send_as,
            rng=random.Random(1),
        )
        self.engine.start()
        return self.engine

    def stop(self) -> None:
        if self.engine is not None:
            self.engine.close()

    def add_people(self, n: int, pattern: str = "person{}@example.net", **columns: Any) -> None:
        emails = [pattern.format(number) for number in range(n)]
        now = self.clock()
        common = {
            "first_name": "Ann",
            "attributes": {},
            "tags": [],
            "status": SubscriberStatus.ACTIVE,
            "mailbox_provider": "other",
            "created_at": now,
            "updated_at": now,
            **columns,
        }
        with self.database.write() as session:
            session.execute(
                insert(Subscriber),
                [
                    {
                        "email": email,
                        "email_key": email,
                        "email_hash": email_hash(self.installation.hash_key, email),
                        **common,
                    }
                    for email in emails
                ],
            )

    def suppress(self, email_key: str) -> None:
        with self.database.write() as session:
            suppress(
                session,
                email_hash(self.installation.hash_key, email_key),
                reason=SuppressionReason.UNSUBSCRIBED,
                source="test",
                now=self.clock(),
            )

    def create(self, **changes: Any) -> int:
        """A campaign, written but unknown to the engine until it looks."""
        with self.database.write() as session:
            campaign = create(session, replace(NEW, **changes), now=self.clock(), sandbox=True)
        if self.engine is not None:
            self.engine.wake()
        return campaign.id

    def report(self, campaign_id: int) -> dict[str, Any]:
        with self.database.read() as session:
            return report(session, session.get_one(Campaign, campaign_id), self.clock())

    def wait(self, campaign_id: int, *statuses: CampaignStatus) -> dict[str, Any]:
        """The report once the campaign has one of `statuses` (none given: stands still)."""
        assert self.engine is not None

        def is_there(campaign: Campaign) -> bool:
            return campaign.status in statuses if statuses else stands_still(campaign)

        for _ in range(int(WAIT_S / 0.05)):
            with self.database.read() as session:
                if is_there(session.get_one(Campaign, campaign_id)):
                    break
            self.engine.wait_for_stand(0.05)
        else:
            raise AssertionError(f"still not there: {self.report(campaign_id)}")
        self.check_identity(campaign_id)
        return self.report(campaign_id)

    def send(self, **changes: Any) -> dict[str, Any]:
        """Create a campaign and wait until it stands still."""
        return self.wait(self.create(**changes))

    def check_identity(self, campaign_id: int) -> None:
        """The counters, the ledger, and the sum of design.md 5 agree."""
        told = self.report(campaign_id)
        assert told["planned"] == sum(told["counts"].values()) + sum(told["skipped"].values())
        with self.database.read() as session:
            rows = dict(
                session.execute(
                    select(EmailSend.status, func.count())
                    .where(EmailSend.campaign_id == campaign_id)
                    .group_by(EmailSend.status)
                ).all()
            )
        counted = {status.value: n for status, n in rows.items() if status.value != "skipped"}
        assert counted == {name: n for name, n in told["counts"].items() if n}

    def accepted_refs(self) -> dict[EspName, set[str]]:
        """Who each ESP took mail for, by the ESP's own record."""
        found: dict[EspName, set[str]] = {esp: set() for esp in EspName}
        for esp, recipient, _ in self.simulator.accepted_sends():
            found[esp].add(recipient)
        return found


@contextmanager
def rig(database: Database, clock: Callable[[], datetime]) -> Iterator[Rig]:
    with Simulator(clock=clock) as simulator:
        made = Rig(database, simulator, clock)
        yield made
        made.stop()
