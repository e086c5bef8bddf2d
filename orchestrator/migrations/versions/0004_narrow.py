"""Indexes for what a plan looks at, so that a lease and a release cost the same however large the pool is."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NEW: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("deployment", ("state", "since", "id")),
    ("account", ("state", "shared", "drain", "name")),
    ("account", ("state", "drain", "bytes_limit")),
    ("preview", ("keep_until",)),
)
#: The new ones begin with the same column.
_OLD: tuple[tuple[str, tuple[str, ...]], ...] = (("deployment", ("state",)), ("account", ("state",)))


def upgrade() -> None:
    """To the newer form."""
    for table, columns in _NEW:
        op.create_index(_name(table, columns), table, list(columns))
    for table, columns in _OLD:
        op.drop_index(_name(table, columns), table)


def downgrade() -> None:
    """Back to the older form."""
    for table, columns in _OLD:
        op.create_index(_name(table, columns), table, list(columns))
    for table, columns in _NEW:
        op.drop_index(_name(table, columns), table)


def _name(table: str, columns: tuple[str, ...]) -> str:
    return "_".join(("ix", table, *columns))
