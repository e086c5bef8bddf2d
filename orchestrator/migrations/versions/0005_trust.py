"""What trust and signatures need to be remembered of a project."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To the newer form."""
    with op.batch_alter_table("project", schema=None) as batch_op:
        batch_op.add_column(sa.Column("signing", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("old_secrets_until", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("rules", sa.JSON(), nullable=True))
    with op.batch_alter_table("preview", schema=None) as batch_op:
        batch_op.add_column(sa.Column("shows_logs", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Back to the older form."""
    with op.batch_alter_table("preview", schema=None) as batch_op:
        batch_op.drop_column("shows_logs")
    with op.batch_alter_table("project", schema=None) as batch_op:
        batch_op.drop_column("rules")
        batch_op.drop_column("old_secrets_until")
        batch_op.drop_column("signing")
