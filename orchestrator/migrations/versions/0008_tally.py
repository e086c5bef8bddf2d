"""Counts that only grow, for monitoring."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To the newer form."""
    op.create_table(
        "tally",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("labels", sa.String(120), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", "labels", name=op.f("pk_tally")),
    )


def downgrade() -> None:
    """Back to the older form."""
    op.drop_table("tally")
