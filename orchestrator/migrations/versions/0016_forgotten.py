"""What a database that was put back has forgotten of the accounts; how many deliveries came of late."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To the newer form."""
    with op.batch_alter_table("account", schema=None) as batch_op:
        batch_op.add_column(sa.Column("forgotten_after", sa.Integer(), nullable=True))
    op.create_index(op.f("ix_delivery_project_id_received_at"), "delivery", ["project_id", "received_at"])


def downgrade() -> None:
    """Back to the older form."""
    op.drop_index(op.f("ix_delivery_project_id_received_at"), "delivery")
    with op.batch_alter_table("account", schema=None) as batch_op:
        batch_op.drop_column("forgotten_after")
