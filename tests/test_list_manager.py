"""Adding, leaving and being left alone, on both databases."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import insert, select, text

from database.models import (
    Campaign,
    CampaignKind,
    CampaignStatus,
    EmailSend,
    SendStatus,
    Subscriber,
    SubscriberStatus,
    Suppression,
    SuppressionReason,
)
from database.session import Database
from list_manager import (
    AddedAs,
    Consent,
    find_subscriber,
    suppress,
    suppressed,
    suppression_of,
    unsubscribe,
)
from tests.conftest import NOW
from tests.people import (
    HASH_KEY,
    add,
    assert_counters_are_true,
    days,
    either_database,
    postgres,
    reasons,
    who,
)
from utils.tokens import UnsubscribeLink, email_hash

__all__ = ["either_database", "postgres"]  # fixtures

LATER = NOW + timedelta(days=1)


def test_a_new_person_is_active_and_all_that_was_said_is_kept(either_database: Database) -> None:
    consent = Consent(source="shop", ip="192.0.2.7", at=NOW - timedelta(days=3))
    added = add(
        either_database,
        "Ann@Example.COM",
        first_name="Ann",
        attributes={"plan": "pro"},
        tags=frozenset({"b", "a"}),
        consent=consent,
    )
    assert added.outcome is AddedAs.CREATED
    with either_database.read() as session:
        ann = find_subscriber(session, "ann@example.com")
        assert ann is not None
        assert (
            ann.email,
            ann.email_hash,
            ann.first_name,
            ann.last_name,
            ann.attributes,
            ann.tags,
            ann.status,
            ann.mailbox_provider,
            (ann.consent_source, ann.consent_ip, ann.consent_at),
            (ann.created_at, ann.updated_at),
        ) == (
            "Ann@example.com",
            email_hash(HASH_KEY, "ann@example.com"),
            "Ann",
            None,
            {"plan": "pro"},
            ["a", "b"],
            SubscriberStatus.ACTIVE,
            "other",
            (consent.source, consent.ip, consent.at),
            (NOW, NOW),
        )
    assert days(either_database) == {"joined": 1}
    assert_counters_are_true(either_database)


def test_adding_a_known_person_merges_what_is_said(either_database: Database) -> None:
    add(
        either_database,
        "ann@example.com",
        first_name="Ann",
        last_name="Old",
        attributes={"plan": "free", "city": "Oslo"},
        tags=frozenset({"a"}),
        consent=Consent(source="shop"),
    )
    added = add(
        either_database,
        "ANN@example.com",
        last_name="New",
        attributes={"plan": "pro"},
        tags=frozenset({"b"}),
    )
    assert added.outcome is AddedAs.MERGED
    with either_database.read() as session:
        ann = session.scalars(select(Subscriber)).one()
        assert (ann.email, ann.first_name, ann.last_name, ann.attributes, ann.tags) == (
            "ANN@example.com",
            "Ann",
            "New",
            {"plan": "pro", "city": "Oslo"},
            ["a", "b"],
        )
        assert (ann.consent_source, ann.status) == ("shop", SubscriberStatus.ACTIVE)
    assert days(either_database) == {"joined": 1}
    assert_counters_are_true(either_database)


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (SuppressionReason.UNSUBSCRIBED, SubscriberStatus.UNSUBSCRIBED),
        (SuppressionReason.MANUAL, SubscriberStatus.UNSUBSCRIBED),
        (SuppressionReason.HARD_BOUNCE, SubscriberStatus.BOUNCED),
        (SuppressionReason.SOFT_BOUNCE, SubscriberStatus.ACTIVE),
        (SuppressionReason.ESP_INACTIVE, SubscriberStatus.BOUNCED),
        (SuppressionReason.COMPLAINT, SubscriberStatus.COMPLAINED),
    ],
)
def test_a_person_who_left_is_never_revived_by_adding(
    database: Database, reason: SuppressionReason, status: SubscriberStatus
) -> None:
    add(database, "ann@example.com", first_name="Ann")
    with database.write() as session:
        assert suppress(session, who("ann@example.com"), reason=reason, source="api", now=NOW)
    added = add(database, "ann@example.com", first_name="Eve", tags=frozenset({"x"}))
    assert (added.outcome, added.suppression and added.suppression.reason) == (
        AddedAs.SUPPRESSED,
        reason,
    )
    with database.read() as session:
        ann = session.scalars(select(Subscriber)).one()
        assert (ann.status, ann.first_name, ann.tags) == (status, "Ann", [])
    left = {status.value: 1} if status is not SubscriberStatus.ACTIVE else {}
    assert days(database) == {"joined": 1} | left
    assert_counters_are_true(database)


def test_a_suppression_outlives_the_person(database: Database) -> None:
    with database.write() as session:
        suppress(
            session,
            who("gone@example.com"),
            reason=SuppressionReason.COMPLAINT,
            source="ses",
            now=NOW,
        )
    added = add(database, "Gone@Example.com")
    assert (added.outcome, added.subscriber) == (AddedAs.SUPPRESSED, None)
    with database.read() as session:
        assert session.scalars(select(Subscriber)).all() == []


def test_a_status_gives_way_only_to_a_stronger_one(database: Database) -> None:
    add(database, "ann@example.com")
    seen = []
    for reason in (
        SuppressionReason.HARD_BOUNCE,
        SuppressionReason.UNSUBSCRIBED,
        SuppressionReason.HARD_BOUNCE,
        SuppressionReason.COMPLAINT,
        SuppressionReason.UNSUBSCRIBED,
    ):
        with database.write() as session:
            new = suppress(session, who("ann@example.com"), reason=reason, source="x", now=NOW)
        with database.read() as session:
            seen.append((session.scalars(select(Subscriber.status)).one().value, new))
    assert seen == [
        ("bounced", True),
        ("unsubscribed", True),
        ("unsubscribed", False),
        ("complained", True),
        ("complained", False),
    ]
    assert days(database) == {"joined": 1, "bounced": 1, "unsubscribed": 1, "complained": 1}
    assert_counters_are_true(database)


def test_a_temporary_suppression_ends_by_itself_and_leaves_the_status(
    either_database: Database,
) -> None:
    add(either_database, "ann@example.com")
    key = who("ann@example.com")
    with either_database.write() as session:
        assert suppress(
            session,
            key,
            reason=SuppressionReason.SOFT_BOUNCE,
            source="ses",
            now=NOW,
            until=LATER,
        )
    with either_database.read() as session:
        status = session.scalars(select(Subscriber.status)).one()
        held = [
            bool(suppression_of(session, key, at))
            for at in (NOW, LATER - timedelta(seconds=1), LATER)
        ]
    assert (status, held) == (SubscriberStatus.ACTIVE, [True, True, False])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([], False, id="nothing is known"),
        pytest.param([("unsubscribed", None)], True, id="a reason holds"),
        pytest.param([("unsubscribed", None), ("lifted", None)], False, id="lifted"),
        pytest.param(
            [("complaint", None), ("unsubscribed", None), ("lifted", None)],
            False,
            id="lifting takes back all before it",
        ),
        pytest.param(
            [("unsubscribed", None), ("lifted", None), ("unsubscribed", None)],
            True,
            id="a reason after a lift holds",
        ),
        pytest.param([("soft_bounce", -1)], False, id="past its end"),
        pytest.param([("soft_bounce", 0)], False, id="at its very end"),
        pytest.param([("soft_bounce", 1)], True, id="before its end"),
        pytest.param([("soft_bounce", 1), ("lifted", None)], False, id="lifted before its end"),
        pytest.param([("lifted", None)], False, id="a lift of nothing"),
        pytest.param([("paused", 90), ("paused", 0)], False, id="a pause ended early"),
        pytest.param([("soft_bounce", 1), ("soft_bounce", None)], True, id="a rest, then for good"),
        pytest.param([("soft_bounce", None), ("soft_bounce", 0)], False, id="it takes mail again"),
        pytest.param([("soft_bounce", 1), ("paused", 0)], True, id="each by itself"),
        pytest.param([("complaint", None), ("complaint", 0)], True, id="a complaint never ends"),
    ],
)
def test_what_suppresses(
    either_database: Database, rows: list[tuple[str, int | None]], expected: bool
) -> None:
    add(either_database, "ann@example.com")
    add(either_database, "bob@example.com")
    values = [
        {
            "email_hash": who("ann@example.com"),
            "reason": SuppressionReason(reason),
            "source": "test",
            "until": None if days is None else NOW + timedelta(days=days),
            "created_at": NOW,
        }
        for reason, days in rows
    ]
    with either_database.write() as session:
        if values:
            session.execute(insert(Suppression), values)
    with either_database.read() as session:
        left_alone = session.scalars(
            select(Subscriber.email_key).where(suppressed(Subscriber.email_hash, NOW))
        ).all()
        reason = suppression_of(session, who("ann@example.com"), NOW)
    assert left_alone == (["ann@example.com"] if expected else [])
    assert bool(reason) is expected


def test_the_suppression_check_reads_the_index_only_by_hash(database: Database) -> None:
    query = select(Subscriber.id).where(~suppressed(Subscriber.email_hash, NOW))
    compiled = query.compile(database.reader)
    with database.read() as session:
        connection = session.connection()
        plan = connection.exec_driver_sql(
            f"EXPLAIN QUERY PLAN {compiled}",
            tuple(str(compiled.params[name]) for name in compiled.positiontup or ()),
        )
        steps = [row[3] for row in plan if "suppressions" in row[3]]
    assert len(steps) == 2
    index = "USING INDEX ix_suppressions_email_hash_id"
    assert all(index in step and "email_hash=?" in step for step in steps), steps
    assert "id>?" in steps[1]


def test_postgresql_reads_the_index_too(postgres: Database) -> None:
    with postgres.write() as session:
        session.execute(
            text(
                "INSERT INTO suppressions (email_hash, reason, source, created_at) "
                "SELECT decode(md5(n::text), 'hex'), 'unsubscribed', 'test', now() "
                "FROM generate_series(1, 20000) n"
            )
        )
        session.execute(text("ANALYZE suppressions"))
        compiled = select(suppressed(who("ann@example.com"), NOW)).compile(postgres.reader)  # type: ignore[arg-type]
        plan = session.connection().exec_driver_sql(f"EXPLAIN {compiled}", compiled.params)
        lines = "\n".join(row[0] for row in plan)
    assert "ix_suppressions_email_hash_id" in lines
    assert "Seq Scan" not in lines


def _campaign_with_send(database: Database, subscriber_id: int) -> int:
    campaign = Campaign(
        kind=CampaignKind.CAMPAIGN,
        name="News",
        status=CampaignStatus.SENT,
        sandbox=True,
        subject="s",
        from_email="news@example.com",
        tags=[],
        track_opens=False,
        track_clicks=False,
        audience={},
        content_hash="0" * 64,
        created_at=NOW,
        last_step_at=NOW,
    )
    with database.write() as session:
        session.add(campaign)
        session.flush()
        send = EmailSend(
            campaign_id=campaign.id,
            subscriber_id=subscriber_id,
            email_key="ann@example.com",
            mailbox_provider="other",
            status=SendStatus.ACCEPTED,
        )
        session.add(send)
        session.flush()
        return send.id


def test_unsubscribing_twice_counts_once(either_database: Database) -> None:
    added = add(either_database, "ann@example.com")
    assert added.subscriber is not None
    link = UnsubscribeLink(
        email_hash=who("ann@example.com"),
        subscriber_id=added.subscriber.id,
        send_id=_campaign_with_send(either_database, added.subscriber.id),
    )
    new = []
    for _ in range(2):
        with either_database.write() as session:
            new.append(unsubscribe(session, link, source="one_click", now=NOW))
    assert new == [True, False]
    assert reasons(either_database) == ["unsubscribed"]
    with either_database.read() as session:
        assert session.scalars(select(Subscriber.status)).one() is SubscriberStatus.UNSUBSCRIBED
        assert session.scalars(select(Campaign.unsubscribed)).one() == 1
        assert session.scalars(select(EmailSend.unsubscribed)).one() is True
    assert days(either_database) == {"joined": 1, "unsubscribed": 1}
    assert_counters_are_true(either_database)


def test_eight_clicks_and_eight_additions_at_once_count_once(either_database: Database) -> None:
    added = add(either_database, "ann@example.com")
    assert added.subscriber is not None
    link = UnsubscribeLink(
        email_hash=who("ann@example.com"),
        subscriber_id=added.subscriber.id,
        send_id=_campaign_with_send(either_database, added.subscriber.id),
    )

    def act(n: int) -> None:
        if n % 2:
            add(either_database, "bob@example.com", tags=frozenset({str(n)}))
            return
        with either_database.write() as session:
            unsubscribe(session, link, source="one_click", now=NOW)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(act, range(16)))
    with either_database.read() as session:
        assert session.scalars(select(Campaign.unsubscribed)).one() == 1
        bob = find_subscriber(session, "bob@example.com")
        assert bob is not None
        assert sorted(map(int, bob.tags)) == [1, 3, 5, 7, 9, 11, 13, 15]
    assert days(either_database) == {"joined": 2, "unsubscribed": 1}
    assert_counters_are_true(either_database)


def test_a_link_works_when_the_person_was_erased(database: Database) -> None:
    link = UnsubscribeLink(email_hash=who("ann@example.com"), subscriber_id=77, send_id=99)
    with database.write() as session:
        assert unsubscribe(session, link, source="one_click", now=NOW)
    assert add(database, "ann@example.com").outcome is AddedAs.SUPPRESSED


def test_a_link_reaches_a_person_who_was_erased_and_added_again(database: Database) -> None:
    add(database, "someone@example.com")
    add(database, "ann@example.com")
    link = UnsubscribeLink(email_hash=who("ann@example.com"), subscriber_id=1, send_id=0)
    with database.write() as session:
        unsubscribe(session, link, source="page", now=NOW)
    with database.read() as session:
        statuses = dict(list(session.execute(select(Subscriber.email, Subscriber.status))))
    assert statuses == {
        "someone@example.com": SubscriberStatus.ACTIVE,
        "ann@example.com": SubscriberStatus.UNSUBSCRIBED,
    }


def test_lifting_is_not_done_by_suppressing(database: Database) -> None:
    with database.write() as session, pytest.raises(ValueError, match="lifting"):
        suppress(
            session, who("ann@example.com"), reason=SuppressionReason.LIFTED, source="x", now=NOW
        )
