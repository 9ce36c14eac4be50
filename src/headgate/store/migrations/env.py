"""What Alembic runs: the steps on the connection it was handed, in that connection's transaction."""

from __future__ import annotations

from alembic import context

from headgate.store import schema_accounts, schema_catalog, schema_ledger
from headgate.store.schema import METADATA

TABLES = (schema_accounts, schema_catalog, schema_ledger)
"""Imported so that their tables are in METADATA."""

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    # SQLite changes a table by making it anew.
    render_as_batch=True,
    transactional_ddl=False,  # the caller has begun the transaction, and ends it
)
context.run_migrations()
