"""An index for what is on an account, so that to give one back costs the same however old the database is."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To the newer form."""
    op.create_index("ix_deployment_account_id_fence", "deployment", ["account_id", "fence"])


def downgrade() -> None:
    """Back to the older form."""
    if op.get_bind().dialect.name in {"mysql", "mariadb"}:
        # It wants an index under a foreign key, and gave up its own when this one came.
        op.create_index("fk_deployment_account_id_account", "deployment", ["account_id"])
    op.drop_index("ix_deployment_account_id_fence", "deployment")
