"""brake overrides"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "brake_overrides",
        sa.Column("id", _big, nullable=False),
        sa.Column("esp", sa.String(length=32), nullable=True),
        sa.Column("campaign_id", _big, nullable=True),
        sa.Column("ordered_by", sa.String(length=200), nullable=False),
        sa.Column("ordered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("because", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("complaints", sa.Double(), nullable=False),
        sa.Column("invalid", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["campaigns.id"],
            name=op.f("fk_brake_overrides_campaign_id_campaigns"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_brake_overrides")),
    )
    op.create_index("ix_brake_overrides_esp", "brake_overrides", ["esp", "id"], unique=False)
    op.create_index(
        "ix_brake_overrides_campaign_id", "brake_overrides", ["campaign_id", "id"], unique=False
    )
