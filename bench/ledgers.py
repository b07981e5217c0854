"""A list and its ledger, written past everything else: millions of rows in seconds.

SQLite only. All people are active; SendGrid accepted every send three hours ago.
"""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

from database.migrate import migrate
from database.session import Database
from lists.tiers import first_tier
from services.campaigns import NewCampaign, create
from utils.tokens import email_hash

NOW = datetime.now(UTC).replace(microsecond=0)
SENT_AT = NOW - timedelta(hours=3)
JOINED_AT = NOW - timedelta(days=30)
NEWS = NewCampaign(
    name="News",
    subject="Hello {{ first_name }}",
    html="<p>Hello {{ first_name }}, <a href='{{ unsubscribe_url }}'>leave</a></p>",
    text=None,
    from_email="news@example.com",
    from_name="Example",
    reply_to=None,
    audience={},
    esp=None,
    track_opens=False,
    track_clicks=False,
    tags=(),
)
_PEOPLE = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :people)
INSERT INTO subscribers (email, email_key, email_hash, first_name, attributes, tags, status,
    mailbox_provider, tier, tier_until, created_at, updated_at)
SELECT e, e, email_hash(e), 'Ann', '{}', '[]', 'active', 'other', :tier, :until, :joined, :joined
FROM (SELECT 'person' || i || '@example.net' AS e FROM n)
"""
_SENDS = """
INSERT INTO email_sends (campaign_id, subscriber_id, email_key, mailbox_provider, status, esp,
    attempt, esp_message_id, claimed_at, settled_at)
SELECT :campaign, id, email_key, mailbox_provider, 'accepted', 'sendgrid', 1, 'call1',
    :sent, :sent
FROM subscribers ORDER BY id
"""
_COUNTED = """
UPDATE campaigns SET status = 'sent', planned = :people, accepted = :people,
    first_send_id = (SELECT min(id) FROM email_sends WHERE campaign_id = :campaign),
    last_send_id = (SELECT max(id) FROM email_sends WHERE campaign_id = :campaign)
WHERE id = :campaign
"""


def build(path: Path, *, people: int, campaigns: int = 1) -> bytes:
    """Make a database where everybody got every campaign; its `hash_key`.

    Send `n` of the first campaign went to `person<n>@example.net`.
    """
    database = Database(f"sqlite:///{path}")
    key = migrate(database, NOW).hash_key
    tier, until = first_tier(JOINED_AT, NOW)
    said = {
        "people": people,
        "tier": tier.value,
        "until": _stored(until),
        "joined": _stored(JOINED_AT),
    }
    with sqlite3.connect(path) as raw:
        raw.create_function("email_hash", 1, lambda address: email_hash(key, address))
        raw.execute(_PEOPLE, said)
        raw.execute("INSERT INTO subscriber_counts (status, n) VALUES ('active', :people)", said)
        raw.execute("INSERT INTO engagement_counts (tier, n) VALUES (:tier, :people)", said)
    raw.close()
    for _ in range(campaigns):
        _add_campaign(database, path, people)
    database.close()
    return key


def _add_campaign(database: Database, path: Path, people: int) -> None:
    with database.write() as session:
        campaign = create(session, NEWS, now=SENT_AT, sandbox=False).id
    said = {"campaign": campaign, "people": people, "sent": _stored(SENT_AT)}
    with sqlite3.connect(path) as raw:
        raw.execute(_SENDS, said)
        raw.execute(_COUNTED, said)
    raw.close()


def _stored(time: datetime | None) -> str | None:
    return None if time is None else time.strftime("%Y-%m-%d %H:%M:%S.%f")
