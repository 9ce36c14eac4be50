"""The ledger: entries, roll-ups, how far journals were carried; bodies of requests.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from headgate.store.migrations.columns import column, serial

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Makes the tables."""
    _terms()
    _instances()
    _entries()
    _rollup_hours()
    _rollup_days()
    _rollup_months()
    _request_bodies()


def downgrade() -> None:
    """There is no way back but a backup: what is dropped is lost."""
    raise RuntimeError("restore a backup instead")


def _terms() -> None:
    op.create_table(
        "terms",
        serial("number", sa.Integer()),
        column("kind", sa.SmallInteger, "0"),
        column("text", sa.Text),
        sa.PrimaryKeyConstraint("number", name="pk_terms"),
        sa.UniqueConstraint("kind", "text", name="uq_terms_kind_text"),
    )


def _instances() -> None:
    op.create_table(
        "instances",
        serial("number", sa.Integer()),
        column("identity", sa.Text),
        column("batches", sa.BigInteger, "0"),
        column("segment", sa.BigInteger, "0"),
        column("salt", sa.BigInteger, "0"),
        column("at", sa.BigInteger, "0"),
        column("last_at", sa.BigInteger, "0"),
        column("open_segment", sa.BigInteger, "0"),
        column("open_at", sa.BigInteger, "0"),
        column("carried_ms", sa.BigInteger, "0"),
        sa.PrimaryKeyConstraint("number", name="pk_instances"),
        sa.UniqueConstraint("identity", name="uq_instances_identity"),
    )


def _entries() -> None:
    op.create_table(
        "entries",
        column("started_ms", sa.BigInteger),
        column("instance", sa.SmallInteger),
        column("attempt", sa.BigInteger),
        column("ended_ms", sa.BigInteger, "0"),
        column("request_id", sa.Text, ""),
        column("key", sa.Integer, "0"),
        column("team", sa.Integer, "0"),
        column("model", sa.Integer, "0"),
        column("target", sa.Integer, "0"),
        column("endpoint", sa.Integer, "0"),
        column("tags", sa.Integer, "0"),
        column("user", sa.Text, ""),
        column("outcome", sa.SmallInteger, "0"),
        column("status", sa.SmallInteger, "0"),
        column("source", sa.SmallInteger, "0"),
        column("input_tokens", sa.BigInteger, "0"),
        column("cached_input_tokens", sa.BigInteger, "0"),
        column("output_tokens", sa.BigInteger, "0"),
        column("reasoning_tokens", sa.BigInteger, "0"),
        column("cache_write_tokens", sa.BigInteger, "0"),
        column("input_audio_tokens", sa.BigInteger, "0"),
        column("input_image_tokens", sa.BigInteger, "0"),
        column("output_audio_tokens", sa.BigInteger, "0"),
        column("output_image_tokens", sa.BigInteger, "0"),
        column("images", sa.BigInteger, "0"),
        column("seconds", sa.BigInteger, "0"),
        column("characters", sa.BigInteger, "0"),
        column("cost_nanodollars", sa.BigInteger, "0"),
        column("price_nanodollars", sa.BigInteger, "0"),
        sa.PrimaryKeyConstraint("started_ms", "instance", "attempt", name="pk_entries"),
        sqlite_with_rowid=False,
    )


def _rollup_hours() -> None:
    op.create_table(
        "rollup_hours",
        column("kind", sa.SmallInteger),
        column("subject", sa.Integer),
        column("bucket_ms", sa.BigInteger),
        column("model", sa.Integer),
        column("target", sa.Integer),
        column("endpoint", sa.Integer),
        column("attempts", sa.BigInteger),
        column("failures", sa.BigInteger),
        column("estimated", sa.BigInteger),
        column("partial", sa.BigInteger),
        column("unknown", sa.BigInteger),
        column("input_tokens", sa.BigInteger),
        column("cached_input_tokens", sa.BigInteger),
        column("cache_write_tokens", sa.BigInteger),
        column("output_tokens", sa.BigInteger),
        column("reasoning_tokens", sa.BigInteger),
        column("images", sa.BigInteger),
        column("seconds", sa.BigInteger),
        column("characters", sa.BigInteger),
        column("duration_ms", sa.BigInteger),
        column("cost_nanodollars", sa.BigInteger),
        column("price_nanodollars", sa.BigInteger),
        sa.PrimaryKeyConstraint(
            "kind", "subject", "bucket_ms", "model", "target", "endpoint", name="pk_rollup_hours"
        ),
        sqlite_with_rowid=False,
        postgresql_with={"fillfactor": 70},
    )


def _rollup_days() -> None:
    op.create_table(
        "rollup_days",
        column("kind", sa.SmallInteger),
        column("subject", sa.Integer),
        column("bucket_ms", sa.BigInteger),
        column("model", sa.Integer),
        column("target", sa.Integer),
        column("endpoint", sa.Integer),
        column("attempts", sa.BigInteger),
        column("failures", sa.BigInteger),
        column("estimated", sa.BigInteger),
        column("partial", sa.BigInteger),
        column("unknown", sa.BigInteger),
        column("input_tokens", sa.BigInteger),
        column("cached_input_tokens", sa.BigInteger),
        column("cache_write_tokens", sa.BigInteger),
        column("output_tokens", sa.BigInteger),
        column("reasoning_tokens", sa.BigInteger),
        column("images", sa.BigInteger),
        column("seconds", sa.BigInteger),
        column("characters", sa.BigInteger),
        column("duration_ms", sa.BigInteger),
        column("cost_nanodollars", sa.BigInteger),
        column("price_nanodollars", sa.BigInteger),
        sa.PrimaryKeyConstraint(
            "kind", "subject", "bucket_ms", "model", "target", "endpoint", name="pk_rollup_days"
        ),
        sqlite_with_rowid=False,
        postgresql_with={"fillfactor": 70},
    )


def _rollup_months() -> None:
    op.create_table(
        "rollup_months",
        column("kind", sa.SmallInteger),
        column("subject", sa.Integer),
        column("bucket_ms", sa.BigInteger),
        column("model", sa.Integer),
        column("target", sa.Integer),
        column("endpoint", sa.Integer),
        column("attempts", sa.BigInteger),
        column("failures", sa.BigInteger),
        column("estimated", sa.BigInteger),
        column("partial", sa.BigInteger),
        column("unknown", sa.BigInteger),
        column("input_tokens", sa.BigInteger),
        column("cached_input_tokens", sa.BigInteger),
        column("cache_write_tokens", sa.BigInteger),
        column("output_tokens", sa.BigInteger),
        column("reasoning_tokens", sa.BigInteger),
        column("images", sa.BigInteger),
        column("seconds", sa.BigInteger),
        column("characters", sa.BigInteger),
        column("duration_ms", sa.BigInteger),
        column("cost_nanodollars", sa.BigInteger),
        column("price_nanodollars", sa.BigInteger),
        sa.PrimaryKeyConstraint(
            "kind", "subject", "bucket_ms", "model", "target", "endpoint", name="pk_rollup_months"
        ),
        sqlite_with_rowid=False,
        postgresql_with={"fillfactor": 70},
    )


def _request_bodies() -> None:
    op.create_table(
        "request_bodies",
        column("request_id", sa.Text),
        column("at_ms", sa.BigInteger, "0"),
        column("key_id", sa.Text, ""),
        column("request", sa.LargeBinary),
        column("reply", sa.LargeBinary),
        sa.PrimaryKeyConstraint("request_id", name="pk_request_bodies"),
    )
    op.create_index("ix_request_bodies_at_ms", "request_bodies", ["at_ms"])
