"""A number for each topic that rises with every change, so that every process sees that there was one.

Whoever changes something raises the topic's number in the same transaction. The row's lock puts changes in
order, so that who has seen a number has seen all changes up to it.
"""

from __future__ import annotations

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from headgate.store.schema_accounts import versions

KEYS = "keys"
"""Keys, their secrets, teams and budgets: all that a holder of a key is made of."""
CATALOG = "catalog"
"""Upstreams, models and aliases."""
PRICES = "prices"
SETTINGS = "settings"
BALANCES = "balances"
"""What was paid into and out of them by hand."""
WEBHOOKS = "webhooks"
"""Webhooks and what is to be delivered to them."""


def raise_version(connection: Connection, topic: str) -> int:
    """Tells every process that the topic was changed; returns the number to mark the changed rows with."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(versions).values(topic=topic, value=1)
    raised = insert.on_conflict_do_update(index_elements=["topic"], set_={"value": versions.c.value + 1})
    return int(connection.execute(raised.returning(versions.c.value)).scalar_one())


def versions_now(connection: Connection) -> dict[str, int]:
    """The number of every topic that was ever changed."""
    return {row.topic: row.value for row in connection.execute(select(versions))}
