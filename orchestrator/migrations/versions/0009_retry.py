"""The build that Toolforge failed, after which a deployment was built once more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To the newer form."""
    with op.batch_alter_table("deployment", schema=None) as batch_op:
        batch_op.add_column(sa.Column("retry", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Back to the older form."""
    with op.batch_alter_table("deployment", schema=None) as batch_op:
        batch_op.drop_column("retry")
