"""What is built besides or instead of the head, why a command was not carried out, disconnected projects."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To the newer form."""
    with op.batch_alter_table("deployment", schema=None) as batch_op:
        batch_op.add_column(sa.Column("merged_sha", sa.String(64), nullable=True))
        batch_op.add_column(sa.Column("images", sa.JSON(none_as_null=True), nullable=True))
    with op.batch_alter_table("preview", schema=None) as batch_op:
        batch_op.add_column(sa.Column("remark", sa.String(255), nullable=False, server_default=""))
    with op.batch_alter_table("project", schema=None) as batch_op:
        batch_op.add_column(sa.Column("removed_at", sa.Double, nullable=True))


def downgrade() -> None:
    """Back to the older form."""
    with op.batch_alter_table("project", schema=None) as batch_op:
        batch_op.drop_column("removed_at")
    with op.batch_alter_table("preview", schema=None) as batch_op:
        batch_op.drop_column("remark")
    with op.batch_alter_table("deployment", schema=None) as batch_op:
        batch_op.drop_column("images")
        batch_op.drop_column("merged_sha")
