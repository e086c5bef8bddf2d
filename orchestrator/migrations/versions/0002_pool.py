"""What fair shares, shared accounts, sizes, debounced pushes and comparisons with GitLab need."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To the newer form."""
    with op.batch_alter_table("project", schema=None) as batch_op:
        batch_op.add_column(sa.Column("weight", sa.Double(), nullable=False, server_default="1"))
        batch_op.add_column(sa.Column("image_bytes", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("build_seconds", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("due_at", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("claim", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("claimed_until", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("version", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"))
        batch_op.create_index(batch_op.f("ix_project_due_at"), ["due_at"], unique=False)
    with op.batch_alter_table("preview", schema=None) as batch_op:
        batch_op.add_column(sa.Column("keep_until", sa.Double(), nullable=True))
    with op.batch_alter_table("deployment", schema=None) as batch_op:
        batch_op.add_column(sa.Column("check_only", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("ready_at", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("tree", sa.String(length=64), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("reserved_bytes", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("image_bytes", sa.BigInteger(), nullable=True))
    with op.batch_alter_table("account", schema=None) as batch_op:
        batch_op.add_column(sa.Column("shared", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("clean_all", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("bytes_used", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("bytes_limit", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("inspected_at", sa.Double(), nullable=True))
    with op.batch_alter_table("lease", schema=None) as batch_op:
        batch_op.alter_column("preview_id", existing_type=sa.Integer(), nullable=True)
    # Every project and every account is to be compared with what is there, as soon as may be.
    op.execute("UPDATE project SET due_at = 0")


def downgrade() -> None:
    """Back to the older form; leases that were shared are forgotten."""
    op.execute("DELETE FROM lease WHERE preview_id IS NULL")
    with op.batch_alter_table("lease", schema=None) as batch_op:
        batch_op.alter_column("preview_id", existing_type=sa.Integer(), nullable=False)
    with op.batch_alter_table("account", schema=None) as batch_op:
        for name in ("shared", "clean_all", "bytes_used", "bytes_limit", "inspected_at"):
            batch_op.drop_column(name)
    with op.batch_alter_table("deployment", schema=None) as batch_op:
        for name in ("check_only", "ready_at", "tree", "reserved_bytes", "image_bytes"):
            batch_op.drop_column(name)
    with op.batch_alter_table("preview", schema=None) as batch_op:
        batch_op.drop_column("keep_until")
    with op.batch_alter_table("project", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_project_due_at"))
        for name in ("weight", "image_bytes", "build_seconds", "due_at", "claim", "claimed_until"):
            batch_op.drop_column(name)
        for name in ("version", "attempts"):
            batch_op.drop_column(name)
