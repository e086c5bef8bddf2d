"""What the latest builder makes of a commit that asks for a version which the current one lacks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To the newer form."""
    with op.batch_alter_table("deployment", schema=None) as batch_op:
        batch_op.add_column(sa.Column("opinion", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Back to the older form."""
    with op.batch_alter_table("deployment", schema=None) as batch_op:
        batch_op.drop_column("opinion")
