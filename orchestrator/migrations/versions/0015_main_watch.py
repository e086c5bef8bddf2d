"""Whether default branches still deploy, and what merge requests make of the versions that they ask for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To the newer form."""
    op.create_table(
        "main_watch",
        sa.Column("project_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("checked_at", sa.Double(), nullable=True),
        sa.Column("good_at", sa.Double(), nullable=True),
        sa.Column("good_sha", sa.String(length=64), nullable=True),
        sa.Column("broken_at", sa.Double(), nullable=True),
        sa.Column("broken_sha", sa.String(length=64), nullable=True),
        sa.Column("mended_at", sa.Double(), nullable=True),
        sa.Column("failure", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_main_watch_project_id")),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_main_watch")),
    )
    with op.batch_alter_table("deployment", schema=None) as batch_op:
        batch_op.add_column(sa.Column("change", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Back to the older form."""
    with op.batch_alter_table("deployment", schema=None) as batch_op:
        batch_op.drop_column("change")
    op.drop_table("main_watch")
