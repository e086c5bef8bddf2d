"""Secret envvars of projects, encrypted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To the newer form."""
    op.create_table(
        "secret",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("set_at", sa.Double(), nullable=False),
        sa.Column("set_by", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_secret")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_secret_project_id")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_secret_project_id_name")),
    )


def downgrade() -> None:
    """Back to the older form."""
    op.drop_table("secret")
