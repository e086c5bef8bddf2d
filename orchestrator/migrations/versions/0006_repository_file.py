"""What a repository asks for in its own file, and the envvars that are set for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To the newer form."""
    with op.batch_alter_table("deployment", schema=None) as batch_op:
        for name in ("config", "refusal"):
            batch_op.add_column(sa.Column(name, sa.JSON(none_as_null=True), nullable=True))
    with op.batch_alter_table("account", schema=None) as batch_op:
        for name in ("own_envvars", "lent_envvars"):
            batch_op.add_column(sa.Column(name, sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Back to the older form."""
    with op.batch_alter_table("account", schema=None) as batch_op:
        for name in ("own_envvars", "lent_envvars"):
            batch_op.drop_column(name)
    with op.batch_alter_table("deployment", schema=None) as batch_op:
        for name in ("config", "refusal"):
            batch_op.drop_column(name)
