"""What the builder did with the versions that repositories ask for, and what that means for a deployment."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To the newer form."""
    op.create_table(
        "runtime_seen",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("builder", sa.String(length=32), nullable=False),
        sa.Column("runtime", sa.String(length=16), nullable=False),
        sa.Column("wanted", sa.String(length=64), nullable=False),
        sa.Column("cause", sa.String(length=64), nullable=False),
        sa.Column("refused_at", sa.Double(), nullable=True),
        sa.Column("seen_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runtime_seen")),
        sa.UniqueConstraint(
            "builder", "runtime", "wanted", name=op.f("uq_runtime_seen_builder_runtime_wanted")
        ),
    )
    with op.batch_alter_table("deployment", schema=None) as batch_op:
        for name in ("pins", "warning"):
            batch_op.add_column(sa.Column(name, sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Back to the older form."""
    with op.batch_alter_table("deployment", schema=None) as batch_op:
        for name in ("pins", "warning"):
            batch_op.drop_column(name)
    op.drop_table("runtime_seen")
