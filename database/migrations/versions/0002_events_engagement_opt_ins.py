"""events engagement opt ins"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "engagement_counts",
        sa.Column("tier", sa.String(length=32), nullable=False),
        sa.Column(
            "n",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default="0",
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("tier", name=op.f("pk_engagement_counts")),
    )
    op.create_table(
        "opt_ins",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("email_hash", sa.LargeBinary(length=16), nullable=False),
        sa.Column(
            "subscriber_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column(
            "campaign_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("lifts", sa.Boolean(), nullable=False),
        sa.Column("source", sa.String(length=200), nullable=True),
        sa.Column("ip", sa.String(length=45), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("confirmed_ip", sa.String(length=45), nullable=True),
        sa.Column("confirmed_agent", sa.String(length=300), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_opt_ins")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("opt_ins", schema=None) as batch_op:
        batch_op.create_index("ix_opt_ins_email_hash_id", ["email_hash", "id"], unique=False)

    with op.batch_alter_table("bounces", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "event_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
            )
        )
        batch_op.create_index(batch_op.f("ix_bounces_event_id"), ["event_id"], unique=True)

    with op.batch_alter_table("complaints", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "event_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
            )
        )
        batch_op.create_index(batch_op.f("ix_complaints_event_id"), ["event_id"], unique=True)

    with op.batch_alter_table("email_sends", schema=None) as batch_op:
        batch_op.add_column(sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(
            sa.Column(
                "heard",
                sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
                server_default="0",
                nullable=False,
            )
        )
        batch_op.add_column(sa.Column("interest", sa.Double(), server_default="0", nullable=False))

    with op.batch_alter_table("esp_performance", schema=None) as batch_op:
        batch_op.add_column(sa.Column("window_from", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(
            sa.Column(
                "window_claimed",
                sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
                server_default="0",
                nullable=False,
            )
        )
        batch_op.add_column(
            sa.Column(
                "window_outcomes",
                sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
                server_default="0",
                nullable=False,
            )
        )
        batch_op.add_column(
            sa.Column(
                "window_blocks",
                sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
                server_default="0",
                nullable=False,
            )
        )
        batch_op.add_column(sa.Column("rests_until", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(
            sa.Column(
                "rest_s",
                sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
                server_default="0",
                nullable=False,
            )
        )

    with op.batch_alter_table("esp_performance_days", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "soft_bounced",
                sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
                server_default="0",
                nullable=False,
            )
        )

    with op.batch_alter_table("esp_states", schema=None) as batch_op:
        batch_op.add_column(sa.Column("last_event_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(
            sa.Column(
                "unheard",
                sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
                server_default="0",
                nullable=False,
            )
        )
        batch_op.add_column(sa.Column("unheard_since", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(
            sa.Column("suppressions_pulled_at", sa.DateTime(timezone=True), nullable=True)
        )
        batch_op.add_column(
            sa.Column(
                "suppressions_pushed_through",
                sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
                server_default="0",
                nullable=False,
            )
        )

    with op.batch_alter_table("subscribers", schema=None) as batch_op:
        batch_op.add_column(sa.Column("interest", sa.Double(), server_default="0", nullable=False))
        batch_op.add_column(
            sa.Column("interest_mails", sa.Double(), server_default="0", nullable=False)
        )
        batch_op.add_column(sa.Column("interest_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(
            sa.Column("last_interest_at", sa.DateTime(timezone=True), nullable=True)
        )
        batch_op.add_column(
            sa.Column("last_delivered_at", sa.DateTime(timezone=True), nullable=True)
        )
        batch_op.add_column(sa.Column("tier", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("tier_until", sa.DateTime(timezone=True), nullable=True))
        batch_op.create_index("ix_subscribers_tier_until", ["tier_until"], unique=False)

    # Without batch mode, which would write the whole table anew and lose its AUTOINCREMENT.
    for name in ("score", "negative", "positive", "at"):
        op.execute(f"ALTER TABLE subscribers DROP COLUMN engagement_{name}")
    # Whoever is written to gets a tier as soon as the sweep sees that its time is over.
    op.execute("UPDATE subscribers SET tier_until = created_at WHERE status = 'active'")

    with op.batch_alter_table("webhook_events", schema=None) as batch_op:
        batch_op.add_column(sa.Column("agent", sa.String(length=16), nullable=True))
        batch_op.add_column(
            sa.Column("link", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True)
        )
        batch_op.add_column(
            sa.Column("origin", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True)
        )
        batch_op.create_index(
            "ix_webhook_events_origin",
            ["origin", "occurred_at"],
            unique=False,
            sqlite_where=sa.text("origin IS NOT NULL"),
            postgresql_where=sa.text("origin IS NOT NULL"),
        )
        batch_op.create_index("ix_webhook_events_received_at", ["received_at"], unique=False)
        batch_op.create_index(
            "ix_webhook_events_touches",
            ["send_id"],
            unique=False,
            sqlite_where=sa.text("kind IN ('opened', 'clicked')"),
            postgresql_where=sa.text("kind IN ('opened', 'clicked')"),
        )
