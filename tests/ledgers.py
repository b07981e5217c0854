"""A list, campaigns and their ledger without an engine: each step made by the test itself."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from config.esp_config import EspName
from database.models import (
    Campaign,
    CampaignStatus,
    EmailSend,
    SendBatch,
    Subscriber,
    SubscriberStatus,
    SuppressionReason,
)
from database.session import Database
from list_manager import suppress
from services.base import Outcome, SendResult
from services.campaigns import create, report
from services.ledger.claim import ClaimedBatch, claim
from services.ledger.plan import plan_chunk
from services.ledger.record import BatchOutcome, record, without_erased
from services.standing import Standing, load
from tests.conftest import NOW
from tests.rig import NEW, configs_at
from utils.tokens import email_hash

HASH_KEY = b"k" * 32


@pytest.fixture
def at(either_database: Database) -> "Ledgers":
    return Ledgers(either_database)


class Ledgers:
    """Steps of the engine, one transaction each."""

    def __init__(self, database: Database, now: datetime = NOW) -> None:
        self.database, self.now = database, now

    def add_people(self, n: int, pattern: str = "person{}@example.net", **columns: Any) -> None:
        emails = [pattern.format(number) for number in range(n)]
        common = {
            "attributes": {},
            "tags": [],
            "status": SubscriberStatus.ACTIVE,
            "mailbox_provider": "other",
            "created_at": self.now,
            "updated_at": self.now,
            **columns,
        }
        rows = [
            {
                "email": email,
                "email_key": email,
                "email_hash": email_hash(HASH_KEY, email),
                **common,
            }
            for email in emails
        ]
        with self.database.write() as session:
            session.execute(insert(Subscriber), rows)

    def create(self, **changes: Any) -> int:
        with self.database.write() as session:
            return create(session, replace(NEW, **changes), now=self.now, sandbox=True).id

    def plan_one(self, campaign_id: int) -> None:
        with self.database.write() as session:
            plan_chunk(session, session.get_one(Campaign, campaign_id), self.now)

    def plan(self, campaign_id: int) -> int:
        """Plan it to the end; return in how many transactions."""
        for chunks in range(1, 100):
            self.plan_one(campaign_id)
            if self.campaign(campaign_id).status is not CampaignStatus.PLANNING:
                return chunks
        raise AssertionError("the plan does not end")

    def planned(self, n: int, **changes: Any) -> int:
        """A campaign to `n` people, planned."""
        self.add_people(n)
        campaign_id = self.create(**changes)
        self.plan(campaign_id)
        return campaign_id

    def claim(
        self, campaign_id: int, n: int = 10, esp: EspName = EspName.SENDGRID
    ) -> ClaimedBatch | None:
        with self.database.write() as session:
            campaign = session.get_one(Campaign, campaign_id)
            return claim(session, campaign, esp, n, self.now, probe=False)

    def claimed(
        self, campaign_id: int, n: int = 10, esp: EspName = EspName.SENDGRID
    ) -> ClaimedBatch:
        batch = self.claim(campaign_id, n, esp)
        assert batch is not None
        return batch

    def record(self, batch: ClaimedBatch, *results: SendResult | Outcome) -> bool:
        """Fewer results than sends: the last one is that of all the rest."""
        given = [SendResult(outcome=r) if isinstance(r, Outcome) else r for r in results]
        given += given[-1:] * (len(batch.sends) - len(given))
        outcome = BatchOutcome(results=given, http_status=200, detail=None, carried=len(given))
        with self.database.write() as session:
            return record(session, batch, without_erased(session, batch, outcome), self.now)

    def suppress(self, email_key: str) -> None:
        with self.database.write() as session:
            suppress(
                session,
                email_hash(HASH_KEY, email_key),
                reason=SuppressionReason.UNSUBSCRIBED,
                source="test",
                now=self.now,
            )

    def campaign(self, campaign_id: int) -> Campaign:
        with self.database.read() as session:
            return session.get_one(Campaign, campaign_id)

    def report(self, campaign_id: int) -> dict[str, Any]:
        with self.database.read() as session:
            return report(session, session.get_one(Campaign, campaign_id), self.now)

    def tamper(self, campaign_id: int, **counters: int) -> None:
        """What a fault of ours, or of somebody with a database shell, would do."""
        with self.database.write() as session:
            statement = update(Campaign).where(Campaign.id == campaign_id).values(**counters)
            session.execute(statement)

    def sends(self, campaign_id: int) -> Sequence[EmailSend]:
        with self.database.read() as session:
            return session.scalars(
                select(EmailSend).where(EmailSend.campaign_id == campaign_id).order_by(EmailSend.id)
            ).all()

    def statuses(self, campaign_id: int) -> dict[str, int]:
        return dict(Counter(send.status.value for send in self.sends(campaign_id)))

    def counts(self, campaign_id: int) -> dict[str, int]:
        """The kept counters that are not zero; checked against the ledger, row by row."""
        told = self.report(campaign_id)
        assert told["planned"] == sum(told["counts"].values()) + sum(told["skipped"].values())
        kept = {name: n for name, n in told["counts"].items() if n}
        rows = self.statuses(campaign_id)
        rows.pop("skipped", None)
        assert kept == rows
        return kept

    def batches(self) -> Sequence[SendBatch]:
        with self.database.read() as session:
            return session.scalars(select(SendBatch).order_by(SendBatch.id)).all()

    def used(self, esp: EspName = EspName.SENDGRID) -> tuple[int, int]:
        """Recipients taken from the quota of this day and of this month."""
        standing = self.standing(esp)
        return standing.day.used, standing.month.used

    def standing(self, esp: EspName) -> Standing:
        with self.database.read() as session:
            return load(session, configs_at(dict.fromkeys(EspName, "http://x")), self.now)[esp]


def count(session: Session, model: type[Any]) -> int:
    return session.scalar(select(func.count()).select_from(model)) or 0
