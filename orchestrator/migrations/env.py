"""Runs the migrations on the connection that :meth:`orchestrator.bootstrap.Parts.migrate` hands over."""

from alembic import context

from orchestrator.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot alter a table in place; Alembic then copies it.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
