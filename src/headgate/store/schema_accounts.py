"""Tables of whoever may use the gate: teams, keys, budgets, balances, and what was changed by whom.

Structured values (limits, lists, metadata) are JSON texts: they are read and written whole, never searched.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, PrimaryKeyConstraint, Table, Text, UniqueConstraint

from headgate.store.schema import METADATA, NUMBER, blob, flag, maybe, number, text

versions = Table(
    "versions",
    METADATA,
    Column("topic", Text, primary_key=True),
    number("value"),
)
"""How often each topic was changed: one row to look at tells every process whether to read anew."""

teams = Table(
    "teams",
    METADATA,
    Column("id", Text, primary_key=True),
    text("name", default=None),
    flag("disabled"),
    flag("prepaid"),
    text("limits", default="{}"),
    text("model_limits", default="{}"),
    text("user_limits", default="{}"),
    text("multipliers", default="{}"),
    text("metadata", default="{}"),
    number("created_ms"),
    maybe("deleted_ms"),
    number("changed"),
    Index("ix_teams_changed", "changed"),
    Index("ix_teams_name", "name"),
)

keys = Table(
    "keys",
    METADATA,
    Column("id", Text, primary_key=True),
    text("name", default=None),
    Column("team_id", Text, ForeignKey("teams.id"), nullable=True),
    text("owner"),
    text("shown"),
    Column("scopes", Text, nullable=True),
    Column("models", Text, nullable=True),
    Column("networks", Text, nullable=True),
    flag("disabled"),
    maybe("expires_ms"),
    text("tags", default="[]"),
    text("limits", default="{}"),
    text("model_limits", default="{}"),
    text("user_limits", default="{}"),
    text("metadata", default="{}"),
    number("created_ms"),
    maybe("deleted_ms"),
    number("changed"),
    Index("ix_keys_changed", "changed"),
    Index("ix_keys_team_id", "team_id"),
    Index("ix_keys_name", "name"),
)
"""Deleted keys stay: entries of the ledger name them."""

key_secrets = Table(
    "key_secrets",
    METADATA,
    blob("sha256", primary_key=True),
    Column("key_id", Text, ForeignKey("keys.id"), nullable=False),
    number("created_ms"),
    maybe("expires_ms"),
    Index("ix_key_secrets_key_id", "key_id"),
)
"""What opens for a key: the SHA-256 of each of its secrets. A rotated one stays until its grace is over."""

budgets = Table(
    "budgets",
    METADATA,
    text("account", default=None),
    text("period", default=None),
    flag("hard"),
    number("amount_nanodollars"),
    text("warn_percent", default="[]"),
    number("created_ms"),
    PrimaryKeyConstraint("account", "period", "hard"),
)
"""`account` is `key:ID` or `team:ID`. At most one hard and one soft for each period."""

postings = Table(
    "postings",
    METADATA,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    Column("team_id", Text, ForeignKey("teams.id"), nullable=False),
    number("at_ms"),
    text("kind", default=None),
    number("amount_nanodollars"),
    text("note"),
    text("actor"),
    Column("reference", Text, nullable=True),
    UniqueConstraint("team_id", "reference"),
    Index("ix_postings_team_id_id", "team_id", "id"),
)
"""Credits and debits; a team's balance is the sum of its rows. A reference is booked once."""

redeem_codes = Table(
    "redeem_codes",
    METADATA,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    blob("sha256", unique=True),
    text("shown"),
    number("amount_nanodollars"),
    text("note"),
    number("created_ms"),
    maybe("expires_ms"),
    maybe("redeemed_ms"),
    Column("redeemed_by", Text, ForeignKey("teams.id"), nullable=True),
    flag("withdrawn"),
)

audit = Table(
    "audit",
    METADATA,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    number("at_ms"),
    text("actor", default=None),
    text("action", default=None),
    text("kind", default=None),
    text("object_id"),
    text("request_id"),
    text("detail", default="{}"),
    Index("ix_audit_kind_object_id", "kind", "object_id"),
)
"""Who changed what, when, and from where; never with a secret in it."""
