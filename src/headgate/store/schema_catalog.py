"""Tables of what is served and on which terms: upstreams, models, prices, webhooks, settings.

The contents of `settings`, `price` and `value` belong to `core`; here they are JSON texts, kept whole.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Table, Text, UniqueConstraint

from headgate.store.schema import METADATA, NUMBER, blob, flag, maybe, number, small, text

upstreams = Table(
    "upstreams",
    METADATA,
    Column("name", Text, primary_key=True),
    text("settings", default="{}"),
    blob("credential", nullable=True),
    flag("disabled"),
    number("created_ms"),
    number("changed"),
)
"""`credential` is sealed with the data folder's key."""

models = Table(
    "models",
    METADATA,
    Column("name", Text, primary_key=True),
    text("settings", default="{}"),
    flag("disabled"),
    number("created_ms"),
    number("changed"),
)

aliases = Table(
    "aliases",
    METADATA,
    Column("name", Text, primary_key=True),
    text("model", default=None),
    number("created_ms"),
    number("changed"),
)

prices = Table(
    "prices",
    METADATA,
    Column("id", Text, primary_key=True),
    text("model", default=None),
    text("upstream"),
    number("valid_from_ms"),
    maybe("valid_until_ms"),
    text("price", default="{}"),
    number("created_ms"),
    number("changed"),
    Index("ix_prices_model", "model"),
)
"""Overrides of the prices that come along; an empty upstream means any."""

webhooks = Table(
    "webhooks",
    METADATA,
    Column("id", Text, primary_key=True),
    text("url", default=None),
    text("events", default="[]"),
    blob("secret"),
    flag("disabled"),
    number("created_ms"),
    number("changed"),
)
"""`secret` signs what is sent there, and is sealed with the data folder's key."""

deliveries = Table(
    "deliveries",
    METADATA,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    Column("webhook_id", Text, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    text("event", default=None),
    text("subject"),
    text("body", default="{}"),
    number("created_ms"),
    small("tries"),
    maybe("next_ms"),
    maybe("delivered_ms"),
    text("failure"),
    UniqueConstraint("webhook_id", "event", "subject"),
    Index("ix_deliveries_next_ms", "next_ms"),
)
"""What is to be told to whom, each subject once; `next_ms` is empty when nothing is left to do."""

settings = Table(
    "settings",
    METADATA,
    Column("name", Text, primary_key=True),
    text("value", default="null"),
    number("changed"),
)
