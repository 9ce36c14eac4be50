"""Tables of the ledger: an entry for every attempt, sums over them, and how far each journal was carried.

Names are numbers here (`terms`): ten million entries and their sums stay small enough to be read quickly.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

from headgate.core.usage import Usage
from headgate.store.schema import METADATA, blob, number, small, text

terms = Table(
    "terms",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    small("kind"),
    text("text", default=None),
    UniqueConstraint("kind", "text"),
)
"""A number for every name: keys, teams, models, targets, endpoints, tags. Number 0 is no name at all."""

instances = Table(
    "instances",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("identity", Text, nullable=False, unique=True),
    number("batches"),
    number("segment"),
    number("salt"),
    number("at"),
    number("last_at"),
    number("open_segment"),
    number("open_at"),
    number("carried_ms"),
)
"""The journals that are carried here, and how far each is: changed in the same transaction as the entries."""


def _term(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default="0")


USAGE_COLUMNS = Usage.__struct_fields__[1:]
"""Counts, as in `core.usage.Usage`, behind its source."""

entries = Table(
    "entries",
    METADATA,
    number("started_ms", default=None),
    Column("instance", SmallInteger, nullable=False),
    number("attempt", default=None),
    number("ended_ms"),
    text("request_id"),
    _term("key"),
    _term("team"),
    _term("model"),
    _term("target"),
    _term("endpoint"),
    _term("tags"),
    text("user"),
    small("outcome"),
    small("status"),
    small("source"),
    *(number(name) for name in USAGE_COLUMNS),
    number("cost_nanodollars"),
    number("price_nanodollars"),
    PrimaryKeyConstraint("started_ms", "instance", "attempt"),
    sqlite_with_rowid=False,
)
"""One row for each attempt, in order of time: an attempt has one beginning, so it has one row.

Without further indexes on purpose: each would cost every request, and a bounded period is read quickly.
"""

MEASURES = (
    "attempts",
    "failures",
    "estimated",
    "partial",
    "unknown",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "images",
    "seconds",
    "characters",
    "duration_ms",
    "cost_nanodollars",
    "price_nanodollars",
)
"""What roll-ups add up. `failures` had an outcome other than OK; the next three tell how usage was known."""


def _rollup(name: str) -> Table:
    return Table(
        name,
        METADATA,
        Column("kind", SmallInteger, nullable=False),
        Column("subject", Integer, nullable=False),
        Column("bucket_ms", BigInteger, nullable=False),
        Column("model", Integer, nullable=False),
        Column("target", Integer, nullable=False),
        Column("endpoint", Integer, nullable=False),
        *(number(measure, default=None) for measure in MEASURES),
        PrimaryKeyConstraint("kind", "subject", "bucket_ms", "model", "target", "endpoint"),
        sqlite_with_rowid=False,
        # Rows are added to again and again: room on their page lets PostgreSQL do it in place.
        postgresql_with={"fillfactor": 70},
    )


rollup_hours = _rollup("rollup_hours")
rollup_days = _rollup("rollup_days")
rollup_months = _rollup("rollup_months")

request_bodies = Table(
    "request_bodies",
    METADATA,
    Column("request_id", Text, primary_key=True),
    number("at_ms"),
    text("key_id"),
    blob("request"),
    blob("reply"),
    Index("ix_request_bodies_at_ms", "at_ms"),
)
"""Bodies of recent requests, sealed; only where the operator wants them."""
