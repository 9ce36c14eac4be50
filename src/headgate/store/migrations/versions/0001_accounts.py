"""The first schema: who may use the gate, and what is served.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from headgate.store.migrations.columns import column, maybe, serial

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the tables."""
    _versions()
    _teams()
    _keys()
    _key_secrets()
    _budgets()
    _postings()
    _redeem_codes()
    _audit()
    _upstreams()
    _models()
    _aliases()
    _prices()
    _webhooks()
    _deliveries()
    _settings()


def downgrade() -> None:
    """There is no way back but a backup: what is dropped is lost."""
    raise RuntimeError("restore a backup instead")


def _versions() -> None:
    op.create_table(
        "versions",
        column("topic", sa.Text),
        column("value", sa.BigInteger, "0"),
        sa.PrimaryKeyConstraint("topic", name="pk_versions"),
    )


def _teams() -> None:
    op.create_table(
        "teams",
        column("id", sa.Text),
        column("name", sa.Text),
        column("disabled", sa.Boolean, "0"),
        column("prepaid", sa.Boolean, "0"),
        column("limits", sa.Text, "{}"),
        column("model_limits", sa.Text, "{}"),
        column("user_limits", sa.Text, "{}"),
        column("multipliers", sa.Text, "{}"),
        column("metadata", sa.Text, "{}"),
        column("created_ms", sa.BigInteger, "0"),
        maybe("deleted_ms", sa.BigInteger),
        column("changed", sa.BigInteger, "0"),
        sa.PrimaryKeyConstraint("id", name="pk_teams"),
    )
    op.create_index("ix_teams_changed", "teams", ["changed"])
    op.create_index("ix_teams_name", "teams", ["name"])


def _keys() -> None:
    op.create_table(
        "keys",
        column("id", sa.Text),
        column("name", sa.Text),
        maybe("team_id", sa.Text),
        column("owner", sa.Text, ""),
        column("shown", sa.Text, ""),
        maybe("scopes", sa.Text),
        maybe("models", sa.Text),
        maybe("networks", sa.Text),
        column("disabled", sa.Boolean, "0"),
        maybe("expires_ms", sa.BigInteger),
        column("tags", sa.Text, "[]"),
        column("limits", sa.Text, "{}"),
        column("model_limits", sa.Text, "{}"),
        column("user_limits", sa.Text, "{}"),
        column("metadata", sa.Text, "{}"),
        column("created_ms", sa.BigInteger, "0"),
        maybe("deleted_ms", sa.BigInteger),
        column("changed", sa.BigInteger, "0"),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name="fk_keys_team_id"),
    )
    op.create_index("ix_keys_changed", "keys", ["changed"])
    op.create_index("ix_keys_name", "keys", ["name"])
    op.create_index("ix_keys_team_id", "keys", ["team_id"])


def _key_secrets() -> None:
    op.create_table(
        "key_secrets",
        column("sha256", sa.LargeBinary),
        column("key_id", sa.Text),
        column("created_ms", sa.BigInteger, "0"),
        maybe("expires_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("sha256", name="pk_key_secrets"),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name="fk_key_secrets_key_id"),
    )
    op.create_index("ix_key_secrets_key_id", "key_secrets", ["key_id"])


def _budgets() -> None:
    op.create_table(
        "budgets",
        column("account", sa.Text),
        column("period", sa.Text),
        column("hard", sa.Boolean, "0"),
        column("amount_nanodollars", sa.BigInteger, "0"),
        column("warn_percent", sa.Text, "[]"),
        column("created_ms", sa.BigInteger, "0"),
        sa.PrimaryKeyConstraint("account", "period", "hard", name="pk_budgets"),
    )


def _postings() -> None:
    op.create_table(
        "postings",
        serial("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite")),
        column("team_id", sa.Text),
        column("at_ms", sa.BigInteger, "0"),
        column("kind", sa.Text),
        column("amount_nanodollars", sa.BigInteger, "0"),
        column("note", sa.Text, ""),
        column("actor", sa.Text, ""),
        maybe("reference", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_postings"),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name="fk_postings_team_id"),
        sa.UniqueConstraint("team_id", "reference", name="uq_postings_team_id_reference"),
    )
    op.create_index("ix_postings_team_id_id", "postings", ["team_id", "id"])


def _redeem_codes() -> None:
    op.create_table(
        "redeem_codes",
        serial("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite")),
        column("sha256", sa.LargeBinary),
        column("shown", sa.Text, ""),
        column("amount_nanodollars", sa.BigInteger, "0"),
        column("note", sa.Text, ""),
        column("created_ms", sa.BigInteger, "0"),
        maybe("expires_ms", sa.BigInteger),
        maybe("redeemed_ms", sa.BigInteger),
        maybe("redeemed_by", sa.Text),
        column("withdrawn", sa.Boolean, "0"),
        sa.PrimaryKeyConstraint("id", name="pk_redeem_codes"),
        sa.ForeignKeyConstraint(["redeemed_by"], ["teams.id"], name="fk_redeem_codes_redeemed_by"),
        sa.UniqueConstraint("sha256", name="uq_redeem_codes_sha256"),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        serial("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite")),
        column("at_ms", sa.BigInteger, "0"),
        column("actor", sa.Text),
        column("action", sa.Text),
        column("kind", sa.Text),
        column("object_id", sa.Text, ""),
        column("request_id", sa.Text, ""),
        column("detail", sa.Text, "{}"),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_kind_object_id", "audit", ["kind", "object_id"])


def _upstreams() -> None:
    op.create_table(
        "upstreams",
        column("name", sa.Text),
        column("settings", sa.Text, "{}"),
        maybe("credential", sa.LargeBinary),
        column("disabled", sa.Boolean, "0"),
        column("created_ms", sa.BigInteger, "0"),
        column("changed", sa.BigInteger, "0"),
        sa.PrimaryKeyConstraint("name", name="pk_upstreams"),
    )


def _models() -> None:
    op.create_table(
        "models",
        column("name", sa.Text),
        column("settings", sa.Text, "{}"),
        column("disabled", sa.Boolean, "0"),
        column("created_ms", sa.BigInteger, "0"),
        column("changed", sa.BigInteger, "0"),
        sa.PrimaryKeyConstraint("name", name="pk_models"),
    )


def _aliases() -> None:
    op.create_table(
        "aliases",
        column("name", sa.Text),
        column("model", sa.Text),
        column("created_ms", sa.BigInteger, "0"),
        column("changed", sa.BigInteger, "0"),
        sa.PrimaryKeyConstraint("name", name="pk_aliases"),
    )


def _prices() -> None:
    op.create_table(
        "prices",
        column("id", sa.Text),
        column("model", sa.Text),
        column("upstream", sa.Text, ""),
        column("valid_from_ms", sa.BigInteger, "0"),
        maybe("valid_until_ms", sa.BigInteger),
        column("price", sa.Text, "{}"),
        column("created_ms", sa.BigInteger, "0"),
        column("changed", sa.BigInteger, "0"),
        sa.PrimaryKeyConstraint("id", name="pk_prices"),
    )
    op.create_index("ix_prices_model", "prices", ["model"])


def _webhooks() -> None:
    op.create_table(
        "webhooks",
        column("id", sa.Text),
        column("url", sa.Text),
        column("events", sa.Text, "[]"),
        column("secret", sa.LargeBinary),
        column("disabled", sa.Boolean, "0"),
        column("created_ms", sa.BigInteger, "0"),
        column("changed", sa.BigInteger, "0"),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
    )


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        serial("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite")),
        column("webhook_id", sa.Text),
        column("event", sa.Text),
        column("subject", sa.Text, ""),
        column("body", sa.Text, "{}"),
        column("created_ms", sa.BigInteger, "0"),
        column("tries", sa.SmallInteger, "0"),
        maybe("next_ms", sa.BigInteger),
        maybe("delivered_ms", sa.BigInteger),
        column("failure", sa.Text, ""),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name="fk_deliveries_webhook_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("webhook_id", "event", "subject", name="uq_deliveries_webhook_id_event_subject"),
    )
    op.create_index("ix_deliveries_next_ms", "deliveries", ["next_ms"])


def _settings() -> None:
    op.create_table(
        "settings",
        column("name", sa.Text),
        column("value", sa.Text, "null"),
        column("changed", sa.BigInteger, "0"),
        sa.PrimaryKeyConstraint("name", name="pk_settings"),
    )
