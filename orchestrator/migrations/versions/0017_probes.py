"""Tiny repositories of our own, and by what it was shown what a builder has."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To the newer form."""
    op.create_table(
        "probe",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("builder", sa.String(length=32), nullable=False),
        sa.Column("deployment_id", sa.Integer(), nullable=True),
        sa.Column("tried_at", sa.Double(), nullable=True),
        sa.Column("again_at", sa.Double(), nullable=True),
        sa.Column("checked_at", sa.Double(), nullable=True),
        sa.Column("was_built", sa.Boolean(), nullable=True),
        sa.Column("why", sa.String(length=255), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("name", "builder", name=op.f("pk_probe")),
    )
    with op.batch_alter_table("runtime_seen", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("source", sa.String(length=16), server_default="project", nullable=False)
        )


def downgrade() -> None:
    """Back to the older form."""
    with op.batch_alter_table("runtime_seen", schema=None) as batch_op:
        batch_op.drop_column("source")
    op.drop_table("probe")
